"""PostgreSQL: a schema and a role for every task in the one database that the address names.

For servers on which nobody may make databases. What tasks share there is told by `remarks`.

Specification.
- The source is the schema in which the address' user makes things (`current_schema()`). It is only read, by pg_dump;
  the copy is made by the task's own role, logged in as itself, so nothing that a dump holds runs with the person's
  rights.
- A schema belongs to the address' user; its role may use it and make things in it, and owns those. So a task can
  neither rename nor drop its schema, nor change the comment that is its marker. A schema and its marker are one
  transaction.
- The role's search_path in this database is its schema, and behind it those of extensions. It is member of nothing; the
  address' user is a member of it. A database in which PUBLIC may create anything is refused: there tasks would meet.
- A role has the name of its schema, always: what is set aside is renamed with its role, which cannot log in then. A
  golden template is such a schema, whose role never logs in again.
- `drop` ends the role's sessions, and takes all that the role owns in this database. Where something outside of the
  schema needs it, a view of the person's say, which would go with it, it is refused before anything has changed.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

from stretto.core.database_url import DatabaseUrl
from stretto.core.errors import StrettoError, Unavailable, UsageError
from stretto.failpoints import failpoint
from stretto.workspace.databases import schema_dump, sql
from stretto.workspace.databases import schema_sql as asked
from stretto.workspace.databases.base import Address, Marker, Place, taken
from stretto.workspace.databases.logins import Logins
from stretto.workspace.databases.psql import Server, each, identifier
from stretto.workspace.databases.scram import verifier

#: the variable that names the task's schema, for programs that ask for one
SCHEMA = "DATABASE_SCHEMA"


class PostgresSchema:
    """The provider `postgres-schema`. `folder`: where passfiles lie."""

    kind = "postgres-schema"
    freezes = True
    keeps = True

    def __init__(self, url: DatabaseUrl, folder: Path) -> None:
        if not url.name:
            raise UsageError(
                "[database] url names no database, and a schema is made in one",
                object=url.shown(),
                code="database_url",
                hint="write its name at the end of url",
            )
        self.server = Server(url)
        self._name = url.name
        self._logins = Logins(self.server, folder)

    # ------------------------------------------------------------ what the protocol asks

    def check(self) -> None:
        """Raise StrettoError if the server is down, or does not let us make roles and schemas that are apart."""
        user = self.server.url.user or "you"
        roles, schemas = self._rows(asked.RIGHTS)[0]
        if "f" in (roles, schemas):
            missing = [f'ALTER ROLE "{user}" CREATEROLE'] if roles == "f" else []
            missing += [f'GRANT CREATE ON DATABASE "{self._name}" TO "{user}"'] if schemas == "f" else []
            raise StrettoError(
                f"{user} may not make a schema and a role for each task in {self._name}",
                object=self.server.url.shown(),
                code="database_denied",
                hint=f"as its superuser: {'; '.join(missing)}",
            )
        if free := [row[0] for row in self._rows(asked.OPEN)]:
            raise StrettoError(
                f"everybody may create things in the schema {free[0]} of {self._name}: tasks would not be apart there",
                object=self.server.url.shown(),
                code="database_denied",
                hint=f"as its owner: REVOKE CREATE ON SCHEMA {free[0]} FROM PUBLIC",
            )

    def remarks(self) -> list[str]:
        """As `Shared` says."""
        source = self._source()
        found = {what: (int(count), which) for what, count, which in self._rows(asked.SHARED, schema=source)}
        lines = [
            f"tasks share the database {self._name}: its advisory locks, its NOTIFY channels, its extensions and the"
            " names in its catalog; none of them can make a schema or an extension"
        ]
        for what, text in (
            ("bodies", f"functions that name {source}. in their text go on meaning yours, which tasks may not use"),
            ("extensions", "extensions stay yours, and their schemas are in the search_path of every task"),
            ("schemas", f"only {source} is copied; tasks may not use other schemas"),
        ):
            if found.get(what, (0, ""))[0]:
                lines.append(f"{text}: {found[what][1]}")
        return lines

    def origin(self) -> str:
        """The source and its content as a hash, or `empty`."""
        source = self._source()
        said = self._value(sql.ONE_SCHEMA_HASH, schema=source) if source else ""
        return f"{source} {said}" if said else "empty"

    def require_free(self, name: str, place: Place) -> None:
        """As the protocol says."""
        self._require_ours(name)
        self._require_our_role(name)

    def create(self, name: str, marker: Marker, template: str | None, place: Place, *, begun: bool) -> None:
        """As the protocol says."""
        there = self._require_ours(name)
        if there is not None and not begun and there.kind == "branch":
            return
        if template is not None and self._require_ours(template) is None:
            raise Unavailable(
                f"the template {template} is gone", object=template, code="database_missing", hint="stretto db list"
            )
        self.drop(name, place, begun=begun)
        self._make(name, marker)
        source = template or self._source()
        if source:
            self._copy(source, name, self.server)

    def address(self, name: str, place: Place) -> Address:
        """With the login role; its password is in the passfile, and `DATABASE_SCHEMA` names the schema."""
        found = self._logins.address(name, self._name)
        return Address(found.url, {**found.env, SCHEMA: name})

    def freeze(self, name: str, template: str, marker: Marker, place: Place) -> None:
        """As the protocol says. Raises Conflict (`database_in_use`) while somebody is connected as `name`."""
        there = self._require_ours(template)
        if there is not None and there.kind == marker.kind:
            return
        self.drop(template, place, begun=True)
        if not self.server.left(lambda: int(self._value(asked.SESSIONS, name=name) or 0)):
            raise self.server.failure(f"ERROR:  55006: {name} is being accessed by other users", name)
        failpoint("daemon.database.freeze.before")
        self._make(template, replace(marker, kind="making"))
        self._copy(name, template, self._logins.entered(name, self._name))
        self._shut(template)
        self._comment(template, marker)
        self._logins.forget(template)
        failpoint("daemon.database.freeze.after")

    def set_aside(self, name: str, aside: str, place: Place) -> None:
        """Shut, its sessions ended, renamed with its role."""
        marker = self._require_ours(name)
        if marker is not None:
            self._shut(name)
            self._rename(name, aside, replace(marker, kind="aside"), "NOLOGIN")
        failpoint("daemon.database.aside")
        self._logins.move(name, aside)

    def bring_back(self, name: str, aside: str, place: Place) -> None:
        """The way back."""
        marker = self._require_ours(aside)
        if marker is not None:
            self._rename(aside, name, replace(marker, kind="branch"), "LOGIN")
        failpoint("daemon.database.back")
        self._logins.move(aside, name)

    def drop(self, name: str, place: Place, *, begun: bool = False) -> None:
        """As the protocol says; the role goes with all that it owns in this database, and its passfile."""
        there = self._require_ours(name)
        role = self._require_our_role(name)
        if needing := self.needing(name):
            raise StrettoError(
                f"the schema {name} of {self._name} is needed by what is outside of it, and is not dropped:"
                f" {'; '.join(needing[:5])}{f' and {len(needing) - 5} more' if len(needing) > 5 else ''}",
                object=name,
                code="database_needed",
                hint="drop that, or let it use another schema; then the same command again",
            )
        if role:
            self._shut(name)
        if there is not None:
            failpoint("daemon.database.drop")
            self._rows(f"DROP SCHEMA IF EXISTS {identifier(name)} CASCADE;")
        if role:
            it = identifier(name)
            self._rows(each([f"DROP OWNED BY {it}", f"DROP ROLE IF EXISTS {it}"]))
        self._logins.forget(name)

    def needing(self, name: str) -> list[str]:
        """As `Shared` says."""
        return [row[0] for row in self._rows(asked.NEEDING, name=name)]

    def found(self) -> dict[str, Marker]:
        """As the protocol says."""
        read = {name: Marker.read(comment) for name, comment in self._rows(asked.OURS)}
        return {name: marker for name, marker in read.items() if marker is not None}

    # ------------------------------------------------------------ making

    def _make(self, name: str, marker: Marker) -> None:
        """The role and its empty schema, and the way in."""
        it, password = identifier(name), self._logins.password(name)
        values = {"verifier": verifier(password), "marker": marker.text(), "db": self._name}
        role = [
            f"CREATE ROLE {it} LOGIN NOINHERIT",
            f"COMMENT ON ROLE {it} IS :'marker'",
            f"ALTER ROLE {it} PASSWORD :'verifier'",
        ]
        if not self._superuser():
            role.append(f"GRANT {it} TO CURRENT_USER")
        self._rows(_whole(role), **values)
        failpoint("daemon.database.create.before")
        path = ", ".join(filter(None, [it, self._value(asked.EXTENSIONS)]))
        self._rows(
            _whole(
                [
                    f"CREATE SCHEMA {it}",
                    f"COMMENT ON SCHEMA {it} IS :'marker'",
                    f"REVOKE ALL ON SCHEMA {it} FROM PUBLIC",
                    f"GRANT USAGE, CREATE ON SCHEMA {it} TO {it}",
                    f'ALTER ROLE {it} IN DATABASE :"db" SET search_path = {path}',
                ]
            ),
            **values,
        )
        failpoint("daemon.database.create.after")
        self._find_way(name)

    def _find_way(self, name: str) -> None:
        self._logins.find_way(name, self._name)

    def _copy(self, source: str, name: str, reader: Server) -> None:
        """What the schema `source` holds into `name`, whole or not at all, by the role of `name`."""
        own = {bytes.fromhex(row[0]).decode() for row in self._rows(asked.OWN_NAMES, schema=source)}
        with tempfile.TemporaryDirectory(prefix="stretto-dump-") as folder:
            dump, script = Path(folder) / "dump", Path(folder) / "script"
            reader.dump_schema(self._name, source, dump)
            with _text(dump, "r") as lines, _text(script, "w") as written:
                begins = schema_dump.write(schema_dump.renamed(lines, source, name, own), written)
            dump.unlink()
            try:
                self._logins.entered(name, self._name).play(script, self._name)
            except StrettoError as error:
                made = schema_dump.made_at(begins, int(error.details.get("line", 0)), name)
                raise _unmade(source, made, self._name, error) from error

    def _source(self) -> str:
        """The schema that is copied; empty if there is none."""
        return self._value("SELECT current_schema();") or ""

    def _superuser(self) -> bool:
        return self._value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user;") == "t"

    # ------------------------------------------------------------ taking away

    def _shut(self, name: str) -> None:
        """Nobody is logged in as the role, and nobody can be."""
        self._rows(f"ALTER ROLE {identifier(name)} NOLOGIN;")
        self._rows(asked.END_SESSIONS, name=name)

    def _rename(self, old: str, new: str, marker: Marker, login: str) -> None:
        it, to = identifier(old), identifier(new)
        self._rows(
            _whole(
                [
                    f"ALTER SCHEMA {it} RENAME TO {to}",
                    f"ALTER ROLE {it} RENAME TO {to}",
                    f"ALTER ROLE {to} {login}",
                    f"COMMENT ON SCHEMA {to} IS :'marker'",
                ]
            ),
            marker=marker.text(),
        )

    # ------------------------------------------------------------ whose it is

    def _require_ours(self, name: str) -> Marker | None:
        """The marker of a schema; None if there is none of this name. Raises Conflict if it is somebody else's."""
        return self._ours(name, self._rows(asked.COMMENT, name=name))

    def _require_our_role(self, name: str) -> bool:
        return self._ours(name, self._rows(sql.ROLE, name=name)) is not None

    def _ours(self, name: str, rows: list[list[str]]) -> Marker | None:
        if not rows:
            return None
        marker = Marker.read(rows[0][1])
        if marker is None:
            raise taken(name, f"{self._name} on {self.server.place}")
        return marker

    def _comment(self, name: str, marker: Marker) -> None:
        self._rows(f"COMMENT ON SCHEMA {identifier(name)} IS :'marker';", marker=marker.text())

    # ------------------------------------------------------------ asking

    def _rows(self, script: str, **values: str) -> list[list[str]]:
        return self.server.run(script, database=self._name, values=values)

    def _value(self, script: str, **values: str) -> str | None:
        return self.server.value(script, database=self._name, values=values)


def _unmade(source: str, made: tuple[str, str] | None, database: str, error: StrettoError) -> StrettoError:
    """Why a schema could not be copied; `made`: kind and name of the object at which that was seen."""
    what, out = "", "take that out of the schema"
    if made is not None:
        kind, name = made
        schema = '"' + source.replace('"', '""') + '"'
        what = f"; it stopped at the {kind.lower()} {name}"
        out = f"move it out, if it is not for tasks: ALTER {kind} {schema}.{name} SET SCHEMA OTHER"
    return StrettoError(
        f"a task's role could not make all that the schema {source} holds{what}: {error.message}",
        object=database,
        code=error.code,
        hint=f'{out}; or use provider "postgres-database" or "postgres-cluster"',
    )


def _whole(statements: list[str]) -> str:
    """A script of which all happens, or nothing."""
    return each(["BEGIN", *statements, "COMMIT"])


def _text(path: Path, mode: str) -> IO[str]:
    """A dump as text of which no byte is lost, whatever encoding the database has."""
    return cast(IO[str], path.open(mode, encoding="utf-8", errors="surrogateescape", newline="\n"))
