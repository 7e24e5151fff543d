"""Delete a quarantined tree by directory handle.

Specification. Every step works on a name inside a folder that is held open: nothing that happens to the path meanwhile
can lead elsewhere. Links are unlinked, never followed. Another file system mounted inside is refused. Folders without
permissions are given them first. Deep trees are flattened by moving what is too deep up to the top. Running again
continues. Deletion goes on in a thread of lowest priority where the system has such a thing.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path

from stretto.core.errors import StrettoError

_DEPTH = 48
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def delete(parent: Path, name: str, *, gently: bool = True) -> None:
    """Delete the file, link or folder `name` in `parent`. Nothing happens if it is not there.

    `gently`: at the lowest priority.

    Raises StrettoError (`incomplete`) if something is left: it can be called again.
    """
    failures: list[BaseException] = []

    def work() -> None:
        if gently and sys.platform.startswith("linux"):
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            _delete(parent, name)
        except BaseException as error:  # it would end with this thread, unseen: handed to the caller below
            failures.append(error)

    thread = threading.Thread(target=work, name="stretto-delete")
    thread.start()
    thread.join()
    if not failures:
        return
    if isinstance(failures[0], OSError):
        raise StrettoError(
            f"{parent / name} could not be deleted: {failures[0].strerror} ({failures[0].filename})",
            object=str(parent / name),
            hint="end what uses it and purge again",
            code="incomplete",
        ) from failures[0]
    raise failures[0]


def _delete(parent: Path, name: str) -> None:
    try:
        handle = os.open(parent, _FOLDER)
    except FileNotFoundError:
        return
    try:
        try:
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            with _opened(handle, name, status) as top:
                while _empty(top, top, os.fstat(top).st_dev, 0):
                    pass
            os.rmdir(name, dir_fd=handle)
        else:
            os.unlink(name, dir_fd=handle)
    finally:
        os.close(handle)


class _opened:
    """A folder held open by its name in another one; made readable first if it is not."""

    def __init__(self, parent: int, name: str, status: os.stat_result) -> None:
        self._parent, self._name, self._mode = parent, name, status.st_mode

    def __enter__(self) -> int:
        if self._mode & 0o700 != 0o700:
            os.chmod(self._name, 0o700, dir_fd=self._parent)
        self._fd = os.open(self._name, _FOLDER, dir_fd=self._parent)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _empty(folder: int, top: int, device: int, depth: int) -> bool:
    """Delete what is in a folder. True: something too deep was moved to the top, which has to be emptied again."""
    moved = False
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=folder)
            continue
        if status.st_dev != device:
            raise StrettoError(f"another file system is mounted at {name}", object=name, code="incomplete")
        if depth >= _DEPTH:
            os.rename(name, f".deep-{status.st_ino}", src_dir_fd=folder, dst_dir_fd=top)
            moved = True
            continue
        with _opened(folder, name, status) as inner:
            moved = _empty(inner, top, device, depth + 1) or moved
        os.rmdir(name, dir_fd=folder)
    return moved


def size(path: Path) -> int:
    """Bytes on disk at and below a path, links not followed, each file counted once."""
    seen: dict[tuple[int, int], int] = {}
    stack: list[str | os.PathLike[str]] = []
    with suppress(FileNotFoundError):
        status = path.lstat()
        seen[(status.st_dev, status.st_ino)] = status.st_blocks * 512
        stack = [path] if stat.S_ISDIR(status.st_mode) else []
    while stack:
        with suppress(OSError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                seen[(status.st_dev, status.st_ino)] = status.st_blocks * 512
                if stat.S_ISDIR(status.st_mode):
                    stack.append(entry.path)
    return sum(seen.values())
