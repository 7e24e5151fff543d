"""Tasks and gates with databases of their own: from the configuration to what lands, with SQLite and PostgreSQL."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.core.model import Run
from stretto.reads import read
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support import migrator
from tests.support.postgres import Cluster
from tests.support.repository import Repository

CHECK = '["python3 db.py \\"SELECT * FROM lamp\\""]'
WATTS = "ALTER TABLE lamp ADD COLUMN watts integer"


@pytest.fixture(params=["sqlite", "postgres"])
def spine(
    request: pytest.FixtureRequest, home: Path, make_repo: Callable[..., Repository], tmp_path: Path
) -> Iterator[Spine]:
    url = "sqlite:///var/app.db"
    if request.param == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres")
        url = cluster.url().with_name("").text()
    repo = make_repo("repo", migrator.project(url))
    with running(repo, tmp_path) as spine:
        yield spine
    if request.param == "postgres":
        for name in [row[0] for row in cluster.run("SELECT datname FROM pg_database;", "postgres")]:
            if name.startswith("stretto_repo_"):
                cluster.admin.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE);')


def test_two_conflicting_migrations_run_at_once_and_the_gate_catches_it(spine: Spine) -> None:
    """Each is fine alone, they merge without a conflict, and applied one after the other the second fails."""
    script = {}
    for id, path in (("one", "migrations/002_one.sql"), ("other", "migrations/003_other.sql")):
        repaired = write(path, "ALTER TABLE lamp ADD COLUMN lumen integer")
        script[id] = turns([write(path, WATTS)], [repaired])  # whoever comes second is sent back
    answer = spine.run(plan(task("one"), task("other"), checks=CHECK), script, open=2)
    assert not [line for line in answer.get("notices", []) if "not used yet" in line]
    assert spine.wait_over(90) == {"one": "landed", "other": "landed"}
    ejected = [event for event in spine.events("queue.ejected") if event.data["cause"] == "gate"]
    assert len(ejected) == 1
    assert "migrate did not pass" in ejected[0].data["reason"]
    assert not [event for event in spine.events("turn.ended") if event.data["result"] != "ok"]
    shown = spine.repo.git("ls-tree", "--name-only", "main", "migrations/").split()
    assert shown == ["migrations/001_first.sql", "migrations/002_one.sql", "migrations/003_other.sql"]


def test_each_task_writes_into_its_own_and_undo_brings_it_back(spine: Spine) -> None:
    script = {
        id: turns([{"run": ["python3", "db.py", f"INSERT INTO lamp VALUES (2, '{id}')"]}, write(f"{id}.txt", id)])
        for id in ("one", "other")
    }
    spine.run(plan(task("one"), task("other"), checks=CHECK), script, approve="human", open=2)
    spine.wait(lambda: sum(item.kind.value == "review" for item in spine.items()) == 2, 60)
    assert [rows(spine, id) for id in ("one", "other")] == [["1|seeded", "2|one"], ["1|seeded", "2|other"]]
    addresses = {spine.task(id).held["DATABASE_URL"] for id in ("one", "other")}
    assert len(addresses) == 2
    told = status(spine)
    assert {one["workspace"]["database"]["url"] for one in told["tasks"]} == addresses
    removed = spine.call("remove", task=spine.task("one").uid)
    undone = spine.call("undo", id=removed["undo"])
    assert rows(spine, "one", Path(undone["path"])) == ["1|seeded", "2|one"]
    spine.call("remove", task=spine.task("one").uid)
    spine.call("purge", all=True)
    folder = spine.repo.path.parent / "repo.worktrees" / ".stretto" / "databases" / "rows"
    held = [json.loads(path.read_bytes()) for path in folder.glob("*.json")]
    assert spine.task("one").uid not in [row["owner"] for row in held]
    assert spine.task("other").uid in [row["owner"] for row in held]


def test_a_database_is_begun_again_and_comes_back(spine: Spine) -> None:
    script = {"one": turns([{"run": ["python3", "db.py", "INSERT INTO lamp VALUES (2, 'mine')"]}, write("a.txt", "a")])}
    spine.run(plan(task("one"), checks=CHECK), script, approve="human")
    spine.wait_item("review", 60)
    identity = spine.call("db_reset", task="one")["undo"]
    assert rows(spine, "one") == ["1|seeded"]
    undone = spine.call("undo", id=identity)
    assert undone["database"] is True
    kept = undone["undo"]
    assert rows(spine, "one") == ["1|seeded", "2|mine"]
    assert [one["id"] for one in spine.call("purge")["removals"]] == [kept]
    spine.call("undo")
    assert rows(spine, "one") == ["1|seeded"]
    spine.call("purge", all=True)
    assert spine.call("purge")["removals"] == []
    assert rows(spine, "one") == ["1|seeded"]


def test_a_migration_that_is_broken_by_itself_is_seen_before_the_gate(spine: Spine) -> None:
    path = "migrations/002_broken.sql"
    script = {"one": turns([write(path, "ALTER TABLE nobody ADD COLUMN x integer")], [write(path, WATTS)])}
    spine.run(plan(task("one"), checks='["true"]'), script)
    assert spine.wait_over(90) == {"one": "landed"}
    seen = [(event.data["purpose"], event.data["result"]) for event in spine.events("check.finished")]
    assert ("task", "failed") in seen
    assert spine.events("queue.ejected") == []
    names = [event.data["name"] for event in spine.events("check.started") if event.data["purpose"] == "task"]
    assert names[0] == "migrate"


def status(spine: Spine) -> dict[str, Any]:
    with spine.engine.store.read() as db:
        return read("status", db, {"cwd": str(spine.repo.path)})


def rows(spine: Spine, id: str, path: Path | None = None) -> list[str]:
    """What is in a task's database, as a program in its workspace sees it."""
    task = spine.task(id)
    with spine.engine.store.read() as db:
        run = db.one(Run, "id = ?", task.run)
    assert run is not None
    space = spine.engine.parts.repositories.of(run).workspaces.find(task.uid, "task", dict(os.environ))
    assert space is not None
    words = ["python3", "db.py", "SELECT * FROM lamp ORDER BY id"]
    done = subprocess.run(words, cwd=path or space.path, env=space.env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_migration_that_fails_parks_the_task_with_its_output(spine: Spine) -> None:
    spine.repo.commit("broken", {"migrations/002_broken.sql": "ALTER TABLE nobody ADD COLUMN x integer"})
    spine.run(plan(task("one"), checks=CHECK), {"one": turns([write("a.txt", "a")])}, approve="human")
    item = spine.wait_item("setup", 60)
    assert "database command 'python3 db.py' failed" in item.text
    spine.call("cancel", task=spine.task("one").uid)


def test_what_fills_a_database_after_an_agent_has_worked_is_no_template_for_others(spine: Spine) -> None:
    script = {"one": turns([{"run": ["true"]}], [write("a.txt", "a")])}
    spine.run(plan(task("one"), checks=CHECK), script, approve="human")
    spine.wait_item("nochange", 60)
    folder = spine.repo.path.parent / "repo.worktrees" / ".stretto" / "databases" / "rows"

    def templates() -> list[Path]:
        """Those made from the task's own database: the gate's, made ready meanwhile, is the target's own work."""
        found = {path: json.loads(path.read_bytes()) for path in folder.glob("*.json")}
        place = spine.task("one").workspace
        return [path for path, row in found.items() if (row["purpose"], row["worktree"]) == ("template", place)]

    (made,) = templates()
    spine.call("cancel", task="one")
    spine.wait(lambda: spine.task("one").outcome)
    spine.call("remove", task="one")
    spine.call("purge", all=True)
    made.unlink()
    spine.call("retry", task="one")
    spine.wait_item("review", 60)
    assert rows(spine, "one") == ["1|seeded"], "it was filled"
    assert templates() == []


def test_a_server_that_is_down_is_refused_at_once(
    home: Path, make_repo: Callable[..., Repository], tmp_path: Path
) -> None:
    repo = make_repo("down", migrator.project("postgresql://ann@127.0.0.1:1/shop"))
    with running(repo, tmp_path) as spine, pytest.raises(StrettoError) as refused:
        spine.run(plan(task("one")), {"one": turns([write("a.txt", "a")])})
    assert refused.value.code == "database_down"
    assert spine.repo.path.parent.joinpath("down.worktrees").exists() is False


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql://ann@shop.rds.amazonaws.com/shop", "hosted"),
        ("postgresql://ann:s3cret@localhost/shop", "password"),
        ("mysql://localhost/shop", "neither"),
    ],
)
def test_an_address_that_cannot_be_taken_is_a_mistake_of_the_file(
    home: Path, make_repo: Callable[..., Repository], tmp_path: Path, url: str, word: str
) -> None:
    repo = make_repo("bad", migrator.project(url))
    with running(repo, tmp_path) as spine, pytest.raises(StrettoError) as refused:
        spine.run(plan(task("one")), {"one": turns([write("a.txt", "a")])})
    assert refused.value.exit_code == 2
    assert word in refused.value.message + str(refused.value.details)
    assert "s3cret" not in str(refused.value.as_json())


def test_a_workspace_by_hand_has_a_database_that_its_commands_fill(spine: Spine) -> None:
    made = spine.call("workspace_new", name="idea", trust=True, env=dict(os.environ))
    assert [command["run"].split(" ")[1] for command in made["setup"]] == ["db.py", "db.py"]
    for command in made["setup"]:
        env = {**os.environ, **made["env"]}
        subprocess.run(["/bin/sh", "-c", command["run"]], cwd=made["path"], env=env, check=True)
    spine.call("workspace_ready", name="idea")
    with spine.engine.store.read() as db:
        answer = read("databases", db, {"cwd": str(spine.repo.path), "task": "idea"})
        (one,) = answer["databases"]
    assert one["url"] == made["env"]["DATABASE_URL"]
    assert (one["name"], one["task"]) == ("idea", None)
    again = spine.call("workspace_new", name="next", trust=True, env=dict(os.environ))
    words = [command["run"] for command in again["setup"]]
    assert words == ["python3 db.py"], "the template of the first has its data already"
    spine.repo.commit("the program", {"db.py": (spine.repo.path / "db.py").read_text() + "# another one\n"})
    anew = spine.call("workspace_new", name="anew", trust=True, env=dict(os.environ))
    assert len(anew["setup"]) == 2, "what another program made is no template"


def test_a_link_that_an_agent_commits_leads_no_gate_to_the_persons_database(
    home: Path, make_repo: Callable[..., Repository], tmp_path: Path
) -> None:
    """The second gate makes its database anew: what stands where the first one's was is the way to somebody's file."""
    files = migrator.project("sqlite:///var/app.db")
    files["stretto.toml"] = 'schema = 1\n[database]\nurl = "sqlite:///var/app.db"\n'
    theirs = tmp_path / "proj" / "data"
    theirs.mkdir(parents=True)
    held = {f"app.db{ending}": f"mine{ending}" for ending in ("", "-wal", "-shm", "-journal")}
    for name, text in held.items():
        (theirs / name).write_text(text)
    repo = make_repo("linked", files)
    (repo.path / "var").mkdir()
    with closing(sqlite3.connect(repo.path / "var" / "app.db")) as db, db:
        db.execute("CREATE TABLE lamp (id)")
    relink = [{"run": ["rm", "-rf", "var"]}, {"run": ["ln", "-s", str(theirs), "var"]}, write("b.txt", "b")]
    mended = [{"run": ["rm", "var"]}]
    script = {"one": turns([write("a.txt", "a")]), "other": turns(relink, mended)}
    with running(repo, tmp_path) as spine:
        spine.run(plan(task("one"), task("other", after="one")), script, open=1)
        assert spine.wait_over(90) == {"one": "landed", "other": "landed"}
        (ejected,) = [event for event in spine.events("queue.ejected") if event.data["cause"] == "gate"]
        told = [message.text for message in spine.messages("other")]
    assert {path.name: path.read_text() for path in theirs.iterdir()} == held
    assert "var/app.db is reached through a link" in ejected.data["reason"]
    assert "var/app.db is reached through a link" in " ".join(told[-1].split())
    assert repo.git("ls-tree", "--name-only", "main").split() == [
        ".gitignore",
        "a.txt",
        "b.txt",
        "db.py",
        "migrations",
        "stretto.toml",
    ]


def test_a_link_that_one_gate_leaves_is_not_in_the_way_of_the_next(
    home: Path, make_repo: Callable[..., Repository], tmp_path: Path
) -> None:
    files = {**migrator.project("sqlite:///var/app.db"), ".gitignore": "/var\n"}
    check = f"test $STRETTO_PURPOSE = task || {{ rm -rf var && ln -s {tmp_path / 'cache'} var; }}"
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "app.db").write_text("somebody's")
    with running(make_repo("stray", files), tmp_path) as spine:
        script = {id: turns([write(f"{id}.txt", id)]) for id in ("one", "other")}
        spine.run(plan(task("one"), task("other", after="one"), checks=json.dumps([check])), script, open=1)
        assert spine.wait_over(90) == {"one": "landed", "other": "landed"}
        assert spine.events("queue.ejected") == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["app.db"]
    assert (tmp_path / "cache" / "app.db").read_text() == "somebody's"
