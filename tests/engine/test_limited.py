"""A task that takes too much of the machine is its own problem: it is ended, told why, and nobody else notices."""

from __future__ import annotations

import pytest

from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.workspace.test_sandbox_limits import BOMB, FILES

SETTINGS = '[workspace]\nsandbox = "bubblewrap"\n[sandbox]\nprocesses = 60\nmemory = 100\n'


@pytest.fixture
def spine(home, make_repo, tmp_path):
    with running(make_repo("repo", {"README.md": "hello\n", "stretto.toml": SETTINGS}), tmp_path) as spine:
        yield spine


@pytest.mark.parametrize(
    ("script", "said"),
    [(BOMB, "processes allows 60"), (FILES, "memory allows 100 MiB")],
    ids=["a fork bomb", "a memory hog"],
)
def test_it_is_the_problem_of_its_task_alone(spine: Spine, script: str, said: str) -> None:
    bad = turns([{"run": {"argv": ["sh", "-c", script]}}])
    both = {"bad": bad, "good": turns([write("good.txt", "1")])}
    spine.run(plan(task("bad"), task("good")), both, approve="human")
    item = spine.wait_item("failure", 120)
    assert item.task == spine.task("bad").uid
    assert "stretto: the sandbox was ended: it" in item.text
    assert said in item.text
    assert said in str(spine.call_read("explain", task="bad"))
    assert spine.wait_item("review", 120).task == spine.task("good").uid
    spine.cancel_open()
