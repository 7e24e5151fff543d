"""`diff` shows what an approval is bound to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stretto.reads import read
from tests.engine.spine import Spine, plan, running, task, turns, write


@pytest.fixture
def spine(home, make_repo, tmp_path: Path):
    with running(make_repo("repo", {"README.md": "hello\n"}), tmp_path) as spine:
        yield spine


def diff(spine: Spine) -> dict[str, Any]:
    with spine.engine.store.read() as db:
        return read("diff", db, {"cwd": str(spine.repo.path), "task": "one"})


def test_what_somebody_left_after_the_turn_is_named_and_not_shown(spine: Spine) -> None:
    spine.run(plan(task("one")), {"one": turns([write("new.txt", "x\n")])}, approve="human")
    spine.wait_item("review")
    (Path(str(spine.task("one").workspace)) / "left.log").write_text("x\n")
    found = diff(spine)
    assert (found["files"], found["uncommitted"]) == (["new.txt"], False)
    assert "left.log" not in found["diff"]
    assert found["warnings"] == ["not in the change, but in the worktree and not ignored: left.log"]


def test_what_a_failed_turn_left_is_shown(spine: Spine) -> None:
    spine.run(plan(task("one")), {"one": turns([write("half.txt", "x\n"), {"fail": 1}])}, approve="human")
    spine.wait_item("failure")
    found = diff(spine)
    assert (found["files"], found["uncommitted"], found["warnings"]) == (["half.txt"], True, [])


def test_the_work_of_a_turn_that_runs_is_shown(spine: Spine) -> None:
    spine.run(plan(task("one")), {"one": turns([write("half.txt", "x\n"), {"ask": {"text": "Go on?"}}])})
    spine.wait_item("question")
    assert diff(spine)["files"] == ["half.txt"]
