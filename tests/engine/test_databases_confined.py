"""Tasks in sandboxes on one PostgreSQL server that all of them share: each is its own role, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stretto.workspace.databases import programs
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.engine.test_databases_served import SANDBOX, inside
from tests.support import migrator
from tests.support.postgres import Cluster
from tests.support.repository import Repository

CHECK = json.dumps(["python3 db.py 'SELECT * FROM lamp'"])


@pytest.fixture
def server(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A server that lets nobody in without a password; the person has theirs in a file."""
    cluster = Cluster(programs.servers()[0], short_folder / "pg")
    cluster.admin.run("ALTER ROLE ann PASSWORD 'anns'; ALTER ROLE admin PASSWORD 'admins';")
    (cluster.folder / "data" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    cluster.admin.run("SELECT pg_reload_conf();")
    passfile = short_folder / "pgpass"
    passfile.write_text("*:*:*:ann:anns\n*:*:*:admin:admins\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    yield cluster
    cluster.stop()


def project(make_repo: Callable[..., Repository], cluster: Cluster) -> Repository:
    files = migrator.project(cluster.url().text())
    return make_repo("repo", {**files, "stretto.toml": files["stretto.toml"] + SANDBOX})


def test_a_task_is_its_own_role_and_nobody_else(
    home: Path, make_repo: Callable[..., Repository], tmp_path: Path, server: Cluster
) -> None:
    script = {
        id: turns([{"run": ["python3", "db.py", f"INSERT INTO lamp VALUES (2, '{id}')"]}, write(f"{id}.txt", id)])
        for id in ("one", "other")
    }
    with running(project(make_repo, server), tmp_path) as spine:
        spine.run(plan(task("one"), task("other"), checks=CHECK), script, approve="human", open=2)
        spine.wait(lambda: sum(item.kind.value == "review" for item in spine.items()) == 2, 120)
        own, other = (spine.task(id).held for id in ("one", "other"))
        look = "python3 db.py 'SELECT name FROM lamp ORDER BY id'"
        assert inside(spine, "one", look).stdout.split() == ["seeded", "one"]
        url = own["DATABASE_URL"]
        for attack in (
            other["DATABASE_URL"],
            url.replace(f"//{_role(url)}@", "//ann@"),
            url.replace(f"//{_role(url)}@", "//admin@"),
            url.replace(f"/{_role(url)}?", f"/{_role(other['DATABASE_URL'])}?"),
            url.replace(f"/{_role(url)}?", "/postgres?").replace(f"//{_role(url)}@", "//ann@"),
        ):
            done = inside(spine, "one", "python3 db.py 'SELECT 1'", attack)
            assert (done.returncode, done.stdout) == (1, ""), attack
        folder = Path(own["PGPASSFILE"]).parent
        assert inside(spine, "one", f"ls {folder}").stdout.split() == [Path(own["PGPASSFILE"]).name]
        assert inside(spine, "one", 'echo x >> "$PGPASSFILE"').returncode != 0
        assert inside(spine, "one", f"cat {other['PGPASSFILE']} {home.parent}/pgpass").returncode != 0
        assert inside(spine, "other", look).stdout.split() == ["seeded", "other"]
        purge(spine)


def test_a_server_that_lets_the_person_in_is_not_shown(
    home: Path, make_repo: Callable[..., Repository], tmp_path: Path, postgres: Cluster
) -> None:
    with running(project(make_repo, postgres), tmp_path) as spine:
        spine.run(plan(task("one"), checks=CHECK), {"one": turns([write("a.txt", "a")])}, approve="human")
        item = spine.wait_item("failure", 60)
        assert "lets others in without a password" in item.text
        assert "postgres-cluster" in item.text
        purge(spine)
    for (name,) in postgres.run("SELECT datname FROM pg_database WHERE datname LIKE 'stretto\\_repo\\_%';", "postgres"):
        postgres.admin.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE);')


def purge(spine: Spine) -> None:
    for each in spine.tasks():
        spine.call("remove", task=each.uid)
    spine.call("purge", all=True)


def _role(url: str) -> str:
    return url.partition("//")[2].partition("@")[0]
