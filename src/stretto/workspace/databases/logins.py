"""The login roles of tasks on a server that all of them share: passwords, and the way by which a task gets in.

Specification. A password is random and lies in `<folder>/<role>.pgpass` (0600), written down before the server hears of
it, and only as a SCRAM verifier. The first line of that file says by which way the role was found to get in, and
whether that way is shut to all who may do more than a task (`SHUT`): only such a one is shown in a sandbox.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stretto import files
from stretto.core.database_url import DEFAULT_PORT, DatabaseUrl
from stretto.core.errors import StrettoError
from stretto.workspace.databases import sql
from stretto.workspace.databases.base import Address
from stretto.workspace.databases.psql import Server

#: how a passfile says that its way is shut to all who may do more than a task
SHUT = " shut"


class Logins:
    """Login roles of the server at `server`; `folder`: where their passfiles lie."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def passfile(self, role: str) -> Path:
        """Where the password of a role lies."""
        return self._folder / f"{role}.pgpass"

    def password(self, role: str) -> str:
        """The password in the passfile; a new one, written down first, if there is none."""
        held = self.passfile(role)
        if held.exists():
            return held.read_text().rstrip("\n").rpartition(":")[2]
        password = secrets.token_urlsafe(24)
        self._write(role, password, self._server.url.host, self._server.url.port)
        return password

    def forget(self, role: str) -> None:
        """Take the passfile away."""
        self.passfile(role).unlink(missing_ok=True)

    def move(self, old: str, new: str) -> None:
        """The passfile goes with its role, whose name becomes `new`."""
        with suppress(FileNotFoundError):
            files.move_over(self.passfile(old), self.passfile(new))

    def address(self, role: str, database: str) -> Address:
        """How the role reaches a database. Asks no server."""
        return Address(self._there(role, database).text(), {"PGPASSFILE": str(self.passfile(role))})

    def entered(self, role: str, database: str) -> Server:
        """The server, entered as a role by the way that was found for it."""
        return Server(self._there(role, database), secret={"PGPASSFILE": str(self.passfile(role))})

    def _there(self, role: str, database: str) -> DatabaseUrl:
        held = self.passfile(role)
        said = re.match(r"# host=(\S*) port=(\d*)", held.read_text()) if held.exists() else None
        host, port = (said[1], said[2]) if said else (self._server.url.host, "")
        number = int(port) if port else None
        return replace(self._server.url, name=database, user=role, password="", host=host, port=number)

    def find_way(self, role: str, database: str) -> None:
        """Log in as the task will; where the socket wants the system's own user, over the network of this machine.

        A way that is shut to all who may do more comes first: only that one is shown in a sandbox. Raises StrettoError
        if there is none.
        """
        url, password = self._server.url, self.password(role)
        ways = [(url.host, url.port)]
        if url.socket or not url.host:
            ways.append(("127.0.0.1", url.port or DEFAULT_PORT))
        failed: StrettoError | None = None
        open_way: tuple[str, int | None] | None = None
        for host, port in ways:
            self._write(role, password, host, port)
            there = replace(url, user=role, password="", host=host, port=port)
            try:
                Server(there, secret={"PGPASSFILE": str(self.passfile(role))}).run("SELECT 1;", database=database)
            except StrettoError as error:
                failed = failed or error
                continue
            if self._is_shut(there):
                self._write(role, password, host, port, shut=True)
                return
            open_way = open_way or (host, port)
        if open_way is None:
            raise failed or StrettoError("there is no way in", object=role)
        self._write(role, password, *open_way)

    def _is_shut(self, way: DatabaseUrl) -> bool:
        """Whether nobody who may do more than a task gets in here without a password."""
        for (role,) in self._server.run(sql.MIGHTY):
            nobody = Server(replace(way, user=role), secret={"PGPASSFILE": os.devnull, "PGPASSWORD": ""})
            try:
                nobody.run("SELECT 1;")
            except StrettoError:
                continue
            return False
        return True

    def _write(self, role: str, password: str, host: str, port: int | None, *, shut: bool = False) -> None:
        files.make_private_dir(self._folder)
        text = f"# host={host} port={port or ''}{SHUT if shut else ''}\n*:*:*:{role}:{password}\n"
        files.replace(self.passfile(role), text.encode(), 0o600)
