"""What is done beside a gate: debts of the landing before, the next candidate, and the gate's own workspace."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.engine.aside import Aside
from stretto.landing import candidate
from tests.engine.spine import plan, running, task, turns, write
from tests.support.landing import FILES, Yard
from tests.support.repository import Repository


@pytest.fixture
def yard(make_repo: Callable[..., Repository], tmp_path: Path) -> Yard:
    return Yard(make_repo("repo", FILES), tmp_path / "home")


def test_a_candidate_that_was_built_ahead_is_the_one_that_would_be_built_now(yard: Yard):
    tested = yard.built("one", yard.branch("one", {"one.txt": "1\n"}))
    then, row = yard.entry("two", yard.branch("two", {"two.txt": "2\n"})), yard.task("two")
    aside = Aside()
    with aside:
        aside.look_ahead(yard.git, tested, (then, row))
    known = aside.candidate(yard.git, str(tested.candidate), then, row)
    assert known == candidate.build(yard.git, str(tested.candidate), then, row)
    assert yard.git.parents(str(known.commit)) == (tested.candidate, then.head)


@pytest.mark.parametrize("what", ["tip", "head", "title", "time"])
def test_a_candidate_that_was_built_ahead_of_something_else_is_not_taken(yard: Yard, what: str):
    tested = yard.built("one", yard.branch("one", {"one.txt": "1\n"}))
    then, row = yard.entry("two", yard.branch("two", {"two.txt": "2\n"})), yard.task("two")
    aside = Aside()
    with aside:
        aside.look_ahead(yard.git, tested, (then, row))
    tip = yard.target.tip() if what == "tip" else str(tested.candidate)
    now = replace(then, head=yard.branch("more", {"more.txt": "3\n"})) if what == "head" else then
    now = replace(now, enqueued_at=4_000_000_000.0) if what == "time" else now
    told = replace(row, title="Another title") if what == "title" else row
    made = aside.candidate(yard.git, tip, now, told)
    assert made == candidate.build(yard.git, tip, now, told)
    assert made != candidate.build(yard.git, str(tested.candidate), then, row)


def test_what_goes_wrong_while_looking_ahead_is_left_to_the_real_thing(yard: Yard):
    tested = yard.built("one", yard.branch("one", {"one.txt": "1\n"}))
    then, row = yard.entry("two", "no commit"), yard.task("two")
    with Aside() as aside:
        aside.look_ahead(yard.git, tested, (then, row))
    with pytest.raises(StrettoError):
        aside.candidate(yard.git, str(tested.candidate), then, row)


def test_a_debt_is_over_before_it_is_waited_for_and_its_failure_is_told(yard: Yard):
    held, paid = threading.Event(), []

    def pay() -> None:
        held.wait(30)
        paid.append(1)
        raise StrettoError("the remote is gone")

    with Aside() as aside:
        aside.pay(pay)
        assert aside.still_paying(0.0)
        assert paid == []
        held.set()
        with pytest.raises(StrettoError, match="the remote is gone"):
            aside.wait()
        assert paid == [1]
        assert not aside.still_paying(0.0)
    with Aside() as aside:
        aside.pay(lambda: paid.append(2))
        aside.wait()
        assert paid == [1, 2]
        aside.pay(lambda: paid.append(3))
    assert paid == [1, 2, 3]


# ---------------------------------------------------------------- in the engine


@pytest.fixture
def repo(make_repo: Callable[..., Repository]) -> Repository:
    return make_repo("repo", {"README.md": "hello\n"})


def test_a_push_that_is_refused_while_the_next_is_gated_stops_that_one_too(
    home: Path, repo: Repository, make_repo: Callable[..., Repository], tmp_path: Path
):
    remote = make_repo("remote.git", bare=True)
    repo.git("remote", "add", "origin", str(remote.path))
    repo.git("push", "-q", "--set-upstream", "origin", "main")
    hook = remote.path / "hooks" / "pre-receive"
    marks = tmp_path / "marks"
    marks.mkdir()
    # refuses only when both entries have been at the gate: the second one's ran beside this push
    hook.write_text(
        f"#!/bin/sh\nuntil test $(ls {marks} | wc -l) = 2; do sleep 0.05; done\necho protected >&2\nexit 1\n"
    )
    hook.chmod(0o755)
    check = f'test \\"$STRETTO_PURPOSE\\" != gate || touch {marks}/$STRETTO_TASK'
    with running(repo, tmp_path) as spine:
        script = {id: turns([write(f"{id}.txt", "x")]) for id in ("one", "two")}
        spine.run(plan(task("one"), task("two"), checks=f'["{check}"]'), script, push=True)
        item = spine.wait_item("failure")
        assert "protected" in item.text
        spine.wait(lambda: [e for e in spine.events("check.finished") if e.data["purpose"] == "gate"][1:])
        assert sorted(spine.outcomes().values(), key=str) == [None, "landed"]
        spine.wait(lambda: any("frozen" in spine.state(id)[1] for id in ("one", "two")))
        assert len(repo.git("rev-list", "--first-parent", "main").split()) == 2
        hook.unlink()
        spine.call("answer", item=item.id, answer="retry")
        assert spine.wait_over() == {"one": "landed", "two": "landed"}
        spine.wait(lambda: remote.oid("main") == repo.oid("main"))


def test_an_entry_behind_a_red_one_lands_without_it(home: Path, repo: Repository, tmp_path: Path):
    """Both are queued before either is gated; the gate refuses the first, on whose candidate the second was built."""
    go = tmp_path / "go"
    wait = f"until test -e {go}; do sleep 0.05; done; test ! -e bad.txt"
    check = f'test \\"$STRETTO_PURPOSE\\" != gate || {{ {wait}; }}'
    with running(repo, tmp_path) as spine:
        script = {"bad": turns([write("bad.txt", "x")], []), "good": turns([write("good.txt", "x")])}
        text = plan(task("bad", priority="1"), task("good"), checks=f'["{check}"]')
        spine.run(text, script, approve="human")
        spine.wait(lambda: [spine.state(id)[0] for id in script] == ["waiting", "waiting"])
        for id in script:
            spine.call("approve", task=spine.task(id).uid)
        spine.wait(lambda: [spine.state(id)[0] for id in script] == ["queued", "queued"])
        go.touch()
        spine.wait(lambda: spine.outcomes()["good"] == "landed")
        assert "bad.txt" not in repo.files("main")
        spine.wait(lambda: [e.data["cause"] for e in spine.events("queue.ejected")] == ["gate"])


def test_the_gate_is_made_ready_while_agents_work(home: Path, repo: Repository, tmp_path: Path):
    repo.commit(
        "Ignore", {".gitignore": "deps\n", "stretto.toml": 'schema = 1\n[workspace]\nsetup = ["echo >> deps"]\n'}
    )
    with running(repo, tmp_path) as spine:
        spine.run(plan(task("one")), {"one": turns([{"ask": {"text": "go?"}}, write("one.txt", "x")])})
        question = spine.wait_item("question")
        bays = tmp_path / "repo.worktrees"
        spine.wait(lambda: (bays / "gate" / "deps").exists())
        assert spine.events("queue.entered") == []
        spine.call("answer", item=question.id, answer="yes")
        assert spine.wait_over() == {"one": "landed"}
        assert (bays / "gate" / "deps").read_text() == "\n"
        assert (bays / "gate" / "one.txt").exists()
