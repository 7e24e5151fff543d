"""What every agent adapter promises, whatever its program: run on the real ones and on the public fake."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto import agents
from stretto.core.model import AgentSpec, ItemKind, MessageKind, SessionStatus, TurnResult, Usage
from stretto.interfaces import Agent, SessionContext, Signal
from stretto.testing.agents import FakeAgent

GOLDEN = Path(__file__).parent.parent / "agents" / "golden"
#: type -> the keys that its data always has (interfaces.Signal)
SIGNALS: dict[str, set[str]] = {
    "started": {"conversation", "model"},
    "turn_started": set(),
    "text": {"text"},
    "tool": {"name", "detail"},
    "tool_failed": {"name", "detail", "code", "said"},
    "asked": {"kind", "request", "text", "options", "questions", "tool", "input"},
    "withdrawn": {"request"},
    "usage": {"key", "model", "usage"},
    "turn_ended": {"result", "reason", "text"},
    "status": {"status"},
    "retry": {"reason", "delay_s"},
    "garbage": {"bytes"},
    "reply": {"request", "data"},
    "unfit": {"reason"},
    "notice": {"text"},
}
OPTIONS = [["allow", "Allow"], ["deny", "Deny"]]
TOKENS = {"input": 1, "output": 2, "cost": "0.1", "cost_source": "agent"}
FAKE = [
    FakeAgent.line("started", conversation="c", model="m"),
    FakeAgent.line("turn_started"),
    FakeAgent.line("text", text="hello"),
    FakeAgent.line(
        "asked", kind="permission", request="r1", text="Bash: ls", options=OPTIONS, questions=[], tool="Bash", input={}
    ),
    FakeAgent.line("usage", key="u1", model="m", usage=TOKENS),
    FakeAgent.line("turn_ended", result="ok", reason="", text="hello"),
]


@dataclass(frozen=True)
class Case:
    """An adapter with a specification that can be started and what its program wrote in a conversation."""

    agent: Agent
    spec: AgentSpec
    lines: list[bytes]
    style: str


def recorded(type: str, name: str) -> Case:
    lines = (GOLDEN / type / f"{name}.jsonl").read_bytes().splitlines()
    return Case(agents.find(type), AgentSpec("c", type, command=(sys.executable,)), lines, "stream")


RECORDED = sorted((path.parent.name, path.stem) for path in GOLDEN.glob("*/*.jsonl"))


ACP = [
    {"id": "initialize", "result": {"protocolVersion": 1}},
    {"id": "session", "result": {"sessionId": "s", "models": {"currentModelId": "m"}}},
    {"method": "session/update", "params": {"sessionId": "s", "update": {"sessionUpdate": "tool_call", "title": "x"}}},
    {
        "id": 7,
        "method": "session/request_permission",
        "params": {
            "toolCall": {"title": "touch x", "kind": "execute", "rawInput": {"command": "touch x"}},
            "options": [{"optionId": "7-yes", "name": "Yes", "kind": "allow_once"}],
        },
    },
    {"id": "prompt", "result": {"stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 2}}},
]


def acp() -> Case:
    lines = [json.dumps(one).encode() for one in ACP]
    return Case(agents.find("acp"), AgentSpec("a", "acp", command=(sys.executable,)), lines, "stream")


def turns(type: str, name: str) -> Case:
    """A program that is run once for each turn; the last line of a recording is its exit code."""
    lines = (GOLDEN / type / f"{name}.out").read_bytes().splitlines()[:-1]
    return Case(agents.find(type), AgentSpec("c", type, command=(sys.executable,), permissions="skip"), lines, "turns")


TURNS = sorted((path.parent.name, path.stem) for path in GOLDEN.glob("*/*.out"))
TALK = [b"building \xf0\x9f\x94\xa7", b"", b"\x1b[31mred\xff", b"x" * 100_000]
CASES: dict[str, Callable[[], Case]] = {
    **{f"{type}-{name}": partial(recorded, type, name) for type, name in RECORDED},
    **{f"{type}-{name}": partial(turns, type, name) for type, name in TURNS},
    "acp": acp,
    "command": lambda: Case(
        agents.find("command"), AgentSpec("c", "command", command=(sys.executable, "-c", "0")), TALK, "turns"
    ),
    "scripted": lambda: Case(agents.find("scripted"), AgentSpec("c", "scripted", command=("s.json",)), TALK, "turns"),
    "fake-stream": lambda: Case(FakeAgent(), AgentSpec("c", "fake"), FAKE, "stream"),
    "fake-choosing": lambda: Case(FakeAgent(chooses=True), AgentSpec("c", "fake"), FAKE, "stream"),
    "fake-turns": lambda: Case(FakeAgent("turns"), AgentSpec("c", "fake"), FAKE, "turns"),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.fixture
def context(tmp_path: Path) -> SessionContext:
    (tmp_path / "s.json").write_text('{"tasks": {"*": {"turns": [{"steps": []}]}}}')
    env = {"STRETTO_ROOT": str(tmp_path), "PORT": "20060"}
    return SessionContext("s1", "r/t", tmp_path, tmp_path, env, None, False, "m", "ask")


def signals(case: Case) -> list[Signal]:
    state: dict[str, Any] = {}
    return [signal for line in case.lines for signal in case.agent.parse(line, state)]


def told(case: Case) -> dict[str, Any]:
    """What `parse` has kept when the conversation is over."""
    state: dict[str, Any] = {}
    for line in case.lines:
        case.agent.parse(line, state)
    return state


def one_line(data: str) -> bool:
    return bool(data) and "\n" not in data and "\r" not in data


def test_it_can_be_started_as_described(case: Case, context: SessionContext) -> None:
    assert case.agent.probe(case.spec, context.env) is None
    launch = case.agent.launch(case.spec, context)
    assert launch.style == case.style
    assert launch.argv
    assert all(isinstance(word, str) and "\0" not in word for word in launch.argv)
    assert context.env.items() <= launch.env.items()
    assert launch == case.agent.launch(case.spec, context), "the same session is launched in the same way"
    for kind, data in launch.first:
        assert MessageKind(kind) in (MessageKind.CONTROL, MessageKind.TURN)
        assert one_line(data)


def test_a_stream_has_a_conversation_that_can_be_resumed(case: Case, context: SessionContext) -> None:
    first = case.agent.launch(case.spec, context)
    if case.style == "turns":
        assert first.conversation is None
        return
    chosen = next(s.data["conversation"] for s in signals(case) if s.type == "started")
    again = case.agent.launch(case.spec, replace(context, conversation=first.conversation or chosen, resume=True))
    assert again.conversation == (first.conversation or chosen)
    assert (again.argv, again.first, again.state) != (first.argv, first.first, first.state)
    assert str(again.conversation) in str((again.argv, again.first, again.state))
    if first.conversation is None:
        assert first.state.get("handshake"), "until it has told its id"
        return
    assert first.conversation in first.argv
    other = case.agent.launch(case.spec, replace(context, session="s2"))
    assert other.conversation != first.conversation


NAMES = ["acp", *(f"{type}-{name}" for type, name in (*RECORDED, *TURNS) if name == "edit"), "command", "scripted"]
NAMES += ["fake-stream", "fake-choosing", "fake-turns"]


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text() | st.text(alphabet='\r\n\u2028\u2029\x85\x00"\\'))
def test_any_text_can_be_said(name: str, text: str) -> None:
    case = CASES[name]()
    data = case.agent.turn(text, told(case))
    if case.style == "turns":
        assert data == text
    else:
        assert one_line(data)
        assert json.dumps(text) in data or text in str(json.loads(data))


def test_the_handshake_is_over_when_the_conversation_is_known(case: Case, context: SessionContext) -> None:
    state = json.loads(json.dumps(case.agent.launch(case.spec, context).state))
    for line in case.lines:
        started = [s for s in case.agent.parse(line, state) if s.type == "started"]
        assert not (started and state.get("handshake"))
    assert not state.get("handshake")


def test_a_turn_can_be_interrupted(case: Case) -> None:
    kind, data = case.agent.interrupt(7, told(case))
    assert MessageKind(kind) is MessageKind.INTERRUPT
    assert one_line(data) if case.style == "stream" else data == ""
    assert case.agent.interrupt(7, told(case)) == (kind, data)


def test_signals_have_the_words_of_the_table(case: Case) -> None:
    found = signals(case)
    assert found
    for signal in found:
        assert SIGNALS[signal.type] <= set(signal.data)
        plain = {name: value for name, value in signal.data.items() if not isinstance(value, Usage)}
        assert json.loads(json.dumps(plain)) == plain
        assert (signal.type == "usage") == (plain != signal.data)
    keys = [signal.data["key"] for signal in found if signal.type == "usage"]
    assert len(set(keys)) == len(keys)
    for signal in (one for one in found if one.type == "turn_ended"):
        TurnResult(signal.data["result"])
    for signal in (one for one in found if one.type == "status"):
        SessionStatus(signal.data["status"])


def test_what_is_asked_can_be_answered(case: Case) -> None:
    asked = [signal for signal in signals(case) if signal.type == "asked"]
    assert case.style == "turns" or asked or case.lines[0] not in FAKE
    for signal in asked:
        assert ItemKind(signal.data["kind"]) in (ItemKind.QUESTION, ItemKind.PERMISSION)
        payload = json.loads(json.dumps(signal.data))  # it lies in the database meanwhile
        answers = [{"key": key} for key, _ in signal.data["options"]] + [{"text": "as you like\nplease"}]
        for answer in answers:
            data = case.agent.answer(payload, answer)
            if case.style == "turns":
                assert data is None
            else:
                assert data is not None
                assert one_line(data)
                assert signal.data["request"] in data
    assert case.agent.answer({}, {"text": "x"}) is None


def test_a_daemon_that_restarts_between_two_lines_changes_nothing(case: Case) -> None:
    state: dict[str, Any] = {}
    found: list[Signal] = []
    for line in case.lines:
        found += case.agent.parse(line, state)
        state = json.loads(json.dumps(state))
    assert found == signals(case)
    assert len(json.dumps(state)) < 20_000


@pytest.mark.parametrize("name", NAMES)
@given(lines=st.lists(st.binary() | st.text().map(str.encode), max_size=8))
def test_no_bytes_make_it_fail(name: str, lines: list[bytes]) -> None:
    agent = CASES[name]().agent
    state: dict[str, Any] = {}
    for line in lines:
        for signal in agent.parse(line, state):
            assert SIGNALS[signal.type] <= set(signal.data)
    json.dumps(state)


def test_a_huge_line_makes_small_signals(case: Case) -> None:
    state: dict[str, Any] = {}
    for line in (b"x" * (8 << 20), b"[" * (1 << 20), b'{"type":"result","result":"' + b"y" * (8 << 20)):
        found = case.agent.parse(line, state)
        assert len(repr(found)) < 100_000
    assert len(json.dumps(state)) < 20_000
