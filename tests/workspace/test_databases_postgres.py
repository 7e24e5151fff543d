"""PostgreSQL branches: who gets into which, what happens to a source in use, and what a server can refuse."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stretto.core.database_url import DatabaseUrl, parse
from stretto.core.errors import StrettoError
from stretto.workspace.databases import Branch, Branches, connect, programs
from stretto.workspace.databases.psql import Server
from tests.support.postgres import Cluster, query


class Shop:
    """A source database with a table, its branches, and the programs of tasks."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.name = f"dev_{os.urandom(4).hex()}"
        cluster.run(f"CREATE DATABASE {self.name};", "postgres")
        cluster.run("CREATE TABLE source (n integer); INSERT INTO source VALUES (1), (2);", self.name)
        self.all: list[Branches] = []

    def branches(self, user: str = "ann", **given: Any) -> Branches:
        table = {"url": self.cluster.url(user, self.name).text(), **given}
        root = self.folder / self.name
        found = connect(table, root=root, folder=self.folder / "ours", home="h", ignored=lambda path: True)
        assert found is not None
        self.all.append(found)
        return found

    def make(self, owner: str, found: Branches | None = None) -> tuple[Branch, Branches]:
        found = found or self.branches()
        return found.ensure(owner, "task", found.place(self.folder), "start"), found

    def asked(self, row: Branch, found: Branches, script: str, database: str = "") -> subprocess.CompletedProcess[str]:
        address = found.address(row, found.place(self.folder))
        url = address.url.replace(f"/{row.name}?", f"/{database or row.name}?")
        return query(url, address.env, script)


@pytest.fixture
def shop(postgres: Cluster, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(postgres, tmp_path)
    yield made
    for row in made.branches().known():
        made.all[-1]._drop(row, made.all[-1].place(tmp_path))
    postgres.admin.run(f"DROP DATABASE {made.name} WITH (FORCE);")


def test_a_task_gets_into_its_own_database_and_no_other(shop: Shop) -> None:
    one, found = shop.make("run-aaaa/one")
    other, _ = shop.make("run-aaaa/other", found)
    assert shop.asked(one, found, "SELECT count(*) FROM source").stdout == "2\n"
    shop.asked(one, found, f"GRANT CONNECT ON DATABASE {other.name} TO PUBLIC")  # grants nothing, and says so
    refused = shop.asked(one, found, "SELECT 1", other.name)
    assert "permission denied for database" in refused.stderr
    assert shop.asked(one, found, "SELECT n FROM source", shop.name).returncode != 0
    for words in (
        f"DROP DATABASE {other.name}",
        f"ALTER DATABASE {other.name} RENAME TO mine",
        "CREATE DATABASE more",
        "CREATE ROLE more",
        f"ALTER ROLE {other.name} PASSWORD 'x'",
        "SET ROLE ann",
        f"SET SESSION AUTHORIZATION {other.name}",
    ):
        assert shop.asked(one, found, words).returncode != 0, words
    assert shop.asked(other, found, "SELECT count(*) FROM source").stdout == "2\n"


def test_nobody_gets_in_without_the_password(shop: Shop) -> None:
    row, found = shop.make("run-aaaa/one")
    address = found.address(row, found.place(shop.folder))
    assert query(address.url, {}, "SELECT 1").returncode != 0
    passfile = Path(address.env["PGPASSFILE"])
    assert passfile.stat().st_mode & 0o777 == 0o600
    password = passfile.read_text().strip().rpartition(":")[2]
    assert len(password) >= 32
    rows = [path.read_text() for path in (shop.folder / "ours").rglob("*.json")]
    log = (shop.cluster.folder / "log").read_text(errors="replace")
    assert password not in "".join([address.url, log, *rows])


def test_a_task_may_do_everything_in_its_own(shop: Shop) -> None:
    row, found = shop.make("run-aaaa/one")
    for words in (
        "ALTER TABLE source ADD COLUMN m integer",
        "CREATE SCHEMA extra",
        "CREATE TABLE extra.t (id serial PRIMARY KEY)",
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE FUNCTION two() RETURNS integer LANGUAGE sql AS 'SELECT 2'",
        "DROP TABLE source",
    ):
        done = shop.asked(row, found, words)
        assert done.returncode == 0, (words, done.stderr)


def test_a_source_in_use_is_copied_and_its_sessions_live(shop: Shop) -> None:
    with session(shop) as user:
        row, found = shop.make("run-aaaa/one")
        assert shop.asked(row, found, "SELECT count(*) FROM source").stdout == "2\n"
        assert user.poll() is None
        assert shop.cluster.admin.sessions(shop.name) == 1


@pytest.mark.parametrize("folder", programs.servers()[1:], ids=lambda folder: folder.parent.name)
def test_older_servers_too(folder: Path, short_folder: Path, tmp_path: Path) -> None:
    """A source in use, dumped by newer programs; a template and a clone; aside and back."""
    cluster = Cluster(folder, short_folder / "pg")
    try:
        shop = Shop(cluster, tmp_path)
        with session(shop):
            row, found = shop.make("run-aaaa/one")
        place = found.place(tmp_path)
        found.settled("run-aaaa/one", "task", place, "start")
        other, _ = shop.make("run-aaaa/other", found)
        assert other.template is not None
        found.set_aside("run-aaaa/one", "task", "r123456", place)
        found.bring_back("r123456", place)
        for each in (row, other):
            assert shop.asked(each, found, "ALTER TABLE source ADD COLUMN m integer").returncode == 0
            assert shop.asked(each, found, "SELECT count(*) FROM source").stdout == "2\n"
        assert shop.asked(row, found, "SELECT 1", other.name).returncode != 0
    finally:
        cluster.stop()


def test_a_failure_is_known_whatever_language_the_server_speaks() -> None:
    server = Server(DatabaseUrl("postgresql", host="db"))
    said = (
        "psql:<stdin>:1: FEHLER:  42501: keine Berechtigung, um Datenbank zu erzeugen\nORT:  createdb, dbcommands.c:1"
    )
    assert server.failure(said, "x").code == "database_denied"


def test_sessions_are_ended_only_when_the_configuration_says_so(shop: Shop) -> None:
    with session(shop) as user:
        row, found = shop.make("run-aaaa/one", shop.branches(end_sessions=True))
        assert shop.asked(row, found, "SELECT count(*) FROM source").stdout == "2\n"
        assert user.wait(20) != 0
    assert shop.cluster.run("SELECT count(*) FROM source;", shop.name) == [["2"]], "it can be used again"


class session:
    """Somebody who is connected to the source."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def __enter__(self) -> subprocess.Popen[bytes]:
        words = [str(self._shop.cluster.programs / "psql"), "-Xq", "-d", self._shop.name, "-c", "SELECT pg_sleep(600)"]
        env = {**os.environ, "PGHOST": str(self._shop.cluster.folder), "PGUSER": "ann"}
        self._user = subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not self._shop.cluster.admin.sessions(self._shop.name):
            assert self._user.poll() is None
        return self._user

    def __exit__(self, *_: object) -> None:
        self._user.kill()
        self._user.wait()


def test_eight_at_once_from_one_template(shop: Shop) -> None:
    first, found = shop.make("run-aaaa/first")
    found.settled("run-aaaa/first", "task", found.place(shop.folder), "start")
    with ThreadPoolExecutor(8) as pool:
        rows = [row for row, _ in pool.map(lambda n: shop.make(f"run-aaaa/t{n}", found), range(8))]
    assert {row.template for row in rows} == {found.templates()[0].name}
    assert len({row.name for row in rows}) == 8
    assert first.template is None
    assert [shop.asked(row, found, "SELECT count(*) FROM source").stdout for row in rows] == ["2\n"] * 8


def test_nobody_can_connect_to_a_template(shop: Shop) -> None:
    _, found = shop.make("run-aaaa/one")
    found.settled("run-aaaa/one", "task", found.place(shop.folder), "start")
    (template,) = found.templates()
    with pytest.raises(StrettoError, match="not currently accepting connections"):
        shop.cluster.admin.run("SELECT 1;", database=template.name)


def test_what_belongs_to_others_is_refused_and_undone(shop: Shop) -> None:
    shop.cluster.admin.run("CREATE TABLE hers (n integer);", database=shop.name)
    found = shop.branches()
    with pytest.raises(StrettoError) as refused:
        shop.make("run-aaaa/one", found)
    assert refused.value.code == "database_denied"
    assert "public.hers" in refused.value.message
    assert (found.known(), found.provider.found()) == ([], {})
    row, admin = shop.make("run-aaaa/one", shop.branches("admin"))
    assert shop.asked(row, admin, "SELECT count(*) FROM hers").stdout == "0\n"
    admin.drop("run-aaaa/one", "task", admin.place(shop.folder))


def test_a_user_without_the_rights_is_told_the_next_command(shop: Shop) -> None:
    shop.cluster.admin.run("DROP ROLE IF EXISTS bob; CREATE ROLE bob LOGIN PASSWORD 'x';")
    server = replace(shop.cluster.url("bob", shop.name), password="x")
    with pytest.raises(StrettoError) as refused:
        raise Server(server).failure("ERROR:  42501: permission denied to create database", "postgres")
    assert refused.value.code == "database_denied"
    assert 'ALTER ROLE "bob" CREATEDB CREATEROLE' in str(refused.value.hint)
    found = connect(
        {"url": shop.cluster.url("bob", shop.name).text()},
        root=shop.folder / "x",
        folder=shop.folder / "o",
        home="h",
        ignored=bool,
    )
    assert found is not None
    with pytest.raises(StrettoError) as shut:
        found.check()
    assert shut.value.code == "database_login"
    assert "~/.pgpass" in str(shut.value.hint)
    shop.cluster.admin.run("DROP ROLE bob;")


def test_a_source_that_is_not_there(shop: Shop) -> None:
    table = {"url": shop.cluster.url(name="nobody_made_it").text()}
    found = connect(table, root=shop.folder, folder=shop.folder / "o", home="h", ignored=bool)
    assert found is not None
    with pytest.raises(StrettoError) as refused:
        found.check()
    assert refused.value.code == "database_missing"
    assert "createdb nobody_made_it" in str(refused.value.hint)


def test_a_password_never_gets_into_an_error() -> None:
    from stretto.core.database_url import parse

    server = Server(parse("postgresql://ann:s3cret@127.0.0.1:1/shop"))
    with pytest.raises(StrettoError) as refused:
        server.run("SELECT 1;")
    assert refused.value.code == "database_down"
    assert "s3cret" not in str(refused.value.as_json())


def test_how_a_server_has_to_prove_itself_reaches_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "disable")
    server = Server(parse("postgresql://ann@db/shop?sslmode=verify-full&sslrootcert=/etc/ca.pem"))
    env = server.environment("shop")
    assert (env["PGSSLMODE"], env["PGSSLROOTCERT"]) == ("verify-full", "/etc/ca.pem")
    assert Server(parse("postgresql://ann@db/shop")).environment("shop")["PGSSLMODE"] == "disable"


def test_a_role_of_somebody_else_keeps_its_name_and_password(shop: Shop) -> None:
    found = shop.branches()
    name = found._name("run-aaaa/one", "task")
    shop.cluster.admin.run(f"CREATE ROLE {name} LOGIN PASSWORD 'theirs'; COMMENT ON ROLE {name} IS 'do not touch';")
    with pytest.raises(StrettoError) as refused:
        shop.make("run-aaaa/one", found)
    assert refused.value.code == "database_taken"
    done = query(shop.cluster.url(name, shop.name).text(), {"PGPASSWORD": "theirs"}, "SELECT 1")
    assert done.stdout == "1\n"
    asked = f"SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{name}';"
    assert shop.cluster.admin.value(asked) == "do not touch"
    assert (found.known(), found.provider.found()) == ([], {})
    shop.cluster.admin.run(f"DROP ROLE {name};")


def test_a_role_that_may_do_more_is_never_given_to_tasks(shop: Shop) -> None:
    found = shop.branches()
    group = found.provider._group  # type: ignore[attr-defined]  # of this provider alone
    shop.cluster.admin.run(f"CREATE ROLE {group} NOLOGIN CREATEDB;")
    with pytest.raises(StrettoError) as refused:
        shop.make("run-aaaa/one", found)
    assert (refused.value.code, refused.value.object) == ("database_taken", group)
    shop.cluster.admin.run(f"DROP ROLE {group};")
