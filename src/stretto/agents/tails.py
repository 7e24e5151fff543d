"""New lines of files to which an agent adds while it works. Looks by size; only whole lines count."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

#: bytes of a line that is still read, and of a file that are read at once
_LINE, _CHUNK = 1 << 20, 4 << 20


class Tails:
    """`sources`: (word, path); parts with a star stand for all that they match.

    `old`: what the files hold now was there before, and is passed over.
    """

    def __init__(self, sources: Sequence[tuple[str, Path]], *, old: bool) -> None:
        self._sources = tuple(sources)
        self._at: dict[Path, int] = {}
        if old:
            self._at = {path: _size(path) for _, path in self._paths()}

    def _paths(self) -> Iterator[tuple[str, Path]]:
        for word, path in self._sources:
            star = next((at for at, part in enumerate(path.parts) if "*" in part), None)
            if star is None:
                yield word, path
            else:
                found = Path(*path.parts[:star]).glob(str(Path(*path.parts[star:])))
                yield from ((word, one) for one in sorted(found))

    def read(self) -> Iterator[tuple[str, bytes]]:
        """The whole lines that are new, with the word of their source. A line that is too long is passed over."""
        for word, path in list(self._paths()):
            start = self._at.get(path, 0)
            if _size(path) <= start:
                continue
            data = _bytes(path, start)
            end = data.rfind(b"\n") + 1
            if end == 0 and len(data) >= _LINE:
                end = len(data)
            self._at[path] = start + end
            yield from ((word, line) for line in data[:end].splitlines() if line and len(line) <= _LINE)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _bytes(path: Path, start: int) -> bytes:
    """What a file holds from here on. A link is not followed: the agent's folder is the agent's to fill."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.pread(fd, _CHUNK, start) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
