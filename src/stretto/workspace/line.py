"""A line in which processes wait their turn at something that is had for less than a millisecond.

Specification.
- The line only orders who tries when; what excludes is something else (here the write lock of a database). Without it
  the process that has just finished is awake, and takes it again and again, while another waits for long.
- The file holds two numbers, the next ticket and the ticket that is being served, and has a byte for each ticket. Who
  comes takes a ticket and locks its byte; its turn is when the byte before it is not locked any more. These locks are
  the system's and end with their holder, so a dead process holds up nobody.
- Nobody waits longer than its patience (a process that is stopped holds its byte): then it goes without its turn.
- Who is among the next looks often, who is further back sleeps for about the time that those before it need.
- Where there can be no such file, or no such locks, nobody waits.

Accepted race: whoever dies while it waits lets the one behind it through early; then the two try at the same time.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NUMBERS = struct.Struct("<qq")
#: the byte of a ticket lies behind the numbers; byte 0 is locked by who takes a ticket
_BYTES = 64
#: so many before one count as next; seconds between two looks of those, and for each place further back
_NEAR, _LOOK, _PLACE = 3, 0.00005, 0.00025
#: no sleep is longer, whatever the numbers say
_LONGEST = 0.005
#: beyond any number of tickets that was ever taken
_MOST = 1 << 56


class Line:
    """The line of one file, for one thread of a process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @contextmanager
    def turn(self, patience: float) -> Iterator[None]:
        """The block runs when all that came before are through, or after `patience` seconds."""
        deadline = time.monotonic() + patience
        try:
            fd = self._opened()
            ticket = self._ticket(fd, deadline)
        except OSError:
            self.close()
            yield
            return
        try:
            self._wait(fd, ticket, deadline)
            yield
        finally:
            with suppress(OSError):
                fcntl.lockf(fd, fcntl.LOCK_UN, 1, _BYTES + ticket)

    def close(self) -> None:
        """Let the file go; the next turn opens it again."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    def _opened(self) -> int:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        return self._fd

    @staticmethod
    def _ticket(fd: int, deadline: float) -> int:
        while not _taken(fd, 0):
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_LOOK)
        try:
            ticket, served = _numbers(fd)
            os.pwrite(fd, _NUMBERS.pack(ticket + 1, served), 0)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _BYTES + ticket)
        finally:
            fcntl.lockf(fd, fcntl.LOCK_UN, 1, 0)
        return ticket

    @staticmethod
    def _wait(fd: int, ticket: int, deadline: float) -> None:
        before = _BYTES + ticket - 1
        with suppress(OSError):
            while not _taken(fd, before):
                if time.monotonic() > deadline:
                    return
                ahead = ticket - _numbers(fd)[1]
                time.sleep(_LOOK if ahead <= _NEAR else min(ahead * _PLACE, _LONGEST))
            os.pwrite(fd, struct.pack("<q", ticket), 8)
            fcntl.lockf(fd, fcntl.LOCK_UN, 1, before)


def _numbers(fd: int) -> tuple[int, int]:
    data = os.pread(fd, _NUMBERS.size, 0)
    ticket, served = _NUMBERS.unpack(data) if len(data) == _NUMBERS.size else (1, 0)
    return (ticket, served) if 0 < ticket < _MOST else (1, 0)


def _taken(fd: int, byte: int) -> bool:
    """Whether this byte could be locked, and is ours now: its holder is through."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):  # POSIX lets a system say either
        return False
    return True
