"""Whatever an agent has left in the repository and its worktree, no command of ours starts it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.engine.operations import OPERATIONS
from stretto.reads import READS
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.git.test_git_canary import Marks, poison
from tests.support.world import STRETTO

#: an answer that only waits for time to pass, or that this test gives itself
APART = {"wait", "run"}


#: an agent in a sandbox whose git works in a clone of its own
CLONE = '[workspace]\nsandbox = "bubblewrap"\n[sandbox]\nrecipe = "clone"\n'


@pytest.fixture(params=["worktree", "clone"])
def spine(request, home, make_repo, tmp_path):
    files = {"README.md": "hello\n", "a.p": "one\n", ".gitattributes": "*.p diff=evil merge=evil\n"}
    files |= {"stretto.toml": CLONE} if request.param == "clone" else {}
    with running(make_repo("repo", files), tmp_path) as spine:
        yield spine


def plant(marks: Marks, tree: Path, git_dir: Path, env: dict[str, str]) -> None:
    """A nested repository as a gitlink, dirty; then every place where a program can be named holds a canary.

    `git_dir` is that with which the agent works, the repository's or its clone's, and `env` leads git to it.
    """
    names = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    own = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    for words, where in (
        (["init", "-q", "sub"], own),
        (["-C", "sub", *names, "commit", "-q", "--allow-empty", "-m", "x"], own),
        (["add", "sub"], {**own, **env}),
    ):
        subprocess.run(["git", *words], cwd=tree, env=where, check=True, capture_output=True)
    (tree / "sub" / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (tree / "sub" / "f").write_text("dirty\n")
    poison(marks, tree / "sub" / ".git")
    poison(marks, git_dir)
    (tree / "a.p").write_text("changed\n")


def test_no_command_starts_what_an_agent_left(spine: Spine, tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    script = {
        "one": turns([write("x.p", "1")], *[[write("y.p", str(n))] for n in range(6)]),
        "*": turns([write("z", "1")]),
    }
    spine.run(plan(task("one"), task("two")), script, approve="human")
    spine.wait(lambda: {i.kind.value for i in spine.items()} == {"review"} and len(spine.items()) == 2)
    tree = Path(str(spine.task("one").workspace))
    clone = spine.engine.parts.repositories.git(str(spine.repo.path)).clone(tree)
    assert (clone is not None) == (spine.task("one").held.get("STRETTO_RECIPE") == "clone")
    own = None if clone is None else clone.git_dir
    env = {"GIT_WORK_TREE": str(tree), "GIT_DIR": str(own)} if own else {}
    plant(marks, tree, own or spine.repo.path / ".git", env)
    subprocess.run(["git", "status"], cwd=tree, env={**os.environ, **env}, check=False, capture_output=True)
    assert marks.names(), "the canaries sing when git is used as people use it"
    for path in marks.fired.iterdir():
        path.unlink()

    def call(verb: str, **args: Any) -> dict[str, Any]:
        try:
            answer = spine.call(verb, **args) if verb in OPERATIONS else spine.call_read(verb, **args)
        except StrettoError:
            answer = {}
        assert (verb, marks.names()) == (verb, set())
        return answer

    for where in (tree, spine.repo.path):  # what commands look at by themselves, without the daemon
        for words in (["doctor"], ["plan", "show", str(spine.folder / "PLAN.md")], ["ports"], ["path", "one"]):
            subprocess.run([*STRETTO, *words], cwd=where, check=False, capture_output=True, timeout=60)
            assert (words, marks.names()) == (words, set())
    told = {"text": "Go on.", "body": "Go on.", "answer": "approve", "trust": True, "env": {}, "checkout": "leave"}
    told |= {"name": "by-hand", "path": str(tree)}
    for verb in READS.keys() - APART:
        call(verb, task="one", since=0)
    order = ["trust", "add", "comment", "send", "request_changes", "interrupt", "pause", "resume", "restore", "land"]
    last = ["answer", "approve", "retry", "update_checkout", "remove", "undo", "cancel", "purge"]
    order += [*sorted(OPERATIONS.keys() - APART - {*order, *last}), *last]
    for verb in order:
        call(verb, task="one", item=spine.items()[0].id if spine.items() else "none", **told)
    call("approve", task="two")
    spine.wait(lambda: spine.task("two").outcome or "queue" in str(spine.state("two")))
    for verb in READS.keys() - APART:
        call(verb, task="two", since=0)
    assert marks.names() == set()
