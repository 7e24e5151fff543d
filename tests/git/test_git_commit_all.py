from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import Conflict, StrettoError
from stretto.git import index
from stretto.git.repository import Repository

UID = "run-aaaa/task"
BRANCH = f"stretto/{UID}/work"


@pytest.fixture
def place(person: Any, repository: Repository) -> Path:
    base = person.commit("ignore", dot_gitignore="*.log\n")
    path: Path = person.path.parent / "bays" / "01"
    repository.add_worktree(path, BRANCH, base, "stretto")
    return path


def refused(repository: Repository, place: Path) -> StrettoError:
    before = repository.read_ref(f"refs/heads/{BRANCH}")
    with pytest.raises(StrettoError) as error:
        repository.commit_all(place, BRANCH, "x")
    assert repository.read_ref(f"refs/heads/{BRANCH}") == before
    return error.value


def test_everything_is_committed_and_the_index_shows_it(person: Any, repository: Repository, place: Path) -> None:
    base = person.git("rev-parse", "HEAD", cwd=place)
    person.write("new", "1", cwd=place)
    person.write("noise.log", "1", cwd=place)
    (place / "file").unlink()
    person.git("add", "new", cwd=place)
    person.write("new", "2", cwd=place)
    with (place / "large").open("wb") as file:
        file.truncate((10 << 20) + 1)
    commit = repository.commit_all(place, BRANCH, "task: Title\n\nStretto-Task: x\n")
    assert commit is not None
    assert repository.parents(commit) == (base,)
    assert set(repository.changed_paths(base, commit)) == {"new", "file", "large"}
    assert repository.show(commit, "new") == b"2"
    assert person.git("show", "-s", "--format=%an|%s|%(trailers:only)", commit) == "Pat|task: Title|Stretto-Task: x"
    assert person.git("status", "--porcelain", cwd=place) == ""
    assert person.git("diff-files", "--name-only", cwd=place) == ""
    assert repository.worktree_tree(place) == repository.tree_of(commit)
    assert repository.commit_all(place, BRANCH, "nothing") is None
    assert "stretto: turn ended" in person.git("reflog", "show", BRANCH)


def test_it_only_commits_where_it_may(person: Any, repository: Repository, place: Path) -> None:
    person.write("new", "1", cwd=place)
    person.git("switch", "-q", "--detach", cwd=place)
    assert refused(repository, place).code == "not_on_branch"
    person.git("switch", "-q", "-c", "elsewhere", cwd=place)
    assert refused(repository, place).code == "not_on_branch"
    assert (place / "new").exists()


def test_a_moved_branch_is_a_conflict_and_nothing_changes(
    person: Any, repository: Repository, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The branch moves after we looked: injected between the look and the swap, as another process would."""
    from stretto.git import refs

    person.write("new", "1", cwd=place)
    other = repository.commit(repository.tree_of("main"), [str(repository.resolve("main"))], "other")
    real = refs.update_ref

    def racing(context: Any, ref: str, new: str, old: str | None, reason: str) -> None:
        person.git("update-ref", f"refs/heads/{BRANCH}", other)
        real(context, ref, new, old, reason)

    monkeypatch.setattr(refs, "update_ref", racing)
    with pytest.raises(Conflict):
        repository.commit_all(place, BRANCH, "x")
    monkeypatch.undo()
    assert repository.read_ref(f"refs/heads/{BRANCH}") == other
    assert (
        list((person.path / ".git" / "worktrees" / "01").glob("*lock"))
        == [person.path / ".git" / "worktrees" / "01" / "locked"][:0]
    )
    assert repository.commit_all(place, BRANCH, "x")


def test_a_resolved_merge_becomes_a_merge_commit(person: Any, repository: Repository, place: Path) -> None:
    head = person.commit("ours", cwd=place, file="ours\n")
    target = person.commit("theirs", file="theirs\n")
    person.git("merge", "main", cwd=place, ok=False)
    error = refused(repository, place)
    assert (error.code, error.details) == ("unresolved", {"paths": ["file"]})
    (place / "file").write_text("both\n")
    commit = repository.commit_all(place, BRANCH, "resolved")
    assert commit is not None
    assert repository.parents(commit) == (head, target)
    assert repository.worktree_state(place).operation is None
    assert person.git("status", "--porcelain", cwd=place) == ""
    assert repository.commit_all(place, BRANCH, "nothing") is None


def test_a_merge_that_changes_nothing_is_still_recorded(person: Any, repository: Repository, place: Path) -> None:
    person.commit("ours", cwd=place, file="ours\n")
    target = person.commit("theirs", file="theirs\n")
    person.git("merge", "main", cwd=place, ok=False)
    person.git("checkout", "-q", "--ours", "file", cwd=place)
    commit = repository.commit_all(place, BRANCH, "resolved to ours")
    assert commit is not None
    assert repository.parents(commit)[1] == target


def test_other_paused_operations_are_refused(person: Any, repository: Repository, place: Path) -> None:
    person.git("checkout", "-q", "-b", "side")
    side = person.commit("side", file="side\n")
    person.commit("ours", cwd=place, file="ours\n")
    person.git("cherry-pick", side, cwd=place, ok=False)
    (place / "file").write_text("resolved\n")
    error = refused(repository, place)
    assert error.code == "busy"
    assert "cherry-pick --abort" in str(error.hint)


def test_nothing_is_committed_through_a_filter_that_did_not_run(
    person: Any, repository: Repository, place: Path
) -> None:
    person.write("data.bin", "1", cwd=place)
    person.write(".gitattributes", "*.bin filter=lfs\n", cwd=place)
    assert refused(repository, place).code == "filter"


def test_an_index_that_another_holds_is_waited_for_and_never_broken(
    person: Any, repository: Repository, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_PATIENCE", 0.1)
    lock = person.path / ".git" / "worktrees" / "01" / "index.lock"
    lock.write_text("theirs")
    person.write("new", "1", cwd=place)
    error = refused(repository, place)
    assert (error.code, error.object) == ("index_locked", str(lock))
    assert lock.read_text() == "theirs"
    lock.unlink()
    assert repository.commit_all(place, BRANCH, "x")


POINTS = ["commit_all.before", "update_ref.before", "update_ref.after", "commit_all.after"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_next_call_ends_in_the_same_place(
    person: Any, repository: Repository, place: Path, point: str
) -> None:
    base = person.git("rev-parse", "HEAD", cwd=place)
    person.write("new", "1", cwd=place)
    person.killed(f"daemon.git.{point}", "r.commit_all(Path(words[0]), words[1], 'x')", place, BRANCH)
    made = repository.commit_all(place, BRANCH, "x")
    assert (made is None) is point.endswith("after")
    assert repository.count(base, BRANCH) == 1
    assert person.git("status", "--porcelain", cwd=place) == ""
    assert [one for one in (person.path / ".git" / "worktrees" / "01").iterdir() if "stretto" in one.name] == []
    person.git("commit", "-q", "--allow-empty", "-m", "git works", cwd=place)


def test_a_stale_index_after_the_branch_moved_is_brought_up_to_date(
    person: Any, repository: Repository, place: Path
) -> None:
    person.write("new", "1", cwd=place)
    commit = repository.commit_all(place, BRANCH, "x")
    assert commit is not None
    person.git("read-tree", f"{commit}~1", cwd=place)
    assert person.git("status", "--porcelain", cwd=place) != ""
    assert repository.commit_all(place, BRANCH, "x") is None
    assert person.git("status", "--porcelain", cwd=place) == ""


def test_without_an_identity_nothing_happens(
    person: Any, repository: Repository, place: Path, own_configuration: Path
) -> None:
    (own_configuration / ".gitconfig").unlink()
    person.write("new", "1", cwd=place)
    assert refused(repository, place).code == "no_identity"
    assert os.path.lexists(place / "new")
