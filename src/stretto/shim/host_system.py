"""The shim and the system: fail points, durable files, processes. Standard library only; loaded by host.py by path."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping
    from typing import Any

    make_scanner: Callable[[object], Callable[[str, int], tuple[Any, int]]]
    quote: Callable[[str], str]
else:
    import _signal as signal  # the same, without enum
    from _json import encode_basestring_ascii as quote
    from _json import make_scanner

POINTS = (
    "shim.ready",
    "shim.prompt.written",
    "shim.attempting",
    "shim.spawn.before",
    "shim.spawn.after",
    "shim.delivered",
    "shim.agent.recorded",
    "shim.turn.recorded",
    "shim.segment.rotated",
    "shim.exit.before",
    "shim.exit.after",
)
SCHEMA = 1
EXIT_LOCKED, EXIT_SECRETS, EXIT_SPEC = 3, 4, 5
KINDS = ("turn", "control", "interrupt", "stop")
SEGMENT_BYTES, KEEP_BYTES, STOP_SECONDS = 8 << 20, 64 << 20, 5.0
PRIVATE = ("STRETTO_TESTING", "STRETTO_FAILPOINT", "STRETTO_TEST_CLOCK")
TICK, RETRY, NUDGE_EVERY, KILL_EVERY, GIVE_UP, CHUNK = 2.0, 0.5, 0.02, 0.05, 5.0, 1 << 16
FORGET = ("exit.json", "agent.json", "problem.json")

# ---------------------------------------------------------------- fail points (a copy of stretto.failpoints)


def _plan() -> dict[str, tuple[int, str]]:
    plan = {}
    if os.environ.get("STRETTO_TESTING") == "1":
        for part in filter(None, os.environ.get("STRETTO_FAILPOINT", "").split(",")):
            name, _, act = part.partition("=")
            name, _, nth = name.partition("@")
            plan[name] = (int(nth or "1"), act or "kill")
    return plan


_active = _plan()
_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Die, fail or wait here if a test asked for it."""
    if name not in POINTS:
        raise KeyError(name)
    if name not in _active:
        return
    nth, act = _active[name]
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] != nth:
        return
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "error":
        raise RuntimeError(f"fail point {name}")
    elif act.startswith("sleep:"):
        time.sleep(float(act.removeprefix("sleep:")))


# ---------------------------------------------------------------- files


def raw(text: str) -> bytes:
    """The bytes of an argument or variable, whatever the locale."""
    return text.encode("utf-8", "surrogateescape")


def write_whole(path: str, data: bytes) -> None:
    """Write a new file and sync it. Raises OSError when it does not fit."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def write_json(path: str, value: Mapping[str, str | float | None]) -> None:
    """Replace a small file atomically and durably."""
    write_whole(path + ".new", to_json(value).encode() + b"\n")
    os.replace(path + ".new", path)
    sync_folder(os.path.dirname(path))


class _Json:
    """How json itself would configure its scanner."""

    strict, object_hook, object_pairs_hook = True, None, None
    parse_float, parse_int, parse_constant = float, int, float


def from_json(data: bytes) -> Any:
    """`json.loads`. Importing json costs a megabyte in each session (re, enum), so we use the scanner below it.

    What that does not take as a whole goes to json, for its verdict. Raises ValueError.
    """
    text = data.decode("utf-8").strip()
    try:
        value, end = make_scanner(_Json)(text, 0)
    except (StopIteration, SystemError, ValueError):
        end = -1
    if end == len(text):
        return value
    import json

    return json.loads(text)


def to_json(value: Mapping[str, str | float | None]) -> str:
    """`json.dumps` of a flat object."""
    return "{" + ", ".join(f"{quote(name)}: {_atom(one)}" for name, one in value.items()) + "}"


def _atom(value: str | float | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else repr(value)


def sync_folder(path: str) -> None:
    """Make names in a folder durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def append_line(path: str, line: str, *, sync: bool) -> None:
    """Append a whole line or nothing. We are the only writer, so a partial one can be cut off again."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(fd).st_size
        data = line.encode() + b"\n"
        try:
            while data:
                data = data[os.write(fd, data) :]
            if sync:
                os.fsync(fd)
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)


def whole_lines(path: str) -> list[bytes]:
    """The complete lines of one of our own append-only files; a torn last line is cut off."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return []
    try:
        data = read_from(fd, 0)
        end = data.rfind(b"\n") + 1
        if end != len(data):
            os.ftruncate(fd, end)
        return data[:end].splitlines()
    finally:
        os.close(fd)


def read_from(fd: int, offset: int) -> bytes:
    """Everything from an offset to the end."""
    parts = []
    while part := os.pread(fd, 1 << 20, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def read_text(path: str) -> str:
    """A small file of /proc, or the empty string."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def open_fifo(path: str) -> int:
    """Our end of a FIFO that we hold open for reading and writing, so that it never ends."""
    if os.path.lexists(path) and not stat.S_ISFIFO(os.lstat(path).st_mode):
        os.unlink(path)
    if not os.path.lexists(path):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def drain(fd: int) -> None:
    """Empty a descriptor that only wakes us."""
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        return


# ---------------------------------------------------------------- processes


def process_stat(pid: int) -> tuple[int, int] | None:
    """(parent, start in clock ticks since boot) of a process; None if it is gone or cannot be told."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[1]), int(fields[19])) if len(fields) > 19 else None


def start_time(pid: int) -> float | None:
    """Start of a process in seconds since boot."""
    found = process_stat(pid)
    return found[1] / os.sysconf("SC_CLK_TCK") if found else None


def boot_id() -> str:
    """Names the present boot, in which pids and start times mean something."""
    return read_text("/proc/sys/kernel/random/boot_id").strip()


def descendants() -> dict[int, int]:
    """Pid -> start ticks of every living descendant of this process."""
    table = {int(name): process_stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    children: dict[int, list[int]] = {}
    for pid, found in table.items():
        if found:
            children.setdefault(found[0], []).append(pid)
    result: dict[int, int] = {}
    todo = [os.getpid()]
    while todo:
        for pid in children.get(todo.pop(), ()):
            found = table[pid]
            if found and pid not in result:
                result[pid] = found[1]
                todo.append(pid)
    return result


def send(pid: int, start: int, number: int) -> None:
    """Signal exactly the process that had this start time; nothing if it is gone."""
    fd = -1
    try:
        if hasattr(os, "pidfd_open"):
            fd = os.pidfd_open(pid)
        found = process_stat(pid)
        if found is None or found[1] != start:
            return
        if fd >= 0:
            signal.pidfd_send_signal(fd, number)
        else:
            os.kill(pid, number)
    except OSError as error:
        if fd < 0 and error.errno in (errno.ENOSYS, errno.EPERM, errno.EINVAL):  # no pidfd here
            _send_plain(pid, start, number)
    finally:
        if fd >= 0:
            os.close(fd)


def _send_plain(pid: int, start: int, number: int) -> None:
    found = process_stat(pid)
    if found and found[1] == start:
        try:
            os.kill(pid, number)
        except OSError:
            return  # gone, or of another user: the caller sees it again in `descendants`


def signal_tree(group: int, number: int) -> None:
    """Signal every descendant; where there is no /proc, the group."""
    if not os.path.isdir("/proc/self"):
        signal_group(group, number)
        return
    for pid, start in descendants().items():
        send(pid, start, number)
        if number == signal.SIGTERM:
            send(pid, start, signal.SIGCONT)


def signal_group(group: int, number: int) -> None:
    """Signal the agent's group. It cannot be another's: its leader is our child, or its number is not free."""
    try:
        os.killpg(group, number)
    except OSError:
        return  # everyone in it is gone


def become_subreaper() -> None:
    """Orphans of the agent become our children (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


class CannotStart(Exception):
    """A program could not be started: what could not, the error number, and why."""

    def __init__(self, number: int, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.number, self.what, self.why = number, what, why


def spawn(
    argv: list[str], env: dict[str, str], cwd: str, *, stdin: bool, outputs: int, umask: int, launcher: str = ""
) -> tuple[int, int, list[int]]:
    """Start a program in a session of its own: its pid and our ends of its stdin (or -1) and its outputs, non-blocking.

    Its stdout is the first output, its stderr the last. `launcher` as in `Spec`. Raises CannotStart; nothing is left
    open then.
    """
    ours: list[int] = []
    theirs: list[int] = []
    try:
        if stdin:
            read, write = os.pipe()
            theirs, ours = [read], [write]
        else:
            theirs = [os.open(os.devnull, os.O_RDONLY)]
        for _ in range(outputs):
            read, write = os.pipe()
            ours.append(read)
            theirs.append(write)
        for fd in ours:
            os.set_blocking(fd, False)
        pid = _fork(argv, env, cwd, (theirs[0], theirs[1], theirs[-1]), umask, launcher)
    except (OSError, CannotStart) as error:
        for fd in ours:
            os.close(fd)
        if isinstance(error, CannotStart):
            raise
        raise CannotStart(error.errno or errno.EIO, "a process", error.strerror or str(error)) from error
    finally:
        for fd in theirs:
            os.close(fd)
    return pid, ours.pop(0) if stdin else -1, ours


def _fork(argv: list[str], env: dict[str, str], cwd: str, fds: tuple[int, int, int], umask: int, launcher: str) -> int:
    """Fork, and return when the child has become the program. Raises CannotStart if it has not."""
    told, tell = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _become(argv, env, cwd, fds, umask, tell, launcher)
    finally:
        os.close(tell)
    failure = b""
    while part := os.read(told, 4096):
        failure += part
    os.close(told)
    if failure:
        os.waitpid(pid, 0)
        number, what, why = failure.decode("utf-8", "replace").split("\0")
        raise CannotStart(int(number), what, why)
    return pid


def _become(
    argv: list[str], env: dict[str, str], cwd: str, fds: tuple[int, int, int], umask: int, tell: int, launcher: str
) -> None:
    """In the child: become the program, or tell why not. Never returns."""
    what = "its session"
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.umask(umask)
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        what = f"in the folder {cwd}"
        os.chdir(raw(cwd))
        what = argv[0]
        if launcher and argv[:4] == [sys.executable, "-I", "-S", launcher]:
            os._exit(_launch(argv[3:], env))
        os.execvpe(raw(argv[0]), [raw(word) for word in argv], {raw(k): raw(v) for k, v in env.items()})
    except BaseException as error:  # a child must not run the parent's code
        code = getattr(error, "errno", None) or errno.EINVAL
        why = getattr(error, "strerror", None) or str(error)
        os.write(tell, "\0".join((str(code), what[:2000].replace("\0", "?"), why[:1000])).encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _launch(words: list[str], env: dict[str, str]) -> int:
    """Be the sandbox's launcher instead of starting it: an interpreter's start would be most of what a sandbox costs.

    What we have open, the lock before all, is held until its child has the agent's environment, as if that were started
    directly, and let go then.
    """
    listed = [int(name) for name in os.listdir("/proc/self/fd")]
    inherited = [fd for fd in listed if fd > 2 and is_open(fd)]

    def started() -> None:
        while inherited:
            os.close(inherited.pop())

    signal.set_wakeup_fd(-1)
    os.environb.clear()
    os.environb.update({raw(name): raw(value) for name, value in env.items()})
    sys.path.append(os.path.dirname(words[0]))
    if TYPE_CHECKING:
        main: Callable[[list[str], Callable[[], None]], int]
    else:
        from launch_sandbox import main
    try:
        return main([os.fsdecode(raw(word)) for word in words[1:]], started)
    except BaseException:  # raised again while our caller can tell why; later nobody listens, and this child must end
        if inherited:
            raise
        return 126


def is_open(fd: int) -> bool:
    """Whether there is such a descriptor; the one by which they are listed is gone by then."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
