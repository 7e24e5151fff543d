"""The databases of one repository's workspaces: which there are, what each began with, where each goes.

Specification.
- A row (`rows/<name>.json`) is written before anything is made, only after the name was seen to be free. It says
  `making` until the database is whole, then `made`. A row in `making` is made anew by the next `ensure`, and undone
  when that fails. After a removal it says `aside` and which removal holds it.
- `ensure` clones the golden template of what the workspace starts from, if there is one, else what the provider calls
  its origin. Migrations and data are commands of the project: the caller runs them with the address and says `settled`.
  What is there then becomes the template of that start, unless somebody is connected to it.
- A template's name is a hash over everything that its content depends on: the source's schema, both commands, and the
  migration files of the start. So it is never wrong, only missing. The newest few are kept.
- A gate's database is made anew each time, a task's only when the person resets it.
- Only databases with a row of ours and our marker are ever dropped.

Callers hold the lock of the workspace's bay; templates have a lock of their own.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from stretto import files
from stretto.core import names
from stretto.core.database_url import protection
from stretto.core.errors import StrettoError
from stretto.workspace.databases.base import Address, Marker, Place, Provider, Served, Settings, Shared
from stretto.workspace.journal import Cabinet

MAKING, MADE, ASIDE, DROPPING = "making", "made", "aside", "dropping"
TEMPLATE = "template"
#: how many golden templates a repository keeps
KEPT_TEMPLATES = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Branch:
    """The row of a database. `ready`: migrated and filled. `template`: what it was cloned from; None: the origin."""

    name: str
    home: str
    owner: str
    purpose: str
    provider: str
    worktree: str
    created: float
    state: str = MAKING
    template: str | None = None
    ready: bool = False
    removal: str | None = None

    @property
    def aside(self) -> str:
        """Its name while a removal holds it."""
        return f"{self.name}_q{self.removal}"


class Branches:
    """Databases of one repository and one home, by one provider. `folder` is private and on the bays' file system."""

    def __init__(
        self,
        provider: Provider,
        settings: Settings,
        folder: Path,
        root: Path,
        project: str,
        home: str,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.provider = provider
        self.settings = settings
        self._folder = folder
        self._root = root
        self._home = home
        self._now = now
        self._project = project
        self._rows: Cabinet[Branch] = Cabinet(folder / "rows", Branch)

    # ------------------------------------------------------------ take

    def check(self) -> None:
        """Raise StrettoError if no database could be made: a protected address, a server that is down, no rights."""
        url = self.settings.url
        why = protection(url, self.settings.protect, self.settings.allow) if url is not None else None
        if url is not None and why is not None:
            raise StrettoError(
                f"no database is branched from {url.shown()}: {why}",
                object=url.shown(),
                code="database_protected",
                hint=f'name a database for development, or [database] allow = ["{url.host}"] in stretto.toml',
            )
        self.provider.check()

    def remarks(self) -> list[str]:
        """What the person should know of a provider that keeps tasks less apart. Raises StrettoError as `check`."""
        return self.provider.remarks() if isinstance(self.provider, Shared) else []

    def place(self, worktree: Path, environment: Mapping[str, str] | None = None) -> Place:
        """Where a workspace's database is used."""
        return Place(worktree, self._root, self._folder, environment or {})

    def find(self, owner: str, purpose: str) -> Branch | None:
        """The database of an owner; None if there is none."""
        row = self._rows.all().get(self._name(owner, purpose))
        return row if row is not None and row.home == self._home else None

    def ensure(self, owner: str, purpose: str, place: Place, start: str, *, anew: bool = False) -> Branch:
        """The database of an owner, made if it is not there. `start` names the migrations that its commit has.

        `anew`: one that is there is replaced. Raises StrettoError, and nothing is left of what it had begun.
        """
        row = self.find(owner, purpose)
        if row is not None and row.state == MADE and not anew:
            self.wake(owner, purpose, place)
            return row
        self.check()
        files.make_private_dir(self._folder)
        files.make_private_dir(self._folder / "rows")
        self._sweep()
        begun = row is not None and row.state in (MAKING, MADE)
        if row is None or row.state == ASIDE:
            self.provider.require_free(self._name(owner, purpose), place)
        template = self._template_for(start)
        row = Branch(
            name=self._name(owner, purpose),
            home=self._home,
            owner=owner,
            purpose=purpose,
            provider=self.provider.kind,
            worktree=str(place.worktree),
            created=self._now(),
            template=template,
        )
        self._rows.put(row.name, row)
        try:
            row = self._make(row, place, begun)
        except (StrettoError, OSError):
            self._undo(row, place)
            raise
        return self._rows.put(row.name, replace(row, state=MADE))

    def _make(self, row: Branch, place: Place, begun: bool) -> Branch:
        marker = Marker(self._home, self._project, row.owner, row.purpose)
        try:
            self.provider.create(row.name, marker, row.template, place, begun=begun)
        except StrettoError as error:
            if row.template is None or error.code != "database_missing":
                raise
            self._rows.drop(row.template)  # somebody dropped the template: begin with what it was made from
            row = self._rows.put(row.name, replace(row, template=None))
            self.provider.create(row.name, marker, None, place, begun=True)
        return row

    def _undo(self, row: Branch, place: Place) -> None:
        """Leave nothing half-made: this database was never handed out."""
        with suppress(StrettoError, OSError):
            self.provider.drop(row.name, place, begun=True)
            self._rows.drop(row.name)

    def address(self, row: Branch, place: Place) -> Address:
        """How its workspace reaches it."""
        return self.provider.address(row.name, place)

    def wake(self, owner: str, purpose: str, place: Place) -> None:
        """Let it answer, if it needs a process of ours. Raises StrettoError if that cannot be started."""
        row = self.find(owner, purpose)
        if row is not None and row.state == MADE and isinstance(self.provider, Served):
            self.provider.wake(row.name, place)

    def rest(self, owner: str, purpose: str) -> None:
        """End the process of ours that it may have, until `wake`."""
        row = self.find(owner, purpose)
        if row is not None and row.state == MADE and isinstance(self.provider, Served):
            self.provider.rest(row.name)

    def settled(self, owner: str, purpose: str, place: Place, start: str | None) -> None:
        """Migrations and data are in: it is ready. With `start` what is in it now becomes the template of that.

        Nothing happens if it was ready before: its task may have changed it since.
        """
        row = self.find(owner, purpose)
        if row is None or row.state != MADE or row.ready:
            return
        row = self._rows.put(row.name, replace(row, ready=True))
        if start is None or not self.provider.freezes or self._template_for(start) is not None:
            return
        try:
            self._freeze(row, place, start)
        except StrettoError as error:  # the next workspace begins with the origin then, as this one did
            _log.info("no template was made of %s: %s", row.name, error.message)

    def _freeze(self, row: Branch, place: Place, start: str) -> None:
        name = self._template_name(start)
        with files.lock(self._folder / f"{name}.lock", wait=60.0):
            if name in self._rows.all() and self._rows.all()[name].state == MADE:
                return
            marker = Marker(self._home, self._project, start, TEMPLATE, kind=TEMPLATE)
            kept = Branch(name, self._home, start, TEMPLATE, self.provider.kind, str(place.worktree), self._now())
            self._rows.put(name, kept)
            try:
                self.provider.freeze(row.name, name, marker, place)
            except StrettoError:
                self._undo(kept, place)
                raise
            self._rows.put(name, replace(kept, state=MADE, ready=True))
        self._forget_old_templates()

    def _sweep(self) -> None:
        """Undo what a crash has left of templates, and complete what it left of deletions, each where it was."""
        for row in self._rows.all().values():
            if row.home != self._home or not (row.state == DROPPING or (row.purpose, row.state) == (TEMPLATE, MAKING)):
                continue
            lock = files.try_lock(self._folder / f"{row.name}.lock")
            if lock is None:
                continue  # somebody is at work on it right now
            try:
                with suppress(StrettoError):
                    self._drop(row, self._place_of(row))
            finally:
                os.close(lock)

    def _place_of(self, row: Branch) -> Place:
        """Where a database was made, unless that is somebody else's place by now: then nothing there is its own."""
        live = (one for one in self._rows.all().values() if one.state in (MAKING, MADE) and one.purpose != TEMPLATE)
        others = any(one.worktree == row.worktree and one.name != row.name for one in live)
        return self.place(self._folder / "nowhere" if others else Path(row.worktree))

    def _forget_old_templates(self) -> None:
        found = sorted(self.templates(), key=lambda row: row.created, reverse=True)
        for row in found[KEPT_TEMPLATES:]:
            with files.lock(self._folder / f"{row.name}.lock", wait=60.0):
                try:
                    self._drop(row, self._place_of(row))
                except StrettoError as error:  # the workspace that it was forgotten for is none the worse; tried again
                    _log.warning("the template %s is not dropped: %s", row.name, error.message)

    # ------------------------------------------------------------ give back

    def reset(self, owner: str, purpose: str, place: Place, start: str) -> Branch:
        """Throw the content away and begin again. Raises StrettoError if the owner has no database."""
        if self.find(owner, purpose) is None:
            raise StrettoError(f"{owner} has no database", object=owner, code="no_database", hint="stretto db list")
        return self.ensure(owner, purpose, place, start, anew=True)

    def renew(self, owner: str, purpose: str, removal: str, place: Place, start: str) -> Branch:
        """Put the database aside as a removal does, and begin again from the golden template. Raises StrettoError.

        Nothing has changed then. Raises `no_database` if the owner has none.
        """
        if self.find(owner, purpose) is None:
            raise StrettoError(f"{owner} has no database", object=owner, code="no_database", hint="stretto db list")
        self.set_aside(owner, purpose, removal, place)
        try:
            return self.ensure(owner, purpose, place, start)
        except StrettoError:
            self.bring_back(removal, place)
            raise

    def swap(self, owner: str, purpose: str, back: str, removal: str, place: Place) -> None:
        """Bring back what removal `back` holds; what is there now is put aside as `removal`."""
        if self._held_by(back) is None:
            raise StrettoError(
                f"nothing is kept under {back}", object=back, code="no_removal", hint="stretto purge --list"
            )
        self.set_aside(owner, purpose, removal, place)
        self.bring_back(back, place)
        self.wake(owner, purpose, place)

    def set_aside(self, owner: str, purpose: str, removal: str, place: Place) -> None:
        """The workspace is being removed: out of reach, whole, until `bring_back` or `purge`."""
        row = self.find(owner, purpose)
        if row is None or row.state == ASIDE:
            return
        if row.state == MAKING:
            self._undo(row, place)
            return
        kept = replace(row, removal=removal, state=ASIDE)
        self._rows.put(kept.aside, kept)
        self.provider.set_aside(row.name, kept.aside, place)
        self._rows.drop(row.name)

    def bring_back(self, removal: str, place: Place) -> None:
        """The way back. Nothing happens if this removal holds no database."""
        row = self._held_by(removal)
        if row is None:
            return
        self.provider.bring_back(row.name, row.aside, place)
        self._rows.put(row.name, replace(row, state=MADE, removal=None))
        self._rows.drop(row.aside)

    def purge(self, removal: str, place: Place) -> None:
        """Delete for good what this removal holds."""
        row = self._held_by(removal)
        if row is None:
            return
        self.provider.drop(row.aside, place)
        self._rows.drop(row.aside)

    def drop(self, owner: str, purpose: str, place: Place) -> None:
        """Delete the database of an owner for good."""
        row = self.find(owner, purpose)
        if row is not None:
            self._drop(row, place)

    def _drop(self, row: Branch, place: Place) -> None:
        self._rows.put(row.name, replace(row, state=DROPPING))
        self.provider.drop(row.name, place, begun=True)
        self._rows.drop(row.name)

    def _held_by(self, removal: str) -> Branch | None:
        rows = self._rows.all().values()
        return next((row for row in rows if row.state == ASIDE and row.removal == removal), None)

    # ------------------------------------------------------------ what is known

    def known(self) -> list[Branch]:
        """Every database of this home, tasks and gates before templates, the newest first in each."""
        ours = [row for row in self._rows.all().values() if row.home == self._home]
        return sorted(ours, key=lambda row: (row.purpose == TEMPLATE, -row.created))

    def templates(self) -> list[Branch]:
        """Every golden template of the repository, of whatever home."""
        return [row for row in self._rows.all().values() if row.purpose == TEMPLATE and row.state == MADE]

    def leftovers(self) -> list[str]:
        """Databases with our marker for this home that no row names: only told, never dropped."""
        known = set(self._rows.all())
        found = self.provider.found().items()
        return sorted(
            name
            for name, marker in found
            if name not in known and (marker.home, marker.project) == (self._home, self._project)
        )

    def held_up(self) -> dict[str, str]:
        """Databases that are to be dropped and are not, because of what needs them -> what that is."""
        if not isinstance(self.provider, Shared):
            return {}
        stays = [row.name for row in self.known() if row.state == DROPPING]
        return {name: "; ".join(needing) for name in stays if (needing := self.provider.needing(name))}

    # ------------------------------------------------------------ names

    def _name(self, owner: str, purpose: str) -> str:
        url = self.settings.url.shown() if self.settings.url is not None else ""
        said = [self._project, self._home, self.provider.kind, url, purpose, owner]
        return names.database_name(self._root.name, owner, json.dumps(said))

    def _template_name(self, start: str) -> str:
        said = [self.provider.kind, self.provider.origin(), self.settings.migrate, self.settings.seed, start]
        return names.database_name(self._root.name, "template", f"{self._project} {json.dumps(said)}")

    def _template_for(self, start: str) -> str | None:
        if not self.provider.freezes:
            return None
        name = self._template_name(start)
        row = self._rows.all().get(name)
        return name if row is not None and row.state == MADE else None
