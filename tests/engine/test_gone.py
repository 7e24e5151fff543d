"""What somebody has deleted below a task: nothing that was committed is lost, and each hint is a command that works."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.core.model import Item
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support.repository import Repository


@pytest.fixture
def repo(make_repo: Callable[..., Repository]) -> Repository:
    return make_repo("repo", {"README.md": "hello\n"})


@pytest.fixture
def spine(home: Path, repo: Repository, tmp_path: Path) -> Iterator[Spine]:
    with running(repo, tmp_path) as spine:
        yield spine
        spine.cancel_open()


def reviewed(spine: Spine) -> Item:
    work = [write("one.txt", "1")]
    spine.run(plan(task("one")), {"one": turns(work, work)}, approve="human")
    return spine.wait_item("review")


def delete_branch(spine: Spine) -> str:
    """Delete the task's branch as a person does who knows how; the commit that it was at."""
    branch = f"refs/heads/{spine.task('one').branch}"
    head = spine.repo.oid(branch)
    spine.repo.git("update-ref", "-d", branch)
    return head


def delete_both(spine: Spine) -> str:
    shutil.rmtree(str(spine.task("one").workspace))
    return delete_branch(spine)


def test_a_deleted_branch_and_worktree_come_back_with_all_that_was_committed(spine: Spine, repo: Repository):
    review = reviewed(spine)
    head = delete_both(spine)
    spine.call("answer", item=review.id, answer="approve")
    gone = spine.wait_item("setup")
    assert "still there" not in gone.text
    assert "retry makes it again with all that was committed" in gone.text
    spine.call("answer", item=gone.id, answer="retry")
    assert spine.wait_over() == {"one": "landed"}
    assert "one.txt" in repo.files("main")
    assert repo.git("merge-base", "--is-ancestor", head, "main") == ""


def test_a_deleted_branch_whose_commit_is_lost_is_not_begun_again_as_if_nothing_had_been(
    spine: Spine, repo: Repository
):
    review = reviewed(spine)
    head = delete_both(spine)
    (repo.path / ".git" / "objects" / head[:2] / head[2:]).unlink()
    spine.call("answer", item=review.id, answer="approve")
    spine.call("answer", item=spine.wait_item("setup").id, answer="retry")
    lost = spine.wait(lambda: next((i for i in spine.items() if "its last commit" in i.text), None))
    uid = spine.task("one").uid
    assert f"stretto cancel {uid}, then: stretto retry {uid} --fresh" in lost.text
    spine.call("cancel", task=uid)
    spine.wait(lambda: spine.outcomes() == {"one": "cancelled"})
    spine.call("retry", task=uid, fresh=True)
    assert spine.wait_over() == {"one": "landed"}, "the same patch was approved before"


def test_the_hint_for_a_deleted_branch_below_its_worktree_works(spine: Spine, repo: Repository):
    reviewed(spine)
    head = delete_branch(spine)
    with pytest.raises(StrettoError) as refused:
        spine.call("approve", task=spine.task("one").uid)
    assert refused.value.code == "branch_gone"
    assert refused.value.hint is not None
    subprocess.run(shlex.split(refused.value.hint), check=True)
    assert spine.task("one").head == head
    spine.call("approve", task=spine.task("one").uid)
    assert spine.wait_over() == {"one": "landed"}
    assert "one.txt" in repo.files("main")


@pytest.mark.parametrize("branch_too", [False, True])
def test_what_is_removed_after_its_files_were_deleted_keeps_its_commits_and_promises_no_undo(
    spine: Spine, repo: Repository, branch_too: bool
):
    reviewed(spine)
    was = spine.task("one")
    head = repo.oid(f"refs/heads/{was.branch}")
    if branch_too:
        delete_both(spine)
    else:
        shutil.rmtree(str(was.workspace))
    told = spine.call("remove", task=was.uid)
    assert told["undo"] is None
    repo.git("branch", told["branch"], told["kept"])  # as the command line says
    assert repo.oid(f"refs/heads/{was.branch}") == head
