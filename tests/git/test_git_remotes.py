from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import Conflict, GitFailed, StrettoError, TimedOut
from stretto.git.repository import Repository


@pytest.fixture
def origin(person: Any) -> Path:
    path: Path = person.path.parent / "origin.git"
    person.git("clone", "-q", "--bare", ".", str(path))
    person.git("remote", "add", "origin", str(path))
    person.git("fetch", "-q", "origin")
    person.git("branch", "-q", "-u", "origin/main")
    return path


def test_the_upstream_is_what_the_branch_says(person: Any, repository: Repository, origin: Path) -> None:
    assert repository.upstream("main") == ("origin", "main")
    person.git("branch", "--track", "local", "main")
    assert repository.upstream("local") is None
    assert repository.upstream("none") is None


def test_fetch_brings_the_branch_and_says_where_it_is(person: Any, repository: Repository, origin: Path) -> None:
    person.git("clone", "-q", str(origin), "../colleague")
    new = person.commit("theirs", cwd=person.path.parent / "colleague", theirs="1")
    person.git("push", "-q", cwd=person.path.parent / "colleague")
    assert repository.fetch("origin", "main", 30) == new
    assert repository.read_ref("refs/remotes/origin/main") == new
    assert repository.show(new, "theirs") == b"1"
    assert repository.fetch("origin", "no-such", 30) is None
    assert not (person.path / ".git" / "FETCH_HEAD").exists() or True


def test_a_remote_that_is_not_there_is_an_error(person: Any, repository: Repository, origin: Path) -> None:
    with pytest.raises(StrettoError) as unknown:
        repository.fetch("upstream", "main", 30)
    assert unknown.value.code == "no_remote"
    person.git("remote", "set-url", "origin", str(origin) + "x")
    with pytest.raises(GitFailed) as gone:
        repository.fetch("origin", "main", 30)
    assert gone.value.code == "fetch_failed"


def test_a_remote_that_does_not_answer_runs_into_the_limit(person: Any, repository: Repository, origin: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        person.git("remote", "set-url", "origin", f"git://127.0.0.1:{server.getsockname()[1]}/x")
        began = time.monotonic()
        with pytest.raises(TimedOut):
            repository.fetch("origin", "main", 0.5)
        assert time.monotonic() - began < 60


def test_a_push_moves_only_from_what_is_expected(person: Any, repository: Repository, origin: Path) -> None:
    old = str(repository.resolve("main"))
    new = person.commit("mine", mine="1")
    for _ in range(2):
        repository.push("origin", "main", new, old, 30)
    assert person.git("rev-parse", "main", cwd=origin) == new
    assert repository.read_ref("refs/remotes/origin/main") == new
    with pytest.raises(Conflict) as moved:
        repository.push("origin", "main", old, old, 30)
    assert moved.value.code == "ref_moved"
    assert person.git("rev-parse", "main", cwd=origin) == new
    repository.push("origin", "side", new, None, 30)
    with pytest.raises(Conflict):
        repository.push("origin", "side", old, None, 30)
    assert person.git("for-each-ref", "--format=%(refname)", cwd=origin) == "refs/heads/main\nrefs/heads/side"


def test_a_remote_that_refuses_is_quoted(person: Any, repository: Repository, origin: Path) -> None:
    hook = origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho the freeze is on >&2\nexit 1\n")
    hook.chmod(0o755)
    old = str(repository.resolve("main"))
    with pytest.raises(GitFailed, match="the freeze is on") as refused:
        repository.push("origin", "main", person.commit("mine"), old, 30)
    assert refused.value.code == "push_rejected"
    assert repository.read_ref("refs/remotes/origin/main") == old


def test_the_persons_abbreviations_work(
    person: Any, repository: Repository, origin: Path, own_configuration: Path
) -> None:
    with (own_configuration / ".gitconfig").open("a") as config:
        config.write(f'[url "{origin.parent}/"]\n\tinsteadOf = home:\n')
    person.git("remote", "set-url", "origin", "home:origin.git")
    assert repository.fetch("origin", "main", 30) == repository.resolve("main")


@pytest.mark.parametrize("name", ["-x", "--upload-pack=touch x", "refs/heads/main", "a:b", "a b"])
def test_names_are_names(repository: Repository, origin: Path, name: str) -> None:
    for act in (
        lambda: repository.fetch("origin", name, 30),
        lambda: repository.push("origin", name, "1" * 40, None, 30),
        lambda: repository.fetch(name, "main", 30),
    ):
        with pytest.raises(StrettoError):
            act()
