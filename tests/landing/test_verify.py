"""Landings that are wrong in each possible way are seen; right ones, renames included, are not complained about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stretto.core.model import Entry
from stretto.landing.verify import Earlier, verify
from tests.support.landing import FILES, Yard


@pytest.fixture
def yard(make_repo, tmp_path: Path) -> Yard:
    return Yard(make_repo("repo", FILES), tmp_path / "home")


def earlier(yard: Yard, entry: Entry) -> Earlier:
    paths = tuple(yard.git.changed_paths(str(entry.old), str(entry.candidate)))
    return (str(entry.candidate), str(entry.tree), paths)


def commit(yard: Yard, files: dict[str, str | None], parents: list[str], start: str) -> str:
    """A commit object with `start`'s tree changed by `files`, made behind everybody's back."""
    index = str(yard.repo.path.parent / "index")
    run = ["env", f"GIT_INDEX_FILE={index}"]
    import subprocess

    def git(*words: str, input: str | None = None) -> str:
        done = subprocess.run(
            [*run, "git", *words], cwd=yard.repo.path, input=input, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("read-tree", start)
    for name, text in files.items():
        if text is None:
            git("update-index", "--force-remove", name)
        else:
            git(
                "update-index",
                "--add",
                "--cacheinfo",
                f"100644,{git('hash-object', '-w', '--stdin', input=text)},{name}",
            )
    words = [word for parent in parents for word in ("-p", parent)]
    return git("commit-tree", git("write-tree"), *words, "-m", "forged")


def forged(yard: Yard, entry: Entry, oid: str, *, tree: bool = True) -> Entry:
    """The entry as if this commit had been its candidate."""
    found = yard.repo.git("rev-parse", f"{oid}^{{tree}}") if tree else entry.tree
    return replace(entry, candidate=oid, tree=found)


def test_right_landings_are_right(yard: Yard):
    done: list[Earlier] = []
    for id, files in (("one", {"a.txt": "a\n"}), ("two", {"f0.txt": "two\n"}), ("three", {"f1.txt": None})):
        entry = yard.land(id, dict(files))
        assert verify(yard.git, entry, done) == []
        done.append(earlier(yard, entry))


def test_landings_from_one_base_are_right(yard: Yard):
    base = yard.target.tip()
    done: list[Earlier] = []
    for number in range(4):
        entry = yard.land(f"t{number}", {f"f{number}.txt": f"changed {number}\n", f"n{number}.txt": "n\n"}, base)
        assert verify(yard.git, entry, done) == []
        done.append(earlier(yard, entry))


def test_a_wrong_first_parent(yard: Yard):
    entry = yard.built("one", yard.branch("one", {"a.txt": "a\n"}))
    swapped = commit(yard, {}, [entry.head, str(entry.old)], str(entry.candidate))
    assert "first parent" in verify(yard.git, forged(yard, entry, swapped), [])[0]


def test_a_tree_that_was_not_tested(yard: Yard):
    entry = yard.built("one", yard.branch("one", {"a.txt": "a\n"}))
    other = commit(yard, {"a.txt": "sneaked\n"}, [str(entry.old), entry.head], str(entry.candidate))
    found = verify(yard.git, forged(yard, entry, other, tree=False), [])
    assert any("tested was" in each for each in found)
    assert any("once more" in each for each in found)


def test_another_head_than_the_approved_one(yard: Yard):
    entry = yard.built("one", yard.branch("one", {"a.txt": "a\n"}))
    stranger = yard.branch("two", {"b.txt": "b\n"})
    found = verify(yard.git, replace(entry, head=stranger), [])
    assert any("which was approved" in each for each in found)


def test_an_earlier_landing_that_is_gone(yard: Yard):
    first = yard.land("one", {"a.txt": "a\n"})
    yard.repo.git("reset", "-q", "--hard", str(first.old))
    second = yard.land("two", {"b.txt": "b\n"})
    found = verify(yard.git, second, [earlier(yard, first)])
    assert found == [
        f"the earlier landing {str(first.candidate)[:12]} is no longer in the history of {str(second.candidate)[:12]}"
    ]


def test_content_of_an_earlier_landing_that_is_taken_back(yard: Yard):
    """What broke a well-known merge queue: a wrong merge base silently reverted what had landed before."""
    first = yard.land("one", {"f0.txt": "landed\n", "a.txt": "a\n"})
    entry = yard.built("two", yard.branch("two", {"b.txt": "b\n"}))
    for files in ({"f0.txt": FILES["f0.txt"]}, {"a.txt": None}):
        reverting = commit(yard, dict(files), [str(entry.old), entry.head], str(entry.candidate))  # type: ignore[arg-type]
        found = verify(yard.git, forged(yard, entry, reverting), [earlier(yard, first)])
        said = [each for each in found if "did not touch" in each]
        assert len(said) == 1
        assert f"{next(iter(files))} (landed by {str(first.candidate)[:12]})" in said[0]


def test_a_file_renamed_by_an_earlier_landing_may_still_be_changed(yard: Yard):
    base = yard.target.tip()
    first = yard.land("one", {"f0.txt": None, "moved/g0.txt": FILES["f0.txt"]}, base)
    changed = str(FILES["f0.txt"]).replace("line 0\n", "changed\n", 1)
    entry = yard.land("two", {"f0.txt": changed}, base)
    assert yard.repo.show("main", "moved/g0.txt").startswith("changed")
    assert verify(yard.git, entry, [earlier(yard, first)]) == []


def test_a_file_renamed_by_this_entry_takes_the_change_of_an_earlier_one_along(yard: Yard):
    base = yard.target.tip()
    changed = str(FILES["f0.txt"]).replace("line 0\n", "changed\n", 1)
    first = yard.land("one", {"f0.txt": changed}, base)
    entry = yard.land("two", {"f0.txt": None, "moved/g0.txt": FILES["f0.txt"]}, base)
    assert yard.repo.show("main", "moved/g0.txt").startswith("changed")
    assert verify(yard.git, entry, [earlier(yard, first)]) == []


def test_an_entry_without_record(yard: Yard):
    entry = yard.entry("one", yard.target.tip())
    assert verify(yard.git, entry, []) == ["the landing of plan-abcd/one has no record of what was tested"]
