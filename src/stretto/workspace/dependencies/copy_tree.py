"""Copy a folder of packages: `python -I -S copy_tree.py`, started several times for one folder, on several cores.

Specification.
- Each process goes through the top of the folder, each beginning at another place. What is there to be copied belongs
  to the process that could make its name in the target: that is what divides the work, without a word between them.
  Folders that only hold packages of one scope or of a store are gone through in the same way, all others are copied
  whole by the process to which they belong.
- Files get their content (by sharing blocks when told so, else for real), modes and times; never a second name of the
  same file. `writable`: their owner may write; else nobody may.
- Nothing is ever opened by a path that leads through what is copied: only by names in folders that are held open.
- What is copied is sealed meanwhile (`seal.py`): the seals of the folders that were copied are the output, as JSON. The
  folders that are gone through by all get their modes and times from `finish`, when all are done.
- What is neither file nor folder nor link is an error, as is whatever the system refuses: it is the last line of the
  error output, as JSON, and what was copied so far stays for the caller to delete.

It imports nothing of stretto and little else, since it is started for each copy.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
from contextlib import suppress
from hashlib import blake2b

#: what a seal says of one folder: how many entries, and a digest over them
Part = tuple[int, str]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: ioctl of Linux that lets a file share the blocks of another
_FICLONE = 0x40049409
#: bytes that are read at once
_CHUNK = 1 << 20
#: folders of many packages, besides those that begin with `@`
_STORES = (".pnpm", ".store")


def fact(name: str, status: os.stat_result) -> bytes:
    """What a seal covers of one entry of a folder."""
    facts = (status.st_mode, status.st_ino, status.st_size, status.st_ctime_ns)
    return b"%s\0%o %d %d %d\n" % (os.fsencode(name), *facts)


def part(facts: list[bytes]) -> Part:
    """The part of a seal that speaks of one folder."""
    facts.sort()
    return len(facts), blake2b(b"".join(facts), digest_size=16).hexdigest()


def is_shared(name: str) -> bool:
    """Whether a folder directly in the one that is copied is gone through by all."""
    return name.startswith("@") or name in _STORES


class Copy:
    """What one process does."""

    def __init__(self, *, share: bool, writable: bool) -> None:
        self._share = share
        self._writable = writable
        self.parts: dict[str, Part] = {}

    def top(self, source: int, target: int, below: str, begin: int, of: int) -> None:
        """Copy of a folder that all go through what is not another's. `begin` of `of`: where this process begins."""
        names = sorted(os.listdir(source))
        first = len(names) * begin // of
        for name in names[first:] + names[:first]:
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
            shared = not below and stat.S_ISDIR(status.st_mode) and is_shared(name)
            if not stat.S_ISDIR(status.st_mode):
                with suppress(FileExistsError):
                    self._entry(source, target, name, stat.S_IFMT(status.st_mode))
                continue
            try:
                os.mkdir(name, 0o700, dir_fd=target)
            except FileExistsError:
                if not shared:
                    continue
            if shared:
                self._shared(source, target, name, begin, of)
            else:
                self._folder(source, target, name, below + name)

    def _shared(self, source: int, target: int, name: str, begin: int, of: int) -> None:
        with Held(name, source) as inner, Held(name, target) as made:
            self.top(inner, made, f"{name}/", begin, of)

    def _folder(self, source: int, target: int, name: str, path: str) -> None:
        """Copy what is in a folder whose name stands in the target already."""
        with Held(name, source) as inner, Held(name, target) as made:
            facts = []
            with os.scandir(inner) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        os.mkdir(entry.name, 0o700, dir_fd=made)
                        self._folder(inner, made, entry.name, f"{path}/{entry.name}")
                        status = os.stat(entry.name, dir_fd=made, follow_symlinks=False)
                    elif entry.is_file(follow_symlinks=False):
                        status = self._file(inner, made, entry.name)
                    else:
                        status = self._entry(inner, made, entry.name, 0)
                    facts.append(fact(entry.name, status))
            settle(inner, made, writable=self._writable)
        self.parts[path] = part(facts)

    def _entry(self, source: int, target: int, name: str, kind: int) -> os.stat_result:
        """Copy a file or a link. `kind` 0: it is no file."""
        if kind == stat.S_IFREG:
            return self._file(source, target, name)
        try:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        except OSError as error:
            raise named(error, name) from None
        return os.stat(name, dir_fd=target, follow_symlinks=False)

    def _file(self, source: int, target: int, name: str) -> os.stat_result:
        reader = os.open(name, _READ, dir_fd=source)
        try:
            status = os.fstat(reader)
            mode = status.st_mode & 0o777
            writer = os.open(name, _MAKE, mode | 0o200 if self._writable else mode & 0o555, dir_fd=target)
            try:
                if status.st_size:
                    self._fill(reader, writer, status.st_size)
                os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
                return os.fstat(writer)
            finally:
                os.close(writer)
        except FileExistsError:
            raise
        except OSError as error:
            raise named(error, name) from None
        finally:
            os.close(reader)

    def _fill(self, reader: int, writer: int, size: int) -> None:
        if self._share:
            fcntl.ioctl(writer, _FICLONE, reader)
            return
        while size > 0 and (data := os.read(reader, min(size, _CHUNK))):
            done = os.write(writer, data)
            while done < len(data):
                done += os.write(writer, memoryview(data)[done:])
            size -= done


class Held:
    """A folder by its name in another one, held open for a block."""

    def __init__(self, name: str, within: int | None = None) -> None:
        self._name, self._within = name, within

    def __enter__(self) -> int:
        self._fd = os.open(self._name, _FOLDER, dir_fd=self._within)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def named(error: OSError, name: str) -> OSError:
    """The error with the name of what it is about."""
    return OSError(error.errno, error.strerror, error.filename or name)


def settle(source: int, target: int, *, writable: bool) -> None:
    """Give a folder the mode and the times of another; `writable` as in the specification."""
    status = os.fstat(source)
    mode = status.st_mode & 0o777
    os.fchmod(target, mode | 0o700 if writable else mode & 0o555)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def finish(source: str, target: str, *, writable: bool) -> dict[str, Part]:
    """Give the folders that all went through their modes and times; what the seal says of them."""
    parts = {}
    with Held(source) as one, Held(target) as other:
        for name in [name for name in os.listdir(other) if is_shared(name)]:  # noqa: PTH208 - it is no path
            if stat.S_ISDIR(os.stat(name, dir_fd=other, follow_symlinks=False).st_mode):
                with Held(name, one) as inner, Held(name, other) as made:
                    settle(inner, made, writable=writable)
                    parts[name] = _listed(made)
        settle(one, other, writable=writable)
        parts[""] = _listed(other)
    return parts


def _listed(folder: int) -> Part:
    with os.scandir(folder) as entries:
        return part([fact(entry.name, entry.stat(follow_symlinks=False)) for entry in entries])


def main(argv: list[str]) -> int:
    """`SOURCE TARGET share|real writable|closed BEGIN OF`."""
    source, target, how, mode, begin, of = argv
    os.umask(0)
    copy = Copy(share=how == "share", writable=mode == "writable")
    try:
        with Held(source) as one, Held(target) as other:
            copy.top(one, other, "", int(begin), int(of))
    except OSError as error:
        sys.stderr.write(json.dumps({"errno": error.errno or errno.EIO, "name": os.fsdecode(error.filename or source)}))
        return 1
    json.dump(copy.parts, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
