"""The warm pool: bays that are made before anybody needs them, with their packages in place.

Specification.
- A spare is a bay with the purpose `spare`: a worktree of its own at a commit, detached, with a seal over all of its
  files, made under the bay's lock like any other. It has no layers, no branch, and of what git ignores only packages.
- It is taken under the lock of the folder, and only while its seal is whole and nobody holds it: its marker gets the
  new owner and says `making`. From there on it is made like a fresh bay, except that the worktree that is there is
  turned to the branch. What dies then is completed, what fails is undone.
- A worktree is never handed on: registration, index, HEAD, reflog and private configuration of a spare are its own,
  made when it was. What goes from a removed workspace to a spare are folders of packages, when the workspace has
  landed, all else of it lies in quarantine, their seal is whole, and nobody worked there who may do everything.
- A spare in which somebody has worked all the same is removed as a workspace is: kept, and brought back by `undo`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from stretto import files
from stretto.core.errors import Conflict, StrettoError
from stretto.failpoints import failpoint
from stretto.workspace import deletion, journal
from stretto.workspace.dependencies import Ladder
from stretto.workspace.dependencies.ladder import Known
from stretto.workspace.dependencies.recognise import Wanted
from stretto.workspace.dependencies.seal import seal
from stretto.workspace.journal import SPARE, Bay, Cabinet, Record
from stretto.workspace.maker import Maker
from stretto.workspace.parts import Parts

#: owner of the spares; with a number behind it a uid in form
OWNER = "warm-pool/spare"


@dataclass(frozen=True, slots=True)
class Spare:
    """A spare as a person sees it. `state`: `ready`, `being made`, or `touched`: somebody worked there.

    `packages`: folders of packages that are in it, relative to it.
    """

    path: Path
    commit: str
    state: str
    packages: tuple[str, ...]


class Pool:
    """The spares of one repository and one home. `reserve` makes the marker of a new one."""

    def __init__(
        self,
        parts: Parts,
        records: Cabinet[Record],
        maker: Maker,
        ladder: Ladder | None,
        reserve: Callable[[str, str], Bay],
    ) -> None:
        self._git, self._folder, self._home = parts.git, parts.folder, parts.home
        self._bays, self._teardown = parts.bays, parts.teardown
        self._records, self._maker = records, maker
        self._ladder, self._reserve = ladder, reserve

    # ------------------------------------------------------------ take

    def take(self, wanted: Bay) -> Bay | None:
        """A spare's marker made out to the owner of `wanted`; None if there is none. The folder's lock is held."""
        for spare in self._spares():
            if spare.state != journal.MADE or spare.sealed is None:
                continue
            lock = files.try_lock(self._lock(spare.number))
            if lock is None:
                continue  # it is just being made
            try:
                known = self._bays.all().get(spare.name)
                if known == spare and self._whole(spare):
                    taken = replace(wanted, number=spare.number, admin=spare.admin, deps=spare.deps, spare=True)
                    self._bays.put(taken.name, taken)
                    failpoint("daemon.pool.taken")
                    return taken
            finally:
                os.close(lock)
        return None

    def spares(self) -> list[Spare]:
        """What there is now, each looked at; some milliseconds for a thousand files."""
        return [
            Spare(self._folder.of(bay), bay.commit, self._state(bay), tuple(sorted(bay.deps))) for bay in self._spares()
        ]

    def _state(self, bay: Bay) -> str:
        if bay.state != journal.MADE or bay.sealed is None:
            return "being made"
        return "ready" if self._whole(bay) else "touched"

    def _spares(self) -> list[Bay]:
        return [bay for bay in self._bays.all().values() if (bay.home, bay.purpose) == (self._home, SPARE)]

    def _lock(self, number: int) -> Path:
        return self._folder.bays / f"{number:02d}.lock"

    def _seal(self, bay: Bay) -> str | None:
        places = {place for noted in bay.deps.values() for place in noted.get("seals", ())}
        return seal(self._folder.of(bay), but={".git", *bay.deps, *places})

    def _whole(self, bay: Bay) -> bool:
        try:
            return bay.sealed is not None and self._seal(bay) == bay.sealed
        except OSError:
            return False

    # ------------------------------------------------------------ fill

    def fill(self, commit: str, count: int, env: Mapping[str, str], clean: Callable[[str], bool]) -> int:
        """Have `count` spares that show `commit`, and no more; how many had to be made or changed.

        `clean`: whether nobody worked in the workspace of this owner who may do everything. Raises StrettoError when
        one cannot be made; the others stand.
        """
        wanted = [f"{OWNER}-{number}" for number in range(1, count + 1)]
        for spare in self._spares():
            if spare.owner not in wanted:
                self._let_go(spare)
        return sum(self._ready(owner, commit, env, clean) for owner in wanted)

    def _ready(self, owner: str, commit: str, env: Mapping[str, str], clean: Callable[[str], bool]) -> bool:
        bay = next((each for each in self._spares() if each.owner == owner), None) or self._reserve(owner, commit)
        with suppress(Conflict), self._held(bay):
            bay = self._bays.all()[bay.name]
            if bay.state == journal.MADE and not self._whole(bay):
                if bay.sealed is not None:
                    self._teardown.remove(bay, owner, None, "somebody worked there")
                    return False  # the next time there is a new one
            elif bay.state == journal.MADE and bay.commit == commit:
                return False
            if bay.state == journal.MADE:
                bay = self._bays.put(bay.name, replace(bay, commit=commit, sealed=None))
                self._git.switch_worktree(self._folder.of(bay), commit)
            else:
                bay, _ = self._maker.make(replace(bay, commit=commit), commit, env, fresh=True)
            bay = self._stock(bay, env, clean)
            failpoint("daemon.pool.stocked")
            self._bays.put(bay.name, replace(bay, sealed=self._seal(bay)))
            return True
        return False

    @contextmanager
    def _held(self, bay: Bay) -> Iterator[None]:
        """Hold the lock of a spare that is still one. Raises Conflict if it is not, or somebody else holds it."""
        with files.lock(self._lock(bay.number), wait=0):
            known = self._bays.all().get(bay.name)
            if known is None or known.owner != bay.owner:
                raise Conflict(f"bay {bay.name} was taken meanwhile", object=str(self._folder.of(bay)))
            yield

    def _let_go(self, spare: Bay) -> None:
        """Take a spare away that is one too many: nobody ever had it. One in which somebody worked is kept."""
        with suppress(Conflict), self._held(spare):
            bay = self._bays.all()[spare.name]
            if bay.state == journal.MADE and bay.sealed is not None and not self._whole(bay):
                self._teardown.remove(bay, bay.owner, None, "somebody worked there")
                return
            bay = self._bays.put(bay.name, replace(bay, state=journal.MAKING))
            path = self._folder.of(bay)
            deletion.delete(path.parent, path.name)
            self._git.forget_worktree(path)
            self._bays.drop(bay.name)

    # ------------------------------------------------------------ packages

    def _stock(self, bay: Bay, env: Mapping[str, str], clean: Callable[[str], bool]) -> Bay:
        """Bring in the packages that work wherever they lie: of a workspace that has landed, else golden copies."""
        if self._ladder is None:
            return bay
        tree = self._folder.of(bay)
        for wanted in self._ladder.portable(tree, env):
            noted = bay.deps.get(wanted.place)
            if noted is not None and noted["key"] == wanted.key and self._ladder.whole(tree, noted):
                continue
            moved = self._recycled(tree, bay, wanted, clean)
            known: Known = {**bay.deps, **moved} if moved else self._ladder.stock(tree, bay, wanted, env)
            bay = self._bays.put(bay.name, replace(bay, deps=known))
        return bay

    def _recycled(self, tree: Path, bay: Bay, wanted: Wanted, clean: Callable[[str], bool]) -> Known:
        """Move packages here from a workspace that has landed; nothing if none has just these."""
        if self._ladder is None:
            return {}
        for record in self._records.all().values():
            noted = record.marker.deps.get(wanted.place)
            ours = record.marker.home == self._home and record.state == journal.REMOVED and record.reason == "landed"
            if not ours or noted is None or noted["key"] != wanted.key or not clean(record.marker.owner):
                continue
            with suppress(Conflict), self._undisturbed(record, bay.number) as known:
                aside = self._folder.quarantine / record.id / "tree"
                if known != record or not self._ladder.whole(aside, noted):
                    continue
                left = {place: one for place, one in record.marker.deps.items() if place != wanted.place}
                lent = {**record.lent, wanted.place: noted}
                self._records.put(record.id, replace(record, bay={**record.bay, "deps": left}, lent=lent))
                failpoint("daemon.pool.recycling")
                return {wanted.place: {**self._ladder.move(aside, tree, wanted, noted), "owner": bay.owner}}
        return {}

    @contextmanager
    def _undisturbed(self, record: Record, held: int) -> Iterator[Record | None]:
        """The record, while nobody brings it back or purges it. Raises Conflict if somebody does. `held`: our lock."""
        if record.marker.number == held:
            yield self._records.all().get(record.id)
            return
        with files.lock(self._lock(record.marker.number), wait=0):
            yield self._records.all().get(record.id)


def is_spare(owner: str) -> bool:
    """Whether this is the owner of a spare."""
    return owner.startswith(f"{OWNER}-")


def brought_back(ladder: Ladder, bay: Bay, tree: Path, lent: Known) -> Bay:
    """The marker of a workspace that came back, with copies of the packages that it has lent where there are any."""
    known = dict(bay.deps)
    for place, noted in lent.items():
        with suppress(StrettoError, OSError):  # they can be installed again
            found = ladder.again(tree, place, noted)
            if found:
                known[place] = {**found, "owner": bay.owner}
    return replace(bay, deps=known)
