"""What only codex does, by the real program: rules that are answered for the person, threads that are lost, crashes of
the daemon in the middle of its handshake."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import task
from tests.e2e.real_agents import KINDS, RealStage
from tests.support import codex, processes
from tests.support.repository import Repository
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

BUSY = 'Go. [[write path=a.txt text="a\\n"]] [[on=start slow=120x2]] [[say=never]] [[on=resume say=Finished.]]'
RULES = "allow Bash(touch *), Bash(git *); deny Bash(touch no*)"


@pytest.fixture
def stage(home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    """Everything stands but the daemon."""
    codex.program()
    with ModelServer() as server:
        yield RealStage(repo, tmp_path, server, kind=KINDS["codex"])
    processes.end(processes.holding(str(home)))


def replies(stage: RealStage, session: str) -> list[str]:
    """The decisions that the agent was given, in their order."""
    records = [json.loads(r["data"]) for r in stage.records(session) if r["kind"] == "control"]
    return [r["result"]["decision"] for r in records if "result" in r]


def test_rules_answer_for_the_person_and_leave_the_rest_to_her(stage: RealStage) -> None:
    stage.configure(permissions=RULES)
    stage.run(task("one", "x [[sh=touch yes]] [[sh=touch no]] [[sh=touch also; touch more]] [[say=done]]"))
    item = stage.wait_item("permission")
    assert item["text"] == "command: touch also; touch more", "two commands are no single one that a rule allows"
    stage.stretto("answer", item["id"], "always")
    stage.wait_item("review")
    assert {"yes", "also", "more"} == set(stage.repo.files(stage.task("one")["head"])) - {"README.md", "stretto.toml"}
    session = stage.task("one")["session"]["id"]
    assert replies(stage, session) == ["accept", "decline", "acceptForSession"]
    assert [e["data"]["kind"] for e in stage.events("item.opened")] == ["permission", "review"]
    stage.usage_is_right("one")


@pytest.mark.parametrize(
    "point",
    [
        "daemon.shim.spawn.after@1",
        "daemon.shim.append.after@2",
        "daemon.shim.append.before@4",
        "daemon.shim.append.after@4",
        "daemon.shim.append.before@5",
        "daemon.shim.append.after@5",
    ],
)
def test_kill_9_of_the_daemon_in_the_handshake_or_at_a_reply(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Records one to three are the handshake, the fourth is the turn, the fifth the answer that a rule gives."""
    stage.configure(permissions=RULES)
    with monkeypatch.context() as patch:
        patch.setenv("STRETTO_TESTING", "1")
        patch.setenv("STRETTO_FAILPOINT", f"{point}=kill")
        stage.up()
        stage.run(task("one", "x [[sh=touch yes]] [[say=done]]"), approve="auto")
        wait_for(lambda: stage.json("status")["daemon"] is None, 30, what=f"the daemon's end at {point}")
    stage.up()
    stage.wait_state("one", "landed")
    (session,) = stage.told("one")["sessions"]
    assert len(stage.prompts(session["id"])) == 1
    methods = [json.loads(r["data"]).get("method") for r in stage.records(session["id"])]
    assert methods[:4] == ["initialize", "initialized", "thread/start", "turn/start"]
    assert replies(stage, session["id"]) == ["accept"], "once"
    assert "yes" in stage.repo.files("main")
    stage.usage_is_right("one")


def test_a_thread_that_is_lost_begins_anew_with_the_task(stage: RealStage) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    os.kill(stage.pid(session["id"], "shim"), signal.SIGKILL)
    item = stage.wait_item("interrupted")
    (stage.folder / "agent-home" / ".codex").rename(stage.folder / "gone")
    (stage.folder / "agent-home" / ".codex").mkdir()
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    assert [e["data"]["reason"] for e in stage.events("conversation.refused")] == ["no_conversation"]
    first, refused, third = stage.told("one")["sessions"]
    assert first["conversation"] == refused["conversation"] != third["conversation"]
    (told,) = stage.prompts(third["id"])
    assert BUSY in told, "the new conversation is told what the task is"
    stage.usage_is_right("one")


def test_settings_that_it_does_not_take_fail_the_turn_in_its_own_words(stage: RealStage) -> None:
    stage.configure()
    toml = stage.repo.path / "stretto.toml"
    toml.write_text(toml.read_text().replace('model_provider=\\"mock\\"', 'model_provider=\\"nobody\\"'))
    stage.repo.git("commit", "-q", "-a", "-m", "Break it")
    stage.run(task("one", "x"))
    assert "nobody" in stage.wait_item("failure")["text"]
    assert len(stage.told("one")["sessions"]) == 1, "it was not started again by itself"


def test_files_of_the_person_and_of_the_repository_are_left_alone(stage: RealStage) -> None:
    """Its own settings are not written; those that the repository brings along are not read."""
    stage.configure()
    folder = stage.repo.path / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text('model = "another"\nmodel_provider = "nobody"\n')
    stage.repo.git("add", ".codex")
    stage.repo.git("commit", "-q", "-m", "Settings of the repository")
    own = stage.folder / "agent-home" / ".codex" / "config.toml"
    own.write_text('personality = "pragmatic"\n')
    stage.run(task("one", "x [[sh=touch yes]] [[say=done]]"), approve="auto")
    stage.wait_state("one", "landed")
    assert own.read_text() == 'personality = "pragmatic"\n'
    assert {one.model for one in stage.server.served()} == {codex.MODEL}


def test_a_limited_vendor_is_told_as_that(stage: RealStage) -> None:
    stage.configure()
    stage.run(task("one", "x [[err=429x9]]"))
    stage.wait(lambda: stage.task("one")["reason"].startswith("limited until "))
    assert "429" in stage.task("one")["reason"]
    assert stage.messages("one")[0]["result"] == "limited"
    assert stage.inbox() == []
    stage.stretto("cancel", "one")
