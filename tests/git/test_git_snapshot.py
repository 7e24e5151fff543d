from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import GitFailed, StrettoError
from stretto.git import shadow
from stretto.git.context import Context
from stretto.git.repository import Repository

UID = "run-aaaa/task"
BRANCH = f"stretto/{UID}/work"


@pytest.fixture
def place(person: Any, repository: Repository) -> Path:
    base = person.commit("ignore", dot_gitignore="*.log\n", tracked__log="")
    path: Path = person.path.parent / "bays" / "01"
    repository.add_worktree(path, BRANCH, base, "stretto")
    return path


def listing(person: Any, commit: str) -> set[str]:
    return set(person.git("ls-tree", "-r", "--name-only", commit).splitlines())


def test_it_holds_everything_that_is_not_ignored_and_changes_nothing(
    person: Any, repository: Repository, place: Path
) -> None:
    base = person.git("rev-parse", "HEAD", cwd=place)
    person.write("new", "n", cwd=place)
    person.write("deep/ü", "n", cwd=place)
    person.write("noise.log", "n", cwd=place)
    person.write("forced.log", "n", cwd=place)
    person.git("add", "-f", "forced.log", cwd=place)
    (place / "file").unlink()
    (place / "link").symlink_to("nowhere")
    before = person.git("status", "--porcelain", cwd=place)
    index = (person.path / ".git" / "worktrees" / "01" / "index").read_bytes()
    made = repository.snapshot(place, UID, "turn 1")
    assert made is not None
    names = {line.strip('"') for line in listing(person, made.commit)}
    assert names == {".gitignore", "tracked/log", "new", "deep/\\303\\274", "forced.log", "link"}
    assert repository.show(made.commit, "deep/ü") == b"n"
    assert (made.ref, made.reason, made.skipped) == (f"refs/stretto/snap/{UID}/1", "turn 1", ())
    assert repository.parents(made.commit)[0] == base
    assert person.git("status", "--porcelain", cwd=place) == before
    assert (person.path / ".git" / "worktrees" / "01" / "index").read_bytes() == index
    assert repository.worktree_tree(place) == made.tree
    assert repository.snapshots(UID) == [made]


def test_only_a_changed_tree_makes_another(person: Any, repository: Repository, place: Path) -> None:
    first = repository.snapshot(place, UID, "one")
    assert first is not None
    assert repository.snapshot(place, UID, "two") is None
    for number in range(2, 13):
        (place / "file").write_text(str(number))
        made = repository.snapshot(place, UID, "more")
        assert made is not None
        assert made.ref.endswith(f"/{number}")
    (place / "file").write_text("12")
    assert repository.snapshot(place, UID, "same again") is None
    assert [one.ref.rsplit("/", 1)[1] for one in repository.snapshots(UID)] == [str(n) for n in range(1, 13)]
    assert repository.snapshots("run-aaaa/other") == []


def test_a_file_that_becomes_ignored_is_no_longer_held(person: Any, repository: Repository, place: Path) -> None:
    person.write("build.tmp", "1", cwd=place)
    first = repository.snapshot(place, UID, "one")
    person.write(".gitignore", "*.log\n*.tmp\n", cwd=place)
    second = repository.snapshot(place, UID, "two")
    assert first is not None
    assert second is not None
    assert "build.tmp" in listing(person, first.commit)
    assert "build.tmp" not in listing(person, second.commit)


def test_what_the_persons_own_excludes_ignore_is_ignored(
    person: Any, place: Path, own_configuration: Path, repository: Repository
) -> None:
    (own_configuration / ".config" / "git").mkdir(parents=True)
    (own_configuration / ".config" / "git" / "ignore").write_text("*.swp\n")
    person.write(".git/info/exclude", "scratch\n")
    person.write("a.swp", "1", cwd=place)
    person.write("scratch", "1", cwd=place)
    person.write("mine", "1", cwd=place)
    assert repository.worktree_state(place).changed == ("mine",)
    assert repository.ignored(place, ["a.swp", "scratch", "mine", "tracked/log", "x.log"]) == {
        "a.swp",
        "scratch",
        "x.log",
    }


def test_an_excludes_file_of_ones_own_choice(person: Any, place: Path, own_configuration: Path) -> None:
    (own_configuration / "my ignores").write_text("*.mine\n")
    with (own_configuration / ".gitconfig").open("a") as config:
        config.write('[core]\n\texcludesFile = "~/my ignores"\n')
    person.write("x.mine", "1", cwd=place)
    assert person.open().worktree_state(place).clean


def test_an_agent_cannot_hide_files_by_the_repositorys_configuration(person: Any, place: Path) -> None:
    person.write("all", "*\n", cwd=person.path.parent)
    person.git("config", "core.excludesFile", str(person.path.parent / "all"))
    person.write("hidden", "1", cwd=place)
    assert person.open().worktree_state(place).changed == ("hidden",)


def test_large_files_nested_repositories_and_pipes_are_named(person: Any, repository: Repository, place: Path) -> None:
    with (place / "large").open("wb") as file:
        file.truncate((10 << 20) + 1)
    person.git("init", "-q", "empty repo", cwd=place)
    person.git("init", "-q", "nested", cwd=place)
    person.write("nested/f", "1", cwd=place)
    person.git("add", "-A", cwd=place / "nested")
    person.git("commit", "-q", "-m", "x", cwd=place / "nested")
    (place / "file").unlink()
    os.mkfifo(place / "file")
    made = repository.snapshot(place, UID, "x")
    assert made is not None
    assert set(made.skipped) == {"large", "nested/", "empty repo/", "file"}
    assert repository.snapshots(UID)[0].skipped == made.skipped
    state = repository.worktree_state(place)
    assert set(state.nested) == {"nested/", "empty repo/"}
    assert set(state.changed) == {"large", "file"}


def test_a_gitlink_that_moved_is_held_without_entering_it(person: Any, repository: Repository, place: Path) -> None:
    person.git("init", "-q", "sub", cwd=place)
    person.commit("one", cwd=place / "sub", f="1")
    person.commit("with sub", cwd=place)
    assert repository.worktree_state(place).clean
    person.write("f", "dirty", cwd=place / "sub")
    assert repository.worktree_state(place).clean
    two = person.commit("two", cwd=place / "sub", f="2")
    assert repository.worktree_state(place).changed == ("sub",)
    made = repository.snapshot(place, UID, "x")
    assert made is not None
    assert two in person.git("ls-tree", made.commit, "sub")


def test_a_locked_or_damaged_index_of_the_agent_does_not_matter(
    person: Any, repository: Repository, place: Path
) -> None:
    admin = person.path / ".git" / "worktrees" / "01"
    (admin / "index.lock").write_text("")
    person.write("new", "1", cwd=place)
    assert repository.snapshot(place, UID, "locked")
    (admin / "index").write_bytes(b"garbage")
    (place / "file").write_text("2")
    made = repository.snapshot(place, UID, "damaged")
    assert made is not None
    assert repository.show(made.commit, "file") == b"2"


def test_what_is_only_staged_is_kept_too(person: Any, repository: Repository, place: Path) -> None:
    (place / "file").write_text("staged")
    person.git("add", "file", cwd=place)
    (place / "file").write_text("later")
    made = repository.snapshot(place, UID, "x")
    assert made is not None
    head, staged = repository.parents(made.commit)
    assert repository.show(staged, "file") == b"staged"
    assert repository.show(made.commit, "file") == b"later"
    assert head == person.git("rev-parse", "HEAD", cwd=place)


def test_half_deleted_trees_make_a_ref_of_their_own_and_earlier_ones_stay(
    person: Any, repository: Repository, place: Path
) -> None:
    first = repository.snapshot(place, UID, "whole")
    assert first is not None
    for name in ("file", ".gitignore"):
        (place / name).unlink()
    second = repository.snapshot(place, UID, "half gone")
    assert second is not None
    assert repository.show(first.commit, "file")
    assert repository.show(second.commit, "file") is None
    person.git("-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now")
    assert [one.commit for one in repository.snapshots(UID)] == [first.commit, second.commit]
    person.git("fsck")


def test_a_snapshot_follows_the_head_when_the_agent_commits_and_resets(
    person: Any, repository: Repository, place: Path
) -> None:
    person.commit("agent", cwd=place, file="2", more="x")
    assert repository.worktree_state(place).clean
    person.git("reset", "-q", "--soft", "HEAD~1", cwd=place)
    assert set(repository.worktree_state(place).changed) == {"file", "more"}
    person.git("reset", "-q", "--hard", cwd=place)
    assert repository.worktree_state(place).clean
    person.git("rm", "-q", "--cached", "tracked/log", cwd=place)
    person.commit("gone from git, ignored on disk", cwd=place, dot_gitignore="log\n")
    assert repository.worktree_state(place).clean
    assert (place / "tracked" / "log").exists()


@pytest.mark.parametrize(("point", "count"), [("before", 0), ("after", 1)])
def test_killed_it_is_there_or_not_and_the_next_one_works(
    person: Any, repository: Repository, place: Path, point: str, count: int
) -> None:
    person.write("new", "1", cwd=place)
    person.killed(f"daemon.git.snapshot.{point}", "r.snapshot(Path(words[0]), words[1], 'x')", place, UID)
    assert len(repository.snapshots(UID)) == count
    made = repository.snapshot(place, UID, "again")
    assert (made is None) is bool(count)


def test_a_file_that_cannot_be_converted_is_kept_as_it_is(person: Any, repository: Repository, place: Path) -> None:
    person.write(".gitattributes", "*.u working-tree-encoding=UTF-16\n", cwd=place)
    person.write("bad.u", "no byte order mark", cwd=place)
    person.write("good", "1", cwd=place)
    made = repository.snapshot(place, UID, "x")
    assert made is not None
    assert made.skipped == ()
    assert repository.show(made.commit, "bad.u") == b"no byte order mark"
    assert repository.show(made.commit, "good") == b"1"
    with pytest.raises(GitFailed, match="BOM is required"):
        repository.commit_all(place, BRANCH, "x")


def test_a_state_is_restored_into_the_worktree_and_beside_it(
    person: Any, repository: Repository, place: Path, tmp_path: Path
) -> None:
    head = person.git("rev-parse", "HEAD", cwd=place)
    person.write("new", "1", cwd=place)
    person.write("keep.log", "ignored", cwd=place)
    (place / "file").unlink()
    made = repository.snapshot(place, UID, "x")
    assert made is not None
    person.write("later", "1", cwd=place)
    person.write("file", "later", cwd=place)
    repository.restore(place, made.commit)
    assert repository.worktree_tree(place) == made.tree
    assert (place / "keep.log").read_text() == "ignored"
    assert person.git("rev-parse", "HEAD", cwd=place) == head
    repository.export(made.commit, tmp_path / "out")
    assert (tmp_path / "out" / "new").read_text() == "1"
    assert not (tmp_path / "out" / "file").exists()
    with pytest.raises(StrettoError):
        repository.export(made.commit, tmp_path / "out")


def test_owners_that_are_no_tasks_have_snapshots_too(person: Any, repository: Repository, place: Path) -> None:
    made = repository.snapshot(place, "gate 1", "x")
    assert made is not None
    assert made.ref == "refs/stretto/snap/gate-1/1"
    assert repository.snapshots("gate 1") == [made]


def test_the_index_that_we_gave_is_known_until_its_user_changes_it(
    person: Any, repository: Repository, place: Path
) -> None:
    person.write("a", "1", cwd=place)
    commit = repository.commit_all(place, BRANCH, "a turn")
    assert commit is not None
    person.git("reset", "-q", "--soft", "HEAD~1", cwd=place)
    person.write("a", "2", cwd=place)
    made = repository.snapshot(place, UID, "staged is what we gave, HEAD is not")
    assert made is not None
    staged = repository.parents(made.commit)[1]
    assert repository.tree_of(staged) == repository.tree_of(commit)
    person.write("forced.log", "n", cwd=place)
    person.git("add", "-f", "forced.log", cwd=place)
    again = repository.snapshot(place, UID, "forced")
    assert again is not None
    assert "forced.log" in listing(person, again.commit)


def test_an_index_that_was_changed_meanwhile_is_not_taken_for_ours(
    person: Any, repository: Repository, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shadow.set_given

    def late(context: Context, worktree: shadow.Worktree, *words: Any) -> None:
        person.write("forced.log", "n", cwd=place)
        person.git("add", "-f", "forced.log", cwd=place)
        real(context, worktree, *words)

    monkeypatch.setattr(shadow, "set_given", late)
    person.write("a", "1", cwd=place)
    repository.commit_all(place, BRANCH, "a turn")
    made = repository.snapshot(place, UID, "x")
    assert made is not None
    assert "forced.log" in listing(person, made.commit)
