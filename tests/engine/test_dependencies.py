"""Packages reach tasks and the gate, how they came is told, and what cannot be had is put before the person."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stretto.cli.leftovers import spares as doctor_spares
from stretto.engine import spares
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support import rows
from tests.support.npm import FakeNpm, lock, project

CONFIG = "[workspace]\ndependencies = true\npool = 0\n"
NEEDS = '["test -e node_modules/left/index.js"]'


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNpm:
    npm = FakeNpm(tmp_path / "npm")
    monkeypatch.setenv("PATH", npm.env["PATH"])
    return npm


@pytest.fixture
def spine(home, make_repo, tmp_path: Path, npm: FakeNpm) -> Iterator[Spine]:
    repo = make_repo("repo", {**project("left"), "stretto.toml": CONFIG})
    with running(repo, tmp_path) as spine:
        yield spine
        spine.cancel_open()


def test_tasks_and_the_gate_have_their_packages(spine: Spine, npm: FakeNpm):
    script = {id: turns([write(f"{id}.txt", id)]) for id in ("one", "two")}
    spine.run(plan(task("one"), task("two", needs="one"), checks=NEEDS), script)
    assert spine.wait_over(60) == {"one": "landed", "two": "landed"}
    ready = spine.events("dependencies.ready")
    assert [(event.data["name"], event.data["rung"]) for event in ready] == [("npm", "online"), ("npm", "copy")]
    said = {one["signal"]: one["value"] for one in spine.call_read("explain", task="two")["evidence"]}
    assert said["packages"].startswith("npm: copied from a golden copy in ")
    logs = spine.call_read("logs", task="one")["setup"]
    assert [one["name"] for one in logs] == ["npm-offline", "npm-online"]
    assert Path(logs[0]["output"]).read_text() == "not in the cache\n"
    installs = [call for call in npm.calls() if "--offline" not in call]
    assert len(installs) <= 2, "the first task; and the gate, if it was ready before there was a golden copy"


def test_what_cannot_be_installed_is_put_before_the_person(spine: Spine, npm: FakeNpm):
    (npm.folder / "broken").touch()
    spine.run(plan(task("one"), checks="[]"), {"one": turns([write("one.txt", "1")])}, approve="human")
    item = spine.wait_item("setup")
    assert item.text.startswith("the packages of npm cannot be had: exit 1")
    (event,) = spine.events("dependencies.failed")
    assert Path(event.data["output"]).read_text() == "no such package\n"
    (npm.folder / "broken").unlink()
    spine.call("answer", item=item.id, answer="retry")
    spine.wait_item("review")
    assert [event.data["rung"] for event in spine.events("dependencies.ready")] == ["online"]


def test_an_entry_whose_lock_file_cannot_be_installed_is_sent_back(spine: Spine, npm: FakeNpm):
    script = {"one": turns([write("package-lock.json", lock("left", "gone"))])}
    spine.run(plan(task("one"), checks='["true"]'), script, approve="human")
    item = spine.wait_item("review")
    program = npm.folder / "npm"
    program.write_text(program.read_text().replace("rm -rf", "grep -q gone package-lock.json && exit 1; rm -rf"))
    spine.call("answer", item=item.id, answer="approve")
    spine.wait(lambda: spine.events("queue.ejected"), 60)
    (event,) = spine.events("queue.ejected")
    assert event.data["cause"].startswith("gate")
    assert "npm" in event.data["reason"]


def test_a_workspace_by_hand_is_told_what_to_run(spine: Spine, npm: FakeNpm):
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    first = spine.call("workspace_new", name="one", trust=True, env=env)
    (command,) = first["setup"]
    assert command["run"].startswith("{ npm ci --no-audit --no-fund --offline; } || { npm ci ")
    assert not first["ready"]
    modules = Path(first["path"]) / "node_modules" / "left"
    modules.mkdir(parents=True)
    (modules / "index.js").touch()
    spine.call("workspace_ready", name="one", env=env)
    second = spine.call("workspace_new", name="two", trust=True, env=env)
    assert (second["setup"], second["ready"]) == ([], True)
    assert (Path(second["path"]) / "node_modules" / "left" / "index.js").exists()
    assert npm.calls() == []
    for name in ("one", "two"):
        spine.call("workspace_remove", name=name)


@pytest.mark.parametrize("committed", [False, True])
def test_an_edited_workspace_by_hand_has_no_packages_for_others(spine: Spine, npm: FakeNpm, committed: bool):
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    first = spine.call("workspace_new", name="one", trust=True, env=env)
    path = Path(first["path"])
    (path / "postinstall.js").write_text("// what an install runs\n")
    if committed:
        spine.repo.git("add", "postinstall.js", cwd=path)
        spine.repo.git("commit", "-qm", "edited", cwd=path)
    modules = path / "node_modules" / "left"
    modules.mkdir(parents=True)
    (modules / "index.js").touch()
    spine.call("workspace_ready", name="one", env=env)
    second = spine.call("workspace_new", name="two", trust=True, env=env)
    assert (len(second["setup"]), second["ready"]) == (1, False)
    assert not (Path(second["path"]) / "node_modules").exists()
    for name in ("one", "two"):
        spine.call("workspace_remove", name=name)


def test_what_a_set_up_says_can_be_read_while_it_runs(spine: Spine, tmp_path: Path):
    go = tmp_path / "go"
    waits = f"echo begun; while [ ! -e {go} ]; do sleep 0.05; done"
    spine.repo.commit("set up", {"stretto.toml": f"[workspace]\nsetup = ['{waits}']\n"})
    spine.run(plan(task("one"), checks="[]"), {"one": turns([write("one.txt", "1")])}, approve="human")
    (said,) = spine.wait(lambda: spine.call_read("logs", task="one")["setup"])
    assert said["name"] == "setup-1"
    spine.wait(lambda: Path(said["output"]).exists() and Path(said["output"]).read_text() == "begun\n")
    assert spine.call_read("logs", task="one")["folder"] is None
    (told,) = spine.call_read("status")["tasks"]
    assert re.fullmatch(r"makes its workspace: setup-1 runs for [0-9]+ s", told["reason"])
    go.touch()
    spine.wait_item("review")


def sealed(spine: Spine) -> list[str]:
    """The bays of spares that are complete."""
    folder = spine.repo.path.parent / f"{spine.repo.path.name}.worktrees" / ".stretto" / "bays"
    markers = [json.loads(path.read_text()) for path in folder.glob("[0-9]*.json")]
    return sorted(f"{each['number']:02d}" for each in markers if each["purpose"] == "spare" and each["sealed"])


def test_the_next_task_begins_in_a_spare(spine: Spine):
    script = {id: turns([write(f"{id}.txt", id)]) for id in ("one", "two")}
    spine.repo.commit("a pool", {"stretto.toml": "[workspace]\ndependencies = true\n"})
    text = plan(task("one"), task("two", needs="one"), checks=NEEDS)
    spine.run(text, script, approve="human")
    item = spine.wait_item("review")
    assert item.task == spine.task("one").uid
    (spare,) = spine.wait(lambda: sealed(spine))
    (told,) = doctor_spares(spine.repo.path)
    ready = f"{re.escape(spare)} is ready: base {spine.repo.oid('main')[:12]}, with node_modules, [0-9]+ MB"
    assert re.search(rf"/{ready}$", told)
    spine.call("answer", item=item.id, answer="approve")
    spine.wait(lambda: spine.task("two").workspace, 60)
    assert Path(str(spine.task("two").workspace)).name == spare
    spine.wait(lambda: [item for item in spine.items() if item.task == spine.task("two").uid], 60)
    rungs = {event.task: event.data["rung"] for event in spine.events("dependencies.ready")}
    assert rungs[spine.task("two").uid] == "kept"


@pytest.mark.parametrize(
    ("roles", "asked"),
    [
        ({}, True),
        ({"implementer": {"permissions": "skip"}}, False),
        ({"implementer": {"permissions": "ask"}, "tester": {"permissions": None}}, True),
    ],
)
def test_packages_of_those_who_may_do_everything_go_to_nobody(roles: dict[str, dict[str, str]], asked: bool):
    run = rows.run()
    assert spares.asks(replace(run, config={**run.config, "roles": roles})) == asked
    assert not spares.asks(None)
