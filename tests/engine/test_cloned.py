"""Tasks whose agent's git works in a clone of its own: from the first turn to the landing, and back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.git.test_git_canary import Marks, poison

SETTINGS = '[workspace]\nsandbox = "bubblewrap"\n[sandbox]\nrecipe = "clone"\n'


def shell(text: str) -> dict[str, object]:
    return {"run": {"argv": ["sh", "-ec", text]}}


@pytest.fixture
def spine(home, make_repo, tmp_path):
    files = {"README.md": "hello\n", "a.txt": "one\n", "stretto.toml": SETTINGS}
    with running(make_repo("repo", files), tmp_path) as spine:
        yield spine


def clones(home: Path) -> list[Path]:
    return [*home.glob("repos/*/clones/*/git"), *home.glob("repos/*/clones-aside/*/git")]


def test_a_plan_becomes_landed_commits_and_a_conflict_is_resolved_in_the_clone(spine: Spine, home: Path):
    by_hand = """test "$(git branch --format='%(refname:short)')" = "$STRETTO_BRANCH"; ! git config a.b c
    echo 2 > a.txt; git stash -q; git stash pop -q; git commit -qam "By hand"; test "$STRETTO_RECIPE" = clone"""
    resolve = """git merge -q $(grep -o 'git merge [0-9a-f]*' "$STRETTO_PROMPT_FILE" | cut -d' ' -f3) || true
    echo both > a.txt; git add -A; git commit -qm Both"""
    spine.run(
        plan(task("one"), task("two")),
        {
            "one": turns([shell(by_hand)]),
            "two": turns([write("a.txt", "3\n"), write("two.txt", "2")], [shell(resolve)]),
        },
        approve="human",
    )
    spine.wait(lambda: len([i for i in spine.items() if i.kind.value == "review"]) == 2)
    shown = spine.call_read("status")["tasks"]
    assert {each["workspace"]["git"] for each in shown} == {"clone"}
    assert len(clones(home)) == 2
    spine.call("approve", task="one")
    spine.wait(lambda: spine.task("one").outcome)
    spine.call("approve", task="two")
    spine.wait(lambda: spine.task("two").attempts.get("conflict") or spine.task("two").outcome or spine.items())
    spine.wait(lambda: spine.task("two").outcome or [i for i in spine.items() if i.kind.value == "review"])
    if not spine.task("two").outcome:
        spine.call("approve", task="two")
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert spine.repo.show("main", "a.txt").strip() == "both"
    assert "By hand" in spine.repo.git("log", "--format=%s", "main")
    spine.wait(lambda: all(t.cleaned for t in spine.tasks()))
    spine.call("purge", yes=True, all=True)
    assert clones(home) == []
    spine.repo.git("fsck", "--strict")


def test_removed_and_brought_back_it_goes_on_with_stash_and_staged_files(spine: Spine, home: Path):
    begin = "echo stashed > a.txt; git stash -q; echo staged > new.txt; git add new.txt; git commit -qm first"
    go_on = "git stash pop -q; git commit -qam second"
    spine.run(plan(task("one")), {"one": turns([shell(begin)], [shell(go_on)])}, approve="human")
    spine.wait_item("review")
    undo = spine.call("remove", task="one")["undo"]
    assert [path for path in clones(home) if "aside" not in str(path)] == []
    spine.call("undo", id=undo)
    assert len([path for path in clones(home) if "aside" not in str(path)]) == 1
    tree = Path(str(spine.task("one").workspace))
    assert subprocess.run(["git", "status", "--porcelain"], cwd=tree, capture_output=True, check=True).stdout == b""


def test_a_side_branch_that_stays_in_the_clone_is_told(spine: Spine):
    top = "${STRETTO_BRANCH%/work}"
    make = f'git branch "{top}/side"; git branch "{top}/side-b"'
    nest = f'git branch -qD "{top}/side"; git branch "{top}/side/deep"'
    script = turns([shell(make), write("a.txt", "2")], [shell(nest), write("a.txt", "3")])
    spine.run(plan(task("one")), {"one": script}, approve="human")
    first = spine.wait_item("review")
    assert "clone" not in first.text
    spine.call("request_changes", task="one", text="more")
    item = spine.wait(lambda: next((i for i in spine.items() if i.kind.value == "review" and i.id != first.id), None))
    branch = f"stretto/{spine.task('one').uid}/side/deep"
    assert f"not brought over from its clone: {branch}" in item.text
    told = {one["signal"]: one["value"] for one in spine.call_read("explain", task="one")["evidence"]}
    said, held = str(told["branch of its clone"]).split("; ")
    assert said == f"{branch} could not be brought over"
    spine.repo.git("cat-file", "-e", held.split()[0])


@pytest.mark.parametrize(("more", "wanted"), [("", "clone"), ('[sandbox]\nrecipe = "worktree"\n', "worktree")])
def test_who_never_asks_gets_a_clone_unless_it_is_said_otherwise(spine: Spine, more: str, wanted: str):
    skip = '[roles.implementer]\npermissions = "skip"\n[workspace]\nsandbox = "auto"\n'
    spine.repo.commit("Settings", {"stretto.toml": skip + more})
    spine.run(plan(task("one")), {"one": turns([write("a", "1")])}, approve="human")
    spine.wait_item("review")
    assert spine.call_read("status")["tasks"][0]["workspace"]["git"] == wanted


def test_nothing_that_lies_in_the_clone_is_started_outside(spine: Spine, home: Path, tmp_path: Path):
    marks = Marks(tmp_path / "marks")
    spine.run(plan(task("one")), {"one": turns([write("x", "1")], [write("y", "1")])}, approve="human")
    item = spine.wait_item("review")
    assert spine.call_read("status")["tasks"][0]["workspace"]["isolation"] == "clone"
    (git_dir,) = clones(home)
    poison(marks, git_dir)
    evil = tmp_path / "evil"
    subprocess.run(["git", "init", "-q", str(evil)], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"})
    poison(marks, evil / ".git")
    (git_dir / "commondir").write_text(f"{evil}/.git\n")
    for verb in ("status", "task", "diff", "explain"):
        spine.call_read(verb, task="one", since=0)
    spine.call("answer", item=item.id, answer="approve")
    assert spine.wait_over() == {"one": "landed"}
    spine.wait(lambda: all(t.cleaned for t in spine.tasks()))
    spine.call("purge", yes=True, all=True)
    assert marks.names() == set()
