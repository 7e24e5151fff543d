"""pi's lines, dialogs and command line: recorded streams of the real program, and whatever else JSON can hold."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto import agents
from stretto.agents.limits import is_limit
from stretto.agents.pi import EXTENSION, PiAgent
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext, Signal

GOLDEN = Path(__file__).parent / "golden" / "pi"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.jsonl"))
AGENT = PiAgent()
WORDS = """type message role content text usage cost total input output stopReason errorMessage toolName args id method
title options data model command success timestamp delayMs result responseId"""


def parsed(*messages: dict[str, Any], state: dict[str, Any] | None = None) -> list[Signal]:
    kept: dict[str, Any] = {} if state is None else state
    return [signal for message in messages for signal in AGENT.parse(json.dumps(message).encode(), kept)]


@pytest.mark.parametrize("name", NAMES)
def test_recorded_streams_mean_what_they_meant(name: str) -> None:
    state: dict[str, Any] = {}
    lines = (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()
    found = [[s.type, s.data] for line in lines for s in AGENT.parse(line, state)]
    assert json.loads(json.dumps(found, default=asdict)) == json.loads((GOLDEN / f"{name}.signals.json").read_text())


def shapes() -> st.SearchStrategy[Any]:
    """JSON with the words of the protocol in wrong places."""
    words = st.sampled_from(["assistant", "error", "aborted", "stop", "input", "select", "stretto:{}", "stretto:["])
    keys = st.sampled_from(WORDS.split())
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | words
    return st.recursive(plain, lambda some: st.lists(some, max_size=3) | st.dictionaries(keys, some, max_size=5))


TYPES = ["response", "agent_start", "message_end", "tool_execution_start", "auto_retry_start", "compaction_end"]
TYPES += ["agent_settled", "extension_ui_request", "something_new"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(TYPES), st.dictionaries(st.text(max_size=3), shapes()), shapes()), max_size=6)
)
def test_no_shape_of_json_makes_it_fail(messages: list[tuple[str, dict[str, Any], Any]]) -> None:
    state: dict[str, Any] = {}
    for kind, more, message in messages:
        body = {**more, **(message if isinstance(message, dict) else {"message": message}), "type": kind}
        for signal in AGENT.parse(json.dumps(body).encode(), state):
            if signal.type == "asked":
                AGENT.answer(json.loads(json.dumps(signal.data)), {"key": "1", "text": "x"})
    assert len(json.dumps(state)) < 10_000


def spoke(stop: str, error: str = "") -> dict[str, Any]:
    return {"type": "message_end", "message": {"role": "assistant", "stopReason": stop, "errorMessage": error}}


@pytest.mark.parametrize(
    ("stop", "error", "result", "code"),
    [
        ("stop", "", "ok", ""),
        ("length", "", "ok", ""),
        ("aborted", "Request was aborted", "interrupted", "aborted"),
        ("error", "This operation was aborted", "interrupted", "aborted"),
        ("error", "500 broken", "failed", "error"),
        ("error", "429 Too Many Requests", "limited", "limited"),
        ("error", "You have hit your usage limit", "limited", "limited"),
    ],
)
def test_a_turn_ends_as_its_last_message_says(stop: str, error: str, result: str, code: str) -> None:
    *_, ended = parsed(spoke("error", "an earlier one"), spoke(stop, error), {"type": "agent_settled"})
    assert (ended.data["result"], ended.data["code"]) == (result, code)
    assert error in ended.data["reason"] or result not in ("failed", "limited")


def test_a_price_of_nothing_is_no_price() -> None:
    def used(total: Any) -> Signal:
        usage = {"input": 1, "cost": {"total": total}}
        return parsed({"type": "message_end", "message": {"role": "assistant", "usage": usage}})[0]

    assert used(0).data["usage"].cost is None
    assert used(True).data["usage"].cost is None
    assert used(float("nan")).data["usage"].cost is None
    assert (used(0.25).data["usage"].cost, used(0.25).data["usage"].cost_source) == ("0.25", "agent")


def test_dialogs_of_other_extensions_are_put_before_the_person() -> None:
    def dialog(method: str, **more: Any) -> dict[str, Any]:
        (signal,) = parsed({"type": "extension_ui_request", "id": "u", "method": method, "title": "Go?", **more})
        return signal.data

    pick, sure, word = dialog("select", options=["Yes", "No"]), dialog("confirm", message="all of it"), dialog("input")
    assert pick["options"] == [["1", "Yes"], ["2", "No"]]
    assert sure["text"] == "Go?\nall of it"
    answers: list[tuple[Any, str, dict[str, Any]]] = [
        (pick, "2", {"value": "No"}),
        (pick, "9", {"cancelled": True}),
        (sure, "1", {"confirmed": True}),
    ]
    answers += [(sure, "2", {"confirmed": False}), (word, "hello", {"value": "hello"})]
    for payload, said, meant in answers:
        told = json.loads(AGENT.answer(payload, {"key": said}) or "")
        assert told == {"type": "extension_ui_response", "id": "u", **meant}
    assert parsed({"type": "extension_ui_request", "id": "u", "method": "notify", "message": "hi"}) == []


def test_the_policy_and_the_model_reach_the_program(tmp_path: Path) -> None:
    context = SessionContext(
        "s", "r/t", tmp_path, tmp_path, {"PATH": "/bin"}, None, False, "p/m", "allow Edit; deny Bash"
    )
    spec = AgentSpec("pi", "pi", args=("--thinking", "low"))
    launch = AGENT.launch(spec, context)
    assert launch.argv[:3] == ("pi", "--mode", "rpc")
    assert launch.argv[-4:] == ("--model", "p/m", "--thinking", "low")
    assert json.loads(launch.env["STRETTO_PI_POLICY"]) == {"skip": False, "allow": ["Edit"], "deny": ["Bash"]}
    assert "--no-approve" in launch.argv, "what the repository brings along for pi runs programs"
    skip = AGENT.launch(spec, replace(context, permissions="skip"))
    assert json.loads(skip.env["STRETTO_PI_POLICY"])["skip"] is True
    assert EXTENSION.is_file()


def test_what_it_cannot_do_is_said_before_the_start(tmp_path: Path) -> None:
    program = tmp_path / "pi"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    env = {"PATH": str(tmp_path)}
    assert AGENT.probe(AgentSpec("pi", "pi"), env) is None
    assert "MCP" in str(AGENT.probe(AgentSpec("pi", "pi", mcp={"x": {}}), env))
    assert "permissions" in str(AGENT.probe(AgentSpec("pi", "pi", permissions="sometimes"), env))
    assert "not on PATH" in str(AGENT.probe(AgentSpec("pi", "pi"), {"PATH": "/nowhere"}))
    assert agents.find("pi").refused(b"No session found matching 'x'\n") == "no_conversation"
    assert agents.find("pi").refused(b"anything else") is None


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("429 {}", True),
        ("rate_limit_exceeded", True),
        ("You exceeded your current quota", True),
        ("RESOURCE_EXHAUSTED", True),
        ("500 internal", False),
        ("14290 tokens", False),
        ("", False),
    ],
)
def test_which_words_tell_of_a_limit(said: str, meant: bool) -> None:
    assert is_limit(said) is meant
