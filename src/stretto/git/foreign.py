"""Files of a folder that somebody else can write in all the time: read and put without following a link.

Specification.
- Every folder on the way is opened as a folder and no link, every file as a plain file and without waiting for one
  (a pipe in its place would hold us for ever); what is anything else counts as not there.
- A file is put as git does it: `NAME.lock`, made by us alone, takes the place of NAME. A lock that is there is waited
  for a short while and never removed. So a git command of the other and we never lose each other's change.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from stretto import files
from stretto.core.errors import Conflict, StrettoError
from stretto.files import folder_below

_BELOW = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
#: seconds to wait for a lock of the other; folders below each other, names in all, files counted that are looked at
_PATIENCE, _DEPTH, _MOST, _FILES = 5.0, 12, 5000, 1_000_000


def read(root: Path, name: str, most: int) -> tuple[bytes, os.stat_result] | None:
    """What a plain file holds, and its facts; None for what is not there, is none, or is longer than `most` bytes."""
    above, _, last = name.rpartition("/")
    try:
        with folder_below(root, above) as place:
            fd = os.open(last, _FILE, dir_fd=place)
    except OSError:
        return None
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > most:
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        data = file.read(most + 1)
    return None if len(data) > most else (data, facts)


def look(root: Path, name: str) -> os.stat_result | None:
    """The facts of a plain file; None for what is none."""
    above, _, last = name.rpartition("/")
    try:
        with folder_below(root, above) as place:
            facts = os.stat(last, dir_fd=place, follow_symlinks=False)
    except OSError:
        return None
    return facts if stat.S_ISREG(facts.st_mode) else None


def is_folder(root: Path, name: str) -> bool:
    """Whether there is a folder of this name, and no link."""
    try:
        with folder_below(root, name):
            return True
    except OSError:
        return False


def names(root: Path, name: str) -> list[str]:
    """Paths below `root` of the plain files in a folder and in those below it; not all of very many."""
    found: list[str] = []
    _collect(root, name, found, _DEPTH)
    return sorted(found)


def _collect(root: Path, name: str, found: list[str], depth: int) -> None:
    try:
        with folder_below(root, name) as place, os.scandir(place) as entries:
            some = islice(entries, _MOST)
            known = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in some]
    except OSError:
        return
    for each, inside in known:
        if inside and depth:
            _collect(root, f"{name}/{each}", found, depth - 1)
        elif not inside and len(found) < _MOST:
            found.append(f"{name}/{each}")


def put(root: Path, name: str, data: bytes, *, still: Callable[[], bool] = lambda: True, at: int | None = None) -> bool:
    """Let `data` be the file `name`, unless `still` says no once it is locked; False then.

    `at`: its time in nanoseconds. Raises Conflict (`index_locked`) for a lock that stays, OSError for what is in the
    way.
    """
    above, _, last = name.rpartition("/")
    with folder_below(root, above, make=True) as place:
        lock = f"{last}.lock"
        fd = _lock(place, lock, root / f"{name}.lock")
        try:
            try:
                if not still():
                    return False
                _write_all(fd, data)
                if at is not None:
                    os.utime(fd, ns=(at, at))
            finally:
                os.close(fd)
            files.move_over_in(place, lock, last)
            lock = ""
        finally:
            if lock:
                os.unlink(lock, dir_fd=place)
    return True


def _lock(place: int, lock: str, path: Path) -> int:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(lock, flags, 0o666, dir_fd=place)
        except FileExistsError:
            if time.monotonic() >= deadline:
                raise Conflict(
                    f"{path} exists: a git command works there, or was killed",
                    object=str(path),
                    code="index_locked",
                    hint=f"if no git runs there: rm {path}",
                ) from None
            time.sleep(0.02)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def drop(root: Path, name: str) -> None:
    """Take a file or link away; what is not there is no error, nor is what cannot be taken away."""
    above, _, last = name.rpartition("/")
    with suppress(OSError), folder_below(root, above) as place:
        os.unlink(last, dir_fd=place)


def size(root: Path, name: str) -> int:
    """Bytes of all files below a folder. Raises OSError for what is neither folder nor plain file, or is too much."""
    with folder_below(root, name) as place:
        return _size(place, name, [0], _DEPTH)


def _size(place: int, name: str, seen: list[int], depth: int) -> int:
    total = 0
    with os.scandir(place) as entries:
        for entry in entries:
            path = f"{name}/{entry.name}"
            seen[0] += 1
            if seen[0] > _FILES:
                raise OSError(errno.E2BIG, "too many files", path)
            try:
                facts = os.stat(entry.name, dir_fd=place, follow_symlinks=False)
            except FileNotFoundError:
                continue  # taken away meanwhile
            if stat.S_ISREG(facts.st_mode):
                total += facts.st_size
            elif not stat.S_ISDIR(facts.st_mode):
                raise OSError(errno.EINVAL, "a link, or no file", path)
            elif not depth:
                raise OSError(errno.ELOOP, "too deep", path)
            else:
                total += _size_below(place, entry.name, path, seen, depth)
    return total


def _size_below(place: int, last: str, path: str, seen: list[int], depth: int) -> int:
    try:
        below = os.open(last, _BELOW, dir_fd=place)
    except FileNotFoundError:
        return 0
    try:
        return _size(below, path, seen, depth - 1)
    finally:
        os.close(below)


def require_plain_heads(common: Path) -> None:
    """Raise StrettoError if the HEAD of a worktree is a pipe, say: git, asked for worktrees, would wait for it."""
    for head in (common / "worktrees").glob("*/HEAD"):
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(head.stat().st_mode):
                raise StrettoError(
                    f"{head} is no file: somebody put something else there",
                    object=str(head),
                    code="broken_ref",
                    hint=f"rm {head}, then look: git worktree list",
                )
