"""A PostgreSQL server for tests: one for each worker, on a Unix socket in a short folder, ended with the session.

Specification. The server never runs as root: then it runs as the unprivileged user of the other tests, who may read
everything where the programs lie below a folder that is closed to others. `admin` is its superuser, `ann` may make
databases and roles and is nobody else; everyone else needs a password.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from stretto.core.database_url import DatabaseUrl
from stretto.workspace.databases.psql import Server
from tests.support.unprivileged import NOBODY
from tests.support.waiting import wait_for
from tests.support.world import RUN_VARIABLE

_ACCESS = "local all admin,ann trust\nlocal all all scram-sha-256\n"
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "40",
    "shared_buffers": "16MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}


class Cluster:
    """A running server. `folder`: its socket's."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self._data = folder / "data"
        folder.mkdir(mode=0o755)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        self._call("initdb", "-D", str(self._data), "-U", "admin", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        (self._data / "pg_hba.conf").write_text(_ACCESS)
        words = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._log = (folder / "log").open("wb")
        self._server = subprocess.Popen(
            [*_prefix(programs), str(programs / "postgres"), "-D", str(self._data), "-k", str(folder), *words],
            # nothing of the test that happens to be the first: what works for its home is ended after it
            env={name: os.environ[name] for name in ("PATH", RUN_VARIABLE)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        assert wait_for(self._answers), (folder / "log").read_text()
        self.admin.run("CREATE ROLE ann LOGIN CREATEDB CREATEROLE;")

    @property
    def admin(self) -> Server:
        """The server, entered as its superuser."""
        return Server(self.url("admin"))

    def url(self, user: str = "ann", name: str = "") -> DatabaseUrl:
        """The address of a database for a user."""
        return DatabaseUrl("postgresql", name, user, host=str(self.folder))

    def run(self, script: str, name: str, user: str = "ann") -> list[list[str]]:
        """Statements in a database, as a user without a password."""
        return Server(self.url(user)).run(script, database=name)

    def stop(self) -> None:
        """End it with all that it started."""
        self._server.terminate()
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._log.close()

    def _answers(self) -> bool:
        done = subprocess.run(
            [str(self.programs / "psql"), "-XAtw", "-c", "SELECT 1", "postgres"],
            env={**os.environ, "PGHOST": str(self.folder), "PGUSER": "admin"},
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def _call(self, name: str, *words: str) -> None:
        done = subprocess.run(
            [*_prefix(self.programs), str(self.programs / name), *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def _prefix(programs: Path) -> list[str]:
    if os.geteuid() != 0:
        return []
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if all(folder.stat().st_mode & 0o005 == 0o005 for folder in programs.parents):
        return [*drop, "--inh-caps=-all", "--"]
    return [*drop, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--"]


def query(url: str, env: Mapping[str, str], script: str) -> subprocess.CompletedProcess[str]:
    """Statements through an address, as a program of a task would run them."""
    from stretto.workspace.databases import programs

    return subprocess.run(
        [str(programs.client("psql")), "-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env},
        capture_output=True,
        text=True,
        check=False,
    )
