"""Tasks with a schema each in one database that they share: from the configuration to what lands, and in sandboxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stretto.workspace.databases import programs
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.engine.test_databases import CHECK, WATTS, rows
from tests.engine.test_databases_served import SANDBOX, inside
from tests.support import migrator
from tests.support.postgres import Cluster
from tests.support.repository import Repository

INSERT = "INSERT INTO lamp VALUES (2, '{}')"


@pytest.fixture
def cluster(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A server that lets nobody in without a password, with a database `dev`; the person has theirs in a file."""
    cluster = Cluster(programs.servers()[0], short_folder / "pg")
    cluster.admin.run("ALTER ROLE ann PASSWORD 'anns'; ALTER ROLE admin PASSWORD 'admins'; ALTER ROLE ann NOCREATEDB;")
    cluster.admin.run("CREATE DATABASE dev;")
    cluster.admin.run("GRANT CREATE ON DATABASE dev TO ann;")
    cluster.admin.run("CREATE TABLE theirs (n integer); INSERT INTO theirs VALUES (7);", database="dev")
    cluster.admin.run("ALTER TABLE theirs OWNER TO ann;", database="dev")
    (cluster.folder / "data" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    cluster.admin.run("SELECT pg_reload_conf();")
    passfile = short_folder / "pgpass"
    passfile.write_text("*:*:*:ann:anns\n*:*:*:admin:admins\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    yield cluster
    cluster.stop()


@pytest.fixture
def spine(home: Path, make_repo: Callable[..., Repository], tmp_path: Path, cluster: Cluster) -> Iterator[Spine]:
    said = f'provider = "postgres-schema"\nurl = "{cluster.url(name="dev").text()}"'
    files = migrator.project("", said=said)
    repo = make_repo("repo", {**files, "stretto.toml": files["stretto.toml"] + SANDBOX})
    with running(repo, tmp_path) as spine:
        yield spine


def test_two_conflicting_migrations_run_at_once_and_the_gate_catches_it(spine: Spine, cluster: Cluster) -> None:
    script = {}
    for id, path in (("one", "migrations/002_one.sql"), ("other", "migrations/003_other.sql")):
        repaired = write(path, "ALTER TABLE lamp ADD COLUMN lumen integer")
        script[id] = turns([write(path, WATTS)], [repaired])  # whoever comes second is sent back
    answer = spine.run(plan(task("one"), task("other"), checks=CHECK), script, open=2)
    assert [line for line in answer["notices"] if line.startswith("tasks share the database dev: its advisory locks")]
    assert spine.wait_over(120) == {"one": "landed", "other": "landed"}
    ejected = [event for event in spine.events("queue.ejected") if event.data["cause"] == "gate"]
    assert len(ejected) == 1
    assert "migrate did not pass" in ejected[0].data["reason"]
    assert cluster.run("SELECT n FROM theirs;", "dev") == [["7"]]
    there = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace;"
    assert cluster.run(there, "dev") == [["theirs"]], "nothing of a task, a gate or a template is in the person's"


def test_each_task_is_its_own_role_comes_back_and_goes(spine: Spine, cluster: Cluster) -> None:
    script = {
        id: turns([{"run": ["python3", "db.py", INSERT.format(id)]}, write(f"{id}.txt", id)]) for id in ("one", "other")
    }
    spine.run(plan(task("one"), task("other"), checks=CHECK), script, approve="human", open=2)
    spine.wait(lambda: sum(item.kind.value == "review" for item in spine.items()) == 2, 120)
    own, other = (spine.task(id).held for id in ("one", "other"))
    look = "python3 db.py 'SELECT name FROM lamp ORDER BY id'"
    assert inside(spine, "one", look).stdout.split() == ["seeded", "one"]
    url, role = own["DATABASE_URL"], own["DATABASE_SCHEMA"]
    for attack in (
        other["DATABASE_URL"],
        url.replace(f"//{role}@", "//ann@"),
        url.replace(f"//{role}@", "//admin@"),
    ):
        done = inside(spine, "one", "python3 db.py 'SELECT 1'", attack)
        assert (done.returncode, done.stdout) == (1, ""), attack
    for words in (f"SELECT * FROM {other['DATABASE_SCHEMA']}.lamp", "SELECT * FROM public.theirs", "SET ROLE ann"):
        assert "permission denied" in inside(spine, "one", f"python3 db.py '{words}'").stderr, words
    folder = Path(own["PGPASSFILE"]).parent
    assert inside(spine, "one", f"ls {folder}").stdout.split() == [Path(own["PGPASSFILE"]).name]

    identity = spine.call("db_reset", task=spine.task("one").uid)["undo"]
    assert rows(spine, "one") == ["1|seeded"]
    spine.call("undo", id=identity)
    assert rows(spine, "one") == ["1|seeded", "2|one"]
    removed = spine.call("remove", task=spine.task("one").uid)
    undone = spine.call("undo", id=removed["undo"])
    assert rows(spine, "one", Path(undone["path"])) == ["1|seeded", "2|one"]
    for each in spine.tasks():
        spine.call("remove", task=each.uid)
    spine.call("purge", all=True)
    for name in (role, other["DATABASE_SCHEMA"]):
        asked = f"SELECT 1 FROM pg_namespace WHERE nspname LIKE '{name}%' UNION ALL"
        assert cluster.run(f"{asked} SELECT 1 FROM pg_roles WHERE rolname LIKE '{name}%';", "dev") == []
    assert [path.name for path in folder.glob("*.pgpass") if "_one_" in path.name or "_other_" in path.name] == []
