"""Compare folders byte for byte."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def picture(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, tuple[str, int, bytes]]:
    """Every file, link and folder below `folder`: kind, permissions, content (a link's target)."""
    found: dict[str, tuple[str, int, bytes]] = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            relative = str(path.relative_to(folder))
            if not relative.startswith(without) if without else True:
                found[relative] = _one(path)
    return found


def _one(path: Path) -> tuple[str, int, bytes]:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return ("link", 0, os.fsencode(path.readlink()))
    if stat.S_ISDIR(status.st_mode):
        return ("folder", mode, b"")
    return ("file", mode, path.read_bytes())
