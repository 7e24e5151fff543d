"""Repositories that cannot be worked on, through the program and its daemon: said up front, and nothing half-made."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes, world
from tests.support.refusals import AGENT, PLAN, Person, new_person, refusal
from tests.support.repository import Repository
from tests.support.unprivileged import Unprivileged


@pytest.fixture(scope="module")
def shared() -> Iterator[Person]:
    """One person and one daemon for all that is only refused."""
    person = new_person()
    assert person("up", "--json").code == 0
    yield person
    person.close()


@pytest.fixture
def person(shared: Person) -> Person:
    shared.repo = None
    return shared


@pytest.fixture
def alone() -> Iterator[Person]:
    """A person whose daemon is started by the test, in the test's own surroundings."""
    person = new_person()
    yield person
    person.close()


# ---------------------------------------------------------------- what is no repository to work on


def test_not_a_repository(person: Person) -> None:
    folder = person.folder / "plain"
    folder.mkdir()
    error = person.refused_run("not_a_repository", cwd=folder)
    assert (error["object"], error["hint"]) == (str(folder), "git init")
    person.refused("not_a_repository", "add", "Do it", "--agent", AGENT, cwd=folder)
    person.refused("not_a_repository", "trust", cwd=folder)


def test_an_unborn_branch_and_its_hint_works(person: Person) -> None:
    repo = person.repository("unborn", {})
    error = person.refused_run("unborn_branch")
    subprocess.run(shlex.split(error["hint"]), cwd=repo.path, env=person.environment, check=True, capture_output=True)
    assert person.run().code == 0


def test_a_bare_repository(person: Person) -> None:
    bare = Repository.create(person.folder / "bare.git", bare=True)
    error = person.refused_run("bare_repository", cwd=bare.path)
    assert "clone" in error["hint"]


def test_a_detached_head_must_name_the_target(person: Person) -> None:
    repo = person.repository()
    repo.git("checkout", "--quiet", "--detach")
    error = person.refused_run("detached")
    assert "--target" in error["hint"]
    assert person.run(PLAN, "--target", "main").code == 0


def test_missing_targets_and_bases(person: Person) -> None:
    person.repository()
    assert person.refused_run("no_target", PLAN, "--target", "nowhere")["hint"].startswith("git branch nowhere")
    person.refused_run("no_target", "---\ntarget: nowhere\n---\n" + PLAN)
    person.refused_run("bad_target", PLAN, "--target", "a..b")
    person.refused_run("bad_target", PLAN, "--target", "-x")
    assert "git log" in person.refused_run("no_base", PLAN, "--base", "nowhere")["hint"]
    person.refused_run("no_base", PLAN, "--base", "--all")
    person.refused_run("no_base", PLAN, "--base", "5" * 40)
    person.refused_run("no_base", PLAN, "--base", "HEAD^{tree}")


def test_a_dirty_checkout_is_allowed_and_said(person: Person) -> None:
    repo = person.repository()
    repo.write({"README.md": "mine\n", "new.txt": "mine\n"})
    done = person.run()
    assert done.code == 0, done
    assert any("2 uncommitted files" in notice for notice in done.json["notices"])
    assert (repo.path / "README.md").read_text() == "mine\n"
    assert sorted(repo.status()) == [" M README.md", "?? new.txt"]


def test_a_damaged_head_is_named(person: Person) -> None:
    repo = person.repository()
    (repo.path / ".git" / "refs" / "heads" / "main").write_text("0123 is no commit\n")
    with person.nothing_left(repo.path):
        done = person.run()
    assert done.code == 1, done
    assert done.json["error"]["hint"], done.json


# ---------------------------------------------------------------- what is in the way


@pytest.mark.parametrize(
    ("branch", "settings"),
    [("stretto", ""), ("team", 'branch_prefix = "team"\n'), ("team", 'branch_prefix = "team/robots"\n')],
)
def test_a_branch_that_blocks_the_directory_of_ours(person: Person, branch: str, settings: str) -> None:
    files = {"README.md": "x\n"} | ({"stretto.toml": f"schema = 1\n[project]\n{settings}"} if settings else {})
    repo = person.repository("repo", files)
    repo.branch(branch)
    error = person.refused_run("branch_in_the_way")
    assert error["object"] == f"refs/heads/{branch}"
    assert error["hint"] == f"git branch -m {branch} NEW-NAME"
    person.refused("branch_in_the_way", "add", "Do it", "--agent", AGENT, "--leave-checkout")
    repo.git("branch", "-m", branch, "other")
    assert person.run().code == 0


def test_a_branch_of_the_person_below_our_directory_is_no_obstacle(person: Person) -> None:
    repo = person.repository()
    mine = repo.branch("stretto/mine")
    person.started(PLAN, "--approve", "auto")
    person.wait("landed")
    assert repo.oid("stretto/mine") == mine


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_stands_where_the_worktrees_go(person: Person, what: str) -> None:
    repo = person.repository("repo")
    place = repo.path.parent / "repo.worktrees"
    if what == "folder":
        place.mkdir()
        (place / "thesis.txt").write_text("mine\n")
    else:
        place.write_text("mine\n")
    error = person.refused_run("worktrees_folder")
    assert error["object"] == str(place)
    assert "worktrees" in error["hint"]
    assert what != "folder" or [path.name for path in place.iterdir()] == ["thesis.txt"]


def test_a_filter_is_refused_up_front(person: Person) -> None:
    repo = person.repository(
        "repo", {"a.bin": "x", "data/.gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"}
    )
    error = person.refused_run("filters")
    assert ".gitattributes" in error["object"]
    repo.commit("Without", {"data/.gitattributes": None})
    assert person.run().code == 0


def test_a_nested_repository_and_a_submodule_are_left_as_they_are(person: Person) -> None:
    other = Repository.create(person.folder / "other", {"x": "x\n"})
    repo = person.repository()
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.path), "sub")
    repo.commit("With a submodule")
    nested = Repository.create(repo.path / "nested", {"y": "y\n"})
    person.started(PLAN, "--approve", "auto")
    person.wait("landed")
    assert repo.git("rev-parse", "main:sub") == other.head
    assert sorted(repo.files("main")) == [".gitmodules", "README.md", "a.txt", "sub"]
    assert nested.subjects() == ["Start"]


def test_paths_of_any_name(person: Person) -> None:
    names = ["with  two spaces", "new\nline", "-dash", "größe-日本", "quote'\"$(x)", "a\\b"]
    repos = [person.repository(name) for name in names]
    for repo in repos:
        person.repo = repo
        person.started(PLAN, "--approve", "auto")
    for repo in repos:
        person.repo = repo
        person.wait("landed")
        assert repo.show("main", "a.txt") == "a"
        assert person("status").code == 0


def test_a_path_that_is_not_utf8(person: Person) -> None:
    repo = person.repository(os.fsdecode(b"caf\xe9"))
    error = refusal(person.run(), "unsupported_repository")
    assert "caf\\xe9" in error["object"]
    assert "rename" in error["hint"]
    assert person("status", "--json").code == 0
    person.repo = Repository(repo.path.rename(repo.path.with_name("cafe")))
    assert person.run().code == 0


# ---------------------------------------------------------------- who and with what


def test_without_an_identity_the_two_commands_of_the_hint_help(alone: Person) -> None:
    repo = alone.repository()
    config = Path(alone.environment["GIT_CONFIG_GLOBAL"])
    config.write_text("[init]\n    defaultBranch = main\n")
    error = alone.refused_run("no_identity")
    assert error["object"] == str(repo.path)
    assert error["hint"].count("git config --global user.") == 2
    subprocess.run(error["hint"], shell=True, cwd=repo.path, env=alone.environment, check=True)
    alone.started(PLAN, "--approve", "auto")
    alone.wait("landed")


@pytest.mark.parametrize(("version", "code"), [("2.30.1", "git_too_old"), (None, "git_missing")])
def test_a_git_that_is_too_old_or_missing(alone: Person, tmp_path: Path, version: str | None, code: str) -> None:
    repo = alone.repository()
    before = repo.refs()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "env", "sleep"):
        (programs / name).symlink_to(f"/bin/{name}")
    if version:
        (programs / "git").write_text(f"#!/bin/sh\necho git version {version}\n")
        (programs / "git").chmod(0o755)
    error = refusal(
        alone("run", "-", "--agent", AGENT, "--leave-checkout", "--json", input=PLAN, env={"PATH": str(programs)}), code
    )
    assert "2.39" in error["hint"]
    assert repo.refs() == before
    assert alone.rows("SELECT COUNT(*) FROM runs") == [(0,)]
    doctor = alone("doctor", env={"PATH": str(programs)})
    assert "git" in doctor.out + doctor.err
    assert doctor.code == 1


# ---------------------------------------------------------------- what cannot be written


def _as(user: Unprivileged, cwd: Path, *words: str, input: str = PLAN) -> subprocess.CompletedProcess[str]:
    return user.run([*world.STRETTO, *words], cwd=cwd, env={"STRETTO_HOME": str(user.folder / "h")}, input=input)


def _run_as(user: Unprivileged, cwd: Path) -> dict[str, Any]:
    from tests.support.refusals import Ended

    words = ("run", "-", "--agent", AGENT, "--leave-checkout", "--approve", "auto", "--json")
    done = _as(user, cwd, *words)
    return {"ended": Ended(done.returncode, done.stdout, done.stderr)}


@pytest.fixture
def nobody(unprivileged: Unprivileged) -> Iterator[Unprivileged]:
    yield unprivileged
    processes.end(processes.holding(str(unprivileged.folder)))


def test_a_read_only_repository_is_refused(nobody: Unprivileged) -> None:
    repo = Repository.create(nobody.folder / "repo", {"README.md": "x\n"})
    nobody.own(repo.path)
    before = repo_facts(nobody, repo)
    for folder in (repo.path / ".git", *(repo.path / ".git").rglob("*")):
        if folder.is_dir():
            folder.chmod(0o555)
    error = refusal(_run_as(nobody, repo.path)["ended"], "not_writable")
    assert error["object"] == str(repo.path / ".git")
    assert "chmod" in error["hint"]
    assert repo_facts(nobody, repo) == before
    status = _as(nobody, repo.path, "status", "--json")
    assert status.returncode == 0, status
    assert '"tasks": []' in status.stdout


def repo_facts(user: Unprivileged, repo: Repository) -> tuple[str, str]:
    refs = user.run(["git", "for-each-ref"], cwd=repo.path)
    return refs.stdout, user.run(["git", "worktree", "list"], cwd=repo.path).stdout


def test_a_read_only_folder_beside_the_repository_moves_the_worktrees_into_the_home(nobody: Unprivileged) -> None:
    outer = nobody.folder / "closed"
    repo = Repository.create(outer / "repo", {"README.md": "x\n"})
    nobody.own(outer)
    outer.chmod(0o555)
    ended = _run_as(nobody, repo.path)["ended"]
    assert ended.code == 0, ended
    done = _as(nobody, repo.path, "wait", "a", "--for", "landed", "--timeout", "30")
    assert done.returncode == 0, done
    assert [path.name for path in outer.iterdir()] == ["repo"]
    assert _as(nobody, repo.path, "down", "--all").returncode == 0
    outer.chmod(0o755)
