"""Read what a shim's folder says. Nothing here writes, blocks, or needs the shim to live.

Specification.
- Every file is either replaced atomically or append-only; of an append-only file a torn last line does not count.
- `read` is by absolute byte position, so a reader that stores its cursor with what it made of the bytes sees each byte
  once, whoever dies. A gap (dropped bytes) lies between cursor and the data when `end - len(data) > cursor`.
- Races: the shim records a gap before it writes beyond it or removes a segment, and we look at the bytes before the
  gaps; so a hole in a file is never taken for output.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stretto import proctree
from stretto.interfaces import ShimState
from stretto.shim.constants import SEGMENT_BYTES


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the records got: the last number that was tried and the last one that reached the agent; 0 for none.

    `uncertain`: those that were tried, in any life of the folder, and may or may not have reached the agent.
    """

    attempting: int
    delivered: int
    uncertain: tuple[int, ...]


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object that is replaced atomically; None if it is not there or none."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def whole_lines(path: Path) -> list[bytes]:
    """The complete lines of an append-only file."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return data[: data.rfind(b"\n") + 1].splitlines()


def progress(folder: Path) -> Progress:
    """What `delivered` says."""
    tried: set[int] = set()
    reached: set[int] = set()
    for line in whole_lines(folder / "delivered"):
        word, _, number = line.partition(b" ")
        if number.isdigit():
            (tried if word == b"attempting" else reached).add(int(number))
    return Progress(max(tried, default=0), max(reached, default=0), tuple(sorted(tried - reached)))


def turns(folder: Path) -> dict[int, dict[str, Any]]:
    """The records of the turns that are over (style turns), by record number."""
    found = {int(path.stem): read_json(path) for path in (folder / "turns").glob("*.json") if path.stem.isdigit()}
    return {number: value for number, value in sorted(found.items()) if value}


def shim_alive(folder: Path) -> bool | None:
    """Whether a shim holds the folder's lock; None when that cannot be told.

    A shared lock is asked for, so that askers do not take each other for a shim; the shim tries for half a second.
    """
    try:
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(fd)


def identity(folder: Path, name: str) -> tuple[int, float] | None:
    """Pid and start time in `shim.json` or `agent.json`; None if not known or of an earlier boot."""
    return _identity(read_json(folder / name))


def _identity(said: dict[str, Any] | None) -> tuple[int, float] | None:
    value = said or {}
    pid, start, boot = value.get("pid"), value.get("start_time"), value.get("boot_id")
    if not isinstance(pid, int) or not isinstance(start, int | float):
        return None
    return None if boot and boot != proctree.boot_id() else (pid, float(start))


def agent_alive(folder: Path, shim: bool | None) -> bool | None:
    """Whether the agent's first process runs; None when that cannot be told without searching for the marker."""
    known = identity(folder, "agent.json")
    if known is not None:
        return proctree.alive(*known)
    if shim and read_json(folder / "agent.json") is None:
        return False  # it would have been recorded
    return False if read_json(folder / "exit.json") else None


def state(folder: Path) -> ShimState:
    """Everything about a session that its folder can tell."""
    alive = shim_alive(folder)  # asked first: what a dead shim has written is complete
    begun = read_json(folder / "shim.json")
    shim, agent, done = _identity(begun), identity(folder, "agent.json"), progress(folder)
    return ShimState(
        alive=alive,
        agent_alive=agent_alive(folder, alive),
        attempting=done.attempting,
        delivered=done.delivered,
        exit=read_json(folder / "exit.json"),
        turns=turns(folder),
        pid=shim[0] if shim else None,
        agent_pid=agent[0] if agent else None,
        problem=read_json(folder / "problem.json"),
        begun=begun is not None,
    )


# ---------------------------------------------------------------- output


def segment_bytes(folder: Path) -> int:
    """Size of the segments of this folder's streams."""
    try:
        return _segment_bytes(folder)
    except FileNotFoundError:
        return SEGMENT_BYTES


@functools.lru_cache(maxsize=1024)
def _segment_bytes(folder: Path) -> int:
    """It never changes: the positions of what was written depend on it. Raises FileNotFoundError without a spec."""
    said = read_json(folder / "spec.json")
    if said is None:
        raise FileNotFoundError(folder / "spec.json")
    return int(said.get("segment_bytes", SEGMENT_BYTES))


def segments(folder: Path, stream: str) -> list[int]:
    """Numbers of the segments that are there, ascending."""
    return sorted(int(path.suffix[1:]) for path in folder.glob(f"{stream}.*") if path.suffix[1:].isdigit())


def gaps(folder: Path, stream: str) -> list[tuple[int, int]]:
    """Byte ranges (from, to) that were dropped, ascending, as recorded."""
    values = [json.loads(line) for line in whole_lines(folder / f"{stream}.gaps")]
    return sorted((value["from"], value["to"]) for value in values)


def read(folder: Path, stream: str, cursor: int, limit: int) -> tuple[bytes, int]:
    """Up to `limit` bytes at or after `cursor`, and the position after them. Empty: there is nothing more now.

    The bytes are contiguous, across segments, and end at the returned position; what lies between `cursor` and their
    begin was dropped. A piece of a line between `cursor` and a gap is skipped with the gap: its end will never come,
    and a reader that takes whole lines would wait for it for ever.
    """
    size = segment_bytes(folder)
    while True:
        data = _contiguous(folder, stream, cursor, limit, size)
        lost = [gap for gap in gaps(folder, stream) if gap[1] > cursor]
        if lost and lost[0][0] <= cursor:
            cursor = lost[0][1]
            continue
        if data is None:
            later = [n for n in segments(folder, stream) if n > cursor // size + 1]
            if not later:
                return b"", cursor
            cursor = (later[0] - 1) * size
            continue
        whole = data[: lost[0][0] - cursor] if lost else data
        if lost and cursor + len(whole) == lost[0][0] and len(whole) < limit and b"\n" not in whole:
            cursor = lost[0][1]
            continue
        return whole, cursor + len(whole)


def _contiguous(folder: Path, stream: str, cursor: int, limit: int, size: int) -> bytes | None:
    """Bytes from `cursor` on through full segments; None if the first segment is not there."""
    parts: list[bytes] = []
    while True:
        part = _bytes_at(folder, stream, cursor, limit, size)
        if not part:
            return b"".join(parts) if parts or part is not None else None
        parts.append(part)
        cursor, limit = cursor + len(part), limit - len(part)
        if limit == 0 or cursor % size != 0:
            return b"".join(parts)


def _bytes_at(folder: Path, stream: str, cursor: int, limit: int, size: int) -> bytes | None:
    """Bytes of one segment; None if it is not there."""
    try:
        fd = os.open(folder / f"{stream}.{cursor // size + 1:06d}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.pread(fd, min(limit, size - cursor % size), cursor % size)
    finally:
        os.close(fd)


def end_of(folder: Path, stream: str) -> int:
    """Position after the last byte of a stream, dropped ones included."""
    size, numbers = segment_bytes(folder), segments(folder, stream)
    ends = [to for _, to in gaps(folder, stream)]
    for number in numbers[-1:]:
        ends.append((number - 1) * size + (folder / f"{stream}.{number:06d}").stat().st_size)
    return max(ends, default=0)


def tail(folder: Path, stream: str, limit: int) -> bytes:
    """The last bytes of a stream, at most `limit`, as far as they are kept."""
    end = end_of(folder, stream)
    cursor, parts = max(0, end - limit), []
    while cursor < end:
        data, cursor = read(folder, stream, cursor, end - cursor)
        if not data:
            break
        parts.append(data)
    return b"".join(parts)[-limit:] if limit else b""


# ---------------------------------------------------------------- input


@dataclass(frozen=True, slots=True)
class Record:
    """A record of `in.jsonl`."""

    n: int
    kind: str
    data: str


def parse_record(line: bytes) -> Record | None:
    """A whole line of `in.jsonl`; None if it is no record."""
    try:
        value = json.loads(line)
        return Record(int(value["n"]), str(value["kind"]), str(value["data"]))
    except (ValueError, KeyError, TypeError):
        return None


def last_record(fd: int) -> tuple[Record | None, int]:
    """The last whole record of an open `in.jsonl` and the position after it; (None, position) if there is none."""
    size = os.fstat(fd).st_size
    data, start = b"", size
    while start > 0 and data.count(b"\n") < 2:
        step = min(start, 1 << 16)
        start -= step
        data = os.pread(fd, step, start) + data
    end = data.rfind(b"\n") + 1
    if end == 0:
        return None, start
    begin = data.rfind(b"\n", 0, end - 1) + 1
    return parse_record(data[begin:end]), start + end
