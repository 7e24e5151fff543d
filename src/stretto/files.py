"""Files that must survive a crash: atomic writes, renames, locks, containment, space.

Specification.
- A file written by `replace` is, after any crash, whole in its old or whole in its new version, and the new version is
  on disk when the call returns. Readers need no lock.
- A lock is an OS lock (`flock`) on an open file: it ends with its holder, however that dies, and it also excludes other
  threads of this process. Lock files are never deleted, since a deleted one could be locked twice.
- Nothing here follows a link at the last component of a path that it writes.
- In a tree that somebody else writes in, a folder is reached by `folder_below`, and its names are used by its
  descriptor: no link on the way leads elsewhere, whenever it was put there.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stretto.core.errors import Conflict, StrettoError, TimedOut
from stretto.failpoints import failpoint

_serial = itertools.count()
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def folder_below(root: Path, name: str, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder `name` (parts with slashes) below `root`; no part of it is a link.

    Raises OSError where there is none: ENOTDIR or ELOOP for what is no folder or leads elsewhere.
    """
    fd = os.open(root, _FOLDER)
    try:
        for part in filter(None, name.split("/")):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o777, dir_fd=fd)
            below = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file as a whole: a synced sibling is renamed over it and the folder is synced.

    Raises OSError as the system reports it (a full disk, say); the old version then stands and no sibling is left.
    """
    sibling = path.with_name(f".{path.name}.{os.getpid()}.{next(_serial)}.tmp")
    try:
        _write_synced(sibling, data, mode)
        failpoint("daemon.files.replace.before")
        os.replace(sibling, path)  # noqa: PTH105 - this module is the one place for it
    except BaseException:  # nothing half-written stays, whatever interrupts; raised again
        with suppress(FileNotFoundError):
            sibling.unlink()
        raise
    sync_folder(path.parent)
    failpoint("daemon.files.replace.after")


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def rename(old: Path, new: Path) -> None:
    """Move a file or folder inside one file system and sync both parent folders; never over something.

    Raises Conflict if `new` exists in any form; OSError (EXDEV) if the two lie on different file systems.
    """
    if os.path.lexists(new):
        raise Conflict(f"{new} exists already", object=str(new), code="exists")
    failpoint("daemon.files.rename.before")
    os.rename(old, new)  # noqa: PTH104 - this module is the one place for it
    sync_folder(new.parent)
    if old.parent != new.parent:
        sync_folder(old.parent)
    failpoint("daemon.files.rename.after")


def rename_in(old_folder: int, old: str, new_folder: int, new: str) -> None:
    """The same for names in two folders that are held open.

    Raises Conflict (`exists`) if `new` exists in any form; OSError (EXDEV) between two file systems.
    """
    with suppress(FileNotFoundError):
        os.stat(new, dir_fd=new_folder, follow_symlinks=False)
        raise Conflict(f"{new} exists already", object=new, code="exists")
    failpoint("daemon.files.rename.before")
    os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)
    for folder in (new_folder, old_folder):
        _sync_open_folder(folder)
    failpoint("daemon.files.rename.after")


def move_over(old: Path, new: Path) -> None:
    """Let `old` take the place of the file `new`, as a whole. For files that can be made again: nothing is synced."""
    failpoint("daemon.files.move_over.before")
    os.replace(old, new)  # noqa: PTH105 - this module is the one place for it
    failpoint("daemon.files.move_over.after")


def move_over_in(folder: int, old: str, new: str) -> None:
    """The same for two names in a folder that is held open: nothing that happens to its path can lead elsewhere."""
    failpoint("daemon.files.move_over.before")
    os.replace(old, new, src_dir_fd=folder, dst_dir_fd=folder)
    failpoint("daemon.files.move_over.after")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync_open_folder(fd)
    finally:
        os.close(fd)


def _sync_open_folder(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:  # some file systems cannot sync a folder; they promise nothing more
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise


def read_plain(path: Path, most: int) -> bytes | None:
    """What a plain file holds; None for what is not there, is a link or no file, or is longer than `most` bytes.

    For files in places that somebody else can write to: a pipe there would hold a plain `open` for ever.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        data = file.read(most + 1)
    return None if len(data) > most else data


def read_start(path: Path, most: int) -> bytes:
    """The first bytes of a plain file; empty for what is not there, is a link or no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(fd, most, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def make_private_dir(path: Path) -> Path:
    """Make a folder (and missing parents) that only its owner can enter; tighten one that is wider.

    Raises StrettoError if something else has this name or another user owns it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise StrettoError(f"{path} is not a folder of yours", object=str(path), code="not_private")
    if stat.S_IMODE(status.st_mode) & 0o077:
        path.chmod(0o700)
    return path


@contextmanager
def lock(path: Path, *, wait: float | None = None) -> Iterator[int]:
    """Hold the lock of this file for the block; yields its descriptor.

    `wait` seconds at most (None: for ever, 0: not at all). Raises Conflict (`locked`) when `wait` is 0 and another
    holds it, TimedOut when it did not come free in time, StrettoError (`not_writable`) when there can be no such file.
    """
    fd = _open_lock(path)
    try:
        _take(fd, path, wait)
        yield fd
    finally:
        os.close(fd)


def try_lock(path: Path) -> int | None:
    """Take a lock for life: its descriptor, to be kept open, or None if another holds it."""
    fd = _open_lock(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:  # no descriptor leaks, whatever interrupts; raised again
        os.close(fd)
        raise
    return fd


def locked(path: Path) -> bool:
    """Whether another holds this lock now. A file that does not exist is not locked."""
    if not path.exists():
        return False
    fd = try_lock(path)
    if fd is None:
        return True
    os.close(fd)
    return False


def _unusable(path: Path, error: OSError) -> StrettoError:
    """The error as a sentence: what is wrong with which path."""
    return StrettoError(f"{path} cannot be made: {error.strerror}", object=str(path), code="not_writable")


def _open_lock(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise StrettoError(f"{path} is not a regular file", object=str(path), code="bad_lock")


def _take(fd: int, path: Path, wait: float | None) -> None:
    if wait is None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait == 0:
                raise Conflict(f"{path} is locked by another process", object=str(path), code="locked") from None
            if time.monotonic() >= deadline:
                raise TimedOut(f"{path} stayed locked for {wait:g} s", object=str(path), code="locked") from None
            time.sleep(0.01)
        else:
            return


def within(root: Path, path: Path) -> bool:
    """Whether `path` lies strictly below `root` once every link in both is resolved."""
    return Path(os.path.realpath(root)) in Path(os.path.realpath(path)).parents


def free_bytes(path: Path) -> int:
    """Bytes that we may still write where this path is, or would be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


#: with fewer free bytes than this a failure is put down to the disk
FULL = 256 << 10


def is_full(error: BaseException) -> bool:
    """Whether this failure says that a disk is full: nothing but free space cures it, and nobody's work is to blame."""
    if isinstance(error, StrettoError):
        return error.code in ("disk_full", "disk")
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def require_space(*paths: Path) -> None:
    """Raise StrettoError (`disk_full`) if the disk of one of these has next to nothing left."""
    for path in paths:
        if free_bytes(path) < FULL:
            raise StrettoError(
                f"the disk of {path} is full",
                object=str(path),
                code="disk_full",
                hint="free some space; stretto goes on by itself",
            )


def make_reserve(path: Path, size: int) -> bool:
    """Keep `size` bytes of the disk occupied, to be given back when it is full. False: there is no room for it."""
    with suppress(FileNotFoundError):
        if path.stat().st_blocks * 512 >= size:
            return True
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _occupy(fd, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        path.unlink()
        return False
    finally:
        os.close(fd)
    return True


def _occupy(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:  # macOS: written zeros are the portable way to own blocks
        for start in range(0, size, 1 << 20):
            os.pwrite(fd, bytes(min(1 << 20, size - start)), start)
    os.fsync(fd)


def release_reserve(path: Path) -> int:
    """Give the reserve back to the disk; bytes freed, 0 if there was none."""
    try:
        freed = path.stat().st_blocks * 512
        path.unlink()
    except FileNotFoundError:
        return 0
    return freed
