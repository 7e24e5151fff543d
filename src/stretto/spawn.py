"""Processes that outlive the call that starts them: detached, spoken with, on our terminal, or in our place.

Specification.
- `detached`: the child survives us. It is reaped by later calls, and a zombie counts as dead everywhere.
- `piped`: the child lives as long as somebody speaks with it.
- `inherited` and `become`: the person's terminal belongs to the child; its signals and its exit code are its own.

Those that are run to their end are in process.py.
"""

from __future__ import annotations

import os
import select
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from stretto import proctree
from stretto.core.errors import Unavailable
from stretto.process import CHUNK, cannot_start, end_group


def detached(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin_bytes: bytes = b"",
    output: Path | None = None,
    timeout: float = 10.0,
    inherit: Sequence[int] = (),
) -> int:
    """Start a process that outlives us: its own session, its stdin is `stdin_bytes`, its output appended to a file.

    It has the descriptors of `inherit` under the same numbers. Returns its pid. Raises Unavailable if it cannot be
    started or does not take its stdin within `timeout` seconds.
    """
    proctree.reap()
    sink = os.open(output or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE if stdin_bytes else subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            bufsize=0,
            pass_fds=tuple(inherit),
        )
    except OSError as error:
        raise cannot_start(argv[0], cwd, error) from error
    finally:
        os.close(sink)
    proctree.adopt(child)
    _hand_over(child, stdin_bytes, timeout)
    return child.pid


class Piped:
    """A child that is spoken with over its stdin and stdout for as long as it lives. One thread at a time."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child

    def fileno(self) -> int:
        """The descriptor of its output, readable when it said something and when it closed it; -1 after `close`."""
        pipe = self._child.stdout
        return -1 if pipe is None or pipe.closed else pipe.fileno()

    def send(self, data: bytes) -> bool:
        """Write all of it; False if the child reads no more."""
        pipe = self._child.stdin
        if pipe is None or pipe.closed:
            return False
        try:
            pipe.write(data)
            pipe.flush()
        except OSError:
            return False
        return True

    def read(self, patience: float) -> bytes | None:
        """What it said; None when it says nothing for `patience` seconds, empty when it closed its output."""
        fd = self.fileno()
        if fd < 0:
            return b""
        return os.read(fd, 1 << 18) if select.select([fd], [], [], patience)[0] else None

    def close(self, patience: float) -> None:
        """End its input and see it end; killed if it does not within `patience` seconds. What it still says is lost."""
        deadline = time.monotonic() + patience
        pipes = (self._child.stdin, self._child.stdout)
        if pipes[0] is not None:
            with suppress(OSError):
                pipes[0].close()
        while self.read(max(0.0, deadline - time.monotonic())):
            pass  # one whose words nobody takes may not end
        if pipes[1] is not None:
            pipes[1].close()
        try:
            self._child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def piped(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Piped:
    """Start a program to speak with, in a session of its own. Raises Unavailable if it cannot be started."""
    try:
        child = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise cannot_start(argv[0], cwd, error) from error
    return Piped(child)


def _hand_over(child: subprocess.Popen[bytes], data: bytes, timeout: float) -> None:
    """Write all of stdin and close it; a child that does not take it is ended, since it would never start."""
    if child.stdin is None:
        return
    pipe, view, deadline = child.stdin, memoryview(data), time.monotonic() + timeout
    os.set_blocking(pipe.fileno(), False)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_WRITE)
            while view and selector.select(max(0.0, deadline - time.monotonic())):
                view = view[os.write(pipe.fileno(), view[:CHUNK]) :]
    except BrokenPipeError:
        pass
    finally:
        pipe.close()
    if view:
        end_group(child, 0.0)
        raise Unavailable("the process did not read its input", object=str(child.args), code="program_unusable")


def inherited(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a program with our own terminal and wait for it; its exit code. Ctrl-C reaches it, too, and it decides.

    Raises Unavailable if it cannot be started.
    """
    try:
        child = subprocess.Popen(list(argv), cwd=cwd, env=dict(env))
    except OSError as error:
        raise cannot_start(argv[0], cwd, error) from error
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def become(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> NoReturn:
    """Replace this process by a program: its terminal, signals and exit code are then the program's own.

    Raises Unavailable if that cannot be done; the current folder may have changed then.
    """
    try:
        os.chdir(cwd)
        os.execvpe(argv[0], list(argv), dict(env))  # noqa: S606 - this module is the one place for it
    except OSError as error:
        raise cannot_start(argv[0], cwd, error) from error
