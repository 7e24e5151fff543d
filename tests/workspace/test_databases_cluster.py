"""A PostgreSQL server for each task: its life, who gets in, and what its role may not do."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.net import listening
from stretto.workspace.databases import Branch, Branches, connect
from stretto.workspace.databases.base import Place
from stretto.workspace.databases.cluster_server import ClusterServer, _prefix
from stretto.workspace.databases.postgres_cluster import PostgresCluster
from tests.support.postgres import query
from tests.support.waiting import wait_for


class Shop:
    """Databases of one repository, each in a server of its own; all is ended with the test."""

    def __init__(self, folder: Path, **given: str) -> None:
        self.folder = folder
        table = {"provider": "postgres-cluster", **given}
        found = connect(table, root=folder / "shop", folder=folder / "ours", home="h", ignored=bool)
        assert found is not None
        self.branches: Branches = found

    def place(self, **environment: str) -> Place:
        return self.branches.place(self.folder, environment)

    def make(self, owner: str, **environment: str) -> Branch:
        return self.branches.ensure(f"run-aaaa/{owner}", "task", self.place(**environment), "start")

    def server(self, row: Branch) -> ClusterServer:
        provider = self.branches.provider
        assert isinstance(provider, PostgresCluster)
        return provider._server(row.name)

    def sql(self, row: Branch, script: str, *, database: str = "app", user: str = "stretto_owner") -> str:
        address = self.branches.address(row, self.place())
        url = address.url.replace("/app?", f"/{database}?").replace("stretto_owner@", f"{user}@")
        done = query(url, address.env, script)
        return done.stdout if done.returncode == 0 else f"refused: {done.stderr}"


@pytest.fixture
def shop(short_folder: Path) -> Iterator[Shop]:
    made = Shop(short_folder)
    yield made
    for row in made.branches.known():
        made.branches._drop(row, made.place())


def test_its_life_from_rest_to_rest(shop: Shop) -> None:
    """It rests and wakes with what was written; killed as by a reboot it comes back; its removal ends it."""
    row = shop.make("one")
    server = shop.server(row)
    assert shop.sql(row, "CREATE TABLE t (n integer); INSERT INTO t VALUES (7)") == ""
    shop.branches.rest(row.owner, "task")
    assert server.running() is None
    assert "refused" in shop.sql(row, "SELECT n FROM t")
    for _ in range(2):
        shop.branches.wake(row.owner, "task", shop.place())
    first = server.running()
    assert first is not None
    assert shop.sql(row, "SELECT n FROM t") == "7\n"
    os.kill(first[0], signal.SIGKILL)
    assert wait_for(lambda: server.running() is None)
    for name in server.socket.iterdir():
        name.unlink()
    server.socket.rmdir()  # as on a machine that keeps nothing in its folder for sockets
    shop.branches.ensure(row.owner, "task", shop.place(), "start")
    assert shop.sql(row, "SELECT n FROM t") == "7\n"
    shop.branches.set_aside(row.owner, "task", "r123456", shop.place())
    assert server.running() is None
    assert not server.socket.exists()


def test_a_pid_that_somebody_else_has_now_is_not_taken_for_it(shop: Shop) -> None:
    row = shop.make("one")
    server = shop.server(row)
    said = (server.data / "postmaster.pid").read_text().split("\n")
    shop.branches.rest(row.owner, "task")
    said[0], said[2] = str(os.getpid()), "1000000000"
    (server.data / "postmaster.pid").write_text("\n".join(said))
    assert server.running() is None
    server.stop()  # would end us
    (server.data / "postmaster.pid").unlink()


def test_it_is_nobodys_but_the_tasks(shop: Shop) -> None:
    """No TCP, a closed folder, no superuser's rights, and the superuser wants a password."""
    row = shop.make("one")
    server = shop.server(row)
    assert shop.sql(row, "SHOW listen_addresses") == "\n"
    assert stat.S_IMODE(server.socket.stat().st_mode) & 0o007 == 0
    found = server.running()
    assert found is not None
    uids = [line for line in Path(f"/proc/{found[0]}/status").read_text().splitlines() if line.startswith("Uid:")]
    assert "0" not in uids[0].split()
    for user in ("stretto_admin", "postgres", "nobody"):
        assert "refused" in shop.sql(row, "SELECT 1", user=user), user
    for words in (
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SELECT pg_read_file('PG_VERSION')",
        "CREATE ROLE more SUPERUSER",
        "GRANT pg_execute_server_program TO stretto_owner",
        "ALTER ROLE stretto_admin PASSWORD 'x'",
        "SET ROLE stretto_admin",
    ):
        assert "refused" in shop.sql(row, words), words
    assert shop.sql(row, "CREATE DATABASE for_tests") == "", "test runners make databases of their own"
    assert shop.sql(row, "CREATE TABLE t (n integer)", database="for_tests") == ""


def test_with_a_port_it_listens_there_and_wants_the_password(short_folder: Path) -> None:
    shop = Shop(short_folder, port="db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    with pytest.raises(StrettoError) as refused:
        shop.make("one", PORT="1")
    assert refused.value.code == "environment"
    assert shop.branches.known() == []
    row = shop.make("one", PORT_DB=str(number))
    try:
        address = shop.branches.address(row, shop.place())
        assert address.url == f"postgresql://stretto_owner@127.0.0.1:{number}/app"
        assert query(address.url, address.env, "SELECT 1").stdout == "1\n"
        assert query(address.url, {}, "SELECT 1").returncode != 0
        assert query(address.url.replace("stretto_owner", "stretto_admin"), address.env, "SELECT 1").returncode != 0
        passfile = Path(address.env["PGPASSFILE"])
        assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
        found = shop.server(row).running()
        own = [one for one in listening() if one.port == number]
        assert [(one.workspace, one.pid) for one in own] == [(str(short_folder), found[0] if found else None)]
    finally:
        shop.branches.drop(row.owner, "task", shop.place())
    assert list((short_folder / "ours").glob("*.pgpass")) == []


def test_nothing_of_a_gate_stays_in_the_folder_of_sockets(short_folder: Path) -> None:
    shop = Shop(short_folder)
    shop.branches.ensure("gate-1", "gate", shop.place(), "start")
    (row,) = shop.branches.known()
    try:
        socket_folder = shop.server(row).socket
        assert socket_folder.is_dir()
        shop.branches.rest("gate-1", "gate")
        assert not socket_folder.exists()
        shop.branches.wake("gate-1", "gate", shop.place())
        assert shop.sql(row, "SELECT 1") == "1\n"
    finally:
        shop.branches.drop("gate-1", "gate", shop.place())


def test_a_machine_without_its_programs_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stretto.workspace.databases.programs.servers", list)
    with pytest.raises(StrettoError) as refused:
        shop.branches.check()
    assert refused.value.code == "program_missing"
    assert "stretto[postgres]" in str(refused.value.hint)


def test_as_root_what_nobody_cannot_reach_is_refused(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = short_folder / "closed" / "pg15" / "bin"
    closed.mkdir(parents=True)
    closed.parent.parent.chmod(0o700)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("stretto.workspace.databases.cluster_server._may_read_everything", lambda: False)
    with pytest.raises(StrettoError) as refused:
        _prefix(closed)
    assert "does not run as root" in refused.value.message
    assert str(closed.parent.parent) in refused.value.message


def test_the_password_goes_aside_and_comes_back_with_its_server(short_folder: Path) -> None:
    shop = Shop(short_folder, port="db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = str(free.getsockname()[1])
    row = shop.make("one", PORT_DB=number)
    place = shop.place(PORT_DB=number)
    try:

        def ask(script: str) -> str:
            shop.branches.wake(row.owner, "task", place)
            address = shop.branches.address(row, place)
            done = query(address.url, address.env, script)
            return done.stdout if done.returncode == 0 else f"refused: {done.stderr}"

        assert ask("CREATE TABLE t (n integer); INSERT INTO t VALUES (7)") == ""
        shop.branches.renew(row.owner, "task", "r1", place, "start")
        assert "refused" in ask("SELECT n FROM t"), "it began anew"
        assert ask("SELECT 1") == "1\n"
        shop.branches.swap(row.owner, "task", "r1", "r2", place)
        assert ask("SELECT n FROM t") == "7\n"
        shop.branches.purge("r2", place)
        assert ask("SELECT n FROM t") == "7\n"
    finally:
        shop.branches.drop(row.owner, "task", place)
    assert list((short_folder / "ours").glob("*.pgpass")) == []
