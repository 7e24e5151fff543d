"""An agent can put a pipe where git keeps a file: whoever opens it plainly waits for ever, and the daemon must not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stretto import files
from stretto.core.errors import StrettoError
from stretto.git.repository import Repository
from stretto.workspace import registration
from tests.support.repository import Repository as Made


def test_only_a_plain_file_is_read(tmp_path: Path) -> None:
    plain, link, pipe = tmp_path / "plain", tmp_path / "link", tmp_path / "pipe"
    plain.write_bytes(b"12345")
    link.symlink_to(plain)
    os.mkfifo(pipe)
    assert files.read_plain(plain, 5) == b"12345"
    assert files.read_plain(plain, 4) is None
    assert [files.read_plain(path, 99) for path in (link, pipe, tmp_path, tmp_path / "none")] == [None] * 4


@pytest.mark.parametrize("name", ["HEAD", "MERGE_HEAD", "index"])
def test_a_pipe_in_the_registration_holds_nobody(repo: Made, tmp_path: Path, name: str) -> None:
    place = tmp_path / "tree"
    repo.git("worktree", "add", "-q", "-b", "work", str(place))
    admin = repo.path / ".git" / "worktrees" / "tree"
    (place / "a.txt").write_text("a")
    (admin / name).unlink(missing_ok=True)
    os.mkfifo(admin / name)
    if name == "HEAD":
        assert registration.head_of(repo.path / ".git", "tree") == ""
        with pytest.raises(StrettoError, match="somebody put something else there") as refused:
            Repository.open(repo.path, tmp_path / "home")
        assert refused.value.code == "broken_ref"
    else:
        git = Repository.open(repo.path, tmp_path / "home")
        assert git.commit_all(place, "work", "a") is not None


def test_a_pipe_that_comes_later_holds_nobody_either(repo: Made, tmp_path: Path) -> None:
    place = tmp_path / "tree"
    repo.git("worktree", "add", "-q", "-b", "work", str(place))
    git = Repository.open(repo.path, tmp_path / "home")
    head = repo.path / ".git" / "worktrees" / "tree" / "HEAD"
    head.unlink()
    os.mkfifo(head)
    for ask in (git.worktrees, lambda: git.worktree_state(place)):
        with pytest.raises(StrettoError) as refused:
            ask()
        assert refused.value.code in ("broken_ref", "not_a_worktree")
