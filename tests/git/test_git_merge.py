from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import GitFailed
from stretto.git.repository import Repository


def diverge(person: Any, ours: dict[str, str], theirs: dict[str, str]) -> tuple[str, str]:
    person.git("checkout", "-q", "-b", "theirs")
    b = person.commit("theirs", **theirs)
    person.git("checkout", "-q", "main")
    a = person.commit("ours", **ours)
    return a, b


def test_a_clean_merge_gives_the_tree_that_git_would(person: Any, repository: Repository) -> None:
    a, b = diverge(person, {"a": "1\n"}, {"b": "2\n"})
    merged = repository.merge(a, b)
    assert merged.clean
    person.git("merge", "-q", "--no-edit", "theirs")
    assert merged.tree == person.git("rev-parse", "HEAD^{tree}")


def test_a_conflict_names_its_paths_and_keeps_both_sides(person: Any, repository: Repository) -> None:
    a, b = diverge(person, {"file": "ours\n", "ö ü": "1\n"}, {"file": "theirs\n", "ö ü": "2\n", "ok": "\n"})
    merged = repository.merge(a, b)
    assert merged.conflicts == ("file", "ö ü")
    assert "CONFLICT (content): Merge conflict in file" in merged.messages
    text = person.git("show", f"{merged.tree}:file")
    assert "ours" in text
    assert "theirs" in text
    assert "<<<<<<<" in text


def test_a_commit_that_is_not_there_is_no_conflict(person: Any, repository: Repository) -> None:
    a, _ = diverge(person, {"a": "1\n"}, {"b": "2\n"})
    for pair in ((a, "1" * 40), ("1" * 40, a)):
        with pytest.raises(GitFailed, match="1111111"):
            repository.merge(*pair)


def test_conflicts_without_a_common_file_are_conflicts_too(person: Any, repository: Repository) -> None:
    person.commit("dir", old__a="1\n2\n3\n", old__b="4\n5\n6\n")
    person.git("checkout", "-q", "-b", "theirs")
    b = person.commit("new in old", old__c="7\n")
    person.git("checkout", "-q", "main")
    person.git("mv", "old", "new")
    a = person.commit("moved")
    merged = repository.merge(a, b)
    assert merged.conflicts
    assert any("c" in path for path in merged.conflicts)


ATTRIBUTES = {
    "union": "* merge=union\n",
    "ours driver": "* merge=ours\n",
    "custom driver": "* merge=canary\n",
    "no merge": "* -merge\n",
    "binary": "* binary\n",
    "text auto": "* text=auto eol=crlf\n",
    "encoding": "both working-tree-encoding=ISO-8859-1\n",
    "filter": "* filter=canary\n",
    "macro": "[attr]evil merge=union filter=canary diff=canary\n* evil\n",
}


def poison(person: Any, canary: Path) -> None:
    """Everything in the repository's reach that could change a merge."""
    write = f"touch {canary}; cat %B"
    for name, value in {
        "merge.ours.driver": "true",
        "merge.canary.driver": f"touch {canary}; cp %B %A",
        "merge.default": "canary",
        "merge.renames": "false",
        "merge.directoryRenames": "true",
        "merge.conflictStyle": "merge",
        "merge.renormalize": "true",
        "merge.verbosity": "0",
        "filter.canary.clean": write,
        "filter.canary.smudge": write,
        "filter.canary.required": "true",
        "core.autocrlf": "true",
        "diff.renames": "false",
        "diff.canary.textconv": f"touch {canary};cat",
    }.items():
        person.git("config", name, value)


@pytest.mark.parametrize("where", ["in the tree", "info"])
@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_attributes_and_drivers_have_no_say(person: Any, tmp_path: Path, kind: str, where: str) -> None:
    attributes = ATTRIBUTES[kind]
    first = {"dot_gitattributes": attributes} if where == "in the tree" else {}
    person.commit(
        "attributes", both="1\n2\n3\n4\n5\n6\n7\n8\n9\n", clash="x\n", moved="".join(map(str, range(99))), **first
    )
    person.git("checkout", "-q", "-b", "theirs")
    b = person.commit("theirs", both="1\n2\n3\n4\n5\n6\n7\n8\nNINE\n", clash="theirs\n")
    person.git("checkout", "-q", "main")
    person.git("mv", "moved", "away")
    a = person.commit("ours", both="ONE\n2\n3\n4\n5\n6\n7\n8\n9\n", clash="ours\n")
    before = person.open().merge(a, b)
    if where == "info":
        person.write(".git/info/attributes", attributes)
    poison(person, tmp_path / "canary")
    merged = person.open().merge(a, b)
    assert merged == before
    assert merged.conflicts == ("clash",)
    assert person.git("cat-file", "blob", f"{merged.tree}:both") == "ONE\n2\n3\n4\n5\n6\n7\n8\nNINE"
    assert person.git("cat-file", "blob", f"{merged.tree}:clash").startswith("<<<<<<<")
    assert not (tmp_path / "canary").exists()


def test_git_itself_would_have_obeyed_them(person: Any, repository: Repository) -> None:
    """The test above can fail: in the repository's own directory the same attributes decide."""
    person.commit("attributes", dot_gitattributes="* merge=union\n", clash="x\n")
    a, b = diverge(person, {"clash": "ours\n"}, {"clash": "theirs\n"})
    person.git("merge-tree", "--write-tree", a, b)
    assert repository.merge(a, b).conflicts == ("clash",)


def test_results_land_in_the_repository(person: Any, repository: Repository) -> None:
    a, b = diverge(person, {"a": "1\n"}, {"b": "2\n"})
    merged = repository.merge(a, b)
    commit = repository.commit(merged.tree, [a, b], "merge")
    person.git("update-ref", "refs/heads/main", commit)
    person.git("fsck", "--strict")
    assert person.git("ls-tree", "--name-only", "main") == "a\nb\nfile"
