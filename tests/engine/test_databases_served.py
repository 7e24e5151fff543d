"""Tasks with a PostgreSQL server each: it lives as long as somebody works there, and their sandboxes see their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stretto.engine import sandboxing
from stretto.engine.acts.session import workspace_env
from stretto.engine.operations import common
from stretto.workspace.databases.cluster_server import ClusterServer
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support import migrator
from tests.support.repository import Repository
from tests.support.waiting import wait_for

CHECK = '["python3 db.py \\"SELECT * FROM lamp\\""]'
SAID = 'provider = "postgres-cluster"'
SANDBOX = '\n[workspace]\nsandbox = "bubblewrap"\n'


@pytest.fixture
def spine(home: Path, make_repo: Callable[..., Repository], tmp_path: Path) -> Iterator[Spine]:
    files = migrator.project("", said=SAID)
    repo = make_repo("repo", {**files, "stretto.toml": files["stretto.toml"] + SANDBOX})
    with running(repo, tmp_path) as spine:
        yield spine
        for task in [each for each in spine.tasks() if each.workspace is not None]:
            spine.call("remove", task=task.uid)
        spine.call("purge", all=True)
    folder = tmp_path / "repo.worktrees"
    assert wait_for(lambda: servers(folder) == [])


def servers(folder: Path, task: str = "") -> list[str]:
    """Owners of the servers that run for the repository of these bays; those of `task` only."""
    found = []
    for path in folder.glob(".stretto/databases/*"):
        if ClusterServer(path, Path()).running() is not None:
            found.append(str(json.loads((path / "marker.json").read_bytes())["owner"]))
    return [owner for owner in found if owner.endswith(task)]


def inside(spine: Spine, id: str, script: str, url: str = "") -> subprocess.CompletedProcess[str]:
    """A command as a check of the task would be started, in its sandbox; `url` instead of its own address."""
    f = common.facts_of(spine.engine, spine.task(id))
    path = Path(str(f.task.workspace))
    confined = sandboxing.of_command(spine.engine.parts, f, path, workspace_env(spine.engine.parts, f))
    env = {**confined.env, **({"DATABASE_URL": url} if url else {})}
    words = [*confined.words, "/bin/sh", "-c", script]
    return subprocess.run(words, cwd=path, env=env, capture_output=True, text=True, check=False)


def test_pause_ends_it_and_work_brings_it_back(spine: Spine) -> None:
    """Two tasks in sandboxes; each reaches its own server, and nothing of the other's is even there."""
    script = {
        id: turns(
            [{"run": ["python3", "db.py", f"INSERT INTO lamp VALUES (2, '{id}')"]}, write(f"{id}.txt", id)],
            [write(f"{id}.txt", "more")],
        )
        for id in ("one", "other")
    }
    spine.run(plan(task("one"), task("other"), checks=CHECK), script, approve="human", open=2)
    spine.wait(lambda: sum(item.kind.value == "review" for item in spine.items()) == 2, 90)
    addresses = [spine.task(id).held["DATABASE_URL"] for id in ("one", "other")]
    for id in ("one", "other"):
        done = inside(spine, id, "python3 db.py 'SELECT name FROM lamp ORDER BY id'")
        assert done.stdout.split() == ["seeded", id], done.stderr
    stolen = inside(spine, "one", "python3 db.py 'SELECT name FROM lamp'", addresses[1])
    assert (stolen.returncode, stolen.stdout) == (1, "")
    assert "No such file" in stolen.stderr
    root = Path(addresses[0].partition("host=")[2].partition("&")[0]).parent
    assert len(inside(spine, "one", f"ls {root}").stdout.split()) == 1
    admin = addresses[0].replace("stretto_owner", "stretto_admin")
    assert "no password supplied" in inside(spine, "one", "python3 db.py 'SELECT 1'", admin).stderr

    folder = spine.repo.path.parent / "repo.worktrees"
    spine.call("pause", task=spine.task("one").uid)
    assert [len(servers(folder, id)) for id in ("/one", "/other")] == [0, 1]
    spine.call("wake", task=spine.task("one").uid)  # what `stretto exec` does first
    assert [len(servers(folder, id)) for id in ("/one", "/other")] == [1, 1]
    spine.call("pause", task=spine.task("one").uid)
    spine.call("resume", task=spine.task("one").uid)
    spine.call("request_changes", task=spine.task("one").uid, text="More, please.")
    spine.wait(lambda: len([m for m in spine.messages("one") if m.settled]) == 2, 60)
    spine.wait(lambda: sum(item.kind.value == "review" for item in spine.items()) == 2, 60)
    for id in ("one", "other"):
        spine.call("approve", task=spine.task(id).uid)
    assert spine.wait_over(90) == {"one": "landed", "other": "landed"}
    spine.wait(lambda: all(each.cleaned for each in spine.tasks()), 30)
    assert wait_for(lambda: servers(folder) == []), "nothing is left running for tasks that are over, or the gate"


def test_it_goes_and_comes_back_with_its_workspace(spine: Spine) -> None:
    spine.run(plan(task("one"), checks=CHECK), {"one": turns([write("a.txt", "a")])}, approve="human")
    spine.wait_item("review", 60)
    folder = spine.repo.path.parent / "repo.worktrees"
    assert len(servers(folder, "/one")) == 1
    undo = spine.call("remove", task=spine.task("one").uid)["undo"]
    assert servers(folder, "/one") == []
    spine.call("undo", id=undo)
    spine.call("wake", task=spine.task("one").uid)
    assert inside(spine, "one", "python3 db.py 'SELECT name FROM lamp'").stdout == "seeded\n"
