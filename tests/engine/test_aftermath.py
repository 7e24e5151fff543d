"""What follows a landing: the person's checkout and the remote, through crashes and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stretto.core.model import Run
from stretto.reads.status import notices
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support.repository import Repository


@pytest.fixture
def repo(make_repo: Callable[..., Repository]) -> Repository:
    return make_repo("repo", {"README.md": "hello\n", "a.txt": "one\n"})


@pytest.fixture
def remote(repo: Repository, make_repo: Callable[..., Repository]) -> Repository:
    remote = make_repo("remote.git", bare=True)
    repo.git("remote", "add", "origin", str(remote.path))
    repo.git("push", "-q", "--set-upstream", "origin", "main")
    return remote


def one(spine: Spine, id: str = "one", **args: Any) -> None:
    spine.run(plan(task(id)), {id: turns([write(f"{id}.txt", id)])}, **args)


def landed(spine: Spine, id: str = "one") -> bool:
    return any(t.id == id and t.landed for t in spine.tasks())


def told(spine: Spine) -> dict[str, str]:
    with spine.engine.store.read() as db:
        return {each["kind"]: each["text"] for each in notices(db, db.select(Run, "1"))}


def debts(spine: Spine) -> dict[str, Any]:
    with spine.engine.store.read() as db:
        owed: dict[str, Any] = json.loads(db.value("SELECT json_extract(data, '$.owed') FROM repos") or "{}")
    return owed


def test_status_says_how_far_the_checkout_is_behind_until_it_is_not(home, repo, tmp_path: Path):
    with running(repo, tmp_path) as spine:
        one(spine, checkout="leave")
        wanted = f"your checkout {repo.path} is 2 behind main; before you commit there: stretto update-checkout"
        spine.wait(lambda: told(spine).get("checkout") == wanted)
        assert not (repo.path / "one.txt").exists()
        assert spine.call("update_checkout")["commits"] == 2
        assert told(spine) == {}
        assert repo.status() == []


def test_a_checkout_that_the_person_brought_along_is_noticed(home, repo, tmp_path: Path):
    with running(repo, tmp_path) as spine:
        one(spine, checkout="leave")
        spine.wait(lambda: "checkout" in told(spine))
        repo.git("reset", "-q", "--hard")
        spine.wait(lambda: told(spine) == {})


def test_a_checkout_that_was_to_be_updated_is_updated(home, repo, tmp_path: Path):
    with running(repo, tmp_path) as spine:
        one(spine, checkout="update")
        spine.wait(lambda: (repo.path / "one.txt").exists())
        spine.wait(lambda: debts(spine) == {})
        assert repo.status() == []
        assert told(spine) == {}


def test_each_landing_is_pushed(home, repo, remote, tmp_path: Path):
    with running(repo, tmp_path) as spine:
        spine.run(plan(task("one"), task("two")), {id: turns([write(id, "x")]) for id in ("one", "two")}, push=True)
        spine.wait(lambda: landed(spine, "one") and landed(spine, "two") and debts(spine) == {})
        assert remote.oid("main") == repo.oid("main")


def test_a_refused_push_freezes_the_queue_and_is_tried_again_after_the_answer(home, repo, remote, tmp_path: Path):
    hook = remote.path / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = remote.oid("main")
    with running(repo, tmp_path) as spine:
        one(spine, push=True)
        item = spine.wait_item("failure")
        assert "main is protected" in item.text
        assert landed(spine)
        assert "main is protected" in told(spine)["frozen"]
        assert remote.oid("main") == before
        hook.unlink()
        spine.call("answer", item=item.id, answer="retry")
        spine.wait(lambda: remote.oid("main") == repo.oid("main"))
        spine.wait(lambda: debts(spine) == {})
        assert "frozen" not in told(spine)


def test_a_commit_that_takes_a_landing_back_freezes_the_queue(home, repo, tmp_path: Path):
    with running(repo, tmp_path) as spine:
        one(spine, "one", checkout="leave")
        spine.wait(lambda: debts(spine) == {} and landed(spine, "one"))
        (repo.path / "a.txt").write_text("mine\n")
        repo.git("commit", "-qam", "my own work")
        assert "one.txt" not in repo.files("main")
        one(spine, "two", checkout="leave")
        item = spine.wait_item("failure")
        assert "takes back what landed in one.txt" in item.text
        assert not landed(spine, "two")
        landing = next(t.landed for t in spine.tasks() if t.id == "one")
        assert landing is not None
        repo.git("checkout", landing["commit"], "--", "one.txt")
        repo.git("commit", "-qm", "bring it back")
        spine.call("answer", item=item.id, answer="retry")
        spine.wait(lambda: landed(spine, "two"))
        assert {"one.txt", "two.txt"} <= set(repo.files("main"))
        assert repo.show("main", "a.txt") == "mine"
