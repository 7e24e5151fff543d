"""Operations that work in a task's folder and the loop's own effects keep out of each other's way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.engine import reconcile
from tests.engine.spine import Spine, plan, running, task, turns, write


@pytest.fixture
def spine(home, make_repo, tmp_path) -> Iterator[Spine]:
    repo = make_repo("repo", {"README.md": "hello\n"})
    with running(repo, tmp_path) as spine:
        yield spine


def test_a_task_whose_check_takes_its_time_to_end_is_removed(spine: Spine):
    spine.run(plan(task("one"), checks=r'["trap \"\" TERM; sleep 600"]'), {"one": turns([write("one.txt", "x")])})
    spine.wait(lambda: spine.events("check.started"))
    path = Path(str(spine.task("one").workspace))
    done = spine.call("remove", task="one")
    assert done["undo"]
    assert not path.exists()
    assert spine.outcomes() == {"one": "cancelled"}
    spine.call("undo", id=done["undo"])
    assert (path / "one.txt").read_text() == "x"


def test_a_claim_waits_for_what_is_being_done(spine: Spine):
    loop, order = spine.engine.reconciler, []
    begun, release = threading.Event(), threading.Event()

    def first() -> None:
        with loop.claim("run-aaaa/t", "first"):
            begun.set()
            release.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(10)
    assert loop.busy == {"run-aaaa/t": "first"}
    release.set()
    with loop.claim("run-aaaa/t", "second"):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert loop.busy == {}


def test_a_claim_is_refused_when_the_other_does_not_end(spine: Spine, monkeypatch):
    monkeypatch.setattr(reconcile, "CLAIM", 0.05)
    loop = spine.engine.reconciler
    with (
        loop.claim("run-aaaa/t", "first"),
        pytest.raises(StrettoError) as caught,
        loop.claim("run-aaaa/t", "second"),
    ):
        pass
    assert caught.value.code == "busy"
    assert loop.busy == {}
