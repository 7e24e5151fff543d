"""The real claude program against the loopback model server, through the adapter and plain pipes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stretto import agents
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import SessionContext, Signal
from stretto.testing.modelserver import ModelServer
from tests.support import claude
from tests.support.repository import Repository
from tests.support.stream import Stream, clean_environment, total
from tests.support.waiting import wait_for

pytestmark = pytest.mark.claude
MODEL = "claude-sonnet-4-5"
Start = Callable[..., Stream]


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def context(repo: Repository, tmp_path: Path, server: ModelServer) -> SessionContext:
    env = clean_environment(tmp_path / "home", server.url)
    return SessionContext(str(tmp_path), "r/t", repo.path, tmp_path, env, None, False, MODEL, "ask")


@pytest.fixture
def start(context: SessionContext) -> Start:
    """Start claude as the adapter says. `env` and `spec` change the agent, `conversation` resumes one."""

    def begin(conversation: str | None = None, env: dict[str, str] | None = None, **spec: Any) -> Stream:
        described = AgentSpec("claude", "claude", command=(str(claude.program()),), env=env or {}, **spec)
        given = replace(
            context, conversation=conversation, resume=conversation is not None, permissions=described.permissions
        )
        agent = agents.find("claude")
        assert agent.probe(described, given.env) is None
        return Stream(agent, agent.launch(described, given), context.workspace)

    return begin


def says(stream: Stream, prompt: str) -> str:
    """Say something; the last text of the turn, which must end well."""
    stream.say(prompt)
    return ends_with(stream)


def ends_with(stream: Stream) -> str:
    ended = stream.next("turn_ended")
    assert ended.data["result"] == "ok"
    at = next(at for at, one in enumerate(stream.signals) if one is ended)
    before = stream.signals[:at]
    return next(str(one.data["text"]) for one in reversed(before) if one.type == "text")


def allow(stream: Stream, asked: Signal, key: str = "allow") -> None:
    data = stream.agent.answer(asked.data, {"key": key})
    assert data is not None
    stream.send(data)


def the_conversation(stream: Stream) -> str:
    assert stream.launch.conversation is not None
    return stream.launch.conversation


def test_it_edits_commits_and_counts(start: Start, repo: Repository, server: ModelServer) -> None:
    with start(permissions="allow Write, Bash(git *)") as stream:
        assert (
            says(stream, 'Do it. [[write path=a.py text="x = 1\\n"]] [[commit=Add a]] [[say=All done.]]') == "All done."
        )
        assert repo.subjects() == ["Add a", "Start"]
        assert (repo.path / "a.py").read_text() == "x = 1\n"
        assert says(stream, "And again. [[say=Nothing to do.]]") == "Nothing to do."
        assert stream.close() == 0
    kinds = [signal.type for signal in stream.signals if signal.type not in ("usage", "text")]
    assert kinds == ["status", "started", "turn_started", "tool", "tool", "turn_ended", "turn_started", "turn_ended"]
    assert stream.signals[1].data == {"conversation": the_conversation(stream), "model": MODEL}
    assert total(stream.signals) == server.usage(the_conversation(stream)) != Usage()
    assert sum(float(s.data["usage"].cost or 0) for s in stream.signals if s.type == "usage") == 0.03294


def test_a_permission_is_allowed_once_or_for_the_session_and_denied(start: Start, repo: Repository) -> None:
    with start() as stream:
        stream.say("x [[write path=a text=1]] [[sh=touch b1]] [[sh=touch b1 b2]] [[sh=curl -s file:///]]")
        edit = stream.next("asked")
        assert (edit.data["kind"], edit.data["tool"]) == ("permission", "Write")
        assert edit.data["text"].endswith("/a")
        assert [key for key, _ in edit.data["options"]] == ["allow", "always", "deny"]
        allow(stream, edit)
        command = stream.next("asked")
        assert command.data["text"] == "Bash: touch b1"
        allow(stream, command, "always")
        refused = stream.next("asked")
        assert refused.data["text"] == "Bash: curl -s file:///", "the same command was not asked for again"
        data = stream.agent.answer(refused.data, {"text": "not from here"})
        assert data is not None
        stream.send(data)
        assert stream.next("turn_ended").data["result"] == "ok"
    assert sorted(path.name for path in repo.path.iterdir()) == [".git", "README.md", "a", "b1", "b2"]
    assert any(b"not from here" in line for line in stream.lines)


def test_questions_are_answered_by_option_by_several_and_freely(start: Start) -> None:
    with start() as stream:
        stream.say('x [[ask q="Which colour?" options="Blue|Red"]] [[say={{result}}]]')
        one = stream.next("asked")
        assert one.data["kind"] == "question"
        assert one.data["text"] == "Which colour?"
        assert one.data["options"] == [["1", "Blue"], ["2", "Red"]]
        allow(stream, one, "2")
        assert '"Which colour?"="Red"' in ends_with(stream)

        stream.say(
            'x [[ask q="Colour?" options="Blue|Red"]] [[ask q="Sizes?" options="S|M|L" multi]] [[say={{result}}]]'
        )
        two = stream.next("asked")
        assert two.data["options"] == []
        assert "2. Sizes?\n   1) S\n" in two.data["text"]
        data = stream.agent.answer(two.data, {"text": "a warm one\n1,3"})
        assert data is not None
        stream.send(data)
        text = ends_with(stream)
        assert '"Colour?"="a warm one"' in text
        assert '"Sizes?"="S, L"' in text


def test_with_skipped_permissions_only_questions_are_asked(start: Start, repo: Repository) -> None:
    with start(permissions="skip", env={"IS_SANDBOX": "1"}) as stream:
        stream.say('x [[sh=touch made]] [[ask q="Go on?"]] [[say=fine]]')
        asked = stream.next("asked")
        assert asked.data["kind"] == "question"
        assert (repo.path / "made").exists()
        allow(stream, asked, "1")
        assert ends_with(stream) == "fine"


@pytest.mark.parametrize("during", ["thinking", "asking", "running"])
def test_an_interrupt_ends_the_turn_and_not_the_session(start: Start, repo: Repository, during: str) -> None:
    prompts = {
        "thinking": "x [[sh=echo begun]] [[slow=60]] [[say=never]]",
        "asking": "x [[sh=touch begun]]",
        "running": "x [[sh=touch begun; tail -f /dev/null]]",
    }
    with start(permissions="allow Bash" if during != "asking" else "ask") as stream:
        stream.say(prompts[during])
        if during == "asking":
            asked = stream.next("asked")
        elif during == "running":
            wait_for((repo.path / "begun").exists)
        else:
            wait_for(lambda: any(b'"content":"begun"' in line for line in stream.lines))
        stream.interrupt(stream.records)
        if during == "asking":
            assert stream.next("withdrawn").data == {"request": asked.data["request"]}
        ended = stream.next("turn_ended").data
        assert (ended["result"], ended["reason"]) == ("interrupted", "interrupted")
        stream.interrupt(99)  # late: nothing is running any more
        assert says(stream, "x [[say=ready]]") == "ready"
        assert stream.close() == 0


def test_it_resumes_by_id_after_a_kill_and_nothing_is_counted_twice(
    start: Start, repo: Repository, server: ModelServer
) -> None:
    with start(permissions="allow Bash") as first:
        first.turn("Remember this. [[say=one]]")
        first.say("x [[sh=touch begun]] [[slow=60]] [[say=never]]")
        wait_for((repo.path / "begun").exists)
        wait_for(lambda: len([s for s in first.signals if s.type == "usage"]) >= 2)
        first.process.kill()
        first.process.wait(10)
    with start(conversation=the_conversation(first)) as second:
        second.state.update(first.state)
        assert says(second, "x [[say=back]]") == "back"
        assert second.close() == 0
    assert the_conversation(second) == the_conversation(first)
    assert total(first.signals + second.signals) == server.usage(the_conversation(first))
    with start(conversation=the_conversation(first)) as third:
        third.state.update(second.state)
        assert says(third, "x [[say=again]]") == "again"
    signals = first.signals + second.signals + third.signals
    assert total(signals) == server.usage(the_conversation(first))
    costs = [float(s.data["usage"].cost) for s in third.signals if s.type == "usage" and s.data["usage"].cost]
    assert costs == [0.008235], "the cost of this turn, not of the whole session"


@pytest.mark.parametrize(
    ("fault", "code", "status", "retries"),
    [
        ("err=529x9", "api_error", 529, ["overloaded (529)"]),
        ("err=429x9", "api_error", 429, ["rate_limit (429)"]),
        ("err=500x9", "api_error", 500, ["server_error (500)"]),
        ("err=401x9", "api_error", 401, ["authentication_failed (401)"]),
        ("overflow=9", "prompt_too_long", 400, []),
    ],
)
def test_refusals_of_the_model_fail_the_turn(
    start: Start, server: ModelServer, fault: str, code: str, status: int, retries: list[str]
) -> None:
    with start() as stream:
        ended = stream.turn(f"x [[{fault}]]").data
        result = "limited" if status == 429 else "failed"
        assert (ended["result"], ended["code"], ended["status"]) == (result, code, status)
        assert ended["reason"].startswith(f"{code}: ")
        assert [s.data["reason"] for s in stream.signals if s.type == "retry"] == retries
        assert total(stream.signals) == server.usage(the_conversation(stream)) == Usage()
        assert stream.turn("x [[say=better]]").data["result"] == "ok"


@pytest.mark.parametrize("fault", ["err=529x1", "garbage=1", "slow=1"])
def test_passing_trouble_is_survived_and_counted_right(start: Start, server: ModelServer, fault: str) -> None:
    with start() as stream:
        assert says(stream, f"x [[{fault}]] [[say=fine]]") == "fine"
        assert total(stream.signals) == server.usage(the_conversation(stream)) != Usage()


def test_a_torn_answer_is_asked_for_again_and_costs_what_the_agent_says(start: Start) -> None:
    with start() as stream:
        assert says(stream, "x [[cut=1]] [[say=fine]]") == "fine"
        result = next(line for line in stream.lines if b'"type":"result"' in line)
        assert f'"inputTokens":{total(stream.signals).input}'.encode() in result


def test_a_sub_agent_is_counted(start: Start, server: ModelServer) -> None:
    inner = "do \\u005b\\u005bsh=echo hi\\u005d\\u005d \\u005b\\u005bsay=sub\\u005d\\u005d"
    task = f'{{"description":"sub","prompt":"{inner}","subagent_type":"general-purpose"}}'
    with start(permissions="allow Task, Bash") as stream:
        assert says(stream, f"x [[tool Task {task}]] [[say=main]]") == "main"
        assert len(server.served(the_conversation(stream))) == 4
        assert total(stream.signals) == server.usage(the_conversation(stream))


def test_a_signal_from_outside_and_an_unknown_conversation(start: Start) -> None:
    with start() as stream:
        stream.turn("x [[say=one]]")
        stream.process.send_signal(signal.SIGINT)
        assert stream.process.wait(20) == 0
    with start(conversation="393f3038-418a-4542-ae67-ddc494b3285a") as stream:
        ended = stream.turn("x").data
        assert (ended["result"], ended["code"]) == ("failed", "no_conversation")
        assert stream.process.wait(20) == 1


def test_mcp_servers_are_only_ours(start: Start, tmp_path: Path) -> None:
    with start(mcp={"probe": {"type": "stdio", "command": "/bin/false", "args": []}}) as stream:
        stream.turn("x [[say=ok]]")
    init = next(line for line in stream.lines if b'"subtype":"init"' in line)
    assert b'"name":"probe"' in init
    assert os.fsencode(tmp_path) not in b" ".join(map(os.fsencode, stream.launch.argv))
