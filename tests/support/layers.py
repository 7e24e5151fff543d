"""A layer of a workspace that keeps a folder of files, and a program that takes workspaces through their life with it.

Run as a program it does one thing (`ensure`, `remove`, `undo`, `purge`) and may be killed at a fail point of it; with
`browser` as the last word the workspace has a browser instead.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from stretto.core import names
from stretto.core.errors import StrettoError
from stretto.git.repository import Repository as RealGit
from stretto.interfaces import Git
from stretto.workspace import Bays
from stretto.workspace.browser import Browser
from stretto.workspace.folder import Folder
from stretto.workspace.layers import Data, Held, Leftover, Place
from stretto.workspace.settings import Settings

UID = "plan-abcd/search"
BRANCH = "stretto/plan-abcd/search/work"


class Shelf:
    """Holds one folder for each workspace: on the shelf, or aside. `refuse` names the steps that fail."""

    def __init__(self, name: str, place: Path, *, wanted: bool = True, refuse: Iterable[str] = ()) -> None:
        self.name = name
        self.on = place / name / "on"
        self.aside = place / name / "aside"
        self.refuse = set(refuse)
        self.is_wanted = wanted
        self.calls: list[str] = []
        for folder in (self.on, self.aside):
            folder.mkdir(parents=True, exist_ok=True)

    def variables(self) -> frozenset[str]:
        return frozenset({f"SHELF_{self.name.upper()}"})

    def wanted(self, place: Place) -> bool:
        return self.is_wanted

    def _say(self, step: str) -> None:
        self.calls.append(step)
        if step in self.refuse:
            raise StrettoError(f"{self.name} refuses to {step}", object=self.name, code="refused_by_test")

    def take(self, place: Place, recorded: Data) -> Held:
        self._say("take")
        key = str(recorded.get("key") or names.slugify(place.owner))
        (self.on / key).mkdir(exist_ok=True)
        data = {"key": key, "before": sorted(n for n in place.environment if n.startswith("SHELF_"))}
        return Held(self.values(place, data), data)

    def values(self, place: Place, data: Data) -> Mapping[str, str]:
        return {f"SHELF_{self.name.upper()}": str(self.on / data["key"])}

    def give(self, place: Place, data: Data) -> None:
        self._say("give")
        key = str(data.get("key") or names.slugify(place.owner))
        if (self.on / key).exists():
            (self.on / key).rename(self.aside / key)

    def back(self, place: Place, data: Data) -> Held:
        self._say("back")
        if (self.aside / data["key"]).exists():
            (self.aside / data["key"]).rename(self.on / data["key"])
        return Held(self.values(place, data), data)

    def purge(self, place: Place, data: Data) -> None:
        self._say("purge")
        shutil.rmtree(self.aside / str(data.get("key") or names.slugify(place.owner)), ignore_errors=True)

    def leftovers(self, owners: Iterable[str]) -> list[Leftover]:
        self._say("leftovers")
        known = {names.slugify(owner) for owner in owners}
        return [
            Leftover(self.name, str(path), f"the folder {path} is held for nobody", f"rmdir {path}")
            for path in sorted(self.on.iterdir())
            if path.name not in known
        ]

    def held(self) -> list[str]:
        """What stands on the shelf."""
        return sorted(path.name for path in self.on.iterdir())

    def kept(self) -> list[str]:
        """What was put aside."""
        return sorted(path.name for path in self.aside.iterdir())


def bays(root: Path, *layers: Any, settings: Settings | None = None) -> Bays:
    """The bays of the repository at `root`."""
    home = root.parent / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    git = cast("Git", RealGit.open(root, home))
    return Bays(git, root.parent / "bays", "home-1", settings, layers=layers)


def browser(root: Path) -> Browser:
    """The layer `browser` of the repository at `root`."""
    return Browser(Folder(root.parent / "bays", root, root / ".git"), "home-1", "pipe")


def act(root: Path, verb: str, kind: str = "") -> None:
    """Do one thing with the workspace `UID`, which has two layers, or a browser."""
    place = root.parent / "shelves"
    shelves = () if kind else (Shelf("one", place), Shelf("two", place))
    found = bays(root, *shelves, *((browser(root),) if kind else ()))
    base = found._git.resolve("main") or ""
    if verb == "ensure":
        found.ensure(UID, "task", base, BRANCH, {})
    elif verb == "remove":
        found.remove(UID, root.parent / "bays" / "01", BRANCH, "asked")
    elif verb == "undo":
        found.undo(found.removals()[0].id)
    elif verb == "purge":
        found.purge([each.id for each in found.removals()])


if __name__ == "__main__":
    act(Path(sys.argv[1]), *sys.argv[2:])
