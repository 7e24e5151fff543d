"""How packages come into a worktree: by the cheapest rung of a ladder that gives exactly what the lock file names.

Specification. For the lock files of each folder:
1. `kept`: the packages are there under the same key. What another owner has left counts only while its seal is whole;
   a virtual environment only where it was made.
2. `reflink` or `copy`, for what works wherever it lies: from the golden copy of this key, or, when the person's own
   checkout has the same lock files and exactly what they name, from a golden copy that is made of that.
3. `offline`, then `online`: the package manager, frozen. Virtual environments always go this way, also when they were
   kept, so that what is installed in place (editable) is this worktree's code.
- Packages are copied beside the worktree and renamed into it; never through a link, only where git ignores them. What
  stood there goes to the trash, a folder that `sweep` empties: packages can be had again.
- What is where is written into the bay's marker after each step; a crash before that makes the step again.
- After an install that nobody but the target's own code could influence a golden copy is made.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stretto import files
from stretto.core.errors import StrettoError
from stretto.interfaces import Dependency, Git
from stretto.workspace import deletion
from stretto.workspace.dependencies.checkout import up_to_date
from stretto.workspace.dependencies.copying import Copier, System
from stretto.workspace.dependencies.golden import Golden
from stretto.workspace.dependencies.managers import TREE, VENV
from stretto.workspace.dependencies.recognise import Wanted, recognise
from stretto.workspace.dependencies.seal import seal
from stretto.workspace.journal import Bay
from stretto.workspace.spreading import spread

#: what a bay's marker knows of packages: place -> key, owner, seals, path
Known = dict[str, dict[str, Any]]
#: seconds after which what was copied and never came to its place is taken for what a crash has left
_STALE = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Choice:
    """`[workspace] dependencies`: the folders that are looked at (None: the root and those in it), and the network."""

    folders: tuple[str, ...] | None = None
    online: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Choice | None:
        """From the frozen configuration of a run; None: packages are not stretto's business."""
        given = config.get("dependencies")
        if not given:
            return None
        folders = given.get("folders")
        return cls(None if folders is None else tuple(folders), bool(given.get("online", True)))


class Ladder:
    """Dependencies of the bays of one repository. `folder` is the private one of the bays folder (`.stretto`)."""

    def __init__(self, git: Git, folder: Path, choice: Choice, copier: Copier | None = None) -> None:
        self._git = git
        self._choice = choice
        self._copier = copier or System()
        self._trash = folder / "trash"
        self._incoming = folder / "incoming"
        self.golden = Golden(folder / "golden", self._copier)

    def wanted(self, tree: Path, env: Mapping[str, str]) -> list[Wanted]:
        """What this worktree wants. Raises StrettoError for a named folder that is not there."""
        return recognise(tree, self._choice.folders, env)

    def climb(self, tree: Path, bay: Bay, env: Mapping[str, str]) -> tuple[list[Dependency], Known]:
        """Bring in what can be had without a package manager; what is had now, and what the marker is to say.

        Raises StrettoError: a program is missing, packages would not be ignored by git, a link is in the way.
        """
        known: Known = {place: dict(one) for place, one in bay.deps.items()}
        found = []
        for wanted in self.wanted(tree, env):
            began = time.monotonic()
            rung = self._rung(tree, bay, wanted, known, env)
            commands = [] if rung and wanted.manager.kind == TREE else wanted.commands(env, self._choice.online)
            found.append(
                Dependency(wanted.name, wanted.place, wanted.key, rung, time.monotonic() - began, tuple(commands))
            )
        return found, known

    def _rung(self, tree: Path, bay: Bay, wanted: Wanted, known: Known, env: Mapping[str, str]) -> str | None:
        place = wanted.place
        if not place:
            return None
        self._require_plain(tree, place)
        self._require_ignored(tree, [place])
        noted = known.get(place)
        if noted is not None and self._fits(tree, bay, wanted, noted):
            known[place] = {**noted, "owner": bay.owner}
            return "kept"
        if noted is not None and (noted["owner"] != bay.owner or wanted.manager.kind == VENV):
            self._discard(tree, [place, *noted.get("seals", {})])
        known.pop(place, None)
        if wanted.manager.kind != TREE or not self._have_golden(tree, wanted, env):
            return None
        found = self._copy(tree, place, wanted.key)
        if found is None:
            return None
        known[place] = {**found[1], "owner": bay.owner}
        return found[0]

    def _copy(self, tree: Path, place: str, key: str) -> tuple[str, dict[str, Any]] | None:
        """Copy packages from their golden copy to their places: the rung, and what is to be known of them."""
        into = self._new(self._incoming)
        spread(into.parent)
        copied = self.golden.copy(key, into)
        if copied is None:
            return None
        try:
            self._place(tree, place, copied.places)
        finally:
            with suppress(StrettoError, OSError):
                deletion.delete(copied.folder.parent, copied.folder.name)
        return copied.rung, {"key": key, "seals": copied.seals, "path": str(tree)}

    # ------------------------------------------------------------ for the pool

    def portable(self, tree: Path, env: Mapping[str, str]) -> list[Wanted]:
        """The packages of this worktree that work wherever they lie, and that git ignores there."""
        found = [one for one in self.wanted(tree, env) if one.manager.kind == TREE]
        for one in found:
            self._require_plain(tree, one.place)
            self._require_ignored(tree, [one.place])
        return found

    def stock(self, tree: Path, bay: Bay, wanted: Wanted, env: Mapping[str, str]) -> Known:
        """What the marker of a spare is to say once packages were copied there, if there is something to copy."""
        known: Known = {place: dict(one) for place, one in bay.deps.items() if place != wanted.place}
        found = self._copy(tree, wanted.place, wanted.key) if self._have_golden(tree, wanted, env) else None
        if found is not None:
            known[wanted.place] = {**found[1], "owner": bay.owner}
        elif os.path.lexists(tree / wanted.place):
            self._discard(tree, [wanted.place])
        return known

    def move(self, source: Path, tree: Path, wanted: Wanted, noted: Mapping[str, Any]) -> dict[str, Any]:
        """Move packages from one tree to another; what is to be known of them. Their seals stay whole."""
        places = {place: source / place for place in noted["seals"]}
        self._make_room(tree, wanted.place, places)
        for place, folder in places.items():
            (tree / place).parent.mkdir(parents=True, exist_ok=True)
            files.rename(folder, tree / place)
        return {"key": noted["key"], "seals": dict(noted["seals"]), "path": str(tree)}

    def again(self, tree: Path, place: str, noted: Mapping[str, Any]) -> dict[str, Any] | None:
        """Copy packages that were once here, if nothing is in their place; what is to be known of them."""
        if any(os.path.lexists(tree / each) for each in noted["seals"]) or not self.golden.has(noted["key"]):
            return None
        found = self._copy(tree, place, noted["key"])
        return None if found is None else found[1]

    # ------------------------------------------------------------ parts

    def _fits(self, tree: Path, bay: Bay, wanted: Wanted, noted: Mapping[str, Any]) -> bool:
        if noted["key"] != wanted.key or not (tree / wanted.place).is_dir():
            return False
        if wanted.manager.kind == VENV:
            return bool(noted["owner"] == bay.owner and noted["path"] == str(tree))
        return bool(noted["owner"] == bay.owner) or self.whole(tree, noted)

    @staticmethod
    def whole(tree: Path, noted: Mapping[str, Any]) -> bool:
        """Whether packages are exactly what they were when they were brought in."""
        seals = noted.get("seals") or {}
        return bool(seals) and all(seal(tree / place) == value for place, value in seals.items())

    def _have_golden(self, tree: Path, wanted: Wanted, env: Mapping[str, str]) -> bool:
        if self.golden.has(wanted.key):
            return True
        root = self._git.root
        same = [one for one in _recognised(root, wanted.folder, env) if one.key == wanted.key]
        if not same or not up_to_date(root, same[0]):
            return False
        places = self._places(root, wanted)
        before = [seal(root / place) for place in places]

        def untouched() -> bool:
            """Nobody has installed there meanwhile."""
            return [seal(root / place) for place in places] == before and up_to_date(root, same[0])

        return self.golden.keep(wanted.key, root, places, untouched) or self.golden.has(wanted.key)

    def _places(self, root: Path, wanted: Wanted) -> list[str]:
        """The folders of packages of this lock file: one, or one more for each package inside of the repository."""
        name, found = wanted.manager.folder, list[str]()
        folders = [os.fspath(root / wanted.folder)]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False) or entry.name in (".git", ".venv"):
                        continue
                    if entry.name == name:
                        found.append(os.path.relpath(entry.path, root))
                    else:
                        folders.append(entry.path)
        parents = {place: f"{Path(place).parent}/package.json" for place in found if place != wanted.place}
        # what lies in ignored folders was built, not installed
        built = self._git.ignored(root, sorted(parents.values())) if parents else frozenset()
        return sorted(place for place in found if parents.get(place) not in built)

    def _make_room(self, tree: Path, place: str, places: Mapping[str, Path]) -> None:
        for each in places:
            self._require_plain(tree, each)
        self._require_ignored(tree, [each for each in places if each != place])  # of that one it is known
        self._discard(tree, [place, *places])

    def _place(self, tree: Path, top: str, places: Mapping[str, Path]) -> None:
        """Put copies where they belong."""
        self._make_room(tree, top, places)
        for place, copy in places.items():
            (tree / place).parent.mkdir(parents=True, exist_ok=True)
            files.rename(copy, tree / place)

    def _require_ignored(self, tree: Path, places: Iterable[str]) -> None:
        inside = [f"{place}/x" for place in places]
        ignored = self._git.ignored(tree, inside)
        open_ = [name.removesuffix("/x") for name in inside if name not in ignored]
        if open_:
            raise StrettoError(
                f"git does not ignore {open_[0]}, so packages there would be committed",
                object=open_[0],
                code="dependencies",
                hint=f"write {Path(open_[0]).name}/ into .gitignore, or take it out of [workspace] dependencies",
            )

    @staticmethod
    def _require_plain(tree: Path, place: str) -> None:
        """No link on the way: packages would go, or be taken from, somewhere else."""
        path = tree
        for part in Path(place).parts:
            path = path / part
            if path.is_symlink():
                raise StrettoError(
                    f"{path} is a link, so packages would not lie in this worktree",
                    object=str(path),
                    code="dependencies",
                    hint="remove the link, then: stretto retry TASK",
                )

    def _discard(self, tree: Path, places: Sequence[str]) -> None:
        for place in dict.fromkeys(places):
            if os.path.lexists(tree / place):
                files.rename(tree / place, self._new(self._trash))

    @staticmethod
    def _new(folder: Path) -> Path:
        return files.make_private_dir(folder) / secrets.token_hex(6)

    def installed(self, tree: Path, bay: Bay, env: Mapping[str, str], dependency: Dependency, *, keep: bool) -> Known:
        """The commands of a dependency have passed: what the marker is to say. `keep`: make the golden copy."""
        known: Known = {place: dict(one) for place, one in bay.deps.items()}
        for wanted in self.wanted(tree, env):
            if wanted.place != dependency.place or not wanted.place or not (tree / wanted.place).is_dir():
                continue
            noted: dict[str, Any] = {"key": wanted.key, "owner": bay.owner, "path": str(tree)}
            if wanted.manager.kind == TREE:
                places = self._places(tree, wanted)
                noted["seals"] = {place: seal(tree / place) for place in places}
                if keep and wanted.key == dependency.key:
                    with suppress(OSError, StrettoError):  # a saving of time, and nothing else
                        self.golden.keep(wanted.key, tree, places)
            known[wanted.place] = noted
        return known

    def sweep(self) -> None:
        """Empty the trash, and let golden copies go that nobody uses. Minutes for large ones, at low priority."""
        for folder, age in ((self._trash, 0.0), (self._incoming, _STALE)):
            for name in _older(folder, age):
                deletion.delete(folder, name)
        self.golden.sweep()


def _older(folder: Path, age: float) -> list[str]:
    found = []
    if folder.is_dir():
        for entry in sorted(folder.iterdir()):
            with suppress(FileNotFoundError):
                if entry.lstat().st_mtime <= time.time() - age:
                    found.append(entry.name)
    return found


def _recognised(root: Path, folder: str, env: Mapping[str, str]) -> list[Wanted]:
    try:
        return recognise(root, (folder or ".",), env)
    except StrettoError:
        return []
