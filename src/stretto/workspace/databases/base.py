"""What every provider of databases can do, and the plain values that it is asked with.

Specification. A provider makes databases whose names `core.names.database_name` gave, each with a marker in the
database itself (a comment, or a file beside it). `create`, `freeze`, `set_aside`, `bring_back` and `drop` end in the
same place when they are repeated. None of them touches a database without our marker: what has the name of one of ours
and no marker is refused as `database_taken`, but for one that our own row says we had begun to make (`begun`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Protocol, runtime_checkable

from stretto.core.database_url import DatabaseUrl
from stretto.core.errors import Conflict

PREFIX = "stretto database "


@dataclass(frozen=True, slots=True)
class Marker:
    """What a database of ours says of itself. `home` names a home folder.

    `kind` is `branch`, `template` or `aside`; `making` where a template is whole only once it says so.
    """

    home: str
    project: str
    owner: str
    purpose: str
    kind: str = "branch"

    def text(self) -> str:
        """The marker as the comment of a database."""
        return PREFIX + json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, text: str | None) -> Marker | None:
        """The marker that a comment holds; None for any other."""
        if not text or not text.startswith(PREFIX):
            return None
        try:
            given = json.loads(text.removeprefix(PREFIX))
            return cls(**{one.name: str(given[one.name]) for one in fields(cls)})
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is used: the workspace's tree, the main checkout, a private folder of ours.

    `environment`: the variables of the layers before; empty while a removal, an undo or a purge goes on.
    """

    worktree: Path
    root: Path
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """The `[database]` table. `url` None: the provider needs none. `protect` and `allow` as `core.database_url` says.

    `end_sessions`: sessions on the source may be ended so that it can be copied at once. `port`: the name of the
    workspace's port on which a server of its own listens; None: on a Unix socket only. `commands`: the project's own
    (`create`, `drop`, `reset`, `address`), with `timeout` seconds for each.
    """

    provider: str
    url: DatabaseUrl | None = None
    migrate: str | None = None
    seed: str | None = None
    protect: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    end_sessions: bool = False
    port: str | None = None
    commands: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class Address:
    """How a workspace reaches its database: an address without a password, and variables that come with it."""

    url: str
    env: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """One way to give every task a database of its own.

    `keeps`: what one process writes is there for the next, so
    migrations are worth running. `freezes`: it can make templates.
    """

    kind: str
    freezes: bool
    keeps: bool

    def check(self) -> None:
        """Raise StrettoError if no database could be made now: server down, rights missing, program missing."""
        ...

    def origin(self) -> str:
        """What a database without a template begins with, in words that change when its schema does."""
        ...

    def require_free(self, name: str, place: Place) -> None:
        """Raise Conflict (`database_taken`) if something without our marker has this name."""
        ...

    def create(self, name: str, marker: Marker, template: str | None, place: Place, *, begun: bool) -> None:
        """Make a database: a copy of a template of ours, or of what `origin` says. One that is there stays."""
        ...

    def address(self, name: str, place: Place) -> Address:
        """How its workspace reaches it. Asks no server."""
        ...

    def freeze(self, name: str, template: str, marker: Marker, place: Place) -> None:
        """Keep the present content as a template that nobody can connect to. Needs `freezes`."""
        ...

    def set_aside(self, name: str, aside: str, place: Place) -> None:
        """Give it another name under which nobody reaches it any more: removal of its workspace."""
        ...

    def bring_back(self, name: str, aside: str, place: Place) -> None:
        """The way back from `set_aside`."""
        ...

    def drop(self, name: str, place: Place, *, begun: bool = False) -> None:
        """Delete it for good; nothing happens if it is gone. Raises Conflict if it is not provably ours."""
        ...

    def found(self) -> dict[str, Marker]:
        """Every database with our marker by its name, of whatever home."""
        ...


@runtime_checkable
class Served(Protocol):
    """A provider whose databases need a process of ours while they are used."""

    def wake(self, name: str, place: Place) -> None:
        """Let it answer; nothing happens if it does. Raises StrettoError if it cannot be started."""
        ...

    def rest(self, name: str) -> None:
        """End its process; nothing of its content is lost. Nothing happens if there is none."""
        ...


@runtime_checkable
class Shared(Protocol):
    """A provider whose databases are less apart than databases are."""

    def remarks(self) -> list[str]:
        """What a person should know before they rely on it, a sentence each. Raises StrettoError if it cannot look."""
        ...

    def needing(self, name: str) -> list[str]:
        """What is outside of the database `name` and would go with it, so that it is not dropped."""
        ...


def taken(name: str, where: str) -> Conflict:
    """The refusal to touch what has the name of one of ours, and no marker."""
    return Conflict(
        f"{where} has {name} already, and stretto did not make it",
        object=name,
        code="database_taken",
        hint="rename it or drop it yourself, then: stretto retry TASK",
    )


def digest(value: object) -> str:
    """The hash of plain values."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
