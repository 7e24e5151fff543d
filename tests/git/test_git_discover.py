from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.git.repository import Repository


def refused(path: Path, home: Path) -> StrettoError:
    with pytest.raises(StrettoError) as error:
        Repository.open(path, home)
    return error.value


def test_from_anywhere_inside_the_main_checkout_is_found(person: Any) -> None:
    deep = person.path / "a" / "b"
    deep.mkdir(parents=True)
    person.git("worktree", "add", "-q", "../linked")
    (person.path.parent / "alias").symlink_to(person.path)
    for start in (person.path, deep, person.path.parent / "linked", person.path.parent / "alias" / "a"):
        found = Repository.open(start, person.home)
        assert (found.root, found.common) == (person.path, person.path / ".git")


def test_what_is_no_repository_is_named_with_the_next_command(tmp_path: Path) -> None:
    error = refused(tmp_path, tmp_path / "state")
    assert (error.code, error.object, error.hint) == ("not_a_repository", str(tmp_path), "git init")
    assert refused(tmp_path / "gone", tmp_path / "state").code == "not_a_repository"


def test_bare_repositories_are_refused_also_from_their_worktrees(person: Any) -> None:
    bare = person.path.parent / "bare.git"
    person.git("clone", "-q", "--bare", ".", str(bare))
    assert refused(bare, person.home).code == "bare_repository"
    person.git("worktree", "add", "-q", "../of-bare", "main", cwd=bare)
    assert refused(person.path.parent / "of-bare", person.home).code == "bare_repository"


def test_a_repository_without_a_commit_is_refused(make_person: Callable[..., Any]) -> None:
    empty = make_person("empty")
    error = refused(empty.path, empty.home)
    assert error.code == "unborn_branch"
    assert error.hint is not None
    empty.git(*error.hint.split()[1:3], "-m", "Start")
    assert empty.open().resolve("HEAD")


def test_partial_clones_are_refused_and_shallow_ones_work(person: Any) -> None:
    person.commit("second")
    source = f"file://{person.path}"
    person.git("config", "uploadpack.allowFilter", "true")
    person.git("clone", "-q", "--filter=blob:none", source, "../partial")
    person.git("clone", "-q", "--depth=1", source, "../shallow")
    assert refused(person.path.parent / "partial", person.home).code == "partial_clone"
    shallow = Repository.open(person.path.parent / "shallow", person.home)
    head = shallow.resolve("HEAD")
    assert head is not None
    assert shallow.parents(head) == ()


def test_a_separate_git_directory_and_a_submodule_are_found(make_person: Callable[..., Any], person: Any) -> None:
    apart = make_person("apart", f"--separate-git-dir={person.path.parent / 'elsewhere'}")
    apart.commit("x", f="1")
    assert apart.open().root == apart.path
    person.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(apart.path), "sub")
    assert Repository.open(person.path / "sub", person.home).root == person.path / "sub"


def test_a_sha256_repository_works(make_person: Callable[..., Any]) -> None:
    person = make_person("long", "--object-format=sha256")
    base = person.commit("x", f="1\n")
    person.git("checkout", "-q", "-b", "side")
    side = person.commit("y", g="2\n")
    repository = person.open()
    assert len(base) == 64
    assert repository.merge(base, side).tree == repository.tree_of(side)
    repository.update_ref("refs/stretto/keep/x", side, None, "test")
    assert repository.patch(base, side).files == 1


def test_another_users_repository_is_explained(person: Any) -> None:
    if os.geteuid() != 0:
        pytest.fail("the tests need root to make another user's repository")
    subprocess.run(["chown", "-R", "65534", str(person.path)], check=True)
    error = refused(person.path, person.home)
    assert error.code == "unsafe_repository"
    assert error.hint is not None
    subprocess.run(error.hint.split(), check=True)
    assert person.open().resolve("main")


def test_an_old_git_is_refused_with_what_to_do(person: Any, tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "git").write_text("#!/bin/sh\necho git version 2.38.4\n")
    (fake / "git").chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from stretto.core.errors import StrettoError\n"
        "from stretto.git.repository import Repository\n"
        "try: Repository.open(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except StrettoError as error: print(error.code, error.hint)"
    )
    for path, answer in ((str(fake), "git_too_old"), (str(tmp_path), "git_missing")):
        env = {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
        words = [sys.executable, "-c", code, str(person.path), str(person.home)]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        assert done.stdout == f"{answer} install git 2.39 or newer\n"


def test_a_worktree_that_is_just_being_added_holds_nobody_up(person: Any) -> None:
    """git writes its files after it has made them; whoever lists between the two is told that one cannot be read."""
    person.git("worktree", "add", "-q", "../other")
    file = person.path / ".git" / "worktrees" / "other" / "commondir"
    whole = file.read_bytes()
    file.write_bytes(b"")
    writer = threading.Timer(0.3, lambda: file.write_bytes(whole))
    writer.start()
    try:
        assert Repository.open(person.path, person.home).root == person.path
    finally:
        writer.join()
