from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stretto import files
from stretto.core.errors import Conflict, StrettoError
from stretto.git.repository import Repository

BRANCH = "stretto/run-aaaa/task/work"


def bay(person: Any, number: int = 1) -> Path:
    return Path(person.path.parent / "bays" / f"{number:02d}")


def head(person: Any, at: Path | None = None) -> str:
    found: str = person.git("rev-parse", "HEAD", cwd=at)
    return found


def test_a_worktree_has_its_branch_its_files_and_a_lock(person: Any, repository: Repository) -> None:
    person.commit("more", dir__sub="x\n", run="#!/bin/sh\n")
    (person.path / "run").chmod(0o755)
    (person.path / "link").symlink_to("dir/sub")
    base = person.commit("modes")
    repository.add_worktree(bay(person), BRANCH, base, "stretto task run-aaaa/task")
    assert repository.worktrees() == {person.path: "main", bay(person): BRANCH}
    assert person.git("status", "--porcelain", cwd=bay(person)) == ""
    assert (bay(person) / "link").readlink() == Path("dir/sub")
    assert os.access(bay(person) / "run", os.X_OK)
    assert "locked stretto task run-aaaa/task" in person.git("worktree", "list", "--porcelain")
    assert person.git("config", "--get", f"branch.{BRANCH}.merge", ok=False) == ""
    state = repository.worktree_state(bay(person))
    assert (state.head, state.branch, state.clean, state.operation) == (base, BRANCH, True, None)
    person.git("commit", "-q", "--allow-empty", "-m", "the user's git works here", cwd=bay(person))


def test_adding_again_is_the_same_and_other_things_in_the_way_are_refused(person: Any, repository: Repository) -> None:
    base = head(person)
    for _ in range(2):
        repository.add_worktree(bay(person), BRANCH, base, "stretto")
    with pytest.raises(Conflict):
        repository.add_worktree(bay(person), "other", base, "stretto")
    person.write("bays/02/mine", "precious", cwd=person.path.parent)
    with pytest.raises(Conflict) as refused:
        repository.add_worktree(bay(person, 2), "other", base, "stretto")
    assert refused.value.code == "path_in_the_way"
    assert (bay(person, 2) / "mine").read_text() == "precious"
    with pytest.raises(StrettoError) as taken:
        repository.add_worktree(bay(person, 3), BRANCH, base, "stretto")
    assert (taken.value.code, taken.value.object) == ("branch_checked_out", str(bay(person)))
    person.git("branch", "a")
    with pytest.raises(StrettoError, match="in the way"):
        repository.add_worktree(bay(person, 3), "a/b", base, "stretto")
    assert not bay(person, 3).exists()
    assert repository.read_ref("refs/heads/a/b") is None


def test_an_existing_branch_keeps_its_work(person: Any, repository: Repository) -> None:
    base = head(person)
    person.git("checkout", "-q", "-b", BRANCH)
    work = person.commit("work", new="n")
    person.git("checkout", "-q", "main")
    repository.add_worktree(bay(person), BRANCH, base, "stretto")
    assert head(person, bay(person)) == work
    assert (bay(person) / "new").exists()


def test_a_detached_one_switches_and_is_clean_but_for_ignored_files(person: Any, repository: Repository) -> None:
    one = person.commit("one", dot_gitignore="*.o\n", old="1\n", both="1\n")
    person.git("rm", "-q", "old")
    two = person.commit("two", both="2\n", new="2\n")
    place = bay(person)
    repository.add_worktree(place, None, one, "stretto gate")
    for name in ("x.o", "litter", "deep/litter", "old"):
        person.write(name, "dirt", cwd=place)
    person.git("init", "-q", "nested", cwd=place)
    person.write("nested/file", "x", cwd=place)
    person.git("add", "litter", cwd=place)
    (place / "both").unlink()
    (place / ".git" / "..").resolve()
    for commit in (two, two, one):
        repository.switch_worktree(place, commit)
        state = repository.worktree_state(place)
        assert (state.head, state.branch, state.clean) == (commit, None, True)
        assert person.git("status", "--porcelain", cwd=place) == ""
        assert repository.worktree_tree(place) == repository.tree_of(commit)
    assert (place / "x.o").read_text() == "dirt"
    assert not (place / "nested").exists()
    with pytest.raises(StrettoError):
        repository.switch_worktree(person.path, one)


def test_switching_ends_a_paused_state_of_files_that_lie_about_their_time(person: Any, repository: Repository) -> None:
    one = person.commit("one", f="aaaa\n")
    place = bay(person)
    repository.add_worktree(place, None, one, "stretto gate")
    person.git("update-index", "--assume-unchanged", "f", cwd=place)
    (place / "f").write_text("bbbb\n")
    assert person.git("status", "--porcelain", cwd=place) == ""
    assert repository.worktree_state(place).changed == ("f",)
    repository.switch_worktree(place, one)
    assert (place / "f").read_text() == "aaaa\n"


def test_forgetting_needs_the_folder_to_be_gone_and_takes_nothing_else(person: Any, repository: Repository) -> None:
    base = head(person)
    for number in (1, 2):
        repository.add_worktree(bay(person, number), f"b{number}", base, "stretto")
    person.git("worktree", "add", "-q", "../theirs")
    shutil.move(person.path.parent / "theirs", person.path.parent / "unmounted")
    with pytest.raises(Conflict):
        repository.forget_worktree(bay(person, 1))
    shutil.move(bay(person, 1), person.path.parent / "aside")
    repository.forget_worktree(bay(person, 1))
    repository.forget_worktree(bay(person, 1))
    assert set(repository.worktrees()) == {person.path, bay(person, 2), person.path.parent / "theirs"}
    assert repository.read_ref("refs/heads/b1") == base
    repository.add_worktree(bay(person, 1), "b1", base, "stretto")


def test_a_worktree_that_git_does_not_know_is_an_error(person: Any, repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(StrettoError) as unknown:
        repository.worktree_state(tmp_path / "nowhere")
    assert unknown.value.code == "not_a_worktree"
    place = bay(person)
    repository.add_worktree(place, BRANCH, head(person), "stretto")
    (place / ".git").write_text(f"gitdir: {tmp_path}/evil\n")
    assert repository.worktree_state(place).clean
    (person.path / ".git" / "worktrees" / "01" / "HEAD").write_text("nonsense\n")
    with pytest.raises(StrettoError) as damaged:
        repository.worktree_state(place)
    assert damaged.value.code == "broken_ref"


@pytest.mark.parametrize("point", ["before", "registered", "after"])
def test_killed_anywhere_a_second_try_completes_it(person: Any, repository: Repository, point: str) -> None:
    base = head(person)
    code = "r.add_worktree(Path(words[0]), words[1], words[2], 'stretto')"
    person.killed(f"daemon.git.worktree_add.{point}", code, bay(person), BRANCH, base)
    repository.add_worktree(bay(person), BRANCH, base, "stretto")
    assert repository.worktree_state(bay(person)).clean
    assert person.git("status", "--porcelain", cwd=bay(person)) == ""
    assert not files.locked(person.path / ".git" / "stretto.lock")


def test_sixteen_at_once_and_again(person: Any, repository: Repository) -> None:
    base = person.commit("many", **{f"d{n}/f": f"{n}\n" for n in range(50)})
    rounds, width = 3, 16
    barrier = threading.Barrier(width)

    def add(number: int) -> None:
        barrier.wait(30)
        repository.add_worktree(bay(person, number), f"stretto/r/t{number}/work", base, "stretto")

    for at in range(rounds):
        with ThreadPoolExecutor(width) as pool:
            list(pool.map(add, range(at * width, (at + 1) * width)))
    assert len(repository.worktrees()) == rounds * width + 1
    for number in range(rounds * width):
        assert (bay(person, number) / "d49" / "f").read_text() == "49\n"
    assert repository.worktree_state(bay(person, 7)).clean


def test_line_ends_are_as_the_persons_git_has_them(person: Any, own_configuration: Path) -> None:
    person.git("config", "core.autocrlf", "true")
    base = person.commit("x", f="1\r\n2\r\n", dot_gitattributes="*.sh text eol=lf\n*.bin -text\n", run__sh="")
    repository = person.open()
    assert repository.show(base, "f") == b"1\n2\n"
    repository.add_worktree(bay(person), BRANCH, base, "stretto")
    assert (bay(person) / "f").read_bytes() == b"1\r\n2\r\n"
    assert person.git("status", "--porcelain", cwd=bay(person)) == ""
    (bay(person) / "f").write_bytes(b"1\r\n2\r\n3\r\n")
    commit = repository.commit_all(bay(person), BRANCH, "x")
    assert commit is not None
    assert repository.show(commit, "f") == b"1\n2\n3\n"
    assert repository.worktree_state(bay(person)).clean


def test_odd_paths_survive(person: Any, repository: Repository) -> None:
    names = ["new\nline", "-dash", "ünï", 'quo"te\\', " space ", "dir/:(glob)*"]
    for name in names:
        person.write(name, "1\n")
    (person.path / os.fsdecode(b"bytes\xff")).write_text("1\n")
    base = person.commit("odd")
    place = person.path.parent / "bays ü\n" / "-01"
    repository.add_worktree(place, BRANCH, base, "stretto\nreason")
    for name in names:
        (place / name).write_text("2\n")
    assert set(repository.worktree_state(place).changed) == set(names)
    assert repository.commit_all(place, BRANCH, "x")
    assert person.git("status", "--porcelain", cwd=place) == ""


def test_operations_in_the_middle_are_seen(person: Any, repository: Repository) -> None:
    person.git("checkout", "-q", "-b", "side")
    side = person.commit("side", file="side\n")
    person.git("checkout", "-q", "main")
    base = person.commit("main", file="main\n")
    place = bay(person)
    repository.add_worktree(place, BRANCH, base, "stretto")
    for begin, word in (
        (("merge", "side"), "merge"),
        (("rebase", "side"), "rebase"),
        (("cherry-pick", side), "cherry-pick"),
        (("revert", side), "revert"),
    ):
        person.git(*begin, cwd=place, ok=False)
        assert repository.worktree_state(place).operation == word
        person.git(word, "--abort", cwd=place)
        assert repository.worktree_state(place).operation is None
    person.git("bisect", "start", cwd=place)
    assert repository.worktree_state(place).operation == "bisect"
