"""Copies of whole folders: by sharing blocks where the file system can (reflink), else for real; never by hard links.

The work is done by `cp`, faster than an interpreter for twenty thousand small files; one at a time, since where this
was measured several at once were not faster on the whole, and took more of the processor.
`Copier` is an adapter: another one may know better ways.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from stretto import process
from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.process import ProgramFailed
from stretto.workspace import clone

#: seconds for one folder; entries given to one `cp`
_LONG, _WORDS = 1800.0, 400
_FULL = (b"No space left on device", b"Disk quota exceeded")


class Copier(Protocol):
    """Copies folders. `shares`: whether a copy from the one folder into the other can share blocks."""

    def shares(self, source: Path, target: Path) -> bool:
        """Whether files of the one folder, copied into the other, would share their blocks."""
        ...

    def copy(self, source: Path, target: Path, *, share: bool) -> None:
        """Copy what is in `source` into the new folder `target`, by sharing blocks or for real."""
        ...


class System:
    """What this machine's file systems and `cp` can do."""

    def shares(self, source: Path, target: Path) -> bool:
        """Try it with a file that is there. Nothing is written into `source`, which may be the person's checkout."""
        sample = _sample(source)
        if sample is None:
            return False
        with sample.open("rb") as one, tempfile.NamedTemporaryFile(dir=target, prefix=".probe-") as other:
            return clone.copy(one, other.file)

    def copy(self, source: Path, target: Path, *, share: bool) -> None:
        """Copy what is in `source` into `target`, a new folder, with modes and times, links as links.

        Raises StrettoError when something could not be copied; OSError for a folder that cannot be made.
        """
        target.mkdir(mode=0o700)
        with os.scandir(source) as listing:
            names = sorted(entry.name for entry in listing)
        for start in range(0, len(names), _WORDS):
            _copy(source, target, names[start : start + _WORDS], share)
        os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))


def _sample(folder: Path) -> Path | None:
    """Some file in a folder that is not empty; None if there is none."""
    for path, _, names in os.walk(folder):
        for name in names:
            found = Path(path, name)
            status = found.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_size:
                return found
    return None


def _copy(source: Path, target: Path, names: Sequence[str], share: bool) -> None:
    how = (
        [f"--reflink={'always' if share else 'never'}"] if sys.platform.startswith("linux") else ["-c"] if share else []
    )
    words = ["cp", "-pPR", *how, "--", *(f"./{name}" for name in names), os.path.abspath(target)]  # noqa: PTH100
    failpoint("daemon.dependencies.copy")
    try:
        env = {**process.clean_environment(), "LC_ALL": "C"}
        process.run(words, cwd=source, env=env, timeout=_LONG, check=True)
    except ProgramFailed as error:
        if any(word in error.completed.stderr for word in _FULL):
            raise StrettoError(
                f"the disk was full before {target.name} was copied", object=str(target), code="disk_full"
            ) from error
        raise
