from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.git.repository import Repository

UID = "run-aaaa/task"


def owned(person: Any, unprivileged: Any) -> tuple[Path, Path]:
    """The person's repository and home, moved to where another user may work."""
    root, home = unprivileged.folder / "repo", unprivileged.folder / "state"
    person.path.rename(root)
    home.mkdir(mode=0o700)
    subprocess.run(["chown", "-R", "65534", str(unprivileged.folder)], check=True)
    return root, home


def in_a_closed_repository(root: Path, home: Path) -> list[object]:
    repository = Repository.open(root, home)
    base = repository.resolve("main")
    assert base is not None
    found: list[object] = [repository.patch(base, base).files, repository.checkout_changes()]
    for act in (
        lambda: repository.add_worktree(root.parent / "bay", "b", base, "x"),
        lambda: repository.update_ref("refs/stretto/keep/x", base, None, "x"),
    ):
        try:
            act()
        except StrettoError as error:
            found.append((error.code, error.object))
    return found


def test_a_repository_that_cannot_be_written_is_read_and_named(
    person: Any, unprivileged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, home = owned(person, unprivileged)
    subprocess.run(["chmod", "-R", "a-w", str(root / ".git")], check=True)
    monkeypatch.setenv("HOME", str(unprivileged.folder))
    found = unprivileged.call(in_a_closed_repository, root, home)
    common = str(root / ".git")
    assert found == [0, (), ("not_writable", f"{common}/stretto.lock"), ("git_failed", common)]


def with_a_secret(root: Path, home: Path) -> tuple[object, ...]:
    repository = Repository.open(root, home)
    (root / "open").write_text("1")
    (root / "shut").write_text("1")
    (root / "shut").chmod(0)
    made = repository.snapshot(root, UID, "x")
    assert made is not None
    return made.skipped, repository.show(made.commit, "open")


def test_a_file_that_cannot_be_read_is_skipped(person: Any, unprivileged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root, home = owned(person, unprivileged)
    monkeypatch.setenv("HOME", str(unprivileged.folder))
    assert unprivileged.call(with_a_secret, root, home) == (("shut",), b"1")
