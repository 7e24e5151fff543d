"""Sixteen worktrees at once, a thousand in all: no lock failure of git, none lost, none half-made."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stretto.git.repository import Repository

pytestmark = pytest.mark.faults
WIDTH, TOTAL = 16, 1000


def test_a_thousand_worktrees_sixteen_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    for name in ("a", "b", "c"):
        (root / name).write_text(name)
    who = ("-c", "user.name=Pat", "-c", "user.email=pat@example.com")
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    subprocess.run(["git", *who, "commit", "-q", "-m", "first"], cwd=root, check=True)
    repository = Repository.open(root, tmp_path / "state")
    base = repository.resolve("main")
    assert base is not None
    trash = tmp_path / "trash"
    trash.mkdir()
    began = time.monotonic()
    made = 0
    while made < TOTAL:
        numbers = range(made, min(made + WIDTH, TOTAL))
        barrier = threading.Barrier(len(numbers))

        def add(number: int, barrier: threading.Barrier = barrier) -> Path:
            path = tmp_path / "bays" / f"{number % WIDTH:02d}"
            barrier.wait(60)
            repository.add_worktree(path, f"stretto/r/t{number}/work", base, "stretto")
            return path

        with ThreadPoolExecutor(WIDTH) as pool:
            paths = list(pool.map(add, numbers))
        found = repository.worktrees()
        assert set(found) == {root, *paths}
        assert all((path / name).read_text() == name for path in paths for name in "abc")
        made += len(paths)
        if made < TOTAL:
            for number, path in zip(numbers, paths, strict=True):
                path.rename(trash / str(number))
                repository.forget_worktree(path)
    print(f"{made} worktrees, {WIDTH} at once, in {time.monotonic() - began:.1f} s; failures: 0")
    assert len(repository.refs("refs/heads/stretto/")) == TOTAL
    assert all(repository.worktree_state(path).clean for path in paths)
    subprocess.run(["git", "fsck", "--strict"], cwd=root, check=True, capture_output=True)
