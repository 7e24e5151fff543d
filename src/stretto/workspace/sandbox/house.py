"""The folder that a task's agent has for its home, and the credentials that it gets there.

Specification. The agent can write all of it, so whatever we write there later is written without following a link: each
folder on the way is opened as a folder and no link, the file is taken away and made anew (0600). What stands in the
way is left, and the agent goes without. Credentials are copied when they are newer than the last copy, or missing: what
the agent's program renewed itself is not overwritten by older ones. What the program would ask a person who is
new to it is answered there before its first start (agents/first_steps.py).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from stretto import files
from stretto.workspace import deletion

#: bytes of a file of credentials
_MOST = 1 << 20


def furnish(house: Path, home: Path, credentials: Iterable[str]) -> None:
    """Make the folder (0700), and bring its copies of these files of the person's home (paths below it) up to date."""
    files.make_private_dir(house)
    for name in credentials:
        with suppress(OSError):  # what cannot be copied is missing, and the agent's program says so
            _copy(home, house, Path(name))


def settle(house: Path, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
    """Write into a file of the folder what `change` makes of what it holds (None: there is none), unless that is None.

    What cannot be read or written, or leads elsewhere, is left as it is.
    """
    with suppress(OSError):
        folder = _open_below(house, Path(name).parent)
        try:
            found = _read(folder, Path(name).name)
            wanted = change(found)
            if wanted is not None:
                _put(folder, Path(name).name, wanted, None)
        finally:
            os.close(folder)


def _read(folder: int, name: str) -> bytes | None:
    """A regular file of the folder; None if there is nothing. Raises OSError for anything else, or one too large."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST:
            raise OSError(errno.EFBIG, "no file of that kind", name)
        return file.read(_MOST)


def discard(house: Path) -> None:
    """Delete the folder and all that is in it. What is gone already is no error."""
    deletion.delete(house.parent, house.name)


def _copy(home: Path, house: Path, name: Path) -> None:
    if name.is_absolute() or ".." in name.parts:
        return
    source = os.open(home / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        facts = os.fstat(source)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST:
            return
        folder = _open_below(house, name.parent)
        try:
            _put(folder, name.name, os.read(source, _MOST), facts.st_mtime_ns)
        finally:
            os.close(folder)
    finally:
        os.close(source)


def _open_below(house: Path, name: Path) -> int:
    """A descriptor of the folder `name` in the house, made where it is missing, without following a link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(house, flags)
    for part in name.parts:
        with suppress(FileExistsError):
            os.mkdir(part, 0o700, dir_fd=fd)
        try:
            below = os.open(part, flags, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def _put(folder: int, name: str, data: bytes, changed: int | None) -> None:
    """`changed`: since when the data is so; what is there and is newer stays. None: it goes."""
    with suppress(FileNotFoundError):
        there = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
        if changed is not None and there >= changed:
            return
        os.unlink(name, dir_fd=folder)
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
