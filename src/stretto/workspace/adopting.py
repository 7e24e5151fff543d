"""Worktrees that somebody else made, as workspaces.

Specification. Such a worktree stays theirs: it gets layers and a file of variables, `remove` takes these back and
leaves the files. A first try that fails leaves no marker. What is no linked worktree of this repository is refused, and
what is a workspace already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stretto import files
from stretto.core.errors import StrettoError
from stretto.interfaces import Workspace
from stretto.workspace import journal, registration
from stretto.workspace.describer import Describer
from stretto.workspace.journal import TASK, Bay
from stretto.workspace.parts import Parts


class Adoption:
    """Gives worktrees that are there what a workspace holds."""

    def __init__(self, parts: Parts, describer: Describer) -> None:
        self._git, self._folder, self._home = parts.git, parts.folder, parts.home
        self._bays, self._markers, self._teardown = parts.bays, parts.markers, parts.teardown
        self._take_layers, self._now = parts.take_layers, parts.now
        self._describer = describer

    def adopt(self, owner: str, path: Path, env: Mapping[str, str]) -> Workspace:
        """Let `owner` work in the worktree at `path`. Raises StrettoError (`not_adoptable`, `unborn_branch`)."""
        bay = self._reserve(owner, Path(os.path.realpath(path)))
        with self._markers.hold(bay.number):
            bay = self._markers.current(bay)
            try:
                bay, values = self._take_layers(bay, bay.commit, env)
                space = self._describer.describe(bay, bay.commit, env, values, not bay.ready)
                self._describer.write_env_file(space)
            except StrettoError:
                if not bay.ready:
                    self._undo(self._markers.current(bay))
                raise
            ready = self._bays.put(bay.name, replace(bay, ready=bay.ready or "adopted"))
            return replace(space, ready=ready.ready)

    def _reserve(self, owner: str, place: Path) -> Bay:
        """The marker for the worktree: the one that there is, or a new one."""
        with files.lock(self._folder.lock, wait=60.0):
            known = self._markers.find(owner, TASK)
            if known is not None and known.adopted == str(place):
                return known
            taken = known or self._markers.at(place)
            worktrees = self._git.worktrees()
            if taken is not None or place == self._git.root or place not in worktrees:
                raise _not_adoptable(place, taken, main=place == self._git.root)
            branch = worktrees[place]
            admin = registration.name_of(self._folder.common, place)
            said = registration.head_of(self._folder.common, admin) if admin else ""
            commit = self._git.read_ref(said) if said.startswith("refs/") else said
            if not commit:
                raise StrettoError(f"{place} has no commit yet", object=str(place), code="unborn_branch")
            bay = Bay(self._markers.number(), self._home, owner, TASK, branch, commit, self._now(), journal.MADE)
            return self._bays.put(bay.name, replace(bay, admin=admin, adopted=str(place)))

    def _undo(self, bay: Bay) -> None:
        with suppress(StrettoError, OSError):
            bay = self._teardown.drop_layers(bay)
        if not bay.layers:
            self._bays.drop(bay.name)


def _not_adoptable(place: Path, taken: Bay | None, *, main: bool) -> StrettoError:
    if taken is not None:
        why, hint = f"it is the workspace of {taken.owner}", "stretto workspace list"
    elif main:
        why, hint = "it is the main checkout, which stays as it is", "stretto workspace new NAME makes one"
    else:
        why, hint = "it is no worktree of this repository", "git worktree list"
    return StrettoError(f"{place} cannot be adopted: {why}", object=str(place), code="not_adoptable", hint=hint)
