"""A database for every workspace: providers, one file each, and the rows that say which databases are ours.

branches = connect(config["database"], root=…, folder=…, home=…, ignored=…)     # None without a [database]
row = branches.ensure(owner, "task", branches.place(worktree), start)
branches.address(row, place).url                                               # DATABASE_URL
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stretto.core import database_url
from stretto.core.errors import UsageError
from stretto.core.workspace_commands import DATABASE_COMMANDS as COMMANDS
from stretto.interfaces import Git
from stretto.workspace.databases.base import Address, Marker, Place, Provider, Settings
from stretto.workspace.databases.branches import Branch, Branches
from stretto.workspace.databases.layer import DatabaseLayer
from stretto.workspace.layers import Layer

__all__ = [
    "Address",
    "Branch",
    "Branches",
    "Marker",
    "Place",
    "Provider",
    "Settings",
    "configured",
    "connect",
    "remarks",
    "settings",
]


def configured(git: Git, folder: Path, home: str, config: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layer that a frozen configuration asks for, in the folder of the bays; none without a `[database]`."""
    branches = connect(
        config.get("database"),
        root=git.root,
        folder=folder / ".stretto" / "databases",
        home=home,
        ignored=lambda path: path in git.ignored(git.root, [path]),
    )
    return () if branches is None else (DatabaseLayer(git, branches),)


def settings(given: Mapping[str, Any]) -> Settings:
    """The `[database]` table of a frozen configuration. Raises UsageError for an address that is none."""
    url = database_url.parse(str(given["url"])) if given.get("url") else None
    provider = str(given.get("provider") or database_url.provider_of(url))
    found = Settings(
        provider,
        url,
        migrate=given.get("migrate"),
        seed=given.get("seed"),
        protect=tuple(given.get("protect") or ()),
        allow=tuple(given.get("allow") or ()),
        end_sessions=bool(given.get("end_sessions")),
        port=given.get("port"),
        commands={name: str(given[name]) for name in COMMANDS if given.get(name)},
        timeout=float(given.get("timeout") or 300.0),
    )
    if url is not None and url.secret:
        raise UsageError(
            "[database] url holds a password, and stretto.toml is for everybody to read",
            object=url.shown(),
            code="database_url",
            hint=f"take it out, and write into ~/.pgpass (0600): {url.host or '*'}:*:*:{url.user or '*'}:PASSWORD",
        )
    return found


def connect(
    given: Mapping[str, Any] | None,
    *,
    root: Path,
    folder: Path,
    home: str,
    ignored: Callable[[str], bool],
    now: Callable[[], float] = time.time,
) -> Branches | None:
    """The databases that a frozen configuration asks for; None if it has no `[database]`. Touches nothing yet."""
    if not given:
        return None
    said = settings(given)
    project = f"{root.name}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}"
    provider = _provider(said, root, folder, project, ignored)
    return Branches(provider, said, folder, root, project, home, now=now)


def remarks(given: Mapping[str, Any] | None, root: Path) -> list[str]:
    """What a person should know of databases that are less apart than others. Raises StrettoError as `check` does."""
    if not given or given.get("provider") != "postgres-schema":
        return []
    found = connect(given, root=root, folder=root, home="", ignored=bool)
    if found is None:
        return []
    found.check()
    return found.remarks()


def _provider(said: Settings, root: Path, folder: Path, project: str, ignored: Callable[[str], bool]) -> Provider:
    if said.provider == "memory":
        from stretto.workspace.databases.memory import Memory

        return Memory()
    if said.provider == "command":
        from stretto.workspace.databases.command import CommandDatabase, Commands

        return CommandDatabase(Commands(**said.commands, timeout=said.timeout), folder)
    url = said.url
    if said.provider == "postgres-cluster":
        from stretto.workspace.databases.postgres_cluster import PostgresCluster

        return PostgresCluster(url, folder, said.port)
    if url is None:
        raise UsageError(
            f"[database] provider {said.provider} needs a url",
            code="database_url",
            hint='add `url = "…"` to [database]',
        )
    if said.provider == "sqlite":
        from stretto.workspace.databases.sqlite import Sqlite

        return Sqlite(url, root, folder, ignored)
    if said.provider == "postgres-schema":
        from stretto.workspace.databases.postgres_schema import PostgresSchema

        return PostgresSchema(url, folder)
    from stretto.workspace.databases.postgres_database import PostgresDatabase

    return PostgresDatabase(url, folder, project, end_sessions=said.end_sessions)
