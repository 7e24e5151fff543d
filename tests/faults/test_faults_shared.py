"""The daemon dies at every step of a task in the main checkout: there, before its turn, and on the way back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from stretto.client import Client
from stretto.home import open_home
from tests.support.counts import count
from tests.support.waiting import wait_for
from tests.support.world import STRETTO

pytestmark = pytest.mark.faults

SWITCH = "daemon.git.checkout_switch."
POINTS = (
    "daemon.workspace.reserved",
    *(f"{SWITCH}{step}" for step in ("before", "written", "after")),
    "daemon.git.snapshot.after",
    *(f"{SWITCH}{step}" for step in ("before", "written", "turned")),
    "daemon.workspace.drop.before",
    "daemon.workspace.drop.after",
)
PLAN = """\
---
target: main
checks: ["test -f one.txt"]
---
# A plan

## one: Write a file
Write it.
Accept: it is there.
- workspace: shared
- files: one.txt
"""


def test_the_daemon_dies_at_every_step_and_the_checkout_is_as_it_was(home: Path, make_repo, tmp_path: Path) -> None:
    repo = make_repo("repo", {"a.txt": "main\n", "gone.txt": "main\n", ".gitignore": "*.log\n"})
    repo.git("switch", "-q", "-c", "feature")
    repo.commit("elsewhere", {"a.txt": "feature\n", "new/b.txt": "feature\n"})
    repo.git("rm", "-q", "gone.txt")
    repo.git("commit", "-qm", "without")
    (repo.path / "mine.log").write_text("mine\n")
    before = {path: path.read_bytes() for path in repo.path.rglob("*") if path.is_file() and ".git" not in path.parts}
    plan = tmp_path / "PLAN.md"
    plan.write_text(PLAN)

    def stretto(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*STRETTO, *words], cwd=repo.path, capture_output=True, text=True, timeout=120)

    def dead() -> bool:
        return child.poll() is not None

    def daemon(point: str | None) -> subprocess.Popen[bytes]:
        env = {"STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"{point}=kill"} if point else {}
        child = subprocess.Popen(
            [*STRETTO[:1], "-m", "stretto.daemon"],
            env={**os.environ, **env},
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: child.poll() is not None or Client(open_home()).ping(), 30)
        return child

    left = list(POINTS)
    child = daemon(left[0])
    try:
        agent = 'command:sh -c "pwd >> where.log; echo 1 > one.txt"'
        begun = stretto("run", str(plan), "--approve", "auto", "--trust", "--agent", agent, "--json")
        assert begun.returncode == 0 or child.poll() is not None, begun.stderr
        while left:
            wait_for(dead, 60, what=lambda: f"{left[0]}: {stretto('status').stdout}")
            assert child.returncode == -signal.SIGKILL
            count("fail points killed", left.pop(0))
            child = daemon(left[0] if left else None)
        assert stretto("wait", "one", "--for", "terminal", "--timeout", "60").returncode == 0
        (row,) = json.loads(stretto("status", "--json").stdout)["tasks"]
        assert row["state"] == "landed", row
        wait_for(lambda: repo.refs("refs/heads/").keys() == {"refs/heads/main", "refs/heads/feature"}, 30)
    finally:
        stretto("down", "--all")
        child.wait(30)
    assert repo.git("branch", "--show-current") == "feature"
    assert repo.git("status", "--porcelain") == ""
    assert (repo.path / "where.log").read_text() == f"{repo.path}\n"
    after = {path: path.read_bytes() for path in before}
    assert after == before
    assert repo.git("show", "main:one.txt") == "1"
    assert not list((repo.path / ".git").glob("*index-*"))
