"""Copies of whole folders: by sharing blocks where the file system can (reflink), else for real; never by hard links.

One process for each core does it (`copy_tree.py`): what takes the time is the system that makes twenty thousand small
files, and it does that on all cores at once. The seal of the copy comes with it, for nothing but a look at each file
that is open anyway. `Copier` is an adapter: another one may know better ways.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from stretto import process
from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.process import Completed
from stretto.workspace import clone
from stretto.workspace.dependencies import copy_tree
from stretto.workspace.dependencies.copy_tree import Part
from stretto.workspace.dependencies.seal import sealed

#: seconds for one folder
_LONG = 1800.0
#: processes at most; names in a folder for each of them at least
_MOST, _EACH = 4, 4
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Copier(Protocol):
    """Copies folders. `shares`: whether a copy from the one folder into the other can share blocks."""

    def shares(self, source: Path, target: Path) -> bool:
        """Whether files of the one folder, copied into the other, would share their blocks."""
        ...

    def copy(self, source: Path, target: Path, *, share: bool, writable: bool) -> str:
        """Copy what is in `source` into the new folder `target`, by sharing blocks or for real; the seal of the copy.

        `writable`: its owner may write everywhere in it, else nobody may anywhere.
        """
        ...


class System:
    """What this machine's file systems can do."""

    def shares(self, source: Path, target: Path) -> bool:
        """Try it with a file that is there. Nothing is written into `source`, which may be the person's checkout."""
        sample = _sample(source)
        if sample is None:
            return False
        with sample.open("rb") as one, tempfile.NamedTemporaryFile(dir=target, prefix=".probe-") as other:
            return clone.copy(one, other.file)

    def copy(self, source: Path, target: Path, *, share: bool, writable: bool) -> str:
        """Copy what is in `source` into `target`, a new folder, with modes and times, links as links; the seal of it.

        Raises StrettoError when something could not be copied (`disk_full` if that is why); OSError for a folder that
        cannot be read or made.
        """
        target.mkdir(mode=0o700)
        names, failed = len(os.listdir(source)), threading.Event()  # noqa: PTH208 - only how many
        several = max(1, min(_MOST, _cores(), names // _EACH))
        how = ("share" if share else "real", "writable" if writable else "closed")
        argv = [sys.executable, "-I", "-S", copy_tree.__file__, str(source), str(target), *how]

        def one(number: int) -> Completed:
            failpoint("daemon.dependencies.copy")
            env = process.clean_environment()
            words = [*argv, str(number), str(several)]
            done = process.run(words, cwd=target, env=env, timeout=_LONG, stop=failed.is_set)
            if not done.ok:
                failed.set()
            return done

        with ThreadPoolExecutor(several, "stretto-copy") as pool:
            found = list(pool.map(one, range(several)))
        parts: dict[str, Part] = {}
        for done in found:
            _require(done, found, source)
            parts |= {below: (count, digest) for below, (count, digest) in json.loads(done.stdout).items()}
        return sealed(parts | copy_tree.finish(str(source), str(target), writable=writable))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else os.cpu_count() or 1


def _require(done: Completed, all: list[Completed], source: Path) -> None:
    """Raise for a process that has failed, with what the first one that was not just stopped said."""
    if done.ok:
        return
    told = next((each.stderr for each in all if not each.ok and not each.stopped), done.stderr)
    try:
        said = json.loads(told)
        number, name = int(said["errno"]), str(said["name"])
    except (ValueError, KeyError, TypeError):
        last = told.decode(errors="replace").strip().splitlines()[-1:] or [f"it ended with {done.code}"]
        number, name = 0, last[0]
    if number in _FULL:
        raise StrettoError(f"the disk was full before {source} was copied", object=str(source), code="disk_full")
    why = f"{name}: {os.strerror(number)}" if number else name
    raise StrettoError(f"{source} could not be copied: {why}", object=str(source), code="dependencies")


def _sample(folder: Path) -> Path | None:
    """Some file in a folder that is not empty; None if there is none."""
    for path, _, names in os.walk(folder):
        for name in names:
            found = Path(path, name)
            status = found.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_size:
                return found
    return None
