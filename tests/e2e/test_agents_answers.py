"""An answer reaches a real agent exactly once, whoever is killed while it is on its way."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import PATIENCE, task
from tests.e2e.real_agents import KINDS, RealStage, chosen
from tests.support.repository import Repository
from tests.support.waiting import wait_for
from tests.support.world import STRETTO

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

#: between the row of an answer and the file that its shim reads
DAEMON = ("daemon.shim.append.before", "daemon.shim.append.after")
#: between that file and the agent: it is not known whether the agent got it
SHIM = ("shim.attempting", "shim.delivered")
#: records of a session before its turn, and the turn: the next one is an answer; those of the protocol ACP have three
BEFORE = defaultdict(lambda: 3, claude=2, codex=4, pi=2, opencode=2)


@pytest.fixture(params=chosen())
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    """Everything stands but the daemon."""
    KINDS[request.param].program()
    with ModelServer() as server:
        stage = RealStage(repo, tmp_path, server, kind=KINDS[request.param])
        stage.configure(permissions=stage.kind.asking, **stage.kind.asking_env)
        yield stage
        stage.end(home)


@contextmanager
def armed(monkeypatch: pytest.MonkeyPatch, point: str) -> Iterator[None]:
    """What is started meanwhile dies at this point, and so do the shims that it starts."""
    with monkeypatch.context() as patch:
        patch.setenv("STRETTO_TESTING", "1")
        patch.setenv("STRETTO_FAILPOINT", f"{point}=kill")
        yield


def asked(stage: RealStage, command: str) -> str:
    text = stage.kind.shown.format(command)
    return str(stage.wait(lambda: next((i for i in stage.inbox() if i["text"] == text), None))["id"])


def lines(stage: RealStage) -> list[str]:
    """What the commands that were allowed have written."""
    log = Path(stage.task("one")["worktree"]) / "log"
    return log.read_text().split() if log.exists() else []


def answers(stage: RealStage, session: str) -> int:
    """The records of answers that the shim of a session was given."""
    given = [r for r in stage.records(session) if r["kind"] == "control"]
    return len(given) - (BEFORE[stage.kind.name] - 1)


def test_an_answer_is_given_once_whenever_the_daemon_dies(stage: RealStage, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [f"echo {n} >> log" for n in range(len(DAEMON))]
    steps = " ".join(stage.kind.asked_for.format(one) for one in commands)
    stage.run(task("one", f"[[as=one]] x {steps} [[say=Written.]]"))
    for point, command in zip(DAEMON, commands, strict=True):
        item = asked(stage, command)
        stage.kill_daemon()
        with armed(monkeypatch, f"{point}@1"):
            doomed = psutil.Process(stage.up())
        words = [*STRETTO, "answer", item, "allow"]  # it may die before it says that it took the answer
        subprocess.run(words, cwd=stage.repo.path, capture_output=True, timeout=PATIENCE, check=False)
        wait_for(lambda who=doomed: not who.is_running() or who.status() == psutil.STATUS_ZOMBIE)  # type: ignore[misc]
        stage.up()
        assert "item_closed" in stage.stretto("answer", item, "allow", "--json", code=1), "it is kept"
    stage.wait_item("review")
    assert lines(stage) == ["0", "1"]
    (session,) = stage.told("one")["sessions"]
    assert answers(stage, session["id"]) == len(commands)
    assert len(stage.prompts(session["id"])) == 1
    stage.usage_is_right("one")


@pytest.mark.parametrize("point", SHIM)
def test_an_answer_that_may_have_arrived_is_not_given_again(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    with armed(monkeypatch, f"{point}@{BEFORE[stage.kind.name] + 1}"):
        stage.up()
    step = stage.kind.asked_for.format("echo once >> log")
    stage.run(task("one", f"[[as=one]] x {step} [[say=Written.]] [[on=resume say=Finished.]]"))
    stage.stretto("answer", asked(stage, "echo once >> log"), "allow")
    lost = stage.wait_item("interrupted")
    first = stage.told("one")["sessions"][-1]
    assert answers(stage, first["id"]) == 1
    assert not [i for i in stage.inbox() if i["kind"] == "permission"], "nobody can take another answer"
    stage.kill_daemon()
    stage.up()  # shims that it starts die no more
    stage.stretto("answer", lost["id"], "continue")

    def over() -> bool:
        for item in stage.inbox():
            if item["kind"] == "permission":  # a conversation that began anew asks anew
                stage.stretto("answer", item["id"], "deny")
        return bool({"review", "nochange"} & {i["kind"] for i in stage.inbox()})

    stage.wait(over)
    later = stage.told("one")["sessions"][1:]
    assert sum(answers(stage, s["id"]) for s in later if stage.records(s["id"])) <= (1 if stage.kind.forgets else 0)
    assert lines(stage) in ([], ["once"])
