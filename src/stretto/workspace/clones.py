"""The clone that the agent of a task has instead of the shared repository (recipe C of the sandbox), as a layer.

Which tasks get one was decided before: the environment in which a workspace is asked for says so. A removal puts the
clone away as a whole, `undo` brings it back, `purge` deletes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stretto.interfaces import Git
from stretto.workspace import deletion
from stretto.workspace.layers import Data, Held, Leftover, Place

#: the variable that says how the agent's git is set up, and its word for a clone
RECIPE, CLONE = "STRETTO_RECIPE", "clone"


class Clones:
    """Implements `layers.Layer` with the git of a repository."""

    name = "clone"

    def __init__(self, git: Git) -> None:
        self._git = git

    def variables(self) -> frozenset[str]:
        """One that says that there is a clone."""
        return frozenset({RECIPE})

    def wanted(self, place: Place) -> bool:
        """Only where it is asked for, and there is a branch to work on."""
        return place.branch is not None and place.environment.get(RECIPE) == CLONE

    def take(self, place: Place, recorded: Data) -> Held:
        """Make it, or bring it in step."""
        self._git.make_clone(place.path, str(place.branch), place.owner)
        return Held(self.values(place, {}), {})

    def values(self, place: Place, data: Data) -> Mapping[str, str]:
        """What says so."""
        return {RECIPE: CLONE}

    def give(self, place: Place, data: Data) -> None:
        """Put it away."""
        self._git.put_clone_aside(place.path, _name(place))

    def back(self, place: Place, data: Data) -> Held:
        """Bring it back."""
        self._git.bring_clone_back(place.path, _name(place))
        return Held(self.values(place, {}), {})

    def purge(self, place: Place, data: Data) -> None:
        """Delete what was put away."""
        folder = self._git.clone_aside(_name(place))
        if folder is not None:
            deletion.delete(folder.parent, folder.name)

    def leftovers(self, owners: Iterable[str]) -> list[Leftover]:
        """Clones of worktrees that belong to nobody."""
        owned = set(owners)
        return [
            Leftover(self.name, str(path), f"the clone of {path}, which belonged to {owner}", "stretto purge --list")
            for path, owner in self._git.clones().items()
            if owner not in owned
        ]


def _name(place: Place) -> str:
    """Under which it is put away: that of the removal; one that was never handed out has none."""
    return place.removal or f"bay-{place.bay:02d}"
