"""Golden copies of installed packages: read-only folders in the folder of the bays, one for each key.

Specification.
- A copy is built beside its place and renamed there: what has the name of a key is whole. It holds the folders of
  packages of one lock file (a workspace of npm has several), numbered, and `golden.json` with their places.
- Packages that would not work elsewhere (a link that is absolute, or leads out of the worktree; a pipe) are not kept.
- Nothing in it can be written without changing modes first; a copy of it can, by its owner.
- At most `MOST` are kept, those used last, none longer than `AGE` without use. One that goes is renamed first. Who
  copies from it meanwhile finds that out at the end, and has no copy.
- One at a time is built or swept, under a lock; whoever does not get it does without.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stretto import files
from stretto.core.errors import Conflict, StrettoError
from stretto.failpoints import failpoint
from stretto.workspace import deletion
from stretto.workspace.dependencies.copying import Copier

MOST, AGE = 8, 30 * 86400.0
_ABOUT = "golden.json"


@dataclass(frozen=True, slots=True)
class Copied:
    """Folders of packages, copied and not in their place yet: place (relative to their folder) -> where they are.

    `seals`: theirs, by the same names.
    """

    rung: str
    folder: Path
    places: dict[str, Path]
    seals: dict[str, str]


class Golden:
    """The golden copies of one repository. `folder` is theirs alone."""

    def __init__(self, folder: Path, copier: Copier, now: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._copier = copier
        self._now = now

    def has(self, key: str) -> bool:
        """Whether there is a copy for this key."""
        return (self.folder / key / _ABOUT).exists()

    def keep(self, key: str, root: Path, places: Sequence[str], still: Callable[[], bool] = lambda: True) -> bool:
        """Make the copy for a key from the folders `places` below `root`, if after copying they are `still` the same.

        False: it was not made, as there is one, or cannot be one.

        Raises StrettoError or OSError when it could not be made; nothing is left then.
        """
        if self.has(key) or not places or not all(_portable(root, root / place) for place in places):
            return False
        files.make_private_dir(self.folder)
        lock = files.try_lock(self.folder / "lock")
        if lock is None:
            return False
        try:
            return not self.has(key) and self._build(key, root, places, still)
        finally:
            os.close(lock)

    def _build(self, key: str, root: Path, places: Sequence[str], still: Callable[[], bool]) -> bool:
        self._sweep_locked(room=1)
        half = self.folder / f".new-{secrets.token_hex(4)}"
        half.mkdir(mode=0o700)
        try:
            for number, place in enumerate(places):
                source, made = root / place, half / str(number)
                self._copier.copy(source, made, share=self._copier.shares(source, half), writable=False)
            if not still():
                deletion.delete(self.folder, half.name)
                return False
            files.replace(half / _ABOUT, json.dumps({"schema": 1, "places": list(places)}).encode())
            failpoint("daemon.golden.built")
            files.rename(half, self.folder / key)
        except BaseException:  # whatever interrupts leaves no half copy; raised again
            with suppress(StrettoError, OSError):
                deletion.delete(self.folder, half.name)
            raise
        return True

    def copy(self, key: str, into: Path) -> Copied | None:
        """Copy what is kept for a key into the new folder `into`; None if there is nothing (any more)."""
        source = self.folder / key
        try:
            places = json.loads((source / _ABOUT).read_bytes())["places"]
            into.mkdir(mode=0o700)
            share = self._copier.shares(source, into)
            made, seals = {}, {}
            for number, place in enumerate(places):
                made[place] = into / str(number)
                seals[place] = self._copier.copy(source / str(number), made[place], share=share, writable=True)
            os.utime(source / _ABOUT, (self._now(), self._now()))  # fails when it was taken away meanwhile
        except (OSError, ValueError, KeyError, StrettoError) as error:
            with suppress(StrettoError, OSError):
                deletion.delete(into.parent, into.name)
            if files.is_full(error) or self.has(key):
                raise
            return None
        failpoint("daemon.dependencies.copied")
        return Copied("reflink" if share else "copy", into, made, seals)

    def drop(self, key: str) -> None:
        """Let the copy for a key go."""
        gone = f".old-{secrets.token_hex(4)}"
        with suppress(Conflict, FileNotFoundError):
            files.rename(self.folder / key, self.folder / gone)
        deletion.delete(self.folder, gone)

    def sweep(self) -> None:
        """Take away what is too much, what nobody used for long, and what a crash has left."""
        lock = files.try_lock(self.folder / "lock") if self.folder.is_dir() else None
        if lock is not None:
            try:
                self._sweep_locked()
            finally:
                os.close(lock)

    def _sweep_locked(self, room: int = 0) -> None:
        used: list[tuple[float, str]] = []
        for entry in sorted(self.folder.iterdir()):
            if entry.name.startswith("."):
                deletion.delete(self.folder, entry.name)
            elif entry.is_dir():
                with suppress(FileNotFoundError):
                    used.append(((entry / _ABOUT).stat().st_mtime, entry.name))
        used.sort(reverse=True)
        for number, (at, name) in enumerate(used):
            if number >= MOST - room or at < self._now() - AGE:
                self.drop(name)


def _portable(root: Path, folder: Path) -> bool:
    """Whether a folder holds files, folders and links only, and all links stay within `root`, in relative words."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    folders, top = [os.fspath(folder)], os.fspath(root)
    while folders:
        path = folders.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_symlink():
                    target = os.readlink(entry.path)  # noqa: PTH115 - text, as it stands
                    leads = os.path.normpath(f"{path}/{target}")
                    if target.startswith("/") or not f"{leads}/".startswith(f"{top}/"):
                        return False
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    return False
    return True
