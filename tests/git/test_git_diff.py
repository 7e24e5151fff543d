from __future__ import annotations

from typing import Any

from stretto.git.repository import Repository


def test_changed_paths_tell_content_and_mode_on_both_sides(person: Any, repository: Repository) -> None:
    base = person.git("rev-parse", "HEAD")
    (person.path / "file").chmod(0o755)
    head = person.commit("x", **{"ö\n": "1"})
    changed = repository.changed_paths(base, head)
    assert set(changed) == {"file", "ö\n"}
    old, new = changed["file"]
    assert old.removeprefix("100644:") == new.removeprefix("100755:")
    assert changed["ö\n"][0] == ""
    assert repository.changed_paths(repository.tree_of(base), head) == changed
    assert repository.changed_paths(head, head) == {}


def test_a_diff_for_people(person: Any, repository: Repository) -> None:
    base = person.git("rev-parse", "HEAD")
    person.git("mv", "file", "renamed")
    head = person.commit("x", new="1\n")
    text = repository.diff(base, head)
    assert "rename from file\nrename to renamed" in text
    assert "+1\n" in text
    assert "2 files changed" in repository.diff(base, head, stat=True)
    assert "\x1b[" in repository.diff(base, head, color=True)
    assert "\x1b[" not in text


def test_single_files(person: Any, repository: Repository) -> None:
    head = person.commit("x", **{"dir/ö\nx": b"\0\n1"})
    assert repository.show(head, "dir/ö\nx") == b"\0\n1"
    assert repository.show(head, "dir") is None
    assert repository.show(head, "dir/none\n") is None
    assert repository.show(head, "-p") is None


def test_filters_of_a_commit_and_of_the_repository(person: Any, repository: Repository) -> None:
    head = person.commit("x", dot_gitattributes="# *.x filter=no\n*.txt text\n*.y -filter\n")
    assert repository.filters(head) == ()
    head = person.commit("x", **{"sub/.gitattributes": "*.bin filter=lfs diff=lfs -text\n[attr]big filter=lfs\n"})
    assert repository.filters(head) == (
        "sub/.gitattributes: *.bin filter=lfs diff=lfs -text",
        "sub/.gitattributes: [attr]big filter=lfs",
    )
    person.write(".git/info/attributes", "* filter=x\n")
    assert repository.filters(head)[-1] == "info/attributes: * filter=x"
