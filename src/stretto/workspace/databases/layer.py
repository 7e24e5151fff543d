"""The database of a workspace as one layer of its transaction.

Specification.
- A task's database is made once, from the template of the migrations in its base commit. A gate's is made anew for
  every candidate, from the template of what the candidate is merged onto: the merged migrations then meet what is
  there before them, as they will at the person's.
- Migrating and filling need the workspace's dependencies, so they are not done here: `due` says what is to be run once
  the set-up has passed, `filled` that it has.
- What was put aside comes back by the removal's id. The data of the layer is the address, which holds no password.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stretto.core import migrations
from stretto.core.errors import StrettoError
from stretto.core.model import BY_HAND
from stretto.core.workspace_commands import words
from stretto.interfaces import Git
from stretto.workspace.databases import base
from stretto.workspace.databases.branches import Branch, Branches
from stretto.workspace.databases.sqlite import Sqlite
from stretto.workspace.layers import Data, Held, Leftover, Place

GATE = "gate"
#: the tree without files, by the length of an object id
_EMPTY = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
#: how git lists a symbolic link
_LINK = "120000:"


class DatabaseLayer:
    """The layer `database`."""

    name = "database"

    def __init__(self, git: Git, branches: Branches) -> None:
        self._git = git
        self._branches = branches
        self._starts: dict[str, str] = {}

    def variables(self) -> frozenset[str]:
        """`DATABASE_URL`, and what a provider needs with it."""
        return frozenset({"DATABASE_URL"})

    def check(self) -> None:
        """Raise StrettoError if no database could be made: server down, rights or programs missing, protected."""
        self._branches.check()

    def wanted(self, place: Place) -> bool:
        """Every workspace has one, but the main checkout, and an adopted worktree with a file of its own in the way."""
        if place.path == place.root:
            return False  # what runs there works with the person's own database
        provider, spot = self._branches.provider, self._spot(place)
        if not place.owner.startswith(f"{BY_HAND}/") or not isinstance(provider, Sqlite):
            return True
        return self._branches.find(place.owner, place.purpose) is not None or not provider.occupied(spot)

    def take(self, place: Place, recorded: Data) -> Held:
        """The database, made if it is not there."""
        spot = self._spot(place)
        start = self.start(self._onto(place))
        try:
            row = self._ensured(place, spot, start)
        except StrettoError as error:
            if error.code != "database_link":
                raise
            committed = self._has_link(place.environment.get("STRETTO_BASE", place.commit), error)
            if committed or not self._cleared(place, spot):
                error.details["committed"] = committed
                raise
            row = self._ensured(place, spot, start)
        return self._held(row, spot)

    def _ensured(self, place: Place, spot: base.Place, start: str) -> Branch:
        return self._branches.ensure(place.owner, place.purpose, spot, start, anew=place.purpose == GATE)

    def _cleared(self, place: Place, spot: base.Place) -> bool:
        """Whether a link was taken away that commands of an earlier gate have left: no entry after it made it."""
        provider = self._branches.provider
        return place.purpose == GATE and isinstance(provider, Sqlite) and provider.clear(spot)

    def values(self, place: Place, data: Data) -> Mapping[str, str]:
        """`DATABASE_URL` as it was when it was taken."""
        return {str(name): str(value) for name, value in data.get("env", {}).items()}

    def give(self, place: Place, data: Data) -> None:
        """Out of reach until `back`. A bay that was never handed out has no removal: its database goes."""
        if place.removal is None:
            self._branches.drop(place.owner, place.purpose, self._spot(place))
            return
        self._branches.set_aside(place.owner, place.purpose, place.removal, self._spot(place))

    def back(self, place: Place, data: Data) -> Held:
        """Back in its place."""
        spot = self._spot(place)
        if place.removal is not None:
            self._branches.bring_back(place.removal, spot)
        row = self._branches.find(place.owner, place.purpose)
        return self._held(row, spot) if row is not None else Held(self.values(place, data), dict(data))

    def purge(self, place: Place, data: Data) -> None:
        """Gone for good."""
        if place.removal is not None:
            self._branches.purge(place.removal, self._spot(place))

    def leftovers(self, owners: Iterable[str]) -> list[Leftover]:
        """Databases of owners that are no more, and databases of ours that no record names."""
        owned = set(owners)
        rows = [row for row in self._branches.known() if row.purpose != "template" and row.owner not in owned]
        found = [Leftover(self.name, row.name, f"the database of {row.owner}", "stretto db list") for row in rows]
        for name, needing in self._branches.held_up().items():
            text = f"the schema {name} is not dropped, as it is needed by {needing}"
            found.append(Leftover(self.name, name, text, "drop that"))
        strays = self._branches.leftovers()
        return found + [Leftover(self.name, one, "a database without a record", "stretto db list") for one in strays]

    def wake(self, place: Place) -> None:
        """As `Lively` says."""
        self._branches.wake(place.owner, place.purpose, self._spot(place))

    def rest(self, place: Place) -> None:
        """As `Lively` says."""
        self._branches.rest(place.owner, place.purpose)

    def renew(self, place: Place, removal: str, back: str | None) -> Held:
        """As `Renewable` says."""
        spot = self._spot(place)
        if back is not None:
            self._branches.swap(place.owner, place.purpose, back, removal, spot)
        else:
            self._branches.renew(place.owner, place.purpose, removal, spot, self.start(place.commit))
        return self._held(self._branches.find(place.owner, place.purpose), spot)

    # ------------------------------------------------------------ migrations and data

    def due(self, place: Place) -> tuple[str, ...]:
        """Which trusted commands are to be run for what was taken: `migrate`, `seed`."""
        row, said = self._branches.find(place.owner, place.purpose), self._branches.settings
        if row is None or not self._branches.provider.keeps:
            return ()
        wanted = [("migrate", said.migrate), ("seed", said.seed if row.template is None and not row.ready else None)]
        return tuple(kind for kind, command in wanted if command)

    def filled(self, place: Place, *, pristine: bool) -> None:
        """They have passed. What only the commit's own migrations have made may become a template."""
        start = self.start(place.commit) if pristine else None
        self._branches.settled(place.owner, place.purpose, self._spot(place), start)

    def start(self, commit: str) -> str:
        """What names the migrations of a commit: paths and contents of them and of files that the commands name."""
        if commit not in self._starts:
            if len(self._starts) > 1000:
                self._starts.clear()
            listed = self._git.changed_paths(_EMPTY[len(commit)], commit)
            named = _named(self._branches.settings.migrate, self._branches.settings.seed)
            wanted = (path for path in listed if path in named or migrations.is_migration(path))
            found = sorted((path, listed[path][1]) for path in wanted)
            self._starts[commit] = base.digest(found)
        return self._starts[commit]

    def _has_link(self, commit: str, error: StrettoError) -> bool:
        """Whether a commit itself puts a link where the database would be, so that whose it is has to mend it."""
        path, listed = error.object or "", self._git.changed_paths(_EMPTY[len(commit)], commit)
        links = [one for one, (_, what) in listed.items() if what.startswith(_LINK)]
        return any(path.startswith(f"{one}/") or one == path or one.startswith(f"{path}-") for one in links)

    def _onto(self, place: Place) -> str:
        """The commit whose migrations a new database has: a gate's is what the candidate is merged onto."""
        commit = place.environment.get("STRETTO_BASE", place.commit)
        if place.purpose != GATE:
            return place.commit
        parents = self._git.parents(commit)
        return parents[0] if parents else commit

    # ------------------------------------------------------------ plain values

    def _spot(self, place: Place) -> base.Place:
        return self._branches.place(place.path, place.environment)

    def _held(self, row: Branch | None, spot: base.Place) -> Held:
        if row is None:
            raise StrettoError("the database is gone", code="no_database", hint="stretto db list")
        address = self._branches.address(row, spot)
        env = {"DATABASE_URL": address.url, **address.env}
        data: dict[str, Any] = {"name": row.name, "provider": row.provider, "env": env}
        return Held(env, data)


def _named(*commands: str | None) -> set[str]:
    """Paths of files that commands may run, as far as their texts tell: `migrate.py`, `-m app.migrate`, `make`."""
    named = set().union(*(words(text) for text in commands if text))
    found = set(named)
    for word in named:
        module = word.replace(".", "/")
        found |= {f"{module}.py", f"{module}/__main__.py"}
    return found | ({"Makefile", "makefile", "GNUmakefile"} if "make" in named else set())
