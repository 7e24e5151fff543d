"""Candidates made in memory, and the compare-and-swap that lands them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stretto.core.errors import Conflict, StrettoError
from stretto.landing import candidate
from stretto.landing.target import LocalTarget
from tests.support.landing import FILES, Yard


@pytest.fixture
def yard(make_repo, tmp_path: Path) -> Yard:
    return Yard(make_repo("repo", FILES), tmp_path / "home")


def test_a_candidate_merges_both_and_says_what_it_is(yard: Yard):
    head = yard.branch("one", {"new.txt": "new\n"})
    tip = yard.repo.commit("meanwhile", {"f1.txt": "changed\n"})
    made = candidate.build(yard.git, tip, yard.entry("one", head), yard.task("one", "Full-text\n search "))
    assert made.commit is not None
    assert made.conflicts == ()
    assert yard.repo.git("rev-parse", f"{made.commit}^@").split() == [tip, head]
    assert yard.repo.git("rev-parse", f"{made.commit}^{{tree}}") == made.tree
    assert yard.repo.show(made.commit, "new.txt") == "new"
    assert yard.repo.show(made.commit, "f1.txt") == "changed"
    assert yard.repo.git("log", "-1", "--format=%B", made.commit).strip() == (
        f"Land one: Full-text search\n\nStretto-Task: plan-abcd/one\nStretto-Run: plan-abcd\nStretto-Tree: {made.tree}"
    )
    assert yard.repo.git("log", "-1", "--format=%an <%ae>", made.commit) == "Test Person <person@example.com>"


def test_the_same_entry_on_the_same_tip_is_the_same_object(yard: Yard):
    head = yard.branch("one", {"new.txt": "new\n"})
    entry, task, tip = yard.entry("one", head), yard.task("one"), yard.target.tip()
    first = candidate.build(yard.git, tip, entry, task)
    later = replace(entry, updated_at=99.0, reason="again")
    assert candidate.build(yard.git, tip, later, task) == first
    assert candidate.build(yard.git, tip, replace(entry, enqueued_at=4e9), task) != first


def test_the_dates_are_never_before_those_of_the_parents(yard: Yard):
    head = yard.branch("one", {"new.txt": "new\n"})
    made = candidate.build(yard.git, yard.target.tip(), yard.entry("one", head, enqueued_at=5.0), yard.task("one"))
    parents = [int(yard.repo.git("log", "-1", "--format=%ct", oid)) for oid in (yard.target.tip(), head)]
    dates = yard.repo.git("log", "-1", "--format=%at %ct", str(made.commit)).split()
    assert dates == [str(max(parents))] * 2


def test_a_conflict_is_a_result_with_its_files(yard: Yard):
    head = yard.branch("one", {"f0.txt": "ours\n", "f1.txt": "ours\n", "f2.txt": "fine\n"})
    tip = yard.repo.commit("meanwhile", {"f0.txt": "theirs\n", "f1.txt": None})
    made = candidate.build(yard.git, tip, yard.entry("one", head), yard.task("one"))
    assert made.commit is None
    assert made.conflicts == ("f0.txt", "f1.txt")
    assert yard.target.tip() == tip
    assert yard.repo.status() == []


@pytest.mark.parametrize("title", ["x" * 300, "", "ümläut " * 40])
def test_the_subject_stays_short(yard: Yard, title):
    subject = candidate.message(yard.task("one", title), "t").split("\n")[0]
    assert subject.startswith("Land one")
    assert len(subject) <= candidate.SUBJECT


def test_landing_moves_the_branch_once(yard: Yard):
    entry = yard.built("one", yard.branch("one", {"new.txt": "new\n"}))
    assert not yard.target.contains(str(entry.candidate))
    yard.target.land(str(entry.candidate), str(entry.old))
    assert yard.target.tip() == yard.repo.oid("main") == entry.candidate
    assert yard.target.contains(str(entry.candidate))
    yard.target.land(str(entry.candidate), str(entry.old))
    yard.repo.git("reset", "-q", "--hard")
    later = yard.repo.commit("later", {"later.txt": "later\n"})
    yard.target.land(str(entry.candidate), str(entry.old))
    assert yard.target.tip() == later
    assert yard.repo.git("reflog", "--format=%gs", "main").count("land") == 1


def test_a_target_that_moved_is_not_touched(yard: Yard):
    entry = yard.built("one", yard.branch("one", {"new.txt": "new\n"}))
    moved = yard.repo.commit("meanwhile", {"f1.txt": "changed\n"})
    with pytest.raises(Conflict):
        yard.target.land(str(entry.candidate), str(entry.old))
    assert yard.target.tip() == moved


def test_a_missing_target_is_named(yard: Yard):
    with pytest.raises(StrettoError, match="the target branch gone does not exist") as caught:
        LocalTarget(yard.git, "gone").tip()
    assert caught.value.code == "target_missing"


PROGRAM = """
import sys
from pathlib import Path
from stretto.git.repository import Repository
from stretto.landing.target import LocalTarget
root, home, new, old = sys.argv[1:]
LocalTarget(Repository.open(Path(root), Path(home)), "main").land(new, old)
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("point", "landed"),
    [
        ("daemon.landing.swap.before", False),
        ("daemon.git.update_ref.before", False),
        ("daemon.git.update_ref.after@2", True),
        ("daemon.landing.swap.after", True),
    ],
)
def test_after_a_crash_the_refs_say_whether_it_landed(yard: Yard, point, landed):
    entry = yard.built("one", yard.branch("one", {"new.txt": "new\n"}))
    arguments = [str(yard.repo.path), str(yard.home), str(entry.candidate), str(entry.old)]
    env = {**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"{point}=kill"}
    assert subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=env, check=False).returncode == -9
    assert yard.target.contains(str(entry.candidate)) is landed
    yard.target.land(str(entry.candidate), str(entry.old))
    assert yard.target.tip() == entry.candidate
    assert len(yard.repo.subjects("main", first_parent=True)) == 2
