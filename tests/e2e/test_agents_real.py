"""Every first-class agent, the real program, through the whole of stretto; the model server is the judge of its usage.

One suite: what one agent must do, all must. A test that says nothing of an agent holds for each of them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stretto import agents
from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import task
from tests.e2e.real_agents import KINDS, RealStage, chosen
from tests.support.repository import Repository
from tests.support.waiting import wait_for
from tests.support.world import ROOT

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

EDIT = '[[as={0}]] Do it. [[write path={0}.txt text="{0}\\n"]] [[commit=Add {0}]] [[say=Added {0}.]]'
#: an edit, then a turn that goes on until it is told otherwise; a turn that resumes it finishes
BUSY = (
    '[[as=one]] Go. [[write path=a.txt text="a\\n"]] [[on=start slow=120x2]] [[say=never]] [[on=resume say=Finished.]]'
)


@pytest.fixture(params=chosen())
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    """Everything stands but the daemon. Afterwards all is ended as a person ends it, and nothing may be left."""
    KINDS[request.param].program()
    with ModelServer() as server:
        stage = RealStage(repo, tmp_path, server, kind=KINDS[request.param])
        yield stage
        stage.end(home)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with what is in it; git's own left out."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_two_at_once_land_and_never_mix_and_nothing_is_written_elsewhere(stage: RealStage, tmp_path: Path) -> None:
    stage.configure()
    before, around = files(stage.repo.path), {path.name for path in tmp_path.iterdir()}
    stage.run(task("one", EDIT.format("one")), task("two", EDIT.format("two")), approve="auto", words=("--open", "2"))
    for id, other in (("one", "two"), ("two", "one")):
        stage.wait_state(id, "landed")
        assert stage.repo.show("main", f"{id}.txt") == id
        counted = stage.usage_is_right(id)["input"]
        assert counted == 3 * 1200 or not stage.kind.exact, "write, commit, the last text"
        assert counted >= 3 * 1200
        (session,) = stage.told(id)["sessions"]
        assert stage.task(id)["session"]["agent"] == stage.kind.name
        assert f"{other}.txt".encode() not in stage.output(session["id"])
        assert f"Added {id}." in stage.told(id)["note"]
    assert {"Add one", "Add two"} <= set(stage.repo.subjects("main"))
    own = stage.conversations("one") + stage.conversations("two")
    assert len(set(own)) == 2
    assert files(stage.repo.path) == before, "the checkout of the person is as it was"
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} - around <= {"repo", "PLAN"}
    wrote = {name.split("/")[0] for name in files(tmp_path / "agent-home")}
    assert wrote <= stage.kind.folders, "nothing but the agent's own folder"


def test_a_question_is_answered_inside_the_turn(stage: RealStage) -> None:
    stage.configure()
    if not stage.kind.asks:
        stage.run(task("one", '[[as=one]] x [[write path=a text=1]] [[ask q="Which colour?" options="Blue|Red"]]'))
        stage.wait_item("review")
        assert "Which colour?" in stage.told("one")["note"], "without a tool for it, it is what the turn ends with"
        assert "questions" not in agents.declared(stage.kind.name).can
        return
    spec = '[[as=one]] x [[ask q="Which colour?" options="Blue|Red"]] [[write path=colour.txt text="{{result}}"]]'
    stage.run(task("one", spec))
    item = stage.wait_item("question")
    assert item["text"] == f"{stage.kind.asks_first}Which colour?"
    offered = [{"key": str(n), "text": text} for n, text in enumerate(("Blue", "Red", *stage.kind.adds), 1)]
    assert item["options"] == offered
    assert stage.task("one")["session"]["status"] == "waiting"
    stage.stretto("answer", item["id"], "2")
    assert "item_closed" in stage.stretto("answer", item["id"], "1", "--json", code=1)
    stage.wait_item("review")
    told = stage.repo.show(stage.task("one")["head"], "colour.txt")
    assert "Red" in told
    assert "Blue" not in told
    assert len(stage.messages("one")) == 1, "the answer was given inside the turn"
    stage.usage_is_right("one")


def test_a_permission_is_allowed_and_denied(stage: RealStage) -> None:
    stage.configure(permissions=stage.kind.asking, **stage.kind.asking_env)
    yes, no = (stage.kind.asked_for.format(f"touch {word}") for word in ("yes", "no"))
    stage.run(task("one", f"[[as=one]] x {yes} {no} [[say=I did what I may.]] [[on=resume say=Finished.]]"))

    def asked(command: str) -> str:
        text = stage.kind.shown.format(command)
        return str(stage.wait(lambda: next((i for i in stage.inbox() if i["text"] == text), None))["id"])

    first = asked("touch yes")
    worktree = Path(stage.task("one")["worktree"])
    assert not (worktree / "yes").exists()
    stage.stretto("answer", first, "allow")
    stage.stretto("answer", asked("touch no"), "deny")
    if stage.kind.deny_ends:
        stage.stretto("answer", stage.wait_item("interrupted")["id"], "continue")
    stage.wait_item("review")
    found = stage.repo.files(stage.task("one")["head"])
    assert "yes" in found
    assert "no" not in found
    assert len([e for e in stage.events("item.opened") if e["data"]["kind"] == "permission"]) == 2
    stage.usage_is_right("one")


def test_interrupt_and_continue_keep_conversation_and_process(stage: RealStage) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    pid = stage.pid(session["id"], "agent")
    stage.stretto("interrupt", "one")
    item = stage.wait_item("interrupted")
    assert stage.messages("one")[0]["result"] == "interrupted"
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    assert [m["origin"] for m in stage.messages("one")] == ["start", "resume"]
    assert stage.conversations("one") == [session["conversation"]]
    assert stage.pid(session["id"], "agent") == pid
    stage.usage_is_right("one")


def test_an_interrupt_while_it_asks_ends_the_turn(stage: RealStage) -> None:
    """What was asked is taken back: nobody can allow it any more, and the same process goes on."""
    stage.configure(permissions=stage.kind.asking, **stage.kind.asking_env)
    stage.run(task("one", f"[[as=one]] x {stage.kind.asked_for.format('touch never')} [[on=resume say=Finished.]]"))
    asked = stage.wait_item("permission")
    session = stage.task("one")["session"]["id"]
    pid = stage.pid(session, "agent")
    stage.stretto("interrupt", "one")
    item = stage.wait_item("interrupted")
    assert "item_closed" in stage.stretto("answer", asked["id"], "allow", "--json", code=1)
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("nochange")
    assert stage.pid(stage.task("one")["session"]["id"], "agent") == pid
    assert not (Path(stage.task("one")["worktree"]) / "never").exists()
    if stage.kind.tells_broken:
        stage.usage_is_right("one")
    else:
        assert 0 < stage.counted("one")["input"] < stage.served_usage("one")["input"]


@pytest.mark.parametrize("who", ["agent", "shim"])
def test_kill_9_of_agent_or_shim_resumes_the_conversation(stage: RealStage, who: str) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    agent = psutil.Process(stage.pid(session["id"], "agent"))
    os.kill(stage.pid(session["id"], who), signal.SIGKILL)
    item = stage.wait_item("interrupted")
    wait_for(lambda: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE)
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    first, second, *more = stage.told("one")["sessions"]
    assert first["conversation"] == second["conversation"]
    (told,) = stage.prompts([second, *more][-1]["id"])
    refused = [e["data"]["reason"] for e in stage.events("conversation.refused")]
    assert (BUSY in told) == bool(refused) == bool(more), (
        "the first prompt is never sent again, but to a new conversation"
    )
    assert not refused or stage.kind.forgets
    assert stage.repo.show(stage.task("one")["head"], "a.txt") == "a"
    stage.usage_is_right("one")


def test_kill_9_of_the_daemon_changes_nothing_for_the_agent(stage: RealStage) -> None:
    stage.configure()
    spec = '[[as=one]] Go. [[write path=a.txt text="a\\n"]] [[slow=3]] [[write path=b.txt text="b\\n"]] [[say=Both.]]'
    stage.run(task("one", spec), approve="auto")
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    stage.kill_daemon()
    assert not stage.said(session["id"], stage.kind.over)
    if stage.kind.alone:
        wait_for(lambda: stage.said(session["id"], stage.kind.over), 30, what="the turn's end")
    stage.up()
    stage.wait_state("one", "landed")
    assert stage.repo.show("main", "b.txt") == "b"
    assert len(stage.prompts(session["id"])) == 1
    assert len(stage.told("one")["sessions"]) == 1
    stage.usage_is_right("one")


def test_trouble_with_the_model_is_survived_or_put_before_the_person(stage: RealStage) -> None:
    stage.configure()
    stage.run(
        task("one", f"[[as=one]] x [[write path=a text=1]] [[{stage.kind.torn}]] [[say=fine]]"),
        task("two", "[[as=two]] x [[write path=b text=1]] [[err=401x9]] [[say=never]]"),
        words=("--open", "2"),
    )
    failure = stage.wait_item("failure")
    assert stage.kind.refused in failure["text"]
    assert failure["task"].endswith("/two")
    stage.wait_item("review")
    stage.usage_is_right("one")
    stage.usage_is_right("two")


def test_a_tool_server_of_the_configuration_is_called(stage: RealStage) -> None:
    """It travels with the session: no file of the person's configuration names it."""
    server = [sys.executable, str(ROOT / "tests" / "support" / "mcp_probe.py")]
    lines = [f"[agents.{stage.kind.name}.mcp.probe]", f'command = "{server[0]}"', f'args = ["{server[1]}"]']
    more = "\n".join([*lines, 'env = { PROBE = "the probe" }'])
    if stage.kind.echo is None:
        stage.configure(more=more)
        words = ("run", str(stage.plan(task("one", "x"))), "--trust", "--leave-checkout", "--json")
        assert "MCP" in stage.stretto(*words, "--agent", stage.kind.name, code=1)
        return
    tool, policy = stage.kind.echo
    stage.configure(permissions=policy, more=more)
    spec = f'[[as=one]] x [[tool {tool} {{"text": "a word"}}]] [[write path=heard.txt text="{{{{result}}}}"]]'
    stage.run(task("one", spec))
    stage.wait_item("review")
    assert "the probe heard a word" in stage.repo.show(stage.task("one")["head"], "heard.txt")
    settings = {".json", ".toml", ".jsonc"}
    told = {path for path in (stage.folder / "agent-home").rglob("*") if path.suffix in settings and path.is_file()}
    assert not [path for path in told if b"mcp_probe.py" in path.read_bytes()]
    stage.usage_is_right("one")


def test_a_budget_is_overshot_by_one_call_at_most(stage: RealStage) -> None:
    """Two calls use it up; the third, which has begun by then, is broken off, and there is no fourth."""
    stage.configure(more="[limits.task]\ntokens = 8000")
    if not stage.kind.live:  # what a turn used is known at its end: then no other one begins
        stage.run(task("one", "[[as=one]] Go. [[write path=a text=1]] [[sh=true]] [[say=Done.]]"), checks='["false"]')
        stage.wait_item("budget")
        assert [m["result"] for m in stage.messages("one")] == ["ok"]
        stage.usage_is_right("one")
        return
    stage.run(task("one", "[[as=one]] Go. [[sh=true]] [[sh=true]] [[slow=60]] [[sh=true]] [[say=never]]"))
    ended = lambda: [m["result"] for m in stage.messages("one")] == ["interrupted"]  # noqa: E731
    stage.wait(ended)
    stage.wait_item("budget")
    calls = [one for name in stage.names("one") for one in stage.server.served(name) if not one.side]
    assert [one.outcome for one in calls if one.outcome == "served"] == ["served"] * 2
    assert len(calls) <= 3
    assert ended(), "and no other turn begins"
    stage.usage_is_right("one")
