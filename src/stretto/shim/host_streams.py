"""The shim's two streams: what the agent says (segments, gaps) and what it is told (records, each once)."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stretto.shim.host_system import (
        KINDS,
        RETRY,
        append_line,
        failpoint,
        from_json,
        read_from,
        to_json,
        whole_lines,
    )
else:  # a program of its own: its folder is on sys.path, the package is not
    from host_system import KINDS, RETRY, append_line, failpoint, from_json, read_from, to_json, whole_lines

# ---------------------------------------------------------------- output


class Output:
    """One stream in segments of equal size. Never blocks on a full disk, never grows beyond the cap."""

    def __init__(self, folder: str, name: str, segment: int, keep: int) -> None:
        self.base, self.gaps = f"{folder}/{name}", f"{folder}/{name}.gaps"
        self.segment, self.count = segment, max(1, keep // segment)
        self.fd, self.gap_from = -1, -1
        numbers = sorted(
            int(entry.rpartition(".")[2])
            for entry in os.listdir(folder)
            if entry.startswith(name + ".") and entry.rpartition(".")[2].isdigit()
        )
        self.first = numbers[0] if numbers else 1
        ends = [int(from_json(line)["to"]) for line in whole_lines(self.gaps)]
        if numbers:
            ends.append((numbers[-1] - 1) * segment + os.stat(self._path(numbers[-1])).st_size)
        self.position = max(ends, default=0)

    def _path(self, number: int) -> str:
        return f"{self.base}.{number:06d}"

    def write(self, data: bytes) -> None:
        """Append, or drop and remember the gap when the disk does not take it."""
        view = memoryview(data)
        while view:
            try:
                self._open()
                done = os.write(self.fd, view[: self.segment - self.position % self.segment])
            except OSError:
                self._drop(len(view))
                return
            self.position += done
            view = view[done:]
            if self.position % self.segment == 0:
                self.close()

    def close(self) -> None:
        """Close the segment; the next write opens the right one."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def settle(self) -> None:
        """Record a gap at the end of the stream, so that readers know that it is one."""
        if self.gap_from >= 0:
            append_line(self.gaps, to_json({"from": self.gap_from, "to": self.position}), sync=False)
            self.gap_from = -1

    def _open(self) -> None:
        if self.fd >= 0:
            return
        number = self.position // self.segment + 1
        self._prune(number)
        self.settle()
        path = self._path(number)
        rotated = number > 1 and not os.path.exists(path)
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.lseek(self.fd, self.position % self.segment, os.SEEK_SET)
        if rotated:
            failpoint("shim.segment.rotated")

    def _drop(self, size: int) -> None:
        if self.gap_from < 0:
            self.gap_from = self.position
        self.position += size
        self.close()

    def _prune(self, number: int) -> None:
        while self.first <= number - self.count:
            path = self._path(self.first)
            if os.path.exists(path):
                line = to_json({"from": (self.first - 1) * self.segment, "to": self.first * self.segment})
                try:
                    append_line(self.gaps, line, sync=False)
                    os.unlink(path)
                except OSError:
                    os.unlink(path)  # full disk: make the room first
                    append_line(self.gaps, line, sync=False)
            self.first += 1


# ---------------------------------------------------------------- input


class Intake:
    """The records of `in.jsonl`, in order, each handed out once over all lives of the folder."""

    def __init__(self, folder: str) -> None:
        self.path, self.journal = f"{folder}/in.jsonl", f"{folder}/delivered"
        self.last, self.offset, self.size = 0, 0, -1
        self.pending: list[tuple[int, str, str]] = []
        self.problem, self._suspect, self.again_at = "", b"", 0.0
        self.attempting = self.delivered = 0
        for line in whole_lines(self.journal):
            word, _, number = line.partition(b" ")
            if word == b"attempting":
                self.attempting = max(self.attempting, int(number))
            elif word == b"delivered":
                self.delivered = max(self.delivered, int(number))

    def changed(self) -> bool:
        """Whether the file has another size than when it was read, or a bad line is to be read again."""
        try:
            size = os.stat(self.path).st_size
        except OSError:
            return False
        return size != self.size or 0.0 < self.again_at <= time.monotonic()

    def read(self) -> None:
        """Take what is new and whole; partial lines stay in the file."""
        if self.problem:
            return
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except OSError:
            return
        try:
            data = read_from(fd, self.offset)
        finally:
            os.close(fd)
        self.size = self.offset + len(data)
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n") or not self._take(line):
                return
            self.offset += len(line)

    def _take(self, line: bytes) -> bool:
        reason = self._check(line)
        if not reason:
            self._suspect, self.again_at = b"", 0.0
            return True
        if line == self._suspect:
            self.problem, self.again_at = reason, 0.0
        else:
            self._suspect, self.again_at = line, time.monotonic() + RETRY
        return False

    def refuse(self, n: int, why: str) -> None:
        """Stop intake at record n: neither it nor what comes after it is handed out."""
        self.problem = self.problem or f"record {n} cannot be delivered: {why}"
        self.pending = [record for record in self.pending if record[0] < n]

    def _check(self, line: bytes) -> str:
        """Why a line is no valid next record; empty if it is one (then it is taken)."""
        try:
            record = from_json(line)
            n, kind, data = record["n"], record["kind"], record["data"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return f"the line after record {self.last} is no record"
        if n != self.last + 1 or kind not in KINDS or not isinstance(data, str):
            return f"record {n!r} ({kind!r}) cannot follow record {self.last}"
        self.last = n
        if n > self.attempting and n > self.delivered:
            self.pending.append((n, kind, data))
        return ""

    def mark(self, word: str, n: int) -> None:
        """Write `attempting N` or `delivered N` and sync it."""
        append_line(self.journal, f"{word} {n}", sync=True)
        if word == "attempting":
            self.attempting = n
            failpoint("shim.attempting")
        else:
            self.delivered = n
            failpoint("shim.delivered")
