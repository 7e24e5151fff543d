"""PostgreSQL: a database and a role for every task on the person's own server.

Specification.
- A database is cloned from a golden template, to which nobody can connect; without one from the source that the address
  names, or from the server's default. A source with sessions on it is copied by pg_dump; they are ended only when the
  configuration says `end_sessions`.
- Everything in a clone belongs to one role of the project that cannot log in. Each database has a login role of its
  own, of the database's name, that becomes the project's role when it connects. PUBLIC may not connect, so a task that
  rewrites its address gets into no other task's database, and none of these roles can drop one.
- The password of a login role is random, lies in a passfile (0600) beside our records, and reaches the server only as a
  SCRAM verifier.
- The comment of a database is its marker. Between CREATE DATABASE and its comment a crash leaves one without; only the
  row that was written before it can prove that one to be ours (`begun`). A role and its marker are one transaction; a
  login role without one, or a project's role that may do more than own things, is somebody else's and refused.

Accepted race: between the creation of a database and the next statement, milliseconds, PUBLIC may connect to it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stretto.core import names
from stretto.core.database_url import DatabaseUrl
from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.workspace.databases import sql
from stretto.workspace.databases.base import Address, Marker, Place, taken
from stretto.workspace.databases.logins import Logins
from stretto.workspace.databases.psql import Server, each, identifier
from stretto.workspace.databases.scram import verifier

#: bytes from which files are copied instead of writing every page to the log (and forcing two checkpoints)
LARGE = 96 << 20


class PostgresDatabase:
    """The provider `postgres-database`. `folder`: where passfiles lie; `project`: what our names begin with."""

    kind = "postgres-database"
    freezes = True
    keeps = True

    def __init__(self, url: DatabaseUrl, folder: Path, project: str, *, end_sessions: bool = False) -> None:
        self.server = Server(url)
        self._logins = Logins(self.server, folder)
        self._group = names.database_name(project, "owner", f"{project} owner")
        self._end_sessions = end_sessions

    # ------------------------------------------------------------ what the protocol asks

    def check(self) -> None:
        """Raise StrettoError if the server is down, has no such source, or does not let us make databases and roles."""
        rows = self.server.run(sql.RIGHTS)
        if rows[0][0] != "t":
            raise self.server.failure("ERROR:  42501: it can make neither databases nor roles", "postgres")
        source = self.server.url.name
        if source and not self.server.has(source):
            raise self.server.failure(f'FATAL:  3D000: database "{source}" does not exist', source)

    def origin(self) -> str:
        """The schema of the source as a hash, or `empty`."""
        source = self.server.url.name
        return self.server.value(sql.SCHEMA_HASH, database=source) or "empty" if source else "empty"

    def require_free(self, name: str, place: Place) -> None:
        """As the protocol says."""
        if self.server.has(name):
            self._require_ours(name, begun=False)
        self._require_our_roles(name)

    def create(self, name: str, marker: Marker, template: str | None, place: Place, *, begun: bool) -> None:
        """As the protocol says."""
        if self.server.has(name):
            if not begun and self._require_ours(name, begun=False).kind == "branch":
                return
            self.drop(name, place, begun=begun)
        self._require_our_roles(name)
        self._ensure_roles(name, marker)
        failpoint("daemon.database.create.before")
        self._clone(name, template)
        failpoint("daemon.database.create.after")
        self._close(name, marker)
        if template is None:
            self._hand_over(name)
        self._find_way(name)

    def address(self, name: str, place: Place) -> Address:
        """With the login role; its password is in the passfile."""
        return self._logins.address(name, name)

    def freeze(self, name: str, template: str, marker: Marker, place: Place) -> None:
        """As the protocol says. Raises Conflict (`database_in_use`) while somebody is connected to `name`."""
        if self.server.has(template):
            if self._marker(template) is not None and not self._connectable(template):
                return
            self.drop(template, place, begun=True)
        if not self.server.left(lambda: self.server.sessions(name)):
            raise self.server.failure(f"ERROR:  55006: {name} is being accessed by other users", name)
        failpoint("daemon.database.freeze.before")
        self._copy_files(name, template)
        self._comment(template, marker)
        self.server.run(
            each(
                [
                    f"REVOKE ALL ON DATABASE {identifier(template)} FROM PUBLIC",
                    f"ALTER DATABASE {identifier(template)} WITH ALLOW_CONNECTIONS false",
                ]
            )
        )
        failpoint("daemon.database.freeze.after")

    def set_aside(self, name: str, aside: str, place: Place) -> None:
        """Closed, its own sessions ended, renamed."""
        if not self.server.has(name):
            return
        marker = self._require_ours(name, begun=False)
        self._shut(name)
        self.server.run(f"ALTER DATABASE {identifier(name)} RENAME TO {identifier(aside)};")
        failpoint("daemon.database.aside")
        self._comment(aside, replace(marker, kind="aside"))

    def bring_back(self, name: str, aside: str, place: Place) -> None:
        """The way back."""
        if self.server.has(aside):
            self._require_ours(aside, begun=False)
            self.server.run(f"ALTER DATABASE {identifier(aside)} RENAME TO {identifier(name)};")
            failpoint("daemon.database.back")
        if self.server.has(name):
            marker = self._require_ours(name, begun=False)
            self.server.run(f"ALTER DATABASE {identifier(name)} WITH ALLOW_CONNECTIONS true;")
            self._comment(name, replace(marker, kind="branch"))

    def drop(self, name: str, place: Place, *, begun: bool = False) -> None:
        """As the protocol says; the login role and its passfile go with the last database of the name."""
        if self.server.has(name):
            self._require_ours(name, begun=begun)
            self._shut(name)
            failpoint("daemon.database.drop")
            self.server.run(f"DROP DATABASE IF EXISTS {identifier(name)};")
        role = name.rpartition("_q")[0] or name
        if not self.server.has(role) and not self._asides(role):
            self._drop_role(role)

    def found(self) -> dict[str, Marker]:
        """As the protocol says."""
        read = {name: Marker.read(comment) for name, comment in self.server.run(sql.OURS)}
        return {name: marker for name, marker in read.items() if marker is not None}

    # ------------------------------------------------------------ making

    def _ensure_roles(self, name: str, marker: Marker) -> None:
        password = self._logins.password(name)
        role, group = identifier(name), identifier(self._group)
        self.server.run(
            each(
                [
                    sql.role_if_missing(self._group, "NOLOGIN NOINHERIT"),
                    f"GRANT {group} TO CURRENT_USER" if not self._superuser() else "SELECT NULL WHERE false",
                    "BEGIN",
                    sql.role_if_missing(name, "LOGIN NOINHERIT"),
                    f"COMMENT ON ROLE {role} IS :'marker'",
                    "COMMIT",
                    f"ALTER ROLE {role} PASSWORD :'verifier'",
                    f"GRANT {group} TO {role}",
                ]
            ),
            values={"verifier": verifier(password), "marker": marker.text()},
        )

    def _superuser(self) -> bool:
        return self.server.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user;") == "t"

    def _clone(self, name: str, template: str | None) -> None:
        if template is not None:
            self._require_ours(template, begun=False)
            self._copy_files(template, name)  # one that is gone is the server's to refuse: `database_missing`
            return
        source = self.server.url.name
        if not source:
            self.server.run(f"CREATE DATABASE {identifier(name)};")
        elif self.server.sessions(source) == 0:
            self._copy_files(source, name)
        elif self._end_sessions:
            self._copy_alone(source, name)
        else:
            self.server.run(f"CREATE DATABASE {identifier(name)} TEMPLATE template0;")
            self.server.pipe(source, name)

    def _copy_files(self, source: str, name: str) -> None:
        """CREATE DATABASE … TEMPLATE in the way that is fastest for its size on this version."""
        size = int(self.server.value("SELECT pg_database_size(:'name');", values={"name": source}) or 0)
        version, words = self.server.version(), ""
        if version >= 150000:
            words = f" STRATEGY {'file_copy' if size >= LARGE else 'wal_log'}"
        clone = "SET file_copy_method = clone;\n" if version >= 180000 and size >= LARGE else ""
        asked = "SELECT format('CREATE DATABASE %I TEMPLATE %I', :'name', :'source')"
        self.server.run(f"{clone}{asked} || '{words}'\n\\gexec\n", values={"name": name, "source": source})

    def _copy_alone(self, source: str, name: str) -> None:
        """The configuration allows it: nobody may connect to the source while it is copied, and who is there goes."""
        quoted = {"name": source}
        gate = "SELECT format('ALTER DATABASE %I WITH ALLOW_CONNECTIONS {}', :'name')\n\\gexec\n"
        self.server.run(gate.format("false"), values=quoted)
        try:
            self.server.run(sql.END_SESSIONS, values=quoted)
            self._copy_files(source, name)
        finally:
            self.server.run(gate.format("true"), values=quoted)

    def _close(self, name: str, marker: Marker) -> None:
        """Mark it, shut PUBLIC out, let the login role in as the project's role."""
        it, group = identifier(name), identifier(self._group)
        self.server.run(
            each(
                [
                    f"COMMENT ON DATABASE {it} IS :'marker'",
                    f"REVOKE ALL ON DATABASE {it} FROM PUBLIC",
                    f"GRANT CONNECT, TEMPORARY ON DATABASE {it} TO {it}",
                    f"GRANT CREATE, TEMPORARY ON DATABASE {it} TO {group}",
                    f"ALTER ROLE {it} IN DATABASE {it} SET role = {group}",
                ]
            ),
            values={"marker": marker.text()},
        )

    def _hand_over(self, name: str) -> None:
        """Give all that came from the source to the project's role. Raises StrettoError for what we may not give."""
        rows = self.server.run(sql.hand_over(self._group), database=name)
        foreign = [row[0] for row in rows if row and row[0]]
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            user = self.server.url.user or "you"
            raise StrettoError(
                f"{foreign[0]}{more} in {self.server.url.name} belongs to another role than {user}",
                object=self.server.url.name,
                code="database_denied",
                hint="let [database] url name the role that owns the tables, or a superuser",
            )

    def _find_way(self, name: str) -> None:
        self._logins.find_way(name, name)

    # ------------------------------------------------------------ taking away

    def _shut(self, name: str) -> None:
        self.server.run(f"ALTER DATABASE {identifier(name)} WITH ALLOW_CONNECTIONS false;")
        self.server.run(sql.END_SESSIONS, values={"name": name})

    def _drop_role(self, role: str) -> None:
        comment = self.server.value(sql.ROLE_COMMENT, values={"name": role})
        if Marker.read(comment) is not None:
            self.server.run(f"DROP ROLE IF EXISTS {identifier(role)};")
        self._logins.forget(role)

    def _asides(self, role: str) -> list[str]:
        return [name for name in self.found() if name.startswith(f"{role}_q")]

    # ------------------------------------------------------------ whose it is

    def _marker(self, name: str) -> Marker | None:
        return Marker.read(self.server.value(sql.COMMENT, values={"name": name}))

    def _require_ours(self, name: str, *, begun: bool) -> Marker:
        comment = self.server.value(sql.COMMENT, values={"name": name})
        marker = Marker.read(comment)
        if marker is None and (not begun or comment) and self.server.has(name):
            raise taken(name, self.server.place)
        return marker or Marker("", "", "", "")

    def _require_our_roles(self, name: str) -> None:
        """Raise Conflict for a role of somebody else: one without our marker, or a project's one that does more."""
        comments = self.server.run(sql.ROLE, values={"name": name})
        if comments and Marker.read(comments[0][1]) is None:
            raise taken(name, self.server.place)
        if self.server.value(sql.MORE_THAN_OWNS, values={"name": self._group}) == "t":
            raise taken(self._group, self.server.place)

    def _comment(self, name: str, marker: Marker) -> None:
        self.server.run(f"COMMENT ON DATABASE {identifier(name)} IS :'marker';", values={"marker": marker.text()})

    def _connectable(self, name: str) -> bool:
        asked = "SELECT datallowconn FROM pg_database WHERE datname = :'name';"
        return self.server.value(asked, values={"name": name}) == "t"
