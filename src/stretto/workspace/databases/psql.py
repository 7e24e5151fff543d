"""A PostgreSQL server, spoken to through `psql`.

Specification. The words of a statement are ours; what varies in it is a name that `core.names` made, or a value that
psql itself quotes (`:'value'`). Where to connect stands in the environment, so neither address nor password is ever on
a command line. A failure is a `StrettoError` that names cause and next command; its `code` says which kind it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from stretto import process
from stretto.core import names
from stretto.core.database_url import DEFAULT_PORT, DatabaseUrl
from stretto.core.errors import Conflict, StrettoError, Unavailable
from stretto.failpoints import failpoint
from stretto.workspace.databases import programs

#: a server may speak any language, so a failure is known by its SQLSTATE
#: the line of a file in which a statement ends
_LINE = re.compile(r"^psql:.*:(\d+): (?:ERROR|FATAL)", re.MULTILINE)
_STATED = re.compile(r"\S+:\s+([0-9A-Z]{5}): (.*)")
_SAID = re.compile(r"(?:ERROR|FATAL):\s+()(.*)")
#: what a newer pg_dump sets and an older server does not know: nothing of the data
_UNKNOWN_SETTING = "unrecognized configuration parameter"
_FIELD, _ROW = "\x1f", "\x1e"
#: words of an address that say how the server proves who it is, and their variables
_TLS = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "channel_binding": "PGCHANNELBINDING",
}
#: seconds for one script; a large database is copied within it
PATIENCE = 1800.0
#: seconds in which a session that ended is gone
LEAVING = 2.0


class Server:
    """The server of an address, entered with the rights that the address gives."""

    def __init__(self, url: DatabaseUrl, *, secret: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._secret = dict(secret or {})
        self._version: int | None = None

    @property
    def place(self) -> str:
        """The server in words."""
        if self.url.socket or not self.url.host:
            return f"the PostgreSQL server at {self.url.host or 'its usual socket'}"
        return f"the PostgreSQL server at {self.url.host}:{self.url.port or DEFAULT_PORT}"

    def environment(self, database: str) -> dict[str, str]:
        """What lets libpq find a database of this server."""
        given = {"PGHOST": self.url.host, "PGUSER": self.url.user, "PGPASSWORD": self.url.password}
        given["PGPORT"] = str(self.url.port) if self.url.port else ""
        given |= {_TLS[key]: value for key, value in self.url.query if key in _TLS}
        words = {name: value for name, value in given.items() if value}
        return programs.environment({**words, "PGDATABASE": database, **self._secret})

    def run(
        self, script: str, *, database: str = "postgres", values: Mapping[str, str] | None = None
    ) -> list[list[str]]:
        """Run statements and give the rows of all of them. Raises StrettoError as `failure` words it."""
        failpoint("daemon.database.psql.before")
        argv = [str(programs.client("psql")), "-X", "-q", "-A", "-t", "-w", "-F", _FIELD, "-R", _ROW]
        argv += ["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-f", "-"]
        given = "".join(f"\\set {name} {_quoted(value)}\n" for name, value in (values or {}).items())
        done = process.run(
            argv,
            cwd=Path("/"),
            env=self.environment(database),
            timeout=PATIENCE,
            input=(given + script).encode(),
        )
        failpoint("daemon.database.psql.after")
        if not done.ok:
            raise self.failure(done.stderr.decode(errors="replace"), database)
        text = done.stdout.decode(errors="replace").rstrip("\n")
        return [row.strip("\n").split(_FIELD) for row in re.split(f"[{_ROW}\n]", text) if row.strip()] if text else []

    def value(self, script: str, *, database: str = "postgres", values: Mapping[str, str] | None = None) -> str | None:
        """The first field of the first row, or None."""
        rows = self.run(script, database=database, values=values)
        return rows[0][0] if rows else None

    def version(self) -> int:
        """`server_version_num`, 150004 say; asked once."""
        if self._version is None:
            self._version = int(self.value("SHOW server_version_num;") or 0)
        return self._version

    def has(self, name: str) -> bool:
        """Whether it has a database of this name."""
        return self.value("SELECT 1 FROM pg_database WHERE datname = :'name';", values={"name": name}) is not None

    def sessions(self, name: str) -> int:
        """How many sessions are connected to a database."""
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = :'name' AND pid <> pg_backend_pid();"
        return int(self.value(asked, values={"name": name}) or 0)

    @staticmethod
    def left(sessions: Callable[[], int]) -> bool:
        """Whether nobody is connected. The server counts whoever has just gone a moment longer."""
        deadline = time.monotonic() + LEAVING
        while sessions():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def pipe(self, source: str, destination: str, to: Server | None = None) -> None:
        """Copy a database that is in use, to another server too: pg_dump into a file of ours, then pg_restore.

        What it holds belongs to who restores it.
        """
        import tempfile

        with tempfile.TemporaryDirectory(prefix="stretto-dump-") as folder:
            held = Path(folder) / "dump"
            self._program("pg_dump", ["-w", "-Fc", "--no-owner", "--no-acl", "-f", str(held)], source)
            (to or self)._program(
                "pg_restore", ["-w", "--no-owner", "--no-acl", "-d", destination, str(held)], destination
            )

    def dump(self, source: str, place: Path, leave: Iterable[str] = ()) -> None:
        """Write a database, which may be in use, into a file for pg_restore. `leave`: schemas of ours to leave out."""
        without = [word for name in leave for word in ("-N", identifier(name))]
        self._program("pg_dump", ["-w", "-Fc", *without, "-f", str(place)], source)

    def dump_schema(self, database: str, schema: str, place: Path) -> None:
        """Write one schema, which may be in use, into a file of statements, without who owns what and who may what."""
        exact = '"' + schema.replace('"', '""') + '"'
        words = ["-w", "-Fp", "-E", "UTF8", "-n", exact, "--no-owner", "--no-acl", "--no-tablespaces"]
        words += ["--no-security-labels", "--no-publications", "--no-subscriptions", "-f", str(place)]
        self._program("pg_dump", words, database)

    def play(self, script: Path, database: str) -> None:
        """Run the statements of a file, all or none. The details of an error hold the `line`, if psql said it."""
        words = ["-X", "-q", "-A", "-t", "-w", "-1", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
        self._program("psql", [*words, "-f", str(script)], database)

    def _program(self, name: str, words: Sequence[str], database: str) -> None:
        failpoint("daemon.database.copy")
        argv = [str(programs.client(name)), *words]
        done = process.run(argv, cwd=Path("/"), env=self.environment(database), timeout=PATIENCE)
        said = done.stderr.decode(errors="replace")
        if not done.ok and not _only_settings(said):
            error, at = self.failure(said, database), _LINE.search(said)
            error.details |= {"line": int(at[1])} if at else {}
            raise error

    # ------------------------------------------------------------ what went wrong

    def failure(self, stderr: str, database: str) -> StrettoError:
        """What psql said as a sentence with the next command."""
        said = _STATED.search(stderr) or _SAID.search(stderr)
        state, words = (said[1] or "", said[2].strip()) if said else ("", _last(stderr))
        words = words.replace(self.url.password, "***") if self.url.password else words
        user = self.url.user or "you"
        if state == "42501" or "permission denied" in words or "must be" in words:
            return StrettoError(
                f"{user} may not do this on {self.place}: {words}",
                object=self.url.shown(),
                code="database_denied",
                hint=f'as its superuser: ALTER ROLE "{user}" CREATEDB CREATEROLE; or use provider "postgres-cluster"',
            )
        if state == "55006" or "is being accessed by other users" in words:
            return Conflict(
                f"{database} is in use: {words}",
                object=database,
                code="database_in_use",
                hint="close what is connected to it, then: stretto retry TASK",
            )
        if state in ("42P04", "42710", "42P06"):
            return Conflict(f"a name is taken on {self.place}: {words}", object=database, code="database_exists")
        if re.search(r"password|authentication|no pg_hba", words):
            return Unavailable(
                f"{self.place} does not let {user} in: {words}",
                object=self.url.shown(),
                code="database_login",
                hint=f"write the password into ~/.pgpass (0600): {self.url.host or '*'}:*:*:{user}:PASSWORD",
            )
        if missing := re.search(r"database \"([^\"]*)\" does not exist", words):
            return Unavailable(
                f"{self.place} has no database {missing[1]}",
                object=missing[1],
                code="database_missing",
                hint=f"createdb {missing[1]}, or take the name out of [database] url to begin with an empty one",
            )
        if "connection" in stderr or "could not translate" in stderr:
            return Unavailable(
                f"{self.place} does not answer: {words}",
                object=self.url.shown(),
                code="database_down",
                hint="start it, then: stretto retry TASK",
            )
        return StrettoError(
            f"{self.place} refused: {words}", object=database, code="database_failed", hint="stretto db list"
        )


def _only_settings(stderr: str) -> bool:
    """Whether all that pg_restore could not do is to set what this server does not know."""
    errors = [line for line in stderr.splitlines() if " error: " in line]
    return bool(errors) and all(_UNKNOWN_SETTING in line for line in errors)


def _last(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1].removeprefix("psql: error: ") if lines else "no message"


def _quoted(value: str) -> str:
    r"""A value for `\set`: in single quotes, in which psql knows backslashes."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """A name of ours as an SQL identifier. Raises ValueError for any other name: it never gets into a statement."""
    if not names.is_database_name(name):
        raise ValueError(f"not a name of ours: {name!r}")
    return f'"{name}"'


def each(statements: Iterable[str]) -> str:
    """Statements as one script."""
    return "".join(f"{statement};\n" for statement in statements)
