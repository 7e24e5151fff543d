"""Adapters and the real shim together: what the adapter describes is what the shim starts, feeds and records."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stretto import agents
from stretto.core.model import AgentSpec
from stretto.interfaces import Launch, SessionContext, Signal
from stretto.prompts.header import header
from stretto.testing.modelserver import ModelServer
from tests.shim.sessions import Session
from tests.support import claude
from tests.support.agent_api import served
from tests.support.repository import Repository
from tests.support.stream import clean_environment, total
from tests.support.waiting import wait_for


class Talk:
    """A session and the signals of its output, read with a cursor as the daemon does."""

    def __init__(self, folder: Path, name: str, launch: Launch, cwd: Path, type: str) -> None:
        self.agent = agents.find(type)
        self.session = Session(folder, name, list(launch.argv), launch.style, env=launch.env, cwd=str(cwd))
        self.session.start()
        self.signals: list[Signal] = []
        self.state: dict[str, Any] = {}
        self._cursor, self._rest = 0, b""
        for kind, data in launch.first:
            self.session.send(data, kind)

    def read(self) -> list[Signal]:
        data, self._cursor = self.session.shims.read(self.session.folder, "out", self._cursor, 1 << 20)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.state = json.loads(json.dumps(self.state))
        self.signals += [signal for line in lines for signal in self.agent.parse(line, self.state)]
        return self.signals

    def wait(self, type: str, count: int = 1) -> Signal:
        found = wait_for(
            lambda: [s for s in self.read() if s.type == type][count - 1 :], 60, what=lambda: self.signals[-9:]
        )
        return found[0]


@pytest.fixture
def talks() -> Iterator[list[Talk]]:
    talks: list[Talk] = []
    yield talks
    for talk in talks:
        assert talk.session.shims.end(talk.session.folder, 5.0)


def test_a_script_is_played_turn_by_turn(repo: Repository, short_folder: Path, talks: list[Talk]) -> None:
    script = short_folder / "script.json"
    first = [
        {"ask": {"text": "Which colour?", "save": "colour"}},
        {"write": {"path": "c.txt", "text": "{{colour}}\n"}},
        {"commit": "Add c"},
    ]
    again = {"when": {"origin": "check"}, "steps": [{"print": "fixing"}, {"fail": 3}]}
    script.write_text(json.dumps({"tasks": {"t": {"turns": [{"steps": first}, again]}}}))
    with served(short_folder, lambda verb, args: {"answer": "blue"}) as api:
        names = ("PATH", "HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "STRETTO_TEST_RUN")
        env = {name: os.environ[name] for name in names} | api.env() | {"STRETTO_TASK": "t"}
        context = SessionContext("s", "r/t", repo.path, short_folder, env, None, False, None, "ask")
        launch = agents.find("scripted").launch(AgentSpec("p", "scripted", command=(str(script),)), context)
        talk = Talk(short_folder, "s1", launch, repo.path, "scripted")
        talks.append(talk)
        one = talk.session.turn_over(talk.session.send(talk.agent.turn("Begin.", {})))
        two = talk.session.turn_over(talk.session.send(talk.agent.turn(header(origin="check") + "\nred", {})))
    assert (one["code"], two["code"]) == (0, 3)
    assert repo.subjects() == ["Add c", "Start"]
    assert (repo.path / "c.txt").read_text() == "blue\n"
    assert [signal.data["text"] for signal in talk.read()] == ["asked 'Which colour?': 'blue'", "fixing"]
    assert [verb for verb, _ in api.calls] == ["ask"]


@pytest.mark.claude
def test_claude_survives_the_death_of_its_shim(repo: Repository, short_folder: Path, talks: list[Talk]) -> None:
    spec = AgentSpec("claude", "claude", command=(str(claude.program()),))
    agent = agents.find("claude")
    with ModelServer() as server:
        env = clean_environment(short_folder / "home", server.url)
        context = SessionContext("s", "r/t", repo.path, short_folder, env, None, False, "claude-sonnet-4-5", "ask")
        launch = agent.launch(spec, context)
        one = Talk(short_folder, "s1", launch, repo.path, "claude")
        talks.append(one)
        one.session.send(agent.turn("x [[write path=a.txt text=1]] [[slow=60]] [[say=never]]", {}))
        asked = one.wait("asked")
        answer = agent.answer(json.loads(json.dumps(asked.data)), {"key": "allow"})
        assert answer is not None
        one.session.send(answer, "control")
        wait_for((repo.path / "a.txt").exists)
        wait_for(lambda: len([s for s in one.read() if s.type == "usage"]) == 1)
        one.session.kill_shim()
        assert one.session.shims.end(one.session.folder, 5.0)
        assert one.session.processes() == []

        again = replace(context, session="s2", conversation=launch.conversation, resume=True)
        two = Talk(short_folder, "s2", agent.launch(spec, again), repo.path, "claude")
        talks.append(two)
        two.session.send(agent.turn("Go on. [[say=finished]]", {}))
        assert two.wait("turn_ended").data["result"] == "ok"
        assert two.wait("text").data["text"] == "finished"
        two.session.send("", "stop")
        end = two.session.over()  # its input ends and TERM comes at once: claude answers to whichever it sees first
        assert (end["reason"], end["signal"]) == ("stopped", None)
        assert end["code"] in (0, 128 + signal.SIGTERM)
        assert two.session.processes() == []
        assert total(one.read() + two.read()) == server.usage(launch.conversation)
        outcomes = [request.outcome for request in server.served(launch.conversation)]
        assert outcomes.count("served") == 2, "what was asked before the kill was not asked again"
