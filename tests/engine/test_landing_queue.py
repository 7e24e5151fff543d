"""What happens around a landing: the remote, the person's checkout, and a world that moves meanwhile."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support.repository import Repository


@pytest.fixture
def repo(make_repo) -> Repository:
    made: Repository = make_repo("repo", {"README.md": "hello\n", "a.txt": "one\n"})
    return made


@pytest.fixture
def spine(home, repo, tmp_path) -> Iterator[Spine]:
    with running(repo, tmp_path) as spine:
        yield spine


def makes(id: str, path: str = "", text: str = "x", first: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {id: turns([*(first or []), write(path or f"{id}.txt", text)])}


@pytest.fixture
def origin(repo: Repository, tmp_path: Path) -> Path:
    path = tmp_path / "origin.git"
    repo.git("init", "-q", "--bare", "-b", "main", str(path))
    repo.git("remote", "add", "origin", str(path))
    repo.git("push", "-q", "--set-upstream", "origin", "main")
    return path


def remote_tip(repo: Repository) -> str:
    return repo.git("ls-remote", "origin", "refs/heads/main").split()[0]


def test_each_landing_is_pushed(spine: Spine, repo: Repository, origin: Path):
    spine.run(plan(task("one"), task("two")), makes("one") | makes("two"), push=True)
    assert set(spine.wait_over().values()) == {"landed"}
    spine.wait(lambda: remote_tip(repo) == repo.oid("main"))


def test_a_refused_push_freezes_the_queue_and_names_the_next_command(spine: Spine, repo: Repository, origin: Path):
    hook = origin / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no pushes today >&2\nexit 1\n")
    hook.chmod(0o755)
    before = remote_tip(repo)
    spine.run(plan(task("one"), task("two")), makes("one") | makes("two", first=[{"sleep": 0.5}]), push=True, open=1)
    item = spine.wait_item("failure")
    assert "frozen" in item.text
    assert "push" in item.text
    assert remote_tip(repo) == before
    assert spine.outcomes()["one"] == "landed"
    spine.wait(lambda: "frozen" in spine.state("two")[1])
    assert spine.outcomes()["two"] is None
    hook.unlink()
    spine.call("answer", item=item.id, answer="retry")
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    spine.wait(lambda: remote_tip(repo) == repo.oid("main"))


def test_a_diverged_target_is_refused_up_front(spine: Spine, repo: Repository, origin: Path, tmp_path: Path):
    from stretto.core.errors import StrettoError

    other = tmp_path / "other"
    repo.git("clone", "-q", str(origin), str(other), cwd=tmp_path)
    theirs = Repository(other)
    theirs.commit("theirs", {"theirs": "x"})
    theirs.git("push", "-q", "origin", "main")
    repo.commit("ours", {"ours": "x"})
    with pytest.raises(StrettoError) as caught:
        spine.run(plan(task("one")), makes("one"), fetch=True)
    assert caught.value.code == "diverged"
    assert spine.tasks() == []


def test_how_far_the_base_is_behind_its_remote_is_said(spine: Spine, repo: Repository, origin: Path, tmp_path: Path):
    other = tmp_path / "other"
    repo.git("clone", "-q", str(origin), str(other), cwd=tmp_path)
    theirs = Repository(other)
    theirs.commit("theirs", {"theirs": "x"})
    theirs.git("push", "-q", "origin", "main")
    (repo.path / "mine").write_text("not committed")
    done = spine.run(plan(task("one")), makes("one"), fetch=True)
    assert (done["base"]["behind"], done["base"]["ahead"], done["base"]["uncommitted"]) == (1, 0, 1)
    assert any("1 commits behind origin/main" in line for line in done["notices"])
    assert any("1 uncommitted file of" in line for line in done["notices"])
    assert spine.wait_over() == {"one": "landed"}


# ---------------------------------------------------------------- the person's checkout


def test_a_clean_checkout_follows_when_asked_to(spine: Spine, repo: Repository):
    spine.run(plan(task("one")), makes("one", "a.txt", "landed\n"), checkout="update")
    spine.wait_over()
    spine.wait(lambda: (repo.path / "a.txt").read_text().strip() == "landed" and repo.status() == [])


def test_a_checkout_with_the_persons_change_in_the_way_stays(spine: Spine, repo: Repository):
    (repo.path / "a.txt").write_text("mine\n")
    spine.run(plan(task("one")), makes("one", "a.txt", "landed\n"), checkout="update")
    spine.wait_over()
    said = spine.wait(lambda: spine.events("checkout.behind"))
    assert (repo.path / "a.txt").read_text() == "mine\n"
    assert "could not be updated" in said[0].data["text"]


def test_a_checkout_that_is_left_says_how_far_it_is_behind_and_is_brought_along_later(spine: Spine, repo: Repository):
    spine.run(plan(task("one")), makes("one", "a.txt", "landed\n"), checkout="leave")
    spine.wait_over()
    said = spine.wait(lambda: spine.events("checkout.behind"))
    assert "stretto update-checkout" in said[0].data["text"]
    assert (repo.path / "a.txt").read_text() == "one\n"
    spine.call("update_checkout")
    assert (repo.path / "a.txt").read_text().strip() == "landed"
    assert repo.status() == []


def test_a_commit_in_a_stale_checkout_that_takes_a_landing_back_freezes_the_queue(spine: Spine, repo: Repository):
    spine.run(
        plan(task("one"), task("two", needs="one"), checks="[]"),
        makes("one", "a.txt", "landed\n") | makes("two", first=[{"ask": {"text": "go?"}}]),
        checkout="leave",
    )
    question = spine.wait_item("question")
    assert spine.outcomes()["one"] == "landed"
    repo.git("commit", "-q", "-a", "-m", "unawares")
    spine.call("answer", item=question.id, answer="yes")
    item = spine.wait_item("failure")
    assert "takes back" in item.text
    assert spine.outcomes()["two"] is None
    repo.git("checkout", "-q", "main~1", "--", "a.txt")
    repo.git("commit", "-q", "-m", "bring it back")
    spine.call("answer", item=item.id, answer="retry")
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert repo.show("main", "a.txt") == "landed"


# ---------------------------------------------------------------- a world that moves


def test_a_target_that_moves_under_the_gate_is_merged_and_tested_again(spine: Spine, repo: Repository):
    gate = "test ! -e hold || sleep 1.5"
    repo.git("switch", "-q", "-c", "elsewhere")
    spine.run(plan(task("one"), checks=f'["{gate}"]'), makes("one", "hold"), target="main", checkout=None)
    spine.wait(lambda: spine.events("queue.testing"))
    tree = repo.git("commit-tree", "-p", "main", "-m", "by hand", "main^{tree}").strip()
    repo.git("update-ref", "refs/heads/main", tree)
    assert spine.wait_over() == {"one": "landed"}
    landed = spine.task("one").landed
    assert landed is not None
    assert repo.oid(f"{landed['commit']}^1") == tree
    assert len(spine.events("queue.testing")) == 2


def test_a_commit_by_hand_after_the_question_voids_the_approval(spine: Spine, repo: Repository):
    spine.run(plan(task("one")), makes("one"), approve="human")
    review = spine.wait_item("review")
    path = Path(str(spine.task("one").workspace))
    (path / "extra.txt").write_text("by hand")
    repo.git("add", "-A", cwd=path)
    repo.git("commit", "-q", "-m", "by hand", cwd=path)
    spine.call("answer", item=review.id, answer="approve")
    again = spine.wait(lambda: next((i for i in spine.items() if i.kind.value == "review" and i.id != review.id), None))
    assert spine.outcomes() == {"one": None}
    spine.call("answer", item=again.id, answer="approve")
    assert spine.wait_over() == {"one": "landed"}
    assert "extra.txt" in repo.files("main")


def test_a_worktree_deleted_by_hand_is_made_again_from_its_branch(spine: Spine):
    spine.run(plan(task("one")), makes("one"), approve="human")
    review = spine.wait_item("review")
    shutil.rmtree(str(spine.task("one").workspace))
    spine.call("answer", item=review.id, answer="send-back please add a second file")
    spine.wait(lambda: spine.items())
    kinds = {i.kind.value for i in spine.items()}
    assert kinds <= {"setup", "failure", "review"}


def test_the_gate_works_on_a_clean_tree_of_the_candidate(spine: Spine, tmp_path: Path):
    log = tmp_path / "log"
    check = f"test $STRETTO_PURPOSE = task || {{ git status --porcelain; git rev-parse HEAD^1; }} >> {log}"
    spine.run(plan(task("one"), checks=f'["{check}"]'), makes("one"))
    base = spine.repo.oid("main")
    assert spine.wait_over() == {"one": "landed"}
    assert log.read_text().split() == [base]


def test_ignored_files_of_a_landed_task_are_kept_until_purge(spine: Spine, repo: Repository):
    repo.commit("ignore", {".gitignore": "*.secret\n"})
    spine.run(plan(task("one"), checks="[]"), {"one": turns([write("one.txt", "1"), write("key.secret", "abc")])})
    assert spine.wait_over() == {"one": "landed"}
    spine.wait(lambda: spine.task("one").cleaned)
    assert not spine.task("one").workspace
    found = spine.call("purge")["removals"]
    assert [r["task"] for r in found] == [spine.task("one").uid]
    back = spine.call("undo", id=found[0]["id"])
    assert (Path(back["path"]) / "key.secret").read_text() == "abc"


def test_a_person_inside_a_landed_worktree_is_not_thrown_out(spine: Spine):
    spine.run(plan(task("one")), makes("one"), approve="human")
    review = spine.wait_item("review")
    path = str(spine.task("one").workspace)
    visitor = subprocess.Popen(["sleep", "60"], cwd=path, env={**os.environ})
    try:
        spine.call("answer", item=review.id, answer="approve")
        spine.wait(lambda: spine.outcomes() == {"one": "landed"})
        trouble = spine.wait(lambda: spine.events("task.trouble"))
        assert str(visitor.pid) in trouble[0].data["reason"]
        assert Path(path).exists()
    finally:
        visitor.kill()
        visitor.wait()
    spine.wait(lambda: not Path(path).exists(), 60)
