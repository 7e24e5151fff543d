"""The main checkout as the workspace of a task (`workspace: shared`), one at a time.

Specification.
- The marker, which says what the checkout showed before (`shared`), is written before anything is switched, and goes
  last of all: what dies in between is taken up by the same call again. HEAD is the proof of a switch.
- Another task, of whatever home, finds the marker and is refused (`checkout_taken`).
- The checkout is switched, both ways, only while it is clean (`git/switch.py`). Nothing in it is ever deleted, cleaned
  or moved: no copies, no packages, no `.env` file, no quarantine.
- It holds ports and a browser profile as other workspaces do, and no database: what runs there works with the person's.
- It is given back as soon as HEAD is not at the task's branch: whoever switches it has taken it back.
- A first try that fails leaves no marker, no branch and the checkout as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stretto import files
from stretto.core.errors import Conflict, StrettoError
from stretto.failpoints import failpoint
from stretto.interfaces import Workspace
from stretto.workspace import journal
from stretto.workspace.describer import Describer
from stretto.workspace.journal import TASK, Bay
from stretto.workspace.parts import Parts


class Sharing:
    """Gives the main checkout to tasks, and takes it back."""

    def __init__(self, parts: Parts, describer: Describer) -> None:
        self._git, self._folder, self._home = parts.git, parts.folder, parts.home
        self._bays, self._markers, self._teardown = parts.bays, parts.markers, parts.teardown
        self._take_layers, self._now = parts.take_layers, parts.now
        self.describer = describer

    def share(self, owner: str, commit: str, branch: str, fallback: str, env: Mapping[str, str]) -> Workspace:
        """As `interfaces.Workspaces.share` says."""
        bay = self._reserve(owner, commit, branch, fallback)
        with self._markers.hold(bay.number):
            bay = self._markers.current(bay)
            fresh = bay.state == journal.MAKING
            try:
                bay = self._where_it_is(bay, branch)
                self._git.switch_checkout(branch, bay.commit)
                bay, values = self._take_layers(bay, bay.commit, env)
                space = self.describer.describe(bay, bay.commit, env, values, fresh)
            except StrettoError:
                if fresh:
                    self._undo(self._markers.current(bay))
                raise
            bay = self._bays.put(bay.name, replace(bay, state=journal.MADE, ready="shared"))
            return replace(space, ready=bay.ready)

    def _reserve(self, owner: str, commit: str, branch: str, fallback: str) -> Bay:
        with files.lock(self._folder.lock, wait=60.0):
            known = self._of(owner)
            if known is not None:
                return known
            for bay in self._bays.all().values():
                if bay.shared is not None:
                    raise _taken(self._git.root, bay)
                if (bay.home, bay.owner, bay.purpose) == (self._home, owner, TASK):
                    raise StrettoError(
                        f"{owner} has a worktree of its own already",
                        code="in_the_way",
                        object=str(self._folder.of(bay)),
                        hint=f"stretto retry --fresh {owner}",
                    )
            at = self._shown()
            bay = Bay(
                number=self._markers.number(),
                home=self._home,
                owner=owner,
                purpose=TASK,
                branch=branch,
                commit=commit,
                created=self._now(),
                branch_made=self._git.read_ref(f"refs/heads/{branch}") is None,
                adopted=str(self._git.root),
                shared=fallback if at == branch else at,
            )
            self._bays.put(bay.name, bay)
        failpoint("daemon.workspace.reserved")
        return bay

    def _of(self, owner: str) -> Bay | None:
        mine = (each for each in self._bays.all().values() if (each.home, each.owner) == (self._home, owner))
        return next((each for each in mine if each.shared is not None), None)

    def _shown(self) -> str:
        """The branch that the checkout is on, else its commit. Raises StrettoError for one without a commit."""
        at = self._git.current_branch() or self._git.resolve("HEAD")
        if at is None:
            raise StrettoError(
                f"your checkout {self._git.root} shows no commit", code="unborn_branch", object=str(self._git.root)
            )
        return at

    def _where_it_is(self, bay: Bay, branch: str) -> Bay:
        """The marker with what the checkout is to go back to: where the person has switched it meanwhile."""
        at = self._shown()
        if at in (branch, bay.shared):
            return bay
        return self._bays.put(bay.name, replace(bay, shared=at))

    def _undo(self, bay: Bay) -> None:
        """Take back a first try: nobody has worked on its branch."""
        with suppress(StrettoError, OSError):
            self._switch_back(bay)
            bay = self._teardown.drop_layers(bay)
            if bay.branch_made and self._git.read_ref(f"refs/heads/{bay.branch}") == bay.commit:
                with suppress(Conflict):
                    self._git.delete_ref(f"refs/heads/{bay.branch}", bay.commit)
            self._bays.drop(bay.name)

    def give_back(self, owner: str) -> str | None:
        """As `interfaces.Workspaces.give_checkout_back` says."""
        bay = self._of(owner)
        if bay is None:
            return None
        with self._markers.hold(bay.number):
            bay = self._markers.current(bay)
            self._switch_back(bay)
            self._bays.drop(self._teardown.drop_layers(bay).name)
        return self._git.current_branch() or self._git.resolve("HEAD")

    def _switch_back(self, bay: Bay) -> None:
        """Let the checkout show what it showed before, unless somebody has switched it already."""
        was = str(bay.shared)
        if self._shown() not in (bay.branch, was):  # if it is there already, what a crash has left is completed
            return
        tip = self._git.read_ref(f"refs/heads/{was}")
        if tip is not None:
            self._git.switch_checkout(was, tip)
            return
        commit = self._git.resolve(was) if _is_oid(was) else None
        if commit is None:
            raise StrettoError(
                f"your checkout {self._git.root} was on {was}, which is gone",
                code="branch_gone",
                object=was,
                hint=f"git -C {self._git.root} switch BRANCH",
            )
        self._git.switch_checkout(None, commit)


def _is_oid(word: str) -> bool:
    return len(word) in (40, 64) and not set(word) - set("0123456789abcdef")


def _taken(root: Path, bay: Bay) -> StrettoError:
    return StrettoError(
        f"{bay.owner} works in your checkout {root}, and only one task can at a time",
        code="checkout_taken",
        object=str(root),
        hint=f"stretto explain {bay.owner}",
    )
