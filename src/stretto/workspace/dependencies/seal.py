"""A seal: proof that a folder is still exactly what it was.

It covers the name, kind, mode, size, inode and time of change of everything below a folder. The time of change cannot
be set by who changes something, so whatever an agent did in the folder breaks the seal. The folder's own time is left
out: it changes when the folder is moved. It is made of a part for each folder, so that several can work on one.

Accepted race: a change within the clock's tick (some milliseconds) in which the folder was sealed, to a file that keeps
its size.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from stretto.workspace.dependencies.copy_tree import Part, fact, part

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def seal(folder: Path, *, but: Collection[str] = ()) -> str | None:
    """The seal of a folder; None if there is no such folder. `but`: relative paths that do not count.

    Raises OSError for what cannot be read.
    """
    if folder.is_symlink() or not folder.is_dir():
        return None
    parts: dict[str, Part] = {}
    top, folders = os.fspath(folder), [""]
    while folders:
        below = folders.pop()
        within = f"{below}/" if below else ""
        facts = []
        fd = os.open(f"{top}/{below}", _FOLDER)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = entry.name
                    if but and within + name in but:
                        continue
                    status = entry.stat(follow_symlinks=False)
                    facts.append(fact(name, status))
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(within + name)
        finally:
            os.close(fd)
        parts[below] = part(facts)
    return sealed(parts)


def sealed(parts: Mapping[str, Part]) -> str:
    """The seal of a folder of which these are the parts, by relative paths; the folder itself is the empty one."""
    digest = hashlib.blake2b(digest_size=16)
    for below, (_, of) in sorted(parts.items()):
        digest.update(b"%s\0%s\n" % (os.fsencode(below), of.encode()))
    return f"{sum(count for count, _ in parts.values())}:{digest.hexdigest()}"
