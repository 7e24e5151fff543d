"""The daemon is killed at every one of its commits while an answer is on its way: the agent gets it exactly once.

The agent is a real process that speaks the Agent Client Protocol; each answer lets it run one command, which leaves a
line. For the first answer the daemon dies at its first commit after a start, for the second at its second …, until one
lives through it all.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stretto.core.errors import StrettoError
from stretto.daemon.singleton import read_identity
from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import PATIENCE, Stage, task
from tests.support import processes
from tests.support.repository import Repository
from tests.support.world import SOURCES, STRETTO

pytestmark = pytest.mark.faults

#: more than any answer needs
MOST = 20


@pytest.fixture
def stage(home: Path, repo: Repository, tmp_path: Path) -> Iterator[Stage]:
    """Everything stands but the daemon; nothing speaks to a model."""
    command = [sys.executable, "-m", "stretto.testing.acpagent", str(tmp_path / "talks")]
    identity = {name: os.environ[name] for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM") if name in os.environ}
    env = "\n".join(f"{n} = {json.dumps(v)}" for n, v in {"PYTHONPATH": str(SOURCES), **identity}.items())
    text = f'schema = 1\n[agents.own]\ntype = "acp"\ncommand = {json.dumps(command)}\npermissions = "ask"\n'
    repo.commit("Configure", {"stretto.toml": f"{text}[agents.own.env]\n{env}\n"})
    with ModelServer() as server:
        stage = Stage(repo, tmp_path, server)
        yield stage
        stage.stretto("down", "--all")
    processes.end(processes.holding(str(home)))


def asked(stage: Stage, number: int) -> str:
    text = f"execute: echo {number} >> log"
    return str(stage.wait(lambda: next((i for i in stage.inbox() if i["text"] == text), None))["id"])


def armed(stage: Stage, commit: int) -> psutil.Process:
    """A daemon that dies before this commit of its life; it may be dead when we know of it."""
    env = {**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"daemon.store.commit.before@{commit}=kill"}
    words = [sys.executable, "-m", "stretto.daemon"]
    return psutil.Popen(words, cwd=stage.repo.path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def begun(stage: Stage, process: psutil.Process) -> bool:
    """Whether it serves by now, or has died before."""
    found = read_identity(stage.home.daemon_file)
    return dead(process) or (found is not None and found.pid == process.pid)


def waits(stage: Stage, text: str) -> bool:
    """Whether this is in the inbox; nobody knows while there is no daemon."""
    try:
        return any(item["text"] == text for item in stage.inbox())
    except StrettoError:
        return False


def dead(process: psutil.Process) -> bool:
    return process.poll() is not None  # type: ignore[attr-defined]  # of psutil.Popen


def test_an_answer_is_given_once_whichever_commit_the_daemon_dies_at(stage: Stage) -> None:
    steps = " ".join(f"[[sh=echo {n} >> log]]" for n in range(1, MOST + 1))
    stage.run(task("one", f"x {steps} [[say=Written.]]"), words=("--agent", "own"))
    lived, number = False, 0
    while not lived:
        number += 1
        assert number < MOST, "an answer needs more commits than were thought of"
        item = asked(stage, number)
        stage.kill_daemon()
        daemon = armed(stage, number)
        stage.wait(functools.partial(begun, stage, daemon))
        words = [*STRETTO, "answer", item, "allow"]
        subprocess.run(words, cwd=stage.repo.path, capture_output=True, timeout=PATIENCE, check=False)
        follows = f"execute: echo {number + 1} >> log"

        def settled(who: psutil.Process = daemon, text: str = follows) -> bool:
            return dead(who) or waits(stage, text)

        stage.wait(settled)
        lived = not dead(daemon)
        if lived:
            daemon.kill()
        daemon.wait()
        stage.up()
        if [i for i in stage.inbox() if i["id"] == item]:  # it died before it took the answer, and said so
            stage.stretto("answer", item, "allow")
    stage.wait(lambda: waits(stage, follows))
    assert number > 3, "some commits lie between an answer and its agent"
    log = Path(stage.task("one")["worktree"]) / "log"
    assert log.read_text().split() == [str(n) for n in range(1, number + 1)]
    (session,) = stage.told("one")["sessions"]
    given = [r for r in stage.records(session["id"]) if r["kind"] == "control" and "outcome" in r["data"]]
    assert len(given) == number
    stage.stretto("cancel", "one")
