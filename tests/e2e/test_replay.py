"""Real commits as tasks of one run, through a real daemon: the final tree is the serial one (benchmarks/replay.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.repository import Repository
from tests.support.world import ROOT

pytestmark = pytest.mark.e2e


def replay(repo: Repository, *words: str) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, str(ROOT / "benchmarks" / "replay.py"), "--repo", str(repo.path), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def history(make_repo) -> Repository:
    """Six commits that apply alone (two of them to one file), one that needs another, one that undoes nothing new."""
    lines = [f"line {n}\n" for n in range(40)]
    repo: Repository = make_repo(
        "history", {"shared.txt": "".join(lines), "old.txt": "old\n", "bin": bytes(range(256))}
    )
    repo.commit("Add one", {"one.txt": "1\n"})
    repo.commit("Head of the shared file", {"shared.txt": "".join(["first\n", *lines[1:]])})
    repo.commit("Needs one", {"one.txt": "2\n"})
    repo.commit("Tail of the shared file", {"shared.txt": "".join(["first\n", *lines[1:-1], "last\n"])})
    repo.commit("Remove old", {"old.txt": None})
    repo.commit("Bytes", {"bin": bytes(reversed(range(256)))})
    repo.commit("A folder", {"deep/er/file with space.txt": "x\n"})
    return repo


def test_the_final_tree_is_the_serial_one(make_repo):
    code, found = replay(
        history(make_repo), "--commits", "6", "--search", "7", "--gate", "test ! -e never", "--open", "3"
    )
    assert (code, found["commits"], found["landed"], found["conflicts"]) == (0, 6, 6, 0)
    assert found["tree"] == found["serial"]
    assert found["equal"] is True


def test_a_gate_that_fails_is_no_success(make_repo):
    code, found = replay(history(make_repo), "--commits", "2", "--search", "7", "--gate", "test ! -e one.txt")
    assert (code, found["landed"], found["equal"]) == (1, 1, False)
