"""The `Git` protocol: `Repository` is the one adapter (git is always real); these are its promises."""

from __future__ import annotations

import inspect
import os
import subprocess
from pathlib import Path

import pytest

from stretto.git.repository import Repository
from stretto.interfaces import Git

UID = "run-aaaa/task"
BRANCH = f"stretto/{UID}/work"


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    root = tmp_path / "repo"
    for words in (
        ("init", "-q", "-b", "main", str(root)),
        ("-C", str(root), "config", "user.name", "Pat"),
        ("-C", str(root), "config", "user.email", "pat@example.com"),
        ("-C", str(root), "commit", "-q", "--allow-empty", "-m", "first"),
    ):
        subprocess.run(["git", *words], check=True)
    return Repository.open(root, tmp_path / "state")


METHODS = [name for name, one in vars(Git).items() if inspect.isfunction(one) and not name.startswith("_")]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_what_the_protocol_says(name: str) -> None:
    promised = inspect.signature(getattr(Git, name)).parameters
    given = inspect.signature(getattr(Repository, name)).parameters
    assert list(given) == list(promised)
    for word, parameter in promised.items():
        assert (given[word].kind, given[word].default) == (parameter.kind, parameter.default)


def test_every_effect_can_be_repeated(git: Git, tmp_path: Path) -> None:
    """Run twice, it ends in the same place: that is how a crash is recovered from."""
    base = git.resolve("main")
    assert base is not None
    place, gate = tmp_path / "bays" / "01", tmp_path / "bays" / "02"
    for _ in range(2):
        git.add_worktree(place, BRANCH, base, "stretto task")
        git.add_worktree(gate, None, base, "stretto gate")
    (place / "f").write_text("1\n")
    assert git.snapshot(place, UID, "x") is not None
    assert git.snapshot(place, UID, "x") is None
    head = git.commit_all(place, BRANCH, "x")
    assert head is not None
    assert git.commit_all(place, BRANCH, "x") is None
    merged = git.merge(base, head)
    assert merged == git.merge(base, head)
    candidate = git.commit(merged.tree, [base, head], "land")
    for _ in range(2):
        git.switch_worktree(gate, candidate)
        git.update_ref("refs/heads/main", candidate, base, "land")
        git.fast_forward_checkout("main", base, candidate)
        git.update_ref(f"refs/stretto/keep/{UID}/1", head, None, "keep")
    assert git.worktree_tree(gate) == git.tree_of(candidate) == git.worktree_tree(place)
    assert (git.root / "f").read_text() == "1\n"
    (place / ".git").rename(tmp_path / "aside")
    place.rename(tmp_path / "quarantine")
    for _ in range(2):
        git.forget_worktree(place)
        git.delete_ref(f"refs/heads/{BRANCH}", head)
    assert set(git.worktrees()) == {git.root, gate}
    assert git.is_ancestor(head, candidate)
    assert [one.tree for one in git.snapshots(UID)] == [merged.tree]


def test_values_agree_with_each_other(git: Git) -> None:
    base = git.resolve("main")
    assert base is not None
    identity = git.identity()
    assert identity is not None
    assert identity.name == "Pat"
    assert git.read_ref("refs/heads/main") == base
    assert git.refs("refs/heads/") == {"refs/heads/main": base}
    assert git.current_branch() == "main"
    assert git.checkout_changes() == ()
    assert git.count(base, base) == 0
    assert git.merge_base(base, base) == base
    assert git.tree_bytes(base) == 0
    assert git.patch(base, base).files == 0
    assert git.changed_paths(base, base) == {}
    assert git.upstream("main") is None
