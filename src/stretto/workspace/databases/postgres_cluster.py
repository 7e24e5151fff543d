"""PostgreSQL: a server for every task, with nothing in it but the task's database.

Specification.
- `<folder>/<name>` is the server: `data`, `admin.pgpass`, `server.json` (where it listens), `marker.json`, `log`. A
  golden template is such a folder whose server never runs; a branch of it is a copy of its files.
- The task's role owns the database and may make more (test runners do). It is no superuser: the server runs outside of
  the task's sandbox, and a superuser of a server runs programs and reads files as the server's user.
- The superuser is ours; its password is in `admin.pgpass`, which no sandbox shows.
- With a source the first database is filled by pg_dump, which disturbs nobody there; what it holds belongs to the
  task's role then.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stretto import files, proctree
from stretto.core.database_url import CLUSTER_ROLE, DatabaseUrl
from stretto.core.errors import StrettoError, Unavailable
from stretto.failpoints import failpoint
from stretto.workspace.databases import cluster_server, programs, sql
from stretto.workspace.databases.base import Address, Marker, Place
from stretto.workspace.databases.cluster_server import ADMIN, ClusterServer
from stretto.workspace.databases.marked import MarkedFolders
from stretto.workspace.databases.psql import Server, each
from stretto.workspace.databases.scram import verifier

#: the role of every task, each in a server of its own
ROLE = CLUSTER_ROLE
#: what the database is called where no source says it
DATABASE = "app"


class PostgresCluster:
    """The provider `postgres-cluster`. `url` None: the first database is empty; `port`: its name, None for no TCP."""

    kind = "postgres-cluster"
    freezes = True
    keeps = True

    def __init__(self, url: DatabaseUrl | None, folder: Path, port: str | None = None) -> None:
        self._source = Server(url) if url is not None else None
        self._database = (url.name if url is not None else "") or DATABASE
        self._port = port
        self._marked = MarkedFolders(folder)

    # ------------------------------------------------------------ what the protocol asks

    def check(self) -> None:
        """Raise StrettoError if there are no programs, or the source cannot be read."""
        cluster_server.require()
        if self._source is not None and not self._source.has(self._source.url.name):
            name = self._source.url.name
            raise self._source.failure(f'FATAL:  3D000: database "{name}" does not exist', name)

    def origin(self) -> str:
        """The schema of the source as a hash, or `empty`; with the version of the programs and the boot."""
        version = f"{programs.major(cluster_server.require())} {proctree.boot_id()}"
        if self._source is None:
            return f"{version} empty"
        return f"{version} {self._source.value(sql.SCHEMA_HASH, database=self._source.url.name) or 'empty'}"

    def require_free(self, name: str, place: Place) -> None:
        """As the protocol says."""
        self._marked.require_free(name)

    def create(self, name: str, marker: Marker, template: str | None, place: Place, *, begun: bool) -> None:
        """As the protocol says."""
        if self._marked.read(name) is not None:
            if not begun:
                self.wake(name, place)
                return
            self.drop(name, place)
        self._marked.require_free(name)
        failpoint("daemon.database.create.before")
        self._marked.mark(name, marker)
        with self._held(name, self._wanted_port(place)) as server:
            if template is None:
                self._init(name, server)
            else:
                self._copy(template, server)
            self._start(server, place)
            failpoint("daemon.database.create.after")
            if template is None:
                self._fill(server)
            if server.port:
                self._let_in(name, server)

    def address(self, name: str, place: Place) -> Address:
        """By its socket, without a password; with a port by that, and the password is in the passfile."""
        server = self._server(name)
        if server.port:
            url = DatabaseUrl("postgresql", self._database, ROLE, host="127.0.0.1", port=server.port)
            return Address(url.text(), {"PGPASSFILE": str(self._passfile(name))})
        return Address(self._url(server, ROLE).text())

    def freeze(self, name: str, template: str, marker: Marker, place: Place) -> None:
        """As the protocol says. Raises Conflict (`database_in_use`) while somebody is connected to `name`."""
        target = ClusterServer(self._marked.of(template), Path())
        if target.data.exists():
            return
        with self._held(name) as server:
            asked = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> :'us';"
            admin = self._admin(name, server)
            if admin.value(asked, values={"us": ADMIN}) != "0":
                raise admin.failure(f"ERROR:  55006: {name} is being accessed by other users", name)
            failpoint("daemon.database.freeze.before")
            self._marked.mark(template, marker)
            server.stop()
            try:
                self._copy(name, target)
            finally:
                self._start(server, place)
        failpoint("daemon.database.freeze.after")

    def set_aside(self, name: str, aside: str, place: Place) -> None:
        """Ended, and its folder renamed: nobody finds its socket any more."""
        if self._marked.read(name) is not None:
            with self._held(name) as server:
                server.stop()
                server.forget_socket()
        failpoint("daemon.database.aside")
        self._move_passfile(name, aside)
        self._marked.move(name, aside, "aside")

    def bring_back(self, name: str, aside: str, place: Place) -> None:
        """The way back; it is started when somebody needs it."""
        self._marked.move(aside, name, "branch")
        self._move_passfile(aside, name)
        failpoint("daemon.database.back")

    def drop(self, name: str, place: Place, *, begun: bool = False) -> None:
        """As the protocol says."""
        marker = self._marked.read(name)
        if self._marked.drop(name, begun=begun) and marker is not None:
            with self._held(name) as server:
                server.stop(lose=True)
                if marker.kind == "branch":  # what was put aside has given its socket back
                    server.forget_socket()
                failpoint("daemon.database.drop")
                self._marked.delete(name)
        self._passfile(name).unlink(missing_ok=True)

    def found(self) -> dict[str, Marker]:
        """As the protocol says."""
        return self._marked.found()

    # ------------------------------------------------------------ its process

    def wake(self, name: str, place: Place) -> None:
        """As `Served` says. A port that the workspace has got anew meanwhile is taken."""
        if self._marked.read(name) is None:
            return
        wanted = self._wanted_port(place)
        with self._held(name, wanted) as server:
            if wanted and wanted != self._server(name).port:
                server.stop()
            self._start(server, place)

    def rest(self, name: str) -> None:
        """As `Served` says. Nothing of a gate goes on between two candidates, so its socket's folder goes, too."""
        marker = self._marked.read(name)
        if marker is not None:
            with self._held(name) as server:
                server.stop()
                if marker.purpose == "gate":
                    server.forget_socket()

    def _wanted_port(self, place: Place) -> int:
        """The number of the port on which it is to listen; 0 where the place does not tell, or none is wanted."""
        if self._port is None or not place.environment:
            return 0
        variable = f"PORT_{self._port.upper().replace('-', '_')}"
        if not place.environment.get(variable, "").isdigit():
            raise StrettoError(
                f"[database] port names {self._port!r}, and the workspace has no such port",
                object=self._port,
                code="environment",
                hint=f"add `{self._port} = 1` to [workspace.ports]",
            )
        return int(place.environment[variable])

    @contextmanager
    def _held(self, name: str, port: int = 0) -> Iterator[ClusterServer]:
        """The server of a name, with nobody else at work on it. `port`: on which it is to listen from now on."""
        with files.lock(self._marked.of(name) / "lock", wait=120.0):
            known = self._server(name)
            yield ClusterServer(known.folder, known.socket, port or known.port)

    def _server(self, name: str) -> ClusterServer:
        """As it was last started; where it would be if it never was."""
        folder = self._marked.of(name)
        try:
            said = json.loads((folder / "server.json").read_bytes())
            return ClusterServer(folder, Path(said["socket"]), int(said["port"]))
        except (OSError, ValueError, KeyError, TypeError):
            return ClusterServer(folder, cluster_server.socket_of(folder))

    def _start(self, server: ClusterServer, place: Place) -> None:
        said = json.dumps({"socket": str(server.socket), "port": server.port}).encode()
        known = server.folder / "server.json"
        if not known.exists() or known.read_bytes() != said:
            files.replace(known, said)
        server.start(ROLE, place.worktree)

    # ------------------------------------------------------------ making

    def _init(self, name: str, server: ClusterServer) -> None:
        password = secrets.token_urlsafe(24)
        self._write_passfile(server.folder / "admin.pgpass", ADMIN, password)
        server.init(password)

    def _copy(self, source: str, server: ClusterServer) -> None:
        held = self._marked.of(source)
        if not (held / "data").is_dir():
            raise Unavailable(
                f"the template {source} is gone", object=source, code="database_missing", hint="stretto db list"
            )
        files.replace(server.folder / "admin.pgpass", (held / "admin.pgpass").read_bytes())
        server.copy_from(held / "data")

    def _fill(self, server: ClusterServer) -> None:
        """The task's role and its database, with what the source holds."""
        admin = self._admin(server.folder.name, server)
        make = "SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'role')\n\\gexec\n"
        admin.run(
            each([sql.role_if_missing(ROLE, "LOGIN CREATEDB")]) + make, values={"name": self._database, "role": ROLE}
        )
        if self._source is not None:
            self._source.pipe(self._source.url.name, self._database, admin)
            admin.run(sql.hand_over(ROLE), database=self._database)

    def _let_in(self, name: str, server: ClusterServer) -> None:
        """A password for the role, as a port can be reached by everybody on this machine."""
        password = secrets.token_urlsafe(24)
        self._write_passfile(self._passfile(name), ROLE, password)
        asked = f"ALTER ROLE {ROLE} PASSWORD :'verifier';"
        self._admin(name, server).run(asked, values={"verifier": verifier(password)})

    def _admin(self, name: str, server: ClusterServer) -> Server:
        """The server, entered as its superuser."""
        secret = {"PGPASSFILE": str(self._marked.of(name) / "admin.pgpass")}
        return Server(self._url(server, ADMIN), secret=secret)

    def _url(self, server: ClusterServer, user: str) -> DatabaseUrl:
        return DatabaseUrl("postgresql", self._database, user, host=str(server.socket), port=server.number)

    def _passfile(self, name: str) -> Path:
        return self._marked.root / f"{name}.pgpass"

    def _move_passfile(self, old: str, new: str) -> None:
        """The password belongs to the server: it goes aside and comes back with it."""
        with suppress(FileNotFoundError):
            files.move_over(self._passfile(old), self._passfile(new))

    @staticmethod
    def _write_passfile(path: Path, user: str, password: str) -> None:
        files.replace(path, f"*:*:*:{user}:{password}\n".encode(), 0o600)
