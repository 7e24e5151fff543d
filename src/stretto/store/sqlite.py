"""The database of a home: one file, one writer, WAL, synchronous=FULL.

Specification. All writes go through `Store.write()`: one transaction (BEGIN IMMEDIATE) under a process-wide lock, so
there is one writer at a time and a reader never sees half of it. What `write()` returned from is durable across a
power cut. An event is written in the transaction of the fact that it tells. Listeners are called after the commit,
outside the lock. A database of a newer schema, or one that fails its integrity check, is never written: opening raises.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from stretto.core.errors import Bug, StrettoError
from stretto.core.model import Event
from stretto.failpoints import failpoint
from stretto.store.rows import KEYS, TABLES, columns, decode, encode, storable

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

#: PRAGMA user_version of the newest migration
SCHEMA = 6


class Reader:
    """Queries on an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.row_factory = sqlite3.Row

    def select(self, kind: type[T], where: str = "1", *values: Any) -> list[T]:
        """All values of a kind that match; `where` may end in ORDER BY and LIMIT."""
        names = ", ".join(columns(kind))
        rows = self.connection.execute(f"SELECT {names} FROM {TABLES[kind]} WHERE {where}", values)  # noqa: S608 (names are ours)
        return [decode(kind, row) for row in rows]

    def one(self, kind: type[T], where: str, *values: Any) -> T | None:
        """The first value that matches, or None."""
        found = self.select(kind, f"{where} LIMIT 1", *values)
        return found[0] if found else None

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Plain rows."""
        return self.connection.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    @property
    def cursor(self) -> int:
        """The id of the last event."""
        return int(self.value("SELECT seq FROM sqlite_sequence WHERE name = 'events'") or 0)


class Writer(Reader):
    """Queries and changes inside one transaction."""

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        super().__init__(connection)
        self.now = now

    def insert(self, value: object, *, ignore: bool = False) -> int:
        """Add a row for a value; the new row id. An `id` of 0 is chosen by SQLite."""
        kind = type(value)
        names = [name for name in columns(kind) if not (name == "id" and getattr(value, "id", None) == 0)]
        marks = ", ".join("?" * len(names))
        verb = "INSERT OR IGNORE" if ignore else "INSERT"
        sql = f"{verb} INTO {TABLES[kind]} ({', '.join(names)}) VALUES ({marks})"
        cursor = self.connection.execute(sql, [encode(getattr(value, n)) for n in names])
        return int(cursor.lastrowid or 0) if cursor.rowcount else 0

    def update(self, kind: type, key: object, /, **changes: Any) -> bool:
        """Change columns of the row with this primary key; whether there was one."""
        keys = key if isinstance(key, tuple) else (key,)
        sets = ", ".join(f"{name} = ?" for name in changes)
        where = " AND ".join(f"{name} = ?" for name in KEYS[kind])
        values = [encode(v) for v in changes.values()]
        cursor = self.connection.execute(f"UPDATE {TABLES[kind]} SET {sets} WHERE {where}", [*values, *keys])  # noqa: S608
        return cursor.rowcount > 0

    def execute(self, sql: str, *values: Any) -> int:
        """Any other change; the number of rows it touched."""
        return self.connection.execute(sql, [encode(v) for v in values]).rowcount

    def event(
        self, type: str, *, repo: str | None = None, run: str | None = None, task: str | None = None, **data: Any
    ) -> None:
        """Tell a fact. `repo` and `run` are looked up from the task when left out."""
        if task is not None and (repo is None or run is None):
            row = self.connection.execute("SELECT repo, run FROM tasks WHERE uid = ?", (task,)).fetchone()
            repo, run = (row["repo"], row["run"]) if row else (repo, run)
        self.connection.execute(
            "INSERT INTO events (at, repo, run, task, type, data) VALUES (?, ?, ?, ?, ?, ?)",
            (self.now, repo, run, task, type, storable(json.dumps(data, ensure_ascii=False, default=encode))),
        )


class Store:
    """The one writer of a home's database. Thread-safe."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self.path = path
        self._now = now
        self._lock = threading.RLock()
        self._listeners: list[Callable[[int], None]] = []
        #: called when the disk is full: whether it made room, so that the next write may succeed
        self.on_full: Callable[[], bool] = lambda: False
        self._connection = _connect(path)
        migrate(self._connection, path)
        self.reader = Reader(self._connection)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A consistent look at the database."""
        with self._lock:
            yield self.reader

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """One durable transaction. Raises StrettoError when the disk is full or the database cannot be written."""
        with self._lock:
            if self._connection.in_transaction:
                raise Bug("a transaction is open already", object=str(self.path))
            before = self.reader.cursor
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield Writer(self._connection, self._now())
                failpoint("daemon.store.commit.before")
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                self._rollback()
                explained = _explain(error, self.path)
                if explained.code == "disk_full":
                    self.on_full()
                raise explained from error
            except BaseException:  # a transaction never stays open, whatever interrupts; raised again
                self._rollback()
                raise
            after = self.reader.cursor
        failpoint("daemon.store.commit.after")
        if after != before:
            for listener in list(self._listeners):
                listener(after)

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener(last event id)` after each commit that told something. Returns the way to stop it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def events(self, since: int, limit: int = 500, repo: str | None = None) -> list[Event]:
        """Events after `since`, oldest first."""
        with self.read() as db:
            if repo is None:
                return db.select(Event, "id > ? ORDER BY id LIMIT ?", since, limit)
            return db.select(Event, "id > ? AND repo = ? ORDER BY id LIMIT ?", since, repo, limit)

    def close(self) -> None:
        """Close the file; the daemon needs no other goodbye."""
        with self._lock:
            self._connection.close()


def open_readonly(path: str | os.PathLike[str]) -> Reader:
    """The database for a reader without a daemon. Raises StrettoError when it is missing, too new, or being made."""
    if not os.path.exists(path):  # noqa: PTH110 - a name is enough, pathlib is not worth its import here
        raise _nothing(path)
    connection = sqlite3.connect(f"file:{os.fspath(path)}?mode=ro", uri=True, timeout=5, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        version = _refuse_newer(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _explain(error, path) from error
    if version == 0:
        connection.close()
        raise _nothing(path)
    return Reader(connection if version == SCHEMA else _brought_up(connection, version))


def _brought_up(connection: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """A copy in memory of a database that an older version wrote: the next daemon brings the file itself up to date."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    connection.backup(copy)
    connection.close()
    for number in range(version + 1, SCHEMA + 1):
        copy.executescript(f"BEGIN;\n{_script(number)}\nPRAGMA user_version = {number};\nCOMMIT;")
    return copy


def _nothing(path: str | os.PathLike[str]) -> StrettoError:
    return StrettoError("there is nothing here yet", code="empty", object=str(path), hint="stretto run PLAN.md")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date: all or nothing for each step, after a backup of a database that holds data."""
    try:
        version = _refuse_newer(connection, path)
        if version:
            _check_integrity(connection)
        if 0 < version < SCHEMA:
            _backup(connection, path.with_name(f"{path.name}.v{version}.bak"))
        for number in range(version + 1, SCHEMA + 1):
            failpoint("daemon.store.migrate.before")
            connection.executescript(f"BEGIN IMMEDIATE;\n{_script(number)}\nPRAGMA user_version = {number};\nCOMMIT;")
            failpoint("daemon.store.migrate.after")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _explain(error, path) from error


def _check_integrity(connection: sqlite3.Connection) -> None:
    broken = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if broken != "ok":
        raise sqlite3.DatabaseError(str(broken))


def _script(number: int) -> str:
    from importlib import resources  # costs more than a whole look at the database

    folder = resources.files("stretto.store") / "migrations"
    name = next(f.name for f in folder.iterdir() if f.name.startswith(f"{number:03d}_"))
    return (folder / name).read_text("utf-8")


def _refuse_newer(connection: sqlite3.Connection, path: str | os.PathLike[str]) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA:
        connection.close()
        raise StrettoError(
            f"the database is of schema {version}, newer than the {SCHEMA} that this stretto knows",
            code="newer_schema",
            object=str(path),
            hint="upgrade stretto, or set STRETTO_HOME to another folder",
        )
    return version


def _backup(connection: sqlite3.Connection, to: Path) -> None:
    with sqlite3.connect(to) as copy:
        connection.backup(copy)
    copy.close()
    to.chmod(0o600)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    except sqlite3.DatabaseError as error:
        raise _explain(error, path) from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA busy_timeout = 10000")
        path.chmod(0o600)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _explain(error, path) from error
    return connection


def _explain(error: sqlite3.Error, path: str | os.PathLike[str]) -> StrettoError:
    """A sentence for what SQLite says."""
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return StrettoError(
            f"the disk is full: the database could not be written ({text})",
            code="disk_full",
            object=str(path),
            hint="free some space; stretto goes on by itself",
        )
    if "locked" in text or "busy" in text:
        return StrettoError(
            "the database is held by another process", code="database_busy", object=str(path), hint="stretto doctor"
        )
    if isinstance(error, sqlite3.OperationalError) and ("unable to open" in text or "readonly" in text):
        return StrettoError(
            f"the database cannot be opened for writing ({text})",
            code="database_readonly",
            object=str(path),
            hint="check the owner and the mode of the folder",
        )
    if isinstance(error, sqlite3.OperationalError):
        return Bug(f"the database refused: {text}", object=str(path), hint="stretto doctor")
    return StrettoError(
        f"the database is damaged ({text}); it is kept as it is",
        code="database_corrupt",
        object=str(path),
        hint=f"move it away and start again, or restore {str(path).rpartition('/')[2]}.v*.bak beside it",
    )


Rows = Sequence[sqlite3.Row]
