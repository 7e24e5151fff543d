"""The folder of the bays: where it lies, and whether it may be used.

Layout: `01`, `02` … are the bays (git worktrees); beside them links by task id; `.stretto/folder.json` says whose
folder it is, `.stretto/bays/NN.json` whose bay, `.stretto/removals/ID.json` what lies in `.quarantine/ID` (0700, same
file system as the bays, so that moving there is a rename).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from stretto import files
from stretto.core.errors import StrettoError
from stretto.workspace.journal import Bay
from stretto.workspace.spreading import spread

HINT = "set [project] worktrees in stretto.toml to another folder, or move what is there away"


def locate(root: Path, common: Path, home: Path, configured: str | None = None) -> Path:
    """The folder for the bays of a repository: as configured (relative to `root`), else `../<repo>.worktrees`.

    Where that cannot be written it lies in `home` (STRETTO_HOME); once it does, it stays there. A configured folder
    is taken as it is: `Folder.prepare` says what is wrong with it.
    """
    if configured:
        return Path(os.path.normpath(root / Path(configured).expanduser()))
    key = hashlib.sha256(os.fsencode(os.path.realpath(common))).hexdigest()[:16]
    fallback = home / "repos" / key / "worktrees"
    usual = root.parent / f"{root.name}.worktrees"
    if (fallback / ".stretto" / "folder.json").exists():
        return fallback
    return usual if _writable(usual) else fallback


def _writable(folder: Path) -> bool:
    """Whether the folder is ours to write in or can be made."""
    place = folder if os.path.lexists(folder) else folder.parent
    return os.access(place, os.W_OK | os.X_OK) or not place.is_dir()


class Folder:
    """The bays folder of one repository."""

    def __init__(self, path: Path, root: Path, common: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self.root = root
        self.common = common

    @property
    def private(self) -> Path:
        """Where stretto keeps what is not a bay."""
        return self.path / ".stretto"

    @property
    def bays(self) -> Path:
        """Where the markers of the bays are."""
        return self.path / ".stretto" / "bays"

    @property
    def records(self) -> Path:
        """Where the records of the removals are."""
        return self.path / ".stretto" / "removals"

    @property
    def quarantine(self) -> Path:
        """Where removed worktrees are."""
        return self.path / ".quarantine"

    @property
    def admin_quarantine(self) -> Path:
        """Where the registrations of removed worktrees are: inside the git directory, hence a rename away."""
        return self.common / "stretto-quarantine"

    @property
    def lock(self) -> Path:
        """Lock of everybody, of whatever home, who takes or frees bays of this repository."""
        return self.common / "stretto-bays.lock"

    @property
    def git_lock(self) -> Path:
        """Lock of whoever changes registrations of worktrees; `git/` takes the same one."""
        return self.common / "stretto.lock"

    def bay(self, number: int) -> Path:
        """The path of a bay."""
        return self.path / f"{number:02d}"

    def of(self, bay: Bay) -> Path:
        """The path of a bay's worktree."""
        return Path(bay.adopted) if bay.adopted is not None else self.bay(bay.number)

    def check(self) -> None:
        """Raise StrettoError if the folder cannot be used; changes nothing."""
        for name, place in (("checkout", self.root), ("git directory", self.common)):
            real = Path(os.path.realpath(place))
            if self.path == real or real in self.path.parents:
                raise self._refused(f"lies inside the {name} {place}")
            if self.path in real.parents:
                raise self._refused(f"contains the {name} {place}")
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise self._refused("is not a folder")
        if not _writable(self.path):
            raise self._refused("cannot be written")
        if self.path.is_dir():
            self._check_owner()

    def _check_owner(self) -> None:
        marker = self.path / ".stretto" / "folder.json"
        # listed before the marker is looked for: who prepares the folder just now writes the marker first
        found = [path.name for path in self.path.iterdir() if path.name != ".stretto"]
        if not marker.exists():
            if found:
                raise self._refused(f"exists, was not made by stretto and holds {sorted(found)[0]}")
            return
        try:
            owner = json.loads(marker.read_bytes())["repository"]
        except (ValueError, KeyError, TypeError):
            raise self._refused(f"holds an unreadable {marker.name}") from None
        if owner != str(self.common):
            raise self._refused(f"belongs to the repository {owner}")

    def prepare(self) -> None:
        """Make the folder and what must be in it; raises StrettoError if it cannot be used."""
        if self._prepared():
            return
        self.check()
        try:
            with files.lock(self.lock, wait=60.0):
                self._make()
        except OSError as error:
            raise self._refused(f"cannot be prepared: {error.strerror} ({error.filename})") from error

    def _make(self) -> None:
        self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        spread(self.path)
        marker = files.make_private_dir(self.path / ".stretto") / "folder.json"
        if not marker.exists():
            files.replace(marker, json.dumps({"schema": 1, "repository": str(self.common)}).encode())
        for private in (self.bays, self.records, self.quarantine, self.admin_quarantine):
            files.make_private_dir(private)

    def _prepared(self) -> bool:
        """Whether all is there, by reading one small file and looking at the folders."""
        try:
            owner = json.loads((self.path / ".stretto" / "folder.json").read_bytes())["repository"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return owner == str(self.common) and self.quarantine.is_dir() and self.admin_quarantine.is_dir()

    def _refused(self, why: str) -> StrettoError:
        return StrettoError(
            f"the folder for worktrees {self.path} {why}", object=str(self.path), hint=HINT, code="worktrees_folder"
        )
