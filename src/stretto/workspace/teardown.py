"""Keep, then take away; and bring back.

Specification of a removal, in this order, each step safe to repeat:
1. Proof: our marker, our home, this owner; the path is what it says after every link is resolved, strictly below the
   bays folder, registered with git as a linked worktree, not the main one; no process works in it; no paused rebase,
   merge or the like.
2. Keep: a snapshot of everything that is not ignored; one commit that holds the tip and every commit that the reflogs
   of worktree and branch name, below `refs/stretto/keep/<uid>/`.
3. The record, `removing`.
4. Tree to `.quarantine/<id>/tree` (one rename, ignored files included), the layers put aside in reverse (`layers.py`),
   registration to `<common>/stretto-quarantine/<id>`, branch deleted if it still points where it was kept, link and
   marker gone.
5. The record, `removed`.
After a crash `recover` drops a removal whose tree was not moved yet (nothing has happened), and completes any other.
`undo` refuses unless every place is free, writes `undoing`, and takes the same steps back, the layers first: if one of
them does not come back, the removal stands as before.

An adopted worktree is somebody else's: its removal gives the layers and the marker only; files, branch and registration
are not touched, and nothing is proven of them but that the marker is ours.

Accepted race: a process that enters the folder after the look keeps working, in quarantine, and loses nothing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stretto import files, proctree
from stretto.core import names
from stretto.core.errors import Conflict, StrettoError
from stretto.failpoints import failpoint
from stretto.interfaces import Git, Removal
from stretto.workspace import deletion, journal, registration
from stretto.workspace.folder import Folder
from stretto.workspace.journal import Bay, Cabinet, Record
from stretto.workspace.layers import Place, Put, Stack

Layers = Mapping[str, Mapping[str, Any]]


class Teardown:
    """Removal, undo and purge of bays. Callers hold the lock of the bay."""

    def __init__(
        self,
        git: Git,
        folder: Folder,
        home: str,
        bays: Cabinet[Bay],
        records: Cabinet[Record],
        stack: Stack,
        now: Callable[[], float],
    ) -> None:
        self._git = git
        self._folder = folder
        self._home = home
        self._bays = bays
        self._records = records
        self._stack = stack
        self._now = now

    def place(self, bay: Bay, removal: str | None = None) -> Place:
        """The place of a bay, as its layers know it."""
        return Place(
            home=bay.home,
            repository=self._folder.common,
            root=self._git.root,
            path=self._folder.of(bay),
            bay=bay.number,
            owner=bay.owner,
            purpose=bay.purpose,
            branch=bay.branch,
            commit=bay.commit,
            removal=removal,
        )

    def drop_layers(self, bay: Bay) -> Bay:
        """End what a bay that was never handed out has taken; the bay as it is then."""

        def put(layers: Layers) -> None:
            nonlocal bay
            bay = self._bays.put(f"{bay.number:02d}", replace(bay, layers=_plain(layers)))

        self._stack.purge(self.place(bay), bay.layers, put)
        return bay

    # ------------------------------------------------------------ remove

    def remove(self, bay: Bay, owner: str, branch: str | None, reason: str) -> Removal:
        """Carry out the whole removal of this bay."""
        failpoint("daemon.workspace.remove.before")
        path = self._folder.of(bay)
        there = bay.adopted is None and os.path.lexists(path)
        self._prove(bay, owner, path, there)
        identity = "r" + secrets.token_hex(3)
        refs, tip = self._keep(bay, path, branch, identity, there, reason) if bay.adopted is None else ({}, None)
        record = Record(
            id=identity,
            reason=reason,
            at=self._now(),
            bay=asdict(bay),
            path=str(path),
            branch=branch,
            tip=tip,
            refs=refs,
            tree=there,
        )
        self._records.put(identity, record)
        if there:
            place = files.make_private_dir(self._folder.quarantine / identity)
            files.rename(path, place / "tree")
        failpoint("daemon.workspace.remove.renamed")
        done = self._complete_removal(record)
        failpoint("daemon.workspace.remove.after")
        return self._removal(done)

    def _prove(self, bay: Bay, owner: str, path: Path, there: bool) -> None:
        if bay.home != self._home or bay.owner != owner:
            raise self.not_ours(path, f"it belongs to {bay.owner}")
        if not there:
            return
        if path.is_symlink() or not path.is_dir():
            raise self.not_ours(path, "something else has its place")
        if os.path.realpath(path) != str(path) or not files.within(self._folder.path, path):
            raise self.not_ours(path, "it leads out of the folder for worktrees")
        if self._contains(path, self._git.root) or self._contains(path, self._folder.common):
            raise self.not_ours(path, "the repository itself lies there")
        if registration.name_of(self._folder.common, path, bay.admin) is None:
            raise self.not_ours(path, "git does not know it as a worktree")
        self._nobody_inside(path)
        operation = self._git.worktree_operation(path)
        if operation is not None:
            way_out = "git bisect reset" if operation == "bisect" else f"git {operation} --abort"
            raise StrettoError(
                f"{path} is in the middle of a {operation}",
                object=str(path),
                hint=f"finish it there or give it up ({way_out}), then try again",
                code="busy",
            )

    @staticmethod
    def _contains(path: Path, place: Path) -> bool:
        real = Path(os.path.realpath(place))
        return any(each.exists() and path.samefile(each) for each in (real, *real.parents))

    @staticmethod
    def _nobody_inside(path: Path) -> None:
        visitors = proctree.inside(path)
        if visitors:
            first = visitors[0]
            others = f" and {len(visitors) - 1} more" if len(visitors) > 1 else ""
            raise StrettoError(
                f"{path} is in use by process {first.pid} ({first.command}){others}",
                object=str(path),
                hint="end it or let it leave the folder, then try again",
                code="busy",
                details={"processes": [{"pid": each.pid, "command": each.command} for each in visitors]},
            )

    def not_ours(self, path: Path, why: str = "no marker of stretto names it") -> StrettoError:
        """The refusal to touch what is not provably ours."""
        return StrettoError(f"{path} is not a workspace that may be removed: {why}", object=str(path), code="not_ours")

    # ------------------------------------------------------------ keep

    def _keep(
        self, bay: Bay, path: Path, branch: str | None, identity: str, there: bool, reason: str
    ) -> tuple[dict[str, str], str | None]:
        """Refs that hold all of it (word -> ref), and the oid at which `branch` may be deleted."""
        refs: dict[str, str] = {}
        if there:
            snapshot = self._git.snapshot(path, bay.owner, f"before remove ({reason})")
            held = [snapshot] if snapshot is not None else self._git.snapshots(bay.owner)
            if held:
                refs["snapshot"] = held[-1].ref
        tip = self._git.read_ref(f"refs/heads/{bay.branch}") if bay.branch else None
        head = self._head(bay, path, tip)
        if tip is not None:
            refs["tip"] = self._put_ref(bay.owner, tip, identity, "tip")
        known = [oid for oid in (tip, head) if oid is not None]
        past = [oid for oid in self._past(bay, path) if oid not in known and self._git.resolve(f"{oid}^{{commit}}")]
        if past or (head is not None and head != tip):
            everything = list(dict.fromkeys((*known, *reversed(past))))
            commit = self._git.commit(
                self._git.tree_of(everything[0]), everything, f"Kept at the removal of {bay.owner}"
            )
            refs["log"] = self._put_ref(bay.owner, commit, identity, "log")
        deletable = branch is not None and branch == bay.branch and not self._elsewhere(branch, path)
        return refs, tip if deletable else None

    def _head(self, bay: Bay, path: Path, tip: str | None) -> str | None:
        """The commit at the worktree's HEAD, which may be detached or on a branch that somebody made there."""
        admin = registration.name_of(self._folder.common, path, bay.admin)
        said = registration.head_of(self._folder.common, admin) if admin else ""
        if said == f"refs/heads/{bay.branch}":
            return tip
        return self._git.read_ref(said) if said.startswith("refs/") else said or None

    def keep_lost(self, bay: Bay) -> None:
        """Keep the commits of a workspace whose tree somebody deleted, before its registration and reflog go."""
        self._keep(bay, self._folder.bay(bay.number), None, "r" + secrets.token_hex(3), False, "its tree is gone")

    def _past(self, bay: Bay, path: Path) -> list[str]:
        admin = registration.name_of(self._folder.common, path, bay.admin)
        logs = [f"worktrees/{admin}/logs/HEAD"] if admin else []
        if bay.branch:
            logs.append(f"logs/refs/heads/{bay.branch}")
        return [oid for oid in registration.reflog(self._folder.common, *logs) if oid != bay.commit]

    def _elsewhere(self, branch: str, path: Path) -> bool:
        return any(name == branch and place != path for place, name in self._git.worktrees().items())

    def _put_ref(self, owner: str, oid: str, identity: str, word: str) -> str:
        ref = kept_ref(owner, identity, word)
        self._git.update_ref(ref, oid, None, f"stretto: removal {identity}")
        return ref

    # ------------------------------------------------------------ steps, forward and back

    def _complete_removal(self, record: Record) -> Record:
        bay, path = record.marker, Path(record.path)
        record = self._layers(self._stack.give, record)
        admin = registration.name_of(self._folder.common, path, bay.admin) if bay.adopted is None else None
        aside = self._folder.admin_quarantine / record.id
        if admin is not None and not os.path.lexists(aside):
            with files.lock(self._folder.git_lock, wait=60.0):
                files.rename(self._folder.common / "worktrees" / admin, aside)
        if record.branch is not None and record.tip is not None:
            with suppress(Conflict):  # it moved on since it was kept, and stays
                self._git.delete_ref(f"refs/heads/{record.branch}", record.tip)
        if bay.link is not None:
            self.unlink(bay)
        self._bays.drop(f"{bay.number:02d}")
        return self._records.put(record.id, replace(record, state=journal.REMOVED))

    def _layers(self, step: Callable[[Place, Layers, Put], None], record: Record) -> Record:
        """Take a step with the layers of a removal; the record as it is then."""

        def put(layers: Layers) -> None:
            nonlocal record
            record = self._records.put(record.id, replace(record, bay={**record.bay, "layers": _plain(layers)}))

        step(self.place(record.marker, record.id), record.marker.layers, put)
        return record

    def unlink(self, bay: Bay) -> None:
        """Take away the link by task id, if it leads to this bay."""
        if bay.link is None:
            return
        link = self._folder.path / bay.link
        with suppress(FileNotFoundError):
            if link.is_symlink() and os.readlink(link) == f"{bay.number:02d}":  # noqa: PTH115
                link.unlink()

    def undo(self, record: Record) -> Removal:
        """Bring it back."""
        self._nothing_in_the_way(record)
        failpoint("daemon.workspace.undo.before")
        record = self._records.put(record.id, replace(record, state=journal.UNDOING))
        self._complete_undo(record)
        failpoint("daemon.workspace.undo.after")
        return self._removal(record)

    def _nothing_in_the_way(self, record: Record) -> None:
        bay, path = record.marker, Path(record.path)
        if record.state == journal.PURGING:
            raise StrettoError(f"{record.id} is being purged", object=record.id, code="purged")
        if record.state != journal.REMOVED:
            raise StrettoError(f"{record.id} is not complete yet", object=record.id, code="incomplete")
        if bay.adopted is None and not record.tree:
            kept = record.refs.get("tip", "its branch")
            raise StrettoError(
                f"the worktree of {bay.owner} was already gone when it was removed; {kept} holds its commits",
                object=record.id,
                code="nothing_to_undo",
                hint=f"git branch {record.branch or bay.branch or 'NAME'} {kept}" if "tip" in record.refs else None,
            )
        if f"{bay.number:02d}" in self._bays.all() or (bay.adopted is None and os.path.lexists(path)):
            raise self._in_the_way(str(path), "something is in its place")
        if bay.adopted is not None:
            self._adoptable_again(path)
        elif bay.admin and os.path.lexists(self._folder.common / "worktrees" / bay.admin):
            raise self._in_the_way(bay.admin, "git has another worktree of that name")
        mine = (self._home, bay.owner, bay.purpose)
        if any((each.home, each.owner, each.purpose) == mine for each in self._bays.all().values()):
            raise self._in_the_way(bay.owner, "it has another workspace now")
        if bay.branch is not None and bay.adopted is None:
            self._branch_is_free(record, bay.branch)

    def _adoptable_again(self, path: Path) -> None:
        if path not in self._git.worktrees() or not path.is_dir():
            raise StrettoError(
                f"{path} is no worktree of this repository any more",
                object=str(path),
                code="worktree_gone",
                hint="git worktree list",
            )
        if any(self._folder.of(bay) == path for bay in self._bays.all().values()):
            raise self._in_the_way(str(path), "it is another workspace now")

    def _branch_is_free(self, record: Record, branch: str) -> None:
        if record.tip is not None and self._git.read_ref(f"refs/heads/{branch}") not in (None, record.tip):
            raise self._in_the_way(branch, "the branch exists again and points elsewhere")
        if branch in self._git.worktrees().values():
            raise self._in_the_way(branch, "the branch is checked out elsewhere")

    @staticmethod
    def _in_the_way(object: str, why: str) -> StrettoError:
        return StrettoError(
            f"{object} is in the way: {why}",
            object=object,
            hint="move or remove it, then undo again",
            code="in_the_way",
        )

    def _complete_undo(self, record: Record) -> None:
        try:
            record = self._layers(self._stack.back, record)
        except StrettoError:
            # nothing else has moved yet, and the layers that came back are aside again: it stands removed
            known = self._records.all().get(record.id, record)
            self._records.put(record.id, replace(known, state=journal.REMOVED))
            raise
        bay, path = record.marker, Path(record.path)
        if record.branch is not None and record.tip is not None:
            ref = f"refs/heads/{record.branch}"
            if self._git.read_ref(ref) is None:
                self._git.update_ref(ref, record.tip, None, f"stretto: undo {record.id}")
        aside = self._folder.admin_quarantine / record.id
        if bay.admin is not None and os.path.lexists(aside):
            with files.lock(self._folder.git_lock, wait=60.0):
                (self._folder.common / "worktrees").mkdir(exist_ok=True)
                files.rename(aside, self._folder.common / "worktrees" / bay.admin)
        tree = self._folder.quarantine / record.id / "tree"
        if os.path.lexists(tree):
            files.rename(tree, path)
        failpoint("daemon.workspace.undo.renamed")
        if bay.link is not None:
            with suppress(FileExistsError):
                (self._folder.path / bay.link).symlink_to(f"{bay.number:02d}")
        self._bays.put(f"{bay.number:02d}", bay)
        self._records.drop(record.id)
        with suppress(OSError):
            (self._folder.quarantine / record.id).rmdir()

    def purge(self, record: Record) -> Removal:
        """Delete for good what this removal holds in quarantine."""
        failpoint("daemon.workspace.purge.before")
        record = self._records.put(record.id, replace(record, state=journal.PURGING))
        record = self._layers(self._stack.purge, record)
        deletion.delete(self._folder.quarantine, record.id)
        deletion.delete(self._folder.admin_quarantine, record.id)
        failpoint("daemon.workspace.purge.deleted")
        self._records.drop(record.id)
        failpoint("daemon.workspace.purge.after")
        return self._removal(record)

    # ------------------------------------------------------------ after a crash; what is known

    def recover(self) -> None:
        """Complete what a crash interrupted; a removal that has not moved anything yet is dropped."""
        self._sweep()
        for record in self._records.all().values():
            if record.state in (journal.REMOVING, journal.UNDOING) and record.marker.home == self._home:
                # one that cannot be completed now stays as it is and is listed; it must not stop all other work
                with suppress(StrettoError, OSError):
                    self._recover(record.id, record.marker.number)

    def _sweep(self) -> None:
        """Take away empty folders of removals that a crash has left; a record is older than its folder."""
        with suppress(FileNotFoundError):
            present = list(self._folder.quarantine.iterdir())
            records = self._records.all()
            for place in present:
                if place.name not in records:
                    with suppress(OSError):
                        place.rmdir()

    def _recover(self, identity: str, number: int) -> None:
        lock = files.try_lock(self._folder.bays / f"{number:02d}.lock")
        if lock is None:
            return  # at work on it right now
        try:
            record = self._records.all().get(identity)
            if record is None:
                return
            moved = os.path.lexists(self._folder.quarantine / identity / "tree")
            if record.state == journal.UNDOING:
                self._complete_undo(record)
            elif record.state == journal.REMOVING and (moved or not record.tree):
                self._complete_removal(record)
            elif record.state == journal.REMOVING:
                self._records.drop(identity)
        finally:
            os.close(lock)

    def _unsettled(self) -> list[Record]:
        return [each for each in self._records.all().values() if each.unsettled and each.marker.home == self._home]

    def require_settled(self, owner: str, purpose: str) -> None:
        """Raise StrettoError while the last removal or undo of this owner could not be completed."""
        for record in self._unsettled():
            if (record.marker.owner, record.marker.purpose) == (owner, purpose):
                raise StrettoError(
                    f"the last workspace of {owner} is not wholly removed yet",
                    object=record.path,
                    hint=f"stretto remove {owner} says what holds it",
                    code="incomplete",
                )

    def begun(self, owner: str, path: Path) -> Record | None:
        """The removal of this workspace that was begun and could not be completed."""
        found = (each for each in self._unsettled() if each.state == journal.REMOVING)
        return next((each for each in found if (each.marker.owner, each.path) == (owner, str(path))), None)

    def resume(self, record: Record) -> Removal:
        """Complete a removal that was begun; raises StrettoError with what still holds it."""
        known = self._records.all().get(record.id)
        if known is not None and known.state == journal.REMOVING:
            known = self._complete_removal(known)
        return self._removal(known or record)

    def known(self, identity: str) -> Record:
        """The record of a removal of ours. Raises StrettoError if there is none."""
        record = self._records.all().get(identity)
        if record is None or record.marker.home != self._home:
            raise StrettoError(
                f"no removal is called {identity}",
                object=identity,
                hint="stretto purge --list shows what can be brought back",
                code="unknown_removal",
            )
        return record

    def done_before(self, owner: str, path: Path) -> Removal | None:
        """The removal of this workspace that is already done."""
        found = [each for each in self.removals() if (each.owner, each.path) == (owner, path)]
        return found[0] if found else None

    def removals(self) -> list[Removal]:
        """All that lies in quarantine for this home, newest first."""
        ours = [record for record in self._records.all().values() if record.marker.home == self._home]
        return [self._removal(record) for record in sorted(ours, key=lambda each: each.at, reverse=True)]

    def _removal(self, record: Record) -> Removal:
        place = self._folder.quarantine / record.id
        whole = record.tree or record.marker.adopted is not None
        path = Path(record.path)
        return Removal(record.id, record.marker.owner, path, place, dict(record.refs), record.at, whole=whole)


def _plain(layers: Layers) -> dict[str, dict[str, Any]]:
    return {name: dict(step) for name, step in layers.items()}


def kept_ref(owner: str, identity: str, word: str) -> str:
    """The ref that keeps something of a removal."""
    if names.split_uid(owner):
        return names.ref_name("keep", owner, identity, word)
    return f"{names.REF_ROOT}/keep/{names.slugify(owner)}/{identity}/{word}"
