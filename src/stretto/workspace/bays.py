"""Bays of one repository: take, describe, give back.

Specification.
- A bay's number is taken under one lock in the git common dir, shared by all homes; the worktree itself is made outside
  of it, under a lock of that bay, so that many are made at once. Whatever has a bay's name and is not ours is left
  alone: the next number is taken.
- Trees of tasks are written as many at once as there are cores: the first are ready early, and the last no later
  (`maker.py`).
- `ensure` is idempotent: the bay of an owner is found by its marker. A bay in `making` is completed, or, when that
  fails, undone (no half-made tree, no branch, no marker), and only then is the failure reported.
- Numbers of removed bays that may be brought back are not given out again while there are few.
- A gate's bay is kept: the same tree is switched to each candidate, without untracked files that are not ignored.
- Nothing here deletes what an agent could have written in: a tree is discarded only while its marker says `making`.

Accepted race: somebody makes a folder with the bay's name between the look and git's own creation of it; git refuses,
the bay is undone, and the next `ensure` takes another one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto import files
from stretto.core.errors import GitFailed, StrettoError
from stretto.failpoints import failpoint
from stretto.interfaces import Dependency, Git, Removal, Workspace
from stretto.workspace import deletion, environment, journal, stack
from stretto.workspace.adopting import Adoption
from stretto.workspace.dependencies import Copier, Ladder
from stretto.workspace.describer import Describer
from stretto.workspace.folder import Folder, locate
from stretto.workspace.journal import GATE, SPARE, TASK, Bay, Cabinet, Record
from stretto.workspace.layers import Layer, Leftover, Place, Stack
from stretto.workspace.maker import Maker
from stretto.workspace.markers import Markers
from stretto.workspace.parts import Parts
from stretto.workspace.pool import Pool, Spare, brought_back
from stretto.workspace.settings import Settings
from stretto.workspace.shared import Sharing
from stretto.workspace.teardown import Teardown


class Bays:
    """Implements `interfaces.Workspaces` for one repository and one home.

    `folder` as `locate` says; `home` names the home folder whose daemon this is.
    """

    def __init__(
        self,
        git: Git,
        folder: Path,
        home: str,
        settings: Settings | None = None,
        *,
        layers: Sequence[Layer] = (),
        copier: Copier | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.folder = Folder(folder, git.root, git.common)
        self._git = git
        self._home = home
        self._settings = settings or Settings()
        self._now = now
        self._bays: Cabinet[Bay] = Cabinet(self.folder.bays, Bay)
        self._records: Cabinet[Record] = Cabinet(self.folder.records, Record)
        self._markers = Markers(self.folder, home, self._bays, self._records)
        self._describer = Describer(git, self.folder, self._settings)
        self._stack = Stack(layers)
        choice = self._settings.dependencies
        self._ladder = Ladder(git, self.folder.private, choice, copier) if choice is not None else None
        self._teardown = Teardown(git, self.folder, home, self._bays, self._records, self._stack, now)
        parts = Parts(git, self.folder, home, self._bays, self._markers, self._teardown, self._take_layers, now)
        self._maker = Maker(parts, self._settings)
        self._pool = Pool(
            parts,
            self._records,
            self._maker,
            self._ladder,
            lambda owner, commit: self._reserve(owner, SPARE, commit, None),
        )
        self._sharing = Sharing(parts, Describer(git, self.folder, self._settings.shared))
        self._adoption = Adoption(parts, self._describer)

    @classmethod
    def open(cls, git: Git, home: Path, config: Mapping[str, Any]) -> Bays:
        """The bays of a repository as a run's frozen configuration wants them, for the home folder `home`."""
        folder = locate(git.root, git.common, home, config.get("worktrees") or None)
        name = home_name(home)
        return cls(git, folder, name, Settings.of(config), layers=stack.configured(git, folder, name, config))

    # ------------------------------------------------------------ take

    def check(self) -> None:
        """Raise StrettoError if no bay could be made here, or what it holds could not be had; changes nothing."""
        self.folder.check()
        self._stack.check()

    def ensure(self, owner: str, purpose: str, commit: str, branch: str | None, env: Mapping[str, str]) -> Workspace:
        """The workspace of this owner, made if it is not there. `commit` is what a new one (a gate: always) shows.

        `env` is what the caller captured; the contract's variables and `[workspace] env` are laid over it. Raises
        StrettoError: folder unusable, disk too full, branch or path in the way.
        """
        environment.require_values(self._settings.env, self._stack.variables())
        self.folder.prepare()
        self._teardown.recover()
        self._teardown.require_settled(owner, purpose)
        bay = self._markers.find(owner, purpose) or self._reserve(owner, purpose, commit, branch)
        with self._markers.hold(bay.number):
            bay = self._markers.current(bay)
            fresh = bay.state == journal.MAKING
            path = self.folder.of(bay)
            shown = commit if purpose == GATE else bay.commit
            if bay.adopted is not None:
                _require_there(path, owner)
            if fresh or not path.is_dir():
                bay, values = self._maker.make(bay, shown, env, fresh)
            else:
                if purpose == GATE:
                    self._git.switch_worktree(path, commit)
                bay, values = self._take_layers(bay, shown, env)
            due = self._stack.due(self._teardown.place(bay))
            space = replace(self._describer.describe(bay, shown, env, values, fresh), due=due)
            self._describer.write_env_file(space)
        return space

    def adopt(self, owner: str, path: Path, env: Mapping[str, str]) -> Workspace:
        """Give a worktree that somebody else made what a workspace holds. It stays theirs: `remove` leaves the files.

        Raises StrettoError for what is no linked worktree of this repository, and for one that is a workspace already.
        """
        environment.require_values(self._settings.env, self._stack.variables())
        self.folder.prepare()
        self._teardown.recover()
        self._teardown.require_settled(owner, TASK)
        return self._adoption.adopt(owner, path, env)

    def share(self, owner: str, commit: str, branch: str, fallback: str, env: Mapping[str, str]) -> Workspace:
        """Let a task work in the main checkout (`shared.py`)."""
        environment.require_values(self._settings.shared.env, self._stack.variables())
        self.folder.prepare()
        self._teardown.recover()
        return self._sharing.share(owner, commit, branch, fallback, env)

    def give_checkout_back(self, owner: str) -> str | None:
        """Let the main checkout show again what it showed before the task; None if the task does not have it."""
        return self._sharing.give_back(owner)

    def find(self, owner: str, purpose: str, env: Mapping[str, str]) -> Workspace | None:
        """The workspace of this owner as `ensure` would describe it, without making anything.

        What follows the files of the worktree is brought up to them.
        """
        bay = self._markers.find(owner, purpose)
        if bay is None or bay.state != journal.MADE:
            return None
        self._stack.follow(self._teardown.place(bay), bay)
        values = self._stack.values(self._teardown.place(bay), bay)
        describer = self._describer if bay.shared is None else self._sharing.describer
        return describer.describe(bay, bay.commit, env, values, fresh=False)

    def renew_database(self, owner: str, removal: str, env: Mapping[str, str], back: str | None = None) -> Workspace:
        """Begin the database of a workspace again, or bring back an earlier one (`back`).

        What there is, is put aside under `removal`, until `forget_database`. The workspace says what is due. Raises
        StrettoError, and nothing has changed then.
        """
        bay = self._markers.find(owner, TASK)
        if bay is None or bay.state != journal.MADE:
            raise StrettoError(f"{owner} has no workspace", object=owner, code="no_workspace")
        with self._markers.hold(bay.number):
            bay = self._markers.current(bay)
            known = bay

            def put(layers: Mapping[str, Mapping[str, Any]]) -> None:
                plain = {name: dict(step) for name, step in layers.items()}
                self._bays.put(known.name, replace(known, layers=plain))

            self._stack.renew(self._teardown.place(bay), bay, "database", removal, back, put)
            bay = self._markers.current(bay)
            place = self._teardown.place(bay)
            space = self._describer.describe(bay, bay.commit, env, self._stack.values(place, bay), False)
            return replace(space, due=self._stack.due(place) if back is None else ())

    def forget_database(self, owner: str, removal: str) -> None:
        """Delete for good what `renew_database` has put aside. Nothing happens if it is gone."""
        bay = self._markers.find(owner, TASK)
        self._stack.forget(self._teardown.place(bay, removal) if bay is not None else self._nowhere(owner, removal))

    def _nowhere(self, owner: str, removal: str) -> Place:
        """The place of a workspace that is no more."""
        root = self._git.root
        gone = self.folder.quarantine / removal
        return Place(self._home, self.folder.common, root, gone, 0, owner, TASK, None, "", removal=removal)

    def wake(self, owner: str, purpose: str) -> None:
        """Let run what a workspace needs besides its files (a database server), before something works in it.

        Nothing happens where nothing is needed, or all of it runs. Raises StrettoError if it cannot be started.
        """
        bay = self._markers.find(owner, purpose)
        if bay is not None and bay.state == journal.MADE:
            self._stack.wake(self._teardown.place(bay), bay)

    def rest(self, owner: str, purpose: str) -> None:
        """End that again: nothing works in the workspace. What it holds is kept."""
        bay = self._markers.find(owner, purpose)
        if bay is not None and bay.state == journal.MADE:
            self._stack.rest(self._teardown.place(bay), bay)

    def set_ready(self, path: Path, key: str) -> None:
        """Record that the set-up named by `key` is complete in this bay; `Workspace.ready` then says so."""
        bay = self._markers.at(path)
        if bay is not None and bay.home == self._home:
            with self._markers.hold(bay.number):
                self._bays.put(bay.name, replace(self._markers.current(bay), ready=key))

    def dependencies(self, path: Path, env: Mapping[str, str]) -> list[Dependency]:
        """Bring in what lock files name as far as no package manager is needed (`dependencies/ladder.py`)."""
        bay = self._markers.at(path)
        if self._ladder is None or bay is None or bay.home != self._home or bay.adopted is not None:
            return []
        with self._markers.hold(bay.number):
            bay = self._markers.current(bay)
            found, known = self._ladder.climb(path, bay, env)
            if known != bay.deps:
                self._bays.put(bay.name, replace(bay, deps=known))
        return found

    def installed(self, path: Path, dependency: Dependency, env: Mapping[str, str], *, keep: bool) -> None:
        """The commands of a dependency have passed; `keep`: nobody but the target's own code had a part in it."""
        bay = self._markers.at(path)
        if self._ladder is None or bay is None or bay.home != self._home:
            return
        with self._markers.hold(bay.number):
            bay = self._markers.current(bay)
            known = self._ladder.installed(path, bay, env, dependency, keep=keep)
            self._bays.put(bay.name, replace(bay, deps=known))

    def warm(self, commit: str, count: int, env: Mapping[str, str], clean: Callable[[str], bool]) -> int:
        """Have spares for workspaces to come (`pool.py`), then take away what nobody needs; how many were made."""
        self.folder.prepare()
        self._teardown.recover()
        made = self._pool.fill(commit, count, env, clean)
        if self._ladder is not None:
            self._ladder.sweep()
        return made

    def spares(self) -> list[Spare]:
        """The spares of this home, as they are now."""
        return self._pool.spares()

    def filled(self, path: Path, commit: str, *, keep: bool = True) -> None:
        """The commands that were `due` in this workspace, which shows `commit`, have passed."""
        bay = self._markers.at(path)
        if bay is None or bay.home != self._home:
            return
        with self._markers.hold(bay.number):
            state = self._git.worktree_state(path)
            place = replace(self._teardown.place(self._markers.current(bay)), commit=commit)
            self._stack.filled(place, pristine=keep and state.clean and state.head == commit)

    def changes(self, path: Path) -> tuple[str, ...]:
        """Paths in which a worktree differs from its HEAD, untracked ones included, ignored ones not."""
        return self._git.worktree_state(path).changed

    def difference(self, a: str, b: str) -> tuple[str, ...] | None:
        """Paths in which two commits differ, sorted; None if one of them is not known (any more)."""
        try:
            return tuple(sorted(self._git.changed_paths(a, b)))
        except GitFailed:
            return None

    def _reserve(self, owner: str, purpose: str, commit: str, branch: str | None) -> Bay:
        with files.lock(self.folder.lock, wait=60.0):
            bay = self._markers.find(owner, purpose)
            if bay is not None:
                return bay
            made = branch is not None and self._git.read_ref(f"refs/heads/{branch}") is None
            bay = Bay(0, self._home, owner, purpose, branch, commit, self._now(), branch_made=made)
            spare = self._pool.take(bay) if purpose == TASK and branch is not None else None
            if spare is not None:
                return spare
            bay = replace(bay, number=self._markers.number(spare=purpose == SPARE))
            self._bays.put(bay.name, bay)
        failpoint("daemon.workspace.reserved")
        return bay

    # ------------------------------------------------------------ make

    def _take_layers(self, bay: Bay, start: str, env: Mapping[str, str]) -> tuple[Bay, dict[str, str]]:
        """Take the layers of this bay; what is recorded of them stands in the bay that is returned."""

        def put(layers: Mapping[str, Mapping[str, Any]]) -> None:
            nonlocal bay
            known = {name: dict(step) for name, step in layers.items()}
            bay = self._bays.put(bay.name, replace(bay, layers=known))

        if bay.purpose == SPARE:
            return bay, {}
        known = self._describer.before_layers(bay, start, env)
        values = self._stack.take(replace(self._teardown.place(bay), environment=known), bay, put)
        return bay, values

    # ------------------------------------------------------------ give back

    def remove(self, owner: str, path: Path, branch: str | None, reason: str) -> Removal:
        """Keep all that is in the workspace, then move it to quarantine; with `branch` that branch is deleted too.

        Tens of milliseconds. Refuses (StrettoError) what is not provably ours, what somebody works in and what is in
        the middle of a git operation. Called again after it was done, it says what it did.
        """
        self.folder.prepare()
        self._teardown.recover()
        bay = self._markers.at(path)
        begun = self._teardown.begun(owner, path)
        if begun is not None:
            with self._markers.hold(begun.marker.number):
                return self._teardown.resume(begun)
        if bay is not None and bay.shared is not None:
            raise self._teardown.not_ours(path, "it is your own checkout")
        if bay is None:
            done = self._teardown.done_before(owner, path)
            if done is not None:
                return done
            raise self._teardown.not_ours(path)
        with self._markers.hold(bay.number):
            return self._teardown.remove(self._markers.current(bay), owner, branch, reason)

    def undo(self, removal: str) -> Removal:
        """Bring a removed workspace back byte for byte: tree, ignored files, registration, branch.

        Refuses (StrettoError) if something is in the way or the removal is not known.
        """
        self.folder.prepare()
        self._teardown.recover()
        record = self._teardown.known(removal)
        with files.lock(self.folder.lock, wait=60.0), self._markers.hold(record.marker.number):
            record = self._teardown.known(removal)
            done = self._teardown.undo(record)
            bay = self._markers.at(done.path)
            if bay is not None and record.lent and self._ladder is not None:
                self._bays.put(bay.name, brought_back(self._ladder, bay, done.path, record.lent))
            return done

    def removals(self) -> list[Removal]:
        """What lies in quarantine, newest first. `bytes` is None: `measured` counts them."""
        self._teardown.recover()
        return self._teardown.removals()

    def measured(self, removal: Removal) -> Removal:
        """The same removal with its size on disk."""
        return replace(removal, bytes=deletion.size(removal.quarantine))

    def purge(self, removals: Sequence[str]) -> list[Removal]:
        """Delete these removals for good, and nothing else; kept refs stay. Returns them with the freed bytes."""
        return [self._purged(removal) for removal in dict.fromkeys(removals)]

    def _purged(self, removal: str) -> Removal:
        number = self._teardown.known(removal).marker.number
        with self._markers.hold(number):
            record = self._teardown.known(removal)
            size = deletion.size(self.folder.quarantine / record.id)
            return replace(self._teardown.purge(record), bytes=size)

    def leftovers(self, owners: Iterable[str]) -> list[Path]:
        """Paths in the bays folder that belong to none of these owners (bays of other homes left out).

        Only reported: nothing is ever deleted because nobody seems to own it.
        """
        owned = set(owners)
        bays = self._bays.all().values()
        foreign = {self.folder.of(bay) for bay in bays if bay.home != self._home}
        ours = {self.folder.of(bay) for bay in bays if bay.purpose in (GATE, SPARE) or bay.owner in owned}
        links = {self.folder.path / bay.link for bay in bays if bay.link}
        known = foreign | ours | links | {self.folder.path / ".stretto", self.folder.quarantine}
        present = set(self.folder.path.iterdir()) if self.folder.path.is_dir() else set()
        registered = {path for path in self._git.worktrees() if path.parent == self.folder.path}
        stray = set(self._stray_quarantine())
        return sorted((present | registered | stray) - known)

    def layer_leftovers(self, owners: Iterable[str]) -> list[Leftover]:
        """What layers hold for none of these owners; only told, never deleted."""
        gates = [bay.owner for bay in self._bays.all().values() if bay.purpose == GATE]
        kept = [record.marker.owner for record in self._records.all().values()]
        return self._stack.leftovers((*owners, *gates, *kept))

    def _stray_quarantine(self) -> Iterator[Path]:
        records = self._records.all()
        if self.folder.quarantine.is_dir():
            yield from (path for path in self.folder.quarantine.iterdir() if path.name not in records)


def home_name(home: Path) -> str:
    """How bays and leases name the home folder whose daemon made them."""
    return hashlib.sha256(os.fsencode(os.path.realpath(home))).hexdigest()[:16]


def _require_there(path: Path, owner: str) -> None:
    if not path.is_dir():
        raise StrettoError(
            f"the worktree {path} of {owner} is gone",
            object=str(path),
            code="worktree_gone",
            hint=f"stretto workspace remove {owner.rpartition('/')[2]}",
        )
