"""Processes by identity: who lives, who belongs to whom, and how to end exactly those that are meant.

Specification.
- A process is known by pid and start time; a pid alone is never trusted. Signals go through a pidfd where there is one.
- `end_tree` ends descendants and every process whose environment holds an exact marker, or whose command line has an
  exact word of ours, again and again until none is left; never by name, never ourselves or our ancestors. What forks
  away with a cleared environment between two looks escapes it: shims are subreapers for that reason.
- A zombie counts as dead everywhere. Detached children of ours (`adopt`) are reaped by later looks.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Child(Protocol):
    """A child of ours that can be asked, without waiting, whether it has ended; asking reaps it."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        ...


_children: list[Child] = []
_children_lock = threading.Lock()


def adopt(child: Child) -> None:
    """Take over a detached child: it is reaped by later looks, so that it does not stay as a zombie."""
    with _children_lock:
        _children.append(child)


def reap() -> None:
    """Reap the adopted children that have ended."""
    with _children_lock:
        _children[:] = [child for child in _children if child.poll() is None]


@dataclass(frozen=True, slots=True)
class Process:
    """A process as the system shows it. `start_time`: seconds since boot (Linux) or since the epoch."""

    pid: int
    start_time: float
    parent: int
    group: int
    zombie: bool = False


_TICKS = os.sysconf("SC_CLK_TCK")
_LINUX = sys.platform.startswith("linux")


def look(pid: int) -> Process | None:
    """The process that has this pid now, None if there is none."""
    if not _LINUX:
        return _look_psutil(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, group, *rest = text[text.rindex(b")") + 2 :].split()
    return Process(pid, int(rest[16]) / _TICKS, int(parent), int(group), state in (b"Z", b"X"))


def _look_psutil(pid: int) -> Process | None:
    import psutil

    try:
        process = psutil.Process(pid)
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return Process(pid, process.create_time(), process.ppid(), os.getpgid(pid), zombie)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None


def start_time(pid: int) -> float | None:
    """When the process with this pid was started; None if there is none. With the pid it names a process for ever."""
    found = look(pid)
    return None if found is None else found.start_time


def alive(pid: int, start_time: float) -> bool:
    """Whether exactly this process still runs; a zombie does not."""
    reap()
    found = look(pid)
    return found is not None and not found.zombie and _same(found.start_time, start_time)


def _same(a: float, b: float) -> bool:
    return abs(a - b) < 0.02


def boot_time() -> float:
    """When this machine was booted, in seconds since the epoch; 0 where the system does not say."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform.startswith("linux") else 0.0


@functools.cache
def boot_id() -> str:
    """Names the present boot of this machine; start times of another boot mean nothing."""
    if _LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    import ctypes

    size, buffer = ctypes.c_size_t(64), ctypes.create_string_buffer(64)
    ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, 0)
    return buffer.value.decode() or "unknown"


# ---------------------------------------------------------------- trees


def _pids() -> list[int]:
    if _LINUX:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - hot path
    import psutil

    return psutil.pids()


def processes() -> dict[int, Process]:
    """All processes of this machine by pid."""
    found = (look(pid) for pid in _pids())
    return {process.pid: process for process in found if process is not None}


def _environment(pid: int) -> Iterable[bytes]:
    """The environment that a process was started with; empty if we may not read it.

    For a moment within execve(2) a process has closed its files and not yet got its environment: what is young and
    shows none is read again.
    """
    if _LINUX:
        try:
            path = Path(f"/proc/{pid}/environ")
            data = path.read_bytes()
            for _ in range(5):
                if data or not _young(pid):
                    break
                time.sleep(0.001)
                data = path.read_bytes()
            return data.split(b"\0")
        except OSError:
            return ()
    import psutil

    try:
        return [f"{name}={value}".encode() for name, value in psutil.Process(pid).environ().items()]
    except (psutil.Error, OSError):
        return ()


def _young(pid: int) -> bool:
    """Whether a process runs since less than two seconds."""
    found = look(pid)
    return found is not None and not found.zombie and time.clock_gettime(time.CLOCK_BOOTTIME) - found.start_time < 2


def marked(marker: str) -> list[tuple[int, float]]:
    """Pid and start time of each process whose environment holds exactly `NAME=value`; zombies left out."""
    wanted = marker.encode()
    pids = [pid for pid in _pids() if wanted in _environment(pid)]
    found = [process for pid in pids if (process := look(pid)) is not None and not process.zombie]
    return [(process.pid, process.start_time) for process in found]


def saying(word: str) -> list[tuple[int, float]]:
    """Pid and start time of each process whose command line has exactly this word; zombies left out."""
    wanted = word.encode()
    pids = [pid for pid in _pids() if wanted in _words(pid)]
    found = [process for pid in pids if (process := look(pid)) is not None and not process.zombie]
    return [(process.pid, process.start_time) for process in found]


def ancestors() -> set[int]:
    """Our own pid and those of our parents up to the first process."""
    chain, pid = {0, 1, os.getpid()}, os.getppid()
    while pid not in chain and (found := look(pid)) is not None:
        chain.add(pid)
        pid = found.parent
    return chain


def end_tree(
    pid: int | None, start_time: float | None, marker: str | None, grace: float = 5.0, *, word: str | None = None
) -> bool:
    """End a process, its descendants and all that carry the marker: TERM, after `grace` seconds KILL.

    `word`: those whose command line has exactly this word, too; it must be one that nobody else can mean. True when
    none is left, False if some survived KILL for another five seconds (or were not ours to signal).
    """
    known: dict[int, float] = {}
    if pid is not None and start_time is not None:
        known[pid] = start_time
    told: set[tuple[int, float]] = set()
    deadline, last = time.monotonic() + grace, time.monotonic() + grace + 5.0
    while living := _living(known, marker, word):
        now = time.monotonic()
        if now >= last:
            return False
        number = signal.SIGKILL if now >= deadline else signal.SIGTERM
        for process in living:
            if number == signal.SIGKILL or process not in told:
                _signal(*process, number)
                told.add(process)
        time.sleep(0.01)
    return True


def _living(known: dict[int, float], marker: str | None, word: str | None = None) -> list[tuple[int, float]]:
    """What is left of a tree. `known` remembers all that ever belonged to it, so that orphans are not lost."""
    reap()
    table = processes()
    known.update(marked(marker) if marker else ())
    known.update(saying(word) if word else ())
    for number in [n for n, at in known.items() if n not in table or not _same(table[n].start_time, at)]:
        del known[number]
    grown = True
    while grown:
        young = [p for p in table.values() if p.parent in known and p.pid not in known]
        known.update((p.pid, p.start_time) for p in young)
        grown = bool(young)
    spared = ancestors()
    return [(n, at) for n, at in known.items() if n not in spared and not (n in table and table[n].zombie)]


def send_signal(pid: int, start_time: float, number: int) -> None:
    """Signal exactly the process with this pid and start time; nothing if it is gone or not ours to signal."""
    _signal(pid, start_time, number)


def _signal(pid: int, start_time: float, number: int) -> None:
    """Signal exactly this process: the pidfd is opened first, then its start time is compared."""
    if not hasattr(os, "pidfd_open"):
        if alive(pid, start_time):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if alive(pid, start_time):
            signal.pidfd_send_signal(fd, number)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A process that works inside a folder, with its command line for people to read."""

    pid: int
    start_time: float
    command: str


def inside(path: Path) -> list[Visitor]:
    """Processes whose current folder is `path` or lies below it; ourselves left out."""
    root = os.path.realpath(path)
    pids = [pid for pid in _pids() if pid != os.getpid() and _is_in(root, _cwd(pid))]
    found = [process for pid in pids if (process := look(pid)) is not None and not process.zombie]
    return [Visitor(process.pid, process.start_time, _command(process.pid)) for process in found]


def _is_in(root: str, folder: str | None) -> bool:
    return folder is not None and (folder == root or folder.startswith(root + os.sep))


def folder_of(pid: int) -> str | None:
    """The current folder of a process; None if there is none, or we may not know."""
    return _cwd(pid)


def _cwd(pid: int) -> str | None:
    if _LINUX:
        try:
            return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")  # noqa: PTH115 - hot path
        except OSError:
            return None
    import psutil

    try:
        return os.path.realpath(psutil.Process(pid).cwd())
    except (psutil.Error, OSError):
        return None


def _command(pid: int) -> str:
    return b" ".join(_words(pid)).decode(errors="replace")[:500] or "?"


def _words(pid: int) -> list[bytes]:
    """The words of a command line; none if they cannot be read."""
    if _LINUX:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            return []
    import psutil

    try:
        return [os.fsencode(word) for word in psutil.Process(pid).cmdline()]
    except (psutil.Error, OSError):
        return []


def inherited(pid: int, name: str) -> bool:
    """Whether this process or one of its ancestors was started with the variable `name` in its environment."""
    prefix, seen = name.encode() + b"=", set[int]()
    while pid > 1 and pid not in seen:
        seen.add(pid)
        if any(entry.startswith(prefix) for entry in _environment(pid)):
            return True
        found = look(pid)
        pid = 0 if found is None else found.parent
    return False
