"""A ref read from its file is what git says that it is."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from stretto.git import loose, worktree
from stretto.git.repository import Repository


def test_every_form_of_a_ref_reads_as_git_reads_it(person: Any, repository: Repository) -> None:
    first = person.git("rev-parse", "HEAD")
    second = repository.commit(repository.tree_of(first), [first], "second")
    for name in ("loose", "packed", "both", "gone", "deep/er"):
        person.git("branch", name, first)
    person.git("pack-refs", "--all")
    person.git("branch", "--force", "both", second)
    person.git("branch", "--delete", "--force", "gone")
    person.git("branch", "--force", "loose", second)
    person.git("symbolic-ref", "refs/heads/alias", "refs/heads/both")
    (repository.common / "refs/heads/link").symlink_to("both")
    for name in ("main", "loose", "packed", "both", "gone", "deep", "deep/er", "deep/er/x", "alias", "link", "never"):
        ref = f"refs/heads/{name}"
        said = person.git("for-each-ref", "--format=%(refname) %(objectname)", ref).splitlines()
        wanted = dict(line.split(" ") for line in said).get(ref)
        assert (name, repository.read_ref(ref)) == (name, wanted)


@pytest.mark.parametrize("ref", ["refs/heads/../../config", "refs/heads/a//b", "refs/bisect/bad", "refs/heads/ä"])
def test_doubtful_names_are_left_to_git(repository: Repository, ref: str) -> None:
    with pytest.raises(loose.Unsure):
        loose.read(repository.common, ref)


@pytest.mark.parametrize("text", ["", "no object\n", "ref: refs/heads/main\n", "0" * 39 + "\n"])
def test_doubtful_files_are_left_to_git(repository: Repository, text: str) -> None:
    (repository.common / "refs/heads/odd").write_text(text)
    with pytest.raises(loose.Unsure):
        loose.read(repository.common, "refs/heads/odd")


def test_another_storage_of_refs_is_left_to_git(repository: Repository) -> None:
    (repository.common / "reftable").mkdir()
    with pytest.raises(loose.Unsure):
        loose.read(repository.common, "refs/heads/main")


def test_a_ref_never_seems_gone_while_it_is_packed(person: Any, repository: Repository) -> None:
    head = person.git("rev-parse", "HEAD")
    over = threading.Event()
    missed: list[str | None] = []

    def look() -> None:
        while not over.is_set():
            if (found := loose.read(repository.common, "refs/heads/busy")) != head:
                missed.append(found)

    person.git("branch", "busy")
    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(30):
            person.git("pack-refs", "--all", "--prune")
            person.git("update-ref", "--no-deref", "refs/heads/busy", head)
    finally:
        over.set()
        reader.join()
    assert missed == []


def test_a_commit_contains_all_or_not(person: Any, repository: Repository) -> None:
    first = person.git("rev-parse", "HEAD")
    tree = repository.tree_of(first)
    second = repository.commit(tree, [first], "second")
    other = repository.commit(tree, [], "other")
    assert repository.contains_all(second, [])
    assert repository.contains_all(second, [first, second])
    assert not repository.contains_all(second, [first, other])
    assert not repository.contains_all(first, [second])


def test_worktrees_read_from_files_are_those_that_git_lists(
    person: Any, repository: Repository, short_folder: Path
) -> None:
    head = person.git("rev-parse", "HEAD")
    person.git("worktree", "add", "-q", "-b", "one", str(short_folder / "one"))
    person.git("worktree", "add", "-q", "--detach", str(short_folder / "two ü"))
    person.git("worktree", "add", "-q", "-b", "deep/er", str(short_folder / "three"))
    person.git("worktree", "add", "-q", "-b", "lost", str(short_folder / "lost"))
    shutil.rmtree(short_folder / "lost")
    person.git("pack-refs", "--all")
    listed = worktree._listed(repository.context)
    assert len(listed) == 5
    assert dict(worktree.worktrees(repository.context)) == listed
    assert {path for path, _ in loose.heads(repository.common, repository.root)} == set(listed), "nobody was asked"

    person.git("symbolic-ref", "refs/heads/alias", "refs/heads/deep/er")
    person.git("symbolic-ref", "HEAD", "refs/heads/alias", cwd=short_folder / "one")
    with pytest.raises(loose.Unsure):
        loose.heads(repository.common, repository.root)
    assert worktree.worktrees(repository.context) == worktree._listed(repository.context)
    assert person.git("rev-parse", "HEAD") == head


@pytest.mark.parametrize(
    "text", ["", "ref: refs/heads/ä\n", "ref: elsewhere\n", "0" * 39 + "\n", "ref: refs/heads/a//b\n"]
)
def test_doubtful_heads_are_left_to_git(person: Any, repository: Repository, short_folder: Path, text: str) -> None:
    person.git("worktree", "add", "-q", "-b", "one", str(short_folder / "one"))
    (repository.common / "worktrees" / "one" / "HEAD").write_text(text)
    with pytest.raises(loose.Unsure):
        loose.heads(repository.common, repository.root)


def test_whether_there_are_refs_below_a_prefix(person: Any, repository: Repository) -> None:
    head = person.git("rev-parse", "HEAD")
    below = "refs/stretto/snap/run-abcd/one/"
    assert not loose.any_below(repository.common, below)
    person.git("update-ref", f"{below}1", head)
    assert loose.any_below(repository.common, below)
    assert not loose.any_below(repository.common, "refs/stretto/snap/run-abcd/on/")
    person.git("pack-refs", "--all", "--prune")
    assert loose.any_below(repository.common, below)
    person.git("update-ref", "-d", f"{below}1")
    assert [one.ref for one in repository.snapshots("run-abcd/one")] == []
