"""Processes that are run to their end.

Specification.
- `run`: a child gets a session (and so a process group) of its own, no terminal, an empty or given stdin, exactly the
  environment that it is given, and no descriptor of ours. It is over when its first process is over; what is then left
  of its group is ended. At the limit, or when `stop` says so, the whole group gets TERM, and KILL after `grace`.
- Output held in memory is capped; the pipe is still drained, so that a talkative child never blocks. Output to a file
  keeps its beginning and its end.

Those that live on are in spawn.py. Who a process is, and how exactly those that are meant are ended, is in proctree.py.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stretto import proctree
from stretto.core.errors import StrettoError, TimedOut, Unavailable

#: bytes of each stream that `run` keeps in memory unless told otherwise
MEMORY_LIMIT = 64 << 20
#: bytes of output that `run` writes to a file unless told otherwise; its last part is kept as well
FILE_LIMIT = 16 << 20
#: how often a running child is looked at for `stop`, seconds
_LOOK = 0.1
#: bytes that are read or written at once
CHUNK = 1 << 16

#: what a process of an agent, a check or git never inherits from the daemon or from the shell that started it
_PRIVATE = frozenset(
    {
        "STRETTO_TESTING",
        "STRETTO_FAILPOINT",
        "STRETTO_TEST_CLOCK",
        "STRETTO_AGENT_SOCKET",
        "STRETTO_AGENT_TOKEN",
        "STRETTO_SESSION",
        "STRETTO_DRIVER",
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_PREFIX",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_QUARANTINE_PATH",
        "GIT_EXEC_PATH",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_REFLOG_ACTION",
        "GIT_LITERAL_PATHSPECS",
    }
)


@dataclass(frozen=True, slots=True)
class Completed:
    """How a process went. `code` is negative for a signal; `cut`: output beyond the cap was dropped."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    timed_out: bool = False
    stopped: bool = False
    cut: bool = False

    @property
    def ok(self) -> bool:
        """Exited with 0 by itself."""
        return self.code == 0 and not self.timed_out and not self.stopped


class ProgramFailed(StrettoError):
    """A program that had to succeed exited with an error. Carries how it went."""

    default_code = "program_failed"

    def __init__(self, completed: Completed) -> None:
        last = completed.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        super().__init__(f"{completed.argv[0]} exited with {completed.code}: {last[0]}", object=completed.argv[0])
        self.completed = completed


def clean_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of `base` (ours if None) without test switches, agent tokens and git's own variables."""
    source = os.environ if base is None else base
    return {name: value for name, value in source.items() if name not in _PRIVATE}


# ---------------------------------------------------------------- run


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float | None,
    input: bytes | None = None,
    output: Path | None = None,
    limit: int | None = None,
    check: bool = False,
    grace: float = 2.0,
    stop: Callable[[], bool] | None = None,
    started: Callable[[int], None] | None = None,
) -> Completed:
    """Run a program to its end and say how it went.

    With `output` both streams go to that file (made anew, 0600), else to memory; `limit` caps each. `started` is
    called with the pid, `stop` is asked ten times a second. Raises Unavailable if the program cannot be started; with
    `check` also TimedOut and ProgramFailed.
    """
    proctree.reap()
    began = time.monotonic()
    with _Sinks(output, limit) as sinks:
        child = _start(argv, cwd, env, input, merged=output is not None)
        if started is not None:
            started(child.pid)
        conversation = _Conversation(child, sinks, input or b"", timeout, grace, stop)
        conversation.hold()
        out, err = sinks.collect()
    completed = Completed(
        argv=tuple(argv),
        code=child.returncode,
        stdout=out,
        stderr=err,
        seconds=time.monotonic() - began,
        timed_out=conversation.timed_out,
        stopped=conversation.stopped,
        cut=sinks.cut,
    )
    return _checked(completed, timeout) if check else completed


def _checked(completed: Completed, timeout: float | None) -> Completed:
    if completed.timed_out:
        raise TimedOut(f"{completed.argv[0]} did not end within {timeout:g} s", object=completed.argv[0])
    if completed.code != 0:
        raise ProgramFailed(completed)
    return completed


def _start(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str], input: bytes | None, *, merged: bool
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise cannot_start(argv[0], cwd, error) from error


def cannot_start(program: str, cwd: Path, error: OSError) -> Unavailable:
    """Why a program did not start, as an error to raise."""
    if not cwd.is_dir():
        return Unavailable(f"the folder {cwd} does not exist", object=str(cwd), code="folder_missing")
    if isinstance(error, FileNotFoundError):
        return Unavailable(f"the program {program} was not found", object=program, code="program_missing")
    return Unavailable(f"{program} cannot be started: {error.strerror}", object=program, code="program_unusable")


class _Sinks:
    """Where a child's output goes: two capped buffers, or one file that keeps its beginning and its end."""

    def __init__(self, output: Path | None, limit: int | None) -> None:
        self.cut = False
        self._path = output
        self._limit = limit if limit is not None else (MEMORY_LIMIT if output is None else FILE_LIMIT)
        self._buffers = {"out": bytearray(), "err": bytearray()}
        self._file: IO[bytes] | None = None
        self._keep = min(1 << 20, self._limit // 2)
        self._written = 0
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._dropped = 0

    def __enter__(self) -> _Sinks:
        if self._path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, name: str, data: bytes) -> None:
        if self._file is not None:
            self._take_file(self._file.fileno(), data)
            return
        buffer = self._buffers[name]
        room = self._limit - len(buffer)
        self.cut = self.cut or len(data) > room
        buffer += data[: max(0, room)]

    def _take_file(self, fd: int, data: bytes) -> None:
        room = self._limit - self._keep - self._written
        head, rest = data[: max(0, room)], data[max(0, room) :]
        if head:
            _write_all(fd, head)
            self._written += len(head)
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
        while self._tail and self._tail_size - len(self._tail[0]) >= self._keep:
            gone = self._tail.popleft()
            self._tail_size -= len(gone)
            self._dropped += len(gone)

    def collect(self) -> tuple[bytes, bytes]:
        if self._file is not None:
            if self._dropped:
                self.cut = True
                _write_all(self._file.fileno(), b"\n[... %d bytes left out ...]\n" % self._dropped)
            _write_all(self._file.fileno(), b"".join(self._tail))
        return bytes(self._buffers["out"]), bytes(self._buffers["err"])


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _Conversation:
    """Feed a child, drain it and see it end, all in one thread."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        sinks: _Sinks,
        input: bytes,
        timeout: float | None,
        grace: float,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.timed_out = False
        self.stopped = False
        self._child = child
        self._sinks = sinks
        self._input = memoryview(input)
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._grace = grace
        self._stop = stop
        self._selector = selectors.DefaultSelector()
        self._pidfd: int | None = None
        self._over = False

    def hold(self) -> None:
        try:
            self._register()
            while not self._over:
                self._step()
            self._drain()
        finally:
            end_group(self._child, self._grace)
            self._close()

    def _register(self) -> None:
        child = self._child
        for name, pipe in (("out", child.stdout), ("err", child.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe.fileno(), selectors.EVENT_READ, name)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            self._selector.register(child.stdin.fileno(), selectors.EVENT_WRITE, "in")
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._pidfd = os.pidfd_open(child.pid)
                self._selector.register(self._pidfd, selectors.EVENT_READ, "exit")

    def _step(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            if key.data == "exit":
                self._over = True
            elif key.data == "in":
                self._feed(key.fd)
            else:
                self._read(key.fd, key.data)
        self._over = self._over or (self._pidfd is None and _exited(self._child))
        if not self._over:
            self._judge()

    def _patience(self) -> float | None:
        waits = [] if self._deadline is None else [max(0.0, self._deadline - time.monotonic())]
        if self._stop is not None:
            waits.append(_LOOK)
        if self._pidfd is None:
            waits.append(0.02)
        return min(waits, default=None)

    def _judge(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.timed_out = True
        elif self._stop is not None and self._stop():
            self.stopped = True
        else:
            return
        self._over = True
        end_group(self._child, self._grace)

    def _feed(self, fd: int) -> None:
        try:
            self._input = self._input[os.write(fd, self._input[:CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = self._input[:0]
        if not self._input and self._child.stdin is not None:
            self._selector.unregister(fd)
            self._child.stdin.close()

    def _read(self, fd: int, name: str) -> bool:
        """Take one chunk; False when there is nothing more for now, or for ever."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._sinks.take(name, data)
        else:
            self._selector.unregister(fd)
        return bool(data)

    def _drain(self) -> None:
        """Take what the pipes still hold; a survivor of the group that goes on writing is not waited for."""
        for key in list(self._selector.get_map().values()):
            if key.data in ("out", "err"):
                until = time.monotonic() + self._grace
                while self._read(key.fd, key.data) and time.monotonic() < until:
                    pass

    def _close(self) -> None:
        self._selector.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()


def _exited(child: subprocess.Popen[bytes]) -> bool:
    """Whether the child is over, without reaping it where that is possible: its group id must stay ours."""
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return child.poll() is not None


def end_group(child: subprocess.Popen[bytes], grace: float) -> None:
    """TERM, then KILL what is left of the child's group; reap the child."""
    if child.returncode is not None:
        return
    over = _exited(child)
    _signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while not over and time.monotonic() < deadline:
        time.sleep(0.005)
        over = _exited(child)
    if not over:
        _signal_group(child.pid, signal.SIGKILL)
    child.wait()
    while _signal_group(child.pid, 0) and _group_lives(child.pid):
        if time.monotonic() >= deadline:
            _signal_group(child.pid, signal.SIGKILL)
            return
        time.sleep(0.005)


def _group_lives(group: int) -> bool:
    """Whether the group has a member that is not a zombie (which its new parent may never reap)."""
    return any(one.group == group and not one.zombie for one in proctree.processes().values())


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
