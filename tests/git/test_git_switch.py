"""The main checkout is switched to the branch of a task and back: never over anything of the person's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.git import switch
from stretto.git.repository import Repository
from tests.git.test_git_checkout import everything

POINTS = ("before", "written", "turned", "after")


def two_branches(person: Any) -> tuple[str, str]:
    """`main`, and `work` that differs from it in every way in which files can."""
    main = person.commit("base", dot_gitignore="*.o\nbuild\n", gone="1\n", changed="1\n", same="1\n")
    person.git("switch", "-q", "-c", "work")
    (person.path / "gone").unlink()
    person.write("changed", "2\n")
    person.write("dir/new", "n\n")
    person.git("add", "-A")
    work = person.commit("work")
    person.git("switch", "-q", "main")
    return main, work


def test_there_and_back_leaves_ignored_files_and_says_so_in_the_log(person: Any, repository: Repository) -> None:
    main, work = two_branches(person)
    person.write("mine.o", "ignored")
    before = everything(person)
    for _ in range(2):
        repository.switch_checkout("work", main)
        assert repository.current_branch() == "work"
        assert person.git("status", "--porcelain") == ""
        assert person.git("rev-parse", "HEAD") == work
    assert "gone" not in everything(person)
    assert everything(person)["mine.o"] == b"ignored"
    person.git("switch", "-q", "-")
    assert repository.current_branch() == "main"
    repository.switch_checkout("work", main)
    repository.switch_checkout("main", main)
    assert everything(person) == before
    assert person.git("status", "--porcelain") == ""


def test_a_branch_is_made_and_a_commit_is_shown_detached(person: Any, repository: Repository) -> None:
    main, work = two_branches(person)
    repository.switch_checkout("new", main)
    assert (repository.current_branch(), repository.resolve("new")) == ("new", main)
    repository.switch_checkout(None, work)
    assert (repository.current_branch(), person.git("rev-parse", "HEAD")) == (None, work)
    assert person.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    "kind", ["changed", "elsewhere", "staged", "untracked", "in the way", "ignored", "folder", "assumed"]
)
def test_anything_of_the_persons_is_a_refusal_and_stays(person: Any, repository: Repository, kind: str) -> None:
    main, _ = two_branches(person)
    match kind:
        case "changed":
            person.write("changed", "mine")
        case "elsewhere":
            person.write("same", "mine")
        case "staged":
            person.write("changed", "2\n")
            person.git("add", "changed")
        case "untracked":
            person.write("PLAN.md", "mine")
        case "in the way":
            person.write("dir/new", "mine")
        case "ignored":
            person.write("dir", "mine")
            (person.path / ".git" / "info" / "exclude").write_text("dir\n")
        case "folder":
            person.write("dir/new/deep", "mine")
        case _:
            person.git("update-index", "--assume-unchanged", "same")
            person.write("same", "mine")
    before, staged = everything(person), person.git("diff", "--cached", "--name-only")
    with pytest.raises(StrettoError) as refused:
        repository.switch_checkout("work", main)
    assert refused.value.code == "checkout_dirty"
    assert str(person.path) in str(refused.value.hint)
    assert (everything(person), repository.current_branch()) == (before, "main")
    assert person.git("diff", "--cached", "--name-only") == staged
    assert not (person.path / ".git" / "index.lock").exists()


def test_other_reasons_to_leave_it_alone(person: Any, repository: Repository, tmp_path: Path) -> None:
    main, _ = two_branches(person)
    person.git("worktree", "add", "-q", str(tmp_path / "other"), "work")
    with pytest.raises(StrettoError) as refused:
        repository.switch_checkout("work", main)
    assert (refused.value.code, refused.value.object) == ("branch_checked_out", str(tmp_path / "other"))
    (person.path / ".git" / "MERGE_HEAD").write_text(f"{main}\n")
    with pytest.raises(StrettoError) as refused:
        repository.switch_checkout("new", main)
    assert refused.value.code == "busy"
    (person.path / ".git" / "MERGE_HEAD").unlink()
    person.git("config", "core.sparseCheckout", "true")
    with pytest.raises(StrettoError) as refused:
        repository.switch_checkout("new", main)
    assert refused.value.code == "sparse_checkout"
    person.git("config", "core.sparseCheckout", "false")
    (person.path / ".git" / "index.lock").touch()
    with pytest.raises(StrettoError) as refused:
        repository.switch_checkout("new", main)
    assert refused.value.code == "index_locked"
    assert repository.current_branch() == "main"


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_step_it_is_completed_by_the_same_call(person: Any, repository: Repository, point: str) -> None:
    main, work = two_branches(person)
    person.write("mine.o", "ignored")
    person.killed(f"daemon.git.checkout_switch.{point}", "r.switch_checkout('work', words[0])", main)
    repository.switch_checkout("work", main)
    assert (repository.current_branch(), person.git("rev-parse", "HEAD")) == ("work", work)
    assert person.git("status", "--porcelain") == ""
    assert everything(person)["mine.o"] == b"ignored"
    assert not list((person.path / ".git").glob("*index-*"))
    repository.switch_checkout("main", main)
    assert person.git("status", "--porcelain") == ""


def test_what_the_person_did_after_a_kill_is_not_taken_for_ours(person: Any, repository: Repository) -> None:
    main, _ = two_branches(person)
    # files of `work`, HEAD still at main: what a death right before HEAD moves leaves
    person.git("switch", "-q", "work")
    person.git("symbolic-ref", "HEAD", "refs/heads/main")
    person.git("read-tree", "main")
    person.write("changed", "3, by the person\n")
    before = everything(person)
    with pytest.raises(StrettoError) as refused:
        repository.switch_checkout("work", main)
    assert refused.value.code == "checkout_dirty"
    assert everything(person) == before


def test_an_ignored_file_that_was_committed_meanwhile_stays(person: Any, repository: Repository) -> None:
    main, _ = two_branches(person)
    for name, mode in (("mine.o", 0o600), ("build/deep/thing", 0o640)):
        person.write(name, "the person's")
        (person.path / name).chmod(mode)
    repository.switch_checkout("task", main)
    person.git("add", "-f", "build/deep/thing")
    person.write(".gitignore", "")  # whoever commits all commits what was ignored before
    person.git("add", "-A")
    task = person.commit("task", new="1\n")
    repository.switch_checkout("main", main)
    assert (person.path / "mine.o").read_text() == (person.path / "build/deep/thing").read_text() == "the person's"
    assert (person.path / "mine.o").stat().st_mode & 0o777 == 0o600
    assert not (person.path / "new").exists()
    assert person.git("status", "--porcelain") == ""
    person.write("mine.o", "changed since")
    with pytest.raises(StrettoError) as refused:
        repository.switch_checkout("task", main)
    assert refused.value.code == "checkout_dirty"
    assert "mine.o" in refused.value.message
    person.write("mine.o", "the person's")
    repository.switch_checkout("task", main)
    assert person.git("rev-parse", "HEAD") == task
    assert person.git("status", "--porcelain") == ""


def test_who_switches_while_we_look_is_not_overruled(
    person: Any, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, _ = two_branches(person)
    person.git("branch", "theirs")
    look = switch._shown

    def slow(*given: Any) -> str:
        found = look(*given)
        person.git("switch", "-q", "theirs")
        return found

    monkeypatch.setattr(switch, "_shown", slow)
    with pytest.raises(StrettoError) as refused:
        repository.switch_checkout("work", main)
    assert refused.value.code == "ref_moved"
    assert repository.current_branch() == "theirs"
    assert person.git("status", "--porcelain") == ""
    assert not (person.path / ".git" / "index.lock").exists()


def test_ignored_files_of_the_checkout_are_found_in_every_commit(person: Any, repository: Repository) -> None:
    base = person.commit(dot_gitignore="*.env\nlog/\n", tracked="1\n")
    person.write("log/mine.txt", "mine")
    for name in ("mine.env", "ours.env", "new é.env"):
        person.write(name, "secret")
    tree = person.path.parent / "tree"
    person.git("worktree", "add", "-q", "-b", "work", str(tree))
    assert repository.private(base, base) == ()
    person.write("tracked", "2\n", cwd=tree)
    person.write("made.env", "of the task itself", cwd=tree)
    person.git("add", "-f", "made.env", cwd=tree)
    assert repository.private(base, person.commit(cwd=tree)) == ()
    person.write("mine.env", "secret", cwd=tree)
    person.git("add", "-f", "mine.env", cwd=tree)
    person.commit(cwd=tree)
    person.git("rm", "-q", "mine.env", cwd=tree)
    assert repository.private(base, person.commit(cwd=tree)) == ("mine.env",)
    person.commit(dot_gitignore="", log__mine="x", cwd=tree)
    head = person.commit(log__mine="x", **{"new é.env": "s", "log__mine.txt": "s"}, cwd=tree)
    assert repository.private(base, head) == ("log/mine.txt", "mine.env", "new é.env")


def test_what_the_base_holds_although_it_is_ignored_is_no_secret(person: Any, repository: Repository) -> None:
    person.commit(dot_gitignore="*.env\n")
    person.write("known.env", "1")
    person.git("add", "-f", "known.env")
    base = person.commit()
    person.git("switch", "-q", "-c", "work")
    person.git("rm", "-q", "known.env")
    person.commit()
    person.write("known.env", "2")
    person.git("add", "-f", "known.env")
    assert repository.private(base, person.commit()) == ()
