"""The launcher's first part: bubblewrap, from its start to its end. The specification is in launch.py."""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from stretto.workspace.sandbox.launch_limits import Limits
    from stretto.workspace.sandbox.launch_words import Words
else:  # a program of its own: its folder is on sys.path, the package is not
    import _signal as signal  # the same, without enum

    from launch_words import Words

#: exit code when there is no sandbox
CANNOT = 126


def main(argv: list[str], started: Callable[[], None] = lambda: None) -> int:
    """From the words to the end of the command. `started` is called once bubblewrap is, or cannot be, there."""
    words = Words(argv)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    told, tell = os.pipe()
    wait, go = os.pipe()
    limits = _limits(words)
    child = os.fork()
    if child == 0:
        _become(words.command, tell, wait, limits)
    os.close(tell)
    os.close(wait)
    quiet = os.open(os.devnull, os.O_RDWR)
    errors = os.dup(2)
    for fd in (0, 1, 2):
        os.dup2(quiet, fd)  # the command's ends are its own: who reads them sees when it closes them
    first = _line(told)
    started()
    inside = _number(first, b'"child-pid":')
    bounding = limits.bound(inside) if limits is not None and inside is not None else None
    pass_on = None
    if words.network and inside is not None:
        try:
            pass_on = _network(words, inside)
        except OSError as error:
            os.write(errors, f"stretto: no network for the sandbox: {error}\n".encode("utf-8", "replace"))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if limits is not None:
                limits.leave()
            return CANNOT
    if bounding is not None:
        os.waitpid(bounding, 0)
    os.write(go, b"x")
    os.close(go)
    finish = pass_on() if pass_on is not None else None
    status = _wait(child, inside, limits, errors)
    if finish is not None:
        finish()
    rest = b""
    while part := os.read(told, 4096):
        rest += part
    return _end(status, b'"exit-code"' in first + rest)


def _limits(words: Words) -> Limits | None:
    """What limits the sandbox; loaded where something does."""
    if not words.limited:
        return None
    if TYPE_CHECKING:
        from stretto.workspace.sandbox.launch_limits import Limits
    else:
        from launch_limits import Limits
    return Limits(words)


def _wait(child: int, inside: int | None, limits: Limits | None, errors: int) -> int:
    """The status with which bubblewrap ended; why it was ended is said to whoever reads its command's errors."""
    if limits is None:
        os.close(errors)
        return os.waitpid(child, 0)[1]
    status, said = limits.wait(child, inside)
    limits.leave()
    if said:
        os.write(errors, f"{said}\n".encode("utf-8", "replace"))
        return signal.SIGKILL
    return status


def _network(words: Words, inside: int) -> Callable[[], Callable[[], None]]:
    """Let the network stand; what is returned begins to pass on. Loaded where there is one, while bubblewrap works."""
    if TYPE_CHECKING:
        from stretto.workspace.sandbox.launch_network import connect
    else:
        from launch_network import connect
    return connect(words, inside)


def _become(command: list[str], tell: int, wait: int, limits: Limits | None) -> None:
    """In the child: become bubblewrap. Never returns."""
    try:
        if limits is not None:
            limits.join()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for fd in (tell, wait):
            os.set_inheritable(fd, True)
        extra = ["--json-status-fd", str(tell), "--block-fd", str(wait)]
        extra += ["--new-session"] if _has_terminal() else []
        os.execvp(command[0], [command[0], *extra, *command[1:]])
    except OSError as error:
        os.write(2, f"stretto: cannot start {command[0]}: {error.strerror}\n".encode("utf-8", "replace"))
    finally:
        os._exit(CANNOT)


def _has_terminal() -> bool:
    """Whether we have a terminal into which a command could push keys (where there is none, groups stay whole)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _line(fd: int) -> bytes:
    """Up to the first newline, or the end."""
    data = b""
    while not data.endswith(b"\n") and (part := os.read(fd, 1)):
        data += part
    return data


def _number(data: bytes, key: bytes) -> int | None:
    _, found, rest = data.partition(key)
    digits = bytes(byte for byte in rest.split(b",")[0].split(b"}")[0] if 48 <= byte <= 57)
    return int(digits) if found and digits else None


def _end(status: int, ran: bool) -> int:
    """The command's exit code; bubblewrap's own failure is no result of the command."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return 128 - code
    return code if ran or code == 0 else CANNOT
