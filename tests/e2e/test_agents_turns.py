"""Every agent that is run once for each turn, the real program, through the whole of stretto (`make test-agents-all`).

The model server is the judge of its usage, as for the agents that speak a protocol.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import task
from tests.e2e.test_agents_real import files
from tests.e2e.turn_agents import KINDS, TurnStage, chosen
from tests.support.repository import Repository
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

#: these programs need many seconds of a core to start
PATIENCE = 150.0


@pytest.fixture(params=chosen())
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[TurnStage]:
    """Everything stands but the daemon. Afterwards all is ended as a person ends it, and nothing may be left."""
    KINDS[request.param].program()
    with ModelServer() as server:
        stage = TurnStage(repo, tmp_path, server, kind=KINDS[request.param])
        yield stage
        stage.end(home)


def busy(stage: TurnStage) -> str:
    """A first turn that does not come to its end; the one that resumes it does."""
    before = "[[sh=true]] " if stage.kind.details else ""
    edit = stage.kind.edit("a.txt", "a").replace("[[", "[[on=resume ").replace("[[on=resume bare]]", "[[bare]]")
    begin = before.replace("[[", "[[on=start ")
    return f"[[as=one]] Go. {begin}[[on=start slow=120x2]] [[on=start say=never]] {edit}"


def begun(stage: TurnStage) -> str:
    """The session of the task, once its first turn runs."""
    session = stage.wait(lambda: stage.task("one")["session"], PATIENCE)["id"]
    stage.pid(session, "agent")
    return str(session)


def at_work(stage: TurnStage) -> str:
    """The same, once it waits for an answer that does not come, and all before is counted."""
    session = begun(stage)
    if stage.kind.details:
        stage.wait(lambda: stage.served("one") == 1 and stage.counted("one")["output"] == 44, PATIENCE)
    else:
        stage.wait(lambda: b"Model: " in stage.output(session), PATIENCE)
    return session


def test_two_at_once_land_and_never_mix_and_nothing_is_written_elsewhere(stage: TurnStage, tmp_path: Path) -> None:
    stage.configure()
    before, around = files(stage.repo.path), {path.name for path in tmp_path.iterdir()}
    specs = [f"[[as={id}]] Do it. {stage.kind.edit(f'{id}.txt', id)}" for id in ("one", "two")]
    stage.run(task("one", specs[0]), task("two", specs[1]), approve="auto", words=("--open", "2"))
    for id, other in (("one", "two"), ("two", "one")):
        stage.wait_state(id, "landed", timeout=PATIENCE)
        assert stage.repo.show("main", f"{id}.txt") == id
        assert stage.usage_is_right(id)["output"] == 44 * stage.kind.calls
        (session,) = stage.told(id)["sessions"]
        assert stage.task(id)["session"]["agent"] == stage.kind.name
        assert f"{other}.txt".encode() not in stage.output(session["id"])
    assert files(stage.repo.path) == before, "the checkout of the person is as it was"
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} - around <= {"repo", "PLAN"}
    wrote = {name.split("/")[0] for name in files(tmp_path / "agent-home")}
    assert wrote <= stage.kind.folders, "nothing but the agent's own folder"


def test_a_refused_key_fails_the_turn_whatever_the_exit_code_says(stage: TurnStage) -> None:
    stage.configure()
    stage.run(task("one", "[[as=one]] [[bare]] x [[err=401x99]] [[say=never]]"))
    failure = stage.wait_item("failure", PATIENCE)
    (session,) = stage.told("one")["sessions"]
    assert failure["text"]
    assert b"401" in stage.output(session["id"])
    assert stage.messages("one")[0]["result"] == "failed"
    assert stage.counted("one") == dict.fromkeys(stage.counted("one"), 0)


def test_an_interrupt_loses_the_turn_and_nothing_else(stage: TurnStage) -> None:
    session, agent = _started(stage)
    stage.stretto("interrupt", "one")
    _goes_on(stage, agent, "interrupted", "continue")
    assert [m["result"] for m in stage.messages("one")] == ["interrupted", "ok"]
    assert stage.told("one")["sessions"][0]["id"] == session


@pytest.mark.parametrize("who", ["agent", "shim"])
def test_kill_9_of_agent_or_shim_loses_the_turn_and_nothing_else(stage: TurnStage, who: str) -> None:
    session, agent = _started(stage)
    os.kill(stage.pid(session, who), signal.SIGKILL)
    if who == "agent":
        _goes_on(stage, agent, "failure", "retry")
    else:
        _goes_on(stage, agent, "interrupted", "continue")


def _started(stage: TurnStage) -> tuple[str, psutil.Process]:
    """A session in the middle of its turn, and its agent."""
    stage.configure()
    stage.run(task("one", busy(stage)))
    session = at_work(stage)
    return session, psutil.Process(stage.pid(session, "agent"))


def _goes_on(stage: TurnStage, agent: psutil.Process, item: str, key: str) -> None:
    """What was lost is put before the person, no process of it is left, and the next turn does the task."""
    asked = stage.wait_item(item, PATIENCE)
    wait_for(lambda: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE)
    stage.stretto("answer", asked["id"], key)
    stage.wait_item("review", PATIENCE)
    assert stage.repo.show(stage.task("one")["head"], "a.txt") == "a"
    stage.usage_is_right("one")


def test_a_budget_is_overshot_by_one_call_at_most(stage: TurnStage) -> None:
    """Of one that uses tools, two calls use it up and the third is broken off; of any other, no turn follows."""
    stage.configure(more="[limits.task]\ntokens = 3000" if stage.kind.calls == 1 else "[limits.task]\ntokens = 10000")
    if stage.kind.calls == 1:
        stage.run(task("one", f"[[as=one]] Go. {stage.kind.edit('a.txt', 'a')}"), checks='["false"]')
        stage.wait_item("budget", PATIENCE)
        stage.wait(lambda: stage.messages("one")[0]["result"], PATIENCE)  # by itself, or broken off
        assert len(stage.messages("one")) == 1
        assert stage.served("one") == 1
    else:
        stage.run(task("one", "[[as=one]] Go. [[sh=true]] [[sh=true]] [[slow=60]] [[sh=true]] [[say=never]]"))
        stage.wait_item("budget", PATIENCE)
        stage.wait(lambda: [m["result"] for m in stage.messages("one")] == ["interrupted"], PATIENCE)
        calls = [one for name in stage.names("one") for one in stage.server.served(name) if not one.side]
        assert [one.outcome for one in calls if one.outcome == "served"] == ["served"] * 2
        assert len(calls) <= 3
    stage.usage_is_right("one")


def test_kill_9_of_the_daemon_changes_nothing_for_the_agent(stage: TurnStage) -> None:
    stage.configure()
    edit = stage.kind.edit("a.txt", "a")
    stage.run(task("one", f"[[as=one]] Go. [[slow=3]] {edit}"), approve="auto")
    begun(stage)
    stage.kill_daemon()
    stage.up()
    stage.wait_state("one", "landed", timeout=PATIENCE)
    assert stage.repo.show("main", "a.txt") == "a"
    assert len(stage.told("one")["sessions"]) == 1
    assert len(stage.messages("one")) == 1
    stage.usage_is_right("one")
