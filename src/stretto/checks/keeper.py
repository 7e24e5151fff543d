"""Runs a command, and knows all that it started, whatever that does to hide.

    python -I -S keeper.py end|stay COMMAND WORDS…

A program of its own, because what forks away, makes a session of its own and clears its environment is known by nothing
but its reaper, and the daemon cannot be that for all commands at once: it could not tell whose a process was.

Specification.
- Every descendant stays one: this process is the subreaper of all. While it lives, whoever ends its tree ends them.
- `end`: when the command is over, what it left is ended (TERM, after five seconds KILL), then we end as it did: with
  its exit code, or by its signal. What became another user's cannot be ended by us: it is left then.
  `stay`: what it left may go on, and we end, as the command did, when nothing is left.
- HUP, INT and TERM are ignored here: who sends them means the command, and we are over as soon as nothing is left.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the same, without enum

#: seconds between TERM and KILL, and between two looks
_GRACE, _EVERY = 5.0, 0.02
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main(argv: list[str]) -> int:
    """From the words to the end of all that the command started."""
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    command = os.fork()
    if command == 0:
        _become(argv[1:])
    status, left = _wait(command, blocking=True)
    deadline, told = time.monotonic() + _GRACE, set[int]()
    while left:
        if argv[0] == "end":
            late = time.monotonic() >= deadline
            if _tell(told, signal.SIGKILL if late else signal.SIGTERM) and late:
                break
            time.sleep(_EVERY)
        _, left = _wait(0, blocking=argv[0] == "stay")
    return _end(status)


def _become(words: list[str]) -> None:
    """In the child: become the command. Never returns."""
    try:
        for number in (*_IGNORED, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]} cannot be started: {error.strerror}\n".encode("utf-8", "replace"))
    finally:
        os._exit(126)


def _wait(wanted: int, *, blocking: bool) -> tuple[int, bool]:
    """Reap until `wanted` is over, or nobody is who could be reaped; its status, and whether anybody is left."""
    while True:
        try:
            pid, status = os.waitpid(-1, 0 if blocking else os.WNOHANG)
        except ChildProcessError:
            return 0, False
        if pid == wanted:
            return status, True
        if pid == 0:
            return 0, True


def _tell(told: set[int], number: int) -> bool:
    """Signal our children: TERM once each, KILL every time. Theirs become ours when they are gone.

    Whether there are only such as refuse it.
    """
    own, taken, refused = os.getpid(), False, False
    for name in os.listdir("/proc"):
        pid = int(name) if name.isdigit() else 0
        if pid and _parent(pid) == own and (number == signal.SIGKILL or pid not in told):
            told.add(pid)
            try:
                os.kill(pid, number)  # a child of ours keeps its number until we reap it
                taken = True
            except PermissionError:
                refused = True
    return refused and not taken


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return 0
    return int(text[text.rindex(b")") + 2 :].split()[1])


def _end(status: int) -> int:
    """The command's exit code, or its signal."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    return 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
