"""New lines of files to which an agent adds while it works. Looks by size; only whole lines count.

Specification. Only plain files are read, no link is followed to one. Below the home that a sandbox gives an agent no
folder on the way is a link either: there we can read what the agent cannot. In the person's own home an agent can
read what we can, and folders of theirs may be links.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from stretto import files

#: bytes of a line that is still read, and of a file that are read at once; files that one star stands for
_LINE, _CHUNK, _FILES = 1 << 20, 4 << 20, 1000
_PLAIN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Tails:
    """`sources`: (word, path); parts with a star stand for all that they match.

    `old`: what the files hold now was there before, and is passed over. `house`: the home of a sandbox.
    """

    def __init__(self, sources: Sequence[tuple[str, Path]], *, old: bool, house: Path | None = None) -> None:
        self._sources = tuple(sources)
        self._house = house
        self._at: dict[Path, int] = {}
        if old:
            self._at = {path: self._look(path, None)[0] for _, path in self._paths()}

    def _paths(self) -> Iterator[tuple[str, Path]]:
        for word, path in self._sources:
            star = next((at for at, part in enumerate(path.parts) if "*" in part), None)
            if star is None:
                yield word, path
            else:
                found = Path(*path.parts[:star]).glob(str(Path(*path.parts[star:])))
                yield from ((word, one) for one in sorted(islice(found, _FILES)))

    def read(self) -> Iterator[tuple[str, bytes]]:
        """The whole lines that are new, with the word of their source. A line that is too long is passed over."""
        for word, path in list(self._paths()):
            start = self._at.get(path, 0)
            size, data = self._look(path, start)
            if size <= start:
                continue
            end = data.rfind(b"\n") + 1
            if end == 0 and len(data) >= _LINE:
                end = len(data)
            self._at[path] = start + end
            yield from ((word, line) for line in data[:end].splitlines() if line and len(line) <= _LINE)

    def _look(self, path: Path, start: int | None) -> tuple[int, bytes]:
        """How long a file is, and what it holds from `start` on; nothing of what may not be read."""
        try:
            with self._opened(path) as fd:
                about = os.fstat(fd)
                if not stat.S_ISREG(about.st_mode):
                    return 0, b""
                wanted = start is not None and about.st_size > start
                return about.st_size, os.pread(fd, _CHUNK, start or 0) if wanted else b""
        except OSError:
            return 0, b""

    @contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        if self._house is None or not path.is_relative_to(self._house):
            fd = os.open(path, _PLAIN)
        else:
            with files.folder_below(self._house, str(path.parent.relative_to(self._house))) as folder:
                fd = os.open(path.name, _PLAIN, dir_fd=folder)
        try:
            yield fd
        finally:
            os.close(fd)
