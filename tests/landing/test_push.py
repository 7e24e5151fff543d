"""Pushing what landed to a real remote: done, done already, and refused in each way, with the next command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.landing.push import push
from tests.support.landing import FILES, Yard
from tests.support.repository import Repository


class Pair:
    """A yard and the bare repository that its `main` follows."""

    def __init__(self, yard: Yard, remote: Repository) -> None:
        self.yard = yard
        self.remote = remote

    def somebody_pushes(self, file: str) -> str:
        clone = self.remote.path.parent / "clone"
        self.remote.git("clone", "-q", str(self.remote.path), str(clone))
        oid = Repository(clone).commit("somebody's", {file: "x\n"})
        self.remote.git("push", "-q", "origin", "main", cwd=clone)
        return oid


@pytest.fixture
def pair(make_repo: Callable[..., Repository], tmp_path: Path) -> Pair:
    yard = Yard(make_repo("repo", FILES), tmp_path / "home")
    remote = make_repo("remote.git", bare=True)
    yard.repo.git("remote", "add", "origin", str(remote.path))
    yard.repo.git("push", "-q", "--set-upstream", "origin", "main")
    return Pair(yard, remote)


def test_what_landed_is_pushed_and_pushed_once(pair: Pair):
    for id in ("one", "two"):
        entry = pair.yard.land(id, {f"{id}.txt": "x\n"})
        assert push(pair.yard.git, "main", str(entry.candidate)) == "origin/main"
        assert push(pair.yard.git, "main", str(entry.candidate)) == "origin/main"
        assert pair.remote.oid("main") == entry.candidate
        assert pair.yard.repo.oid("refs/remotes/origin/main") == entry.candidate


def test_a_remote_that_was_never_looked_at_is_asked(pair: Pair):
    pair.yard.repo.git("update-ref", "-d", "refs/remotes/origin/main")
    entry = pair.yard.land("one", {"one.txt": "x\n"})
    push(pair.yard.git, "main", str(entry.candidate))
    assert pair.remote.oid("main") == entry.candidate


def test_a_remote_that_moved_is_not_overwritten(pair: Pair):
    theirs = pair.somebody_pushes("theirs.txt")
    entry = pair.yard.land("one", {"one.txt": "x\n"})
    with pytest.raises(StrettoError, match="was refused") as caught:
        push(pair.yard.git, "main", str(entry.candidate))
    assert caught.value.code == "push_refused"
    assert "git fetch origin" in (caught.value.hint or "")
    assert pair.remote.oid("main") == theirs
    pair.yard.repo.git("fetch", "-q")
    with pytest.raises(StrettoError, match="has commits that main has not"):
        push(pair.yard.git, "main", str(entry.candidate))
    assert pair.remote.oid("main") == theirs


def test_a_hook_of_the_remote_that_says_no_is_quoted(pair: Pair):
    hook = pair.remote.path / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = pair.remote.oid("main")
    entry = pair.yard.land("one", {"one.txt": "x\n"})
    with pytest.raises(StrettoError, match="main is protected"):
        push(pair.yard.git, "main", str(entry.candidate))
    assert pair.remote.oid("main") == before
    hook.unlink()
    push(pair.yard.git, "main", str(entry.candidate))
    assert pair.remote.oid("main") == entry.candidate


def test_a_branch_that_follows_nothing(pair: Pair):
    pair.yard.repo.git("branch", "--unset-upstream", "main")
    with pytest.raises(StrettoError, match="follows no remote branch") as caught:
        push(pair.yard.git, "main", pair.yard.target.tip())
    assert caught.value.hint == "git push --set-upstream origin main"


def test_a_remote_that_is_gone(pair: Pair, tmp_path: Path):
    pair.remote.path.rename(tmp_path / "moved.git")
    entry = pair.yard.land("one", {"one.txt": "x\n"})
    with pytest.raises(StrettoError, match="was refused"):
        push(pair.yard.git, "main", str(entry.candidate))
