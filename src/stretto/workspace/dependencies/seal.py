"""A seal: proof that a folder is still exactly what it was.

It covers the name, kind, mode, size, inode and time of change of everything below a folder. The time of change cannot
be set by who changes something, so whatever an agent did in the folder breaks the seal. The folder's own time is left
out: it changes when the folder is moved.

Accepted race: a change within the clock's tick (some milliseconds) in which the folder was sealed, to a file that keeps
its size.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection
from pathlib import Path


def seal(folder: Path, *, but: Collection[str] = (), open_up: bool = False) -> str | None:
    """The seal of a folder; None if there is no such folder. `but`: relative paths that do not count.

    `open_up`: give its owner the right to write everywhere on the way. Raises OSError for what cannot be read.
    """
    if folder.is_symlink() or not folder.is_dir():
        return None
    digest, count = hashlib.blake2b(digest_size=16), 0
    folders = [(os.fspath(folder), "")]
    if open_up:
        folder.chmod(stat.S_IMODE(folder.lstat().st_mode) | 0o700)
    while folders:
        path, below = folders.pop()
        with os.scandir(path) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            name = below + entry.name
            if name in but:
                continue
            status = entry.stat(follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            if open_up and kind != stat.S_IFLNK and not status.st_mode & stat.S_IWUSR:
                os.chmod(entry.path, stat.S_IMODE(status.st_mode) | (0o700 if kind == stat.S_IFDIR else 0o200))  # noqa: PTH101
                status = os.lstat(entry.path)
            count += 1
            facts = (status.st_mode, status.st_ino, status.st_size, status.st_ctime_ns)
            digest.update(b"%s\0%o %d %d %d\n" % (os.fsencode(name), *facts))
            if kind == stat.S_IFDIR:
                folders.append((entry.path, f"{name}/"))
    return f"{count}:{digest.hexdigest()}"
