from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stretto.core.errors import Conflict, GitFailed, StrettoError
from stretto.git.repository import Repository
from stretto.interfaces import Identity


def test_a_ref_moves_by_compare_and_swap_only(person: Any, repository: Repository) -> None:
    one = person.git("rev-parse", "HEAD")
    two = person.commit("two")
    ref = "refs/stretto/keep/run-aaaa/task/1"
    repository.update_ref(ref, one, None, "make")
    with pytest.raises(Conflict) as moved:
        repository.update_ref(ref, two, None, "must not exist")
    assert moved.value.details == {"current": one, "expected": None}
    with pytest.raises(Conflict):
        repository.update_ref(ref, two, "1" * 40, "wrong old")
    assert repository.read_ref(ref) == one
    repository.update_ref(ref, two, one, "move")
    repository.update_ref(ref, two, one, "again: the same end")
    assert repository.refs("refs/stretto/keep/run-aaaa/") == {ref: two}
    with pytest.raises(Conflict):
        repository.delete_ref(ref, one)
    repository.delete_ref(ref, two)
    repository.delete_ref(ref, two)
    assert repository.read_ref(ref) is None


def test_moves_are_seen_by_the_persons_git_and_logged(person: Any, repository: Repository) -> None:
    person.git("branch", "side")
    two = person.commit("two")
    repository.update_ref("refs/heads/side", two, person.git("rev-parse", "side"), "landed x")
    assert person.git("rev-parse", "side") == two
    assert "stretto: landed x" in person.git("reflog", "show", "side")
    person.git("pack-refs", "--all")
    assert repository.read_ref("refs/heads/side") == two
    repository.delete_ref("refs/heads/side", two)
    assert person.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_of_many_swaps_at_once_exactly_one_wins(person: Any, repository: Repository) -> None:
    base = person.git("rev-parse", "HEAD")
    commits = [repository.commit(repository.tree_of(base), [base], f"n {n}") for n in range(8)]

    def swap(commit: str) -> bool:
        try:
            repository.update_ref("refs/heads/main", commit, base, "race")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(swap, commits))
    assert sum(won) == 1
    assert repository.read_ref("refs/heads/main") == commits[won.index(True)]


def test_a_ref_in_the_way_is_named(person: Any, repository: Repository) -> None:
    head = person.git("rev-parse", "HEAD")
    person.git("branch", "stretto")
    with pytest.raises(StrettoError, match="in the way") as refused:
        repository.update_ref("refs/heads/stretto/run/task/work", head, None, "x")
    assert (refused.value.code, refused.value.object) == ("branch_in_the_way", "refs/heads/stretto")
    person.git("branch", "a/b/c")
    with pytest.raises(StrettoError, match="in the way") as refused:
        repository.update_ref("refs/heads/a/b", head, None, "x")
    assert refused.value.object == "refs/heads/a/b/c"


@pytest.mark.parametrize("name", ["-d", "main", "refs/heads/x\ny", ""])
def test_names_that_git_could_misread_are_refused(repository: Repository, name: str) -> None:
    with pytest.raises(StrettoError):
        repository.read_ref(name)
    with pytest.raises(StrettoError):
        repository.update_ref(name, "0" * 40, None, "x")


def test_a_damaged_ref_is_an_error_and_not_a_missing_one(person: Any, repository: Repository) -> None:
    (person.path / ".git" / "refs" / "heads" / "hurt").write_bytes(b"")
    with pytest.raises(GitFailed) as failed:
        repository.read_ref("refs/heads/hurt")
    assert failed.value.code == "broken_ref"
    assert repository.read_ref("refs/heads/main")


@pytest.mark.parametrize(("point", "there"), [("before", False), ("after", True)])
def test_killed_at_an_update_the_ref_is_old_or_new(person: Any, point: str, there: bool) -> None:
    code = (
        "import sys; from pathlib import Path; from stretto.git.repository import Repository\n"
        "r = Repository.open(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "r.update_ref('refs/stretto/keep/x', r.resolve('HEAD'), None, 'x')"
    )
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "STRETTO_TESTING": "1",
        "STRETTO_FAILPOINT": f"daemon.git.update_ref.{point}=kill",
    }
    done = subprocess.run([sys.executable, "-c", code, person.path, person.home], env=env, check=False)
    assert done.returncode == -9
    assert (person.open().read_ref("refs/stretto/keep/x") is not None) is there


def test_the_commit_graph(person: Any, repository: Repository) -> None:
    one = person.git("rev-parse", "HEAD")
    person.git("checkout", "-q", "-b", "side")
    side = person.commit("side", g="1")
    person.git("checkout", "-q", "main")
    two = person.commit("two", h="1")
    person.git("merge", "-q", "--no-edit", "side")
    merged = person.git("rev-parse", "HEAD")
    assert repository.parents(merged) == (two, side)
    assert repository.parents(one) == ()
    assert repository.is_ancestor(side, merged)
    assert not repository.is_ancestor(merged, side)
    assert repository.merge_base(two, side) == one
    assert repository.count(one, merged) == 3
    assert repository.commit_time(merged) == float(person.git("show", "-s", "--format=%ct", merged))
    assert repository.tree_of(merged) == person.git("rev-parse", "HEAD^{tree}")
    other = repository.commit(repository.tree_of(one), [], "unrelated")
    assert repository.merge_base(one, other) is None
    assert repository.resolve("main~1") == two
    assert repository.resolve("HEAD") == merged
    assert repository.resolve("no-such") is None
    assert repository.resolve("--all") is None


def test_who_commits_is_the_repositorys_or_the_persons(
    person: Any, repository: Repository, own_configuration: Any
) -> None:
    assert repository.identity() == Identity("Pat", "pat@example.com")
    person.git("config", "user.email", "work@example.com")
    assert repository.identity() == Identity("Pat", "work@example.com")
    head = person.git("rev-parse", "HEAD")
    made = repository.commit(repository.tree_of(head), [head], "Ünïcode\n\nStretto-Task: a/b\n")
    assert person.git("show", "-s", "--format=%an <%ae> %cn|%B", made).startswith("Pat <work@example.com> Pat|Ünïcode")
    twice = {repository.commit(repository.tree_of(head), [head], "same", at=1700000000.9) for _ in range(2)}
    assert [repository.commit_time(one) for one in twice] == [1700000000.0]
    person.git("config", "--unset", "user.email")
    (own_configuration / ".gitconfig").unlink()
    assert repository.identity() is None
    with pytest.raises(StrettoError) as refused:
        repository.commit(repository.tree_of(head), [head], "x")
    assert refused.value.code == "no_identity"
    assert refused.value.hint is not None
    assert refused.value.hint.count("git config") == 2


def test_replace_refs_and_grafts_do_not_change_what_is_seen(person: Any, repository: Repository) -> None:
    one = person.git("rev-parse", "HEAD")
    two = person.commit("two", file="other\n")
    tree = repository.tree_of(two)
    person.git("replace", two, one)
    assert repository.tree_of(two) == tree
    assert repository.parents(two) == (one,)
