"""The person's own database: where it is, and a copy of it that can be brought back.

Specification. Nothing here changes it. A copy is one moment of it, whoever writes to it meanwhile: SQLite's backup
interface, or `pg_dump`. Schemas of tasks in it are no part of it. It lies in a private folder under a name that no
other copy has, and stays until the person deletes it.
"""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from stretto import files
from stretto.core.database_url import POSTGRES, DatabaseUrl
from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.workspace.databases import schema_sql
from stretto.workspace.databases.base import Marker
from stretto.workspace.databases.psql import Server


@dataclass(frozen=True, slots=True)
class Kept:
    """A copy, and the words that bring it back. `path` None: there is nothing yet that could be lost."""

    path: Path | None
    restore: str


def address(url: DatabaseUrl, root: Path) -> DatabaseUrl:
    """The address as a program in any folder can use it. Raises StrettoError (`no_database`) if it names none."""
    if url.scheme == POSTGRES:
        if url.name:
            return url
        raise StrettoError(
            f"[database] url names no database on {url.shown()}: there is none of yours to migrate",
            object=url.shown(),
            code="no_database",
            hint="write its name at the end of url",
        )
    return replace(url, name=str(root / url.name))


def keep(url: DatabaseUrl, folder: Path, name: str) -> Kept:
    """Copy it into `folder`. Raises StrettoError if it cannot be read."""
    files.make_private_dir(folder)
    if url.scheme == POSTGRES:
        place = folder / f"{name}.dump"
        place.touch(mode=0o600)
        server = Server(url)
        comments = server.run(schema_sql.OURS, database=url.name)
        server.dump(url.name, place, leave=[row[0] for row in comments if Marker.read(row[-1]) is not None])
        words = ["pg_restore", "--clean", "--if-exists", "--no-owner", "-d", url.shown(), str(place)]
        return Kept(place, shlex.join(words))
    if not Path(url.name).exists():
        return Kept(None, "")
    place = folder / f"{name}.sqlite3"
    place.touch(mode=0o600)
    try:
        with closing(sqlite3.connect(url.name)) as old, closing(sqlite3.connect(place)) as new:
            old.backup(new)
    except sqlite3.Error as error:
        raise StrettoError(f"{url.name} cannot be copied: {error}", object=url.name, code="database_failed") from error
    failpoint("daemon.database.copy")
    return Kept(place, shlex.join(["sqlite3", url.name, f".restore {shlex.quote(str(place))}"]))
