from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.git.repository import Repository


def landed(person: Any, repository: Repository, **files: str | bytes) -> tuple[str, str]:
    """The target moves underneath the checkout, as a landing does it."""
    old = str(repository.resolve("main"))
    place = person.path.parent / "elsewhere"
    person.git("worktree", "add", "-q", "--detach", str(place))
    for name in [name for name, content in files.items() if content == "-"]:
        (place / name).unlink()
    for name, content in files.items():
        if content != "-":
            person.write(name.replace("__", "/"), content, cwd=place)
    person.git("add", "-A", "-f", cwd=place)
    new = person.commit("landed", cwd=place)
    repository.update_ref("refs/heads/main", new, old, "land")
    return old, new


def everything(person: Any) -> dict[str, bytes]:
    root: Path = person.path
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_a_clean_checkout_comes_along_and_the_rest_stays(person: Any, repository: Repository) -> None:
    person.commit("x", dot_gitignore="*.o\n", gone="1\n", same="1\n")
    person.write("mine.o", "ignored")
    person.write("mine", "untracked")
    old, new = landed(person, repository, file="landed\n", dir__new="n\n", gone="-")
    for _ in range(2):
        repository.fast_forward_checkout("main", old, new)
        assert person.git("status", "--porcelain") == "?? mine"
        assert person.git("rev-parse", "HEAD") == new
    found = everything(person)
    assert found["mine.o"] == b"ignored"
    assert found["dir/new"] == b"n\n"
    assert "gone" not in found


@pytest.mark.parametrize("kind", ["changed", "staged", "assumed", "untracked", "ignored", "folder", "file for folder"])
def test_anything_of_the_persons_in_the_way_is_a_refusal(person: Any, repository: Repository, kind: str) -> None:
    person.commit("x", dot_gitignore="*.o\nbuild\n", other="1\n")
    old, new = landed(person, repository, file="landed\n", **{"new.o": "n", "a__b": "n", "build": "f", "plain": "n"})
    if kind == "changed":
        person.write("other", "mine")
    elif kind == "staged":
        person.write("other", "mine")
        person.git("add", "other")
        person.write("other", "1\n")
    elif kind == "assumed":
        person.git("update-index", "--assume-unchanged", "file")
        person.write("file", "mine")
    elif kind == "untracked":
        person.write("plain", "mine")
    elif kind == "ignored":
        person.write("new.o", "mine")
    elif kind == "folder":
        person.write("build/deep/mine", "mine")
    else:
        person.write("a", "mine")
    before = everything(person)
    with pytest.raises(StrettoError) as refused:
        repository.fast_forward_checkout("main", old, new)
    assert refused.value.code == "checkout_dirty"
    assert everything(person) == before
    assert not (person.path / ".git" / "index.lock").exists()


def test_a_half_done_one_is_completed(person: Any, repository: Repository) -> None:
    person.commit("x", a="1\n", b="1\n", gone="1\n")
    old, new = landed(person, repository, a="2\n", b="2\n", new="2\n", new2="2\n", gone="-")
    person.write("a", "2\n")
    person.write("new", "2\n")
    (person.path / "gone").unlink()
    repository.fast_forward_checkout("main", old, new)
    assert person.git("status", "--porcelain") == ""


def test_it_needs_the_branch_and_no_paused_operation(person: Any, repository: Repository) -> None:
    person.git("branch", "other")
    old, new = landed(person, repository, file="landed\n")
    with pytest.raises(StrettoError) as refused:
        repository.fast_forward_checkout("main", old, old)
    assert refused.value.code == "ref_moved"
    (person.path / ".git" / "MERGE_HEAD").write_text(old + "\n")
    with pytest.raises(StrettoError) as refused:
        repository.fast_forward_checkout("main", old, new)
    assert refused.value.code == "busy"
    (person.path / ".git" / "MERGE_HEAD").unlink()
    person.git("symbolic-ref", "HEAD", "refs/heads/other")
    assert repository.current_branch() == "other"
    with pytest.raises(StrettoError) as refused:
        repository.fast_forward_checkout("main", old, new)
    assert refused.value.code == "not_on_branch"


def test_a_person_at_work_in_the_index_is_waited_for(person: Any, repository: Repository, monkeypatch: Any) -> None:
    monkeypatch.setattr("stretto.git.index._PATIENCE", 0.1)
    old, new = landed(person, repository, file="landed\n")
    (person.path / ".git" / "index.lock").write_text("")
    with pytest.raises(StrettoError) as refused:
        repository.fast_forward_checkout("main", old, new)
    assert refused.value.code == "index_locked"
    assert (person.path / "file").read_text() != "landed\n"


def test_the_checkout_is_described(person: Any, repository: Repository) -> None:
    assert repository.current_branch() == "main"
    assert repository.checkout_changes() == ()
    person.write("file", "mine")
    person.write("new", "mine")
    person.write("staged", "mine")
    person.git("add", "staged")
    (person.path / "staged").unlink()
    assert set(repository.checkout_changes()) == {"file", "new", "staged"}
    person.git("checkout", "-q", "--detach")
    assert repository.current_branch() is None


def test_looking_at_it_writes_nothing_of_the_persons(person: Any, repository: Repository) -> None:
    index = person.path / ".git" / "index"
    before = (index.read_bytes(), index.stat().st_mtime_ns)
    (person.path / "file").touch()
    assert repository.checkout_changes() == ()
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_what_a_sparse_checkout_leaves_out_is_not_a_change(person: Any, repository: Repository) -> None:
    person.commit("x", a__f="1", b__f="1")
    person.git("sparse-checkout", "set", "a")
    assert not (person.path / "b").exists()
    assert repository.checkout_changes() == ()
    (person.path / "a" / "f").unlink()
    assert repository.checkout_changes() == ("a/f",)
