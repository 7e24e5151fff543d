"""The agents that are run once for each turn: what their programs wrote, what is made of it, what they get."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto import agents
from stretto.agents.turn_rules import RUNNER
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import SessionContext, Signal

GOLDEN = Path(__file__).parent / "golden"
ALL = ("aider", "mini", "qwen")


def recording(type: str, name: str) -> tuple[list[Signal], str]:
    *lines, end = (GOLDEN / type / f"{name}.out").read_bytes().splitlines()
    agent, state = agents.find(type), dict[str, Any]()
    return [signal for line in lines for signal in agent.parse(line, state)], end.decode()


@pytest.mark.parametrize(
    ("type", "used"),
    [
        ("aider", [Usage(5200, 44)]),
        ("mini", [Usage(1200, 44, 4000, 0, 10)] * 2),
        ("qwen", [Usage(1200, 44, 4000, 0, 10)] * 2),
    ],
)
def test_a_turn_that_edits(type: str, used: list[Usage]) -> None:
    signals, end = recording(type, "edit")
    assert end == "exit 0"
    assert [s.data["usage"] for s in signals if s.type == "usage"] == used
    assert len({s.data["key"] for s in signals if s.type == "usage"}) == len(used)
    assert not [s for s in signals if s.type == "turn_ended"]
    assert any(s.type == "text" for s in signals)
    if type == "qwen":
        assert [s.data["name"] for s in signals if s.type == "tool"] == ["run_shell_command"]
        assert {s.data["model"] for s in signals if s.type == "usage"} == {"mock-model"}


@pytest.mark.parametrize(("type", "used"), [("aider", Usage(5200, 44)), ("mini", Usage(1200, 44, 4000, 0, 10))])
def test_what_it_cost_is_the_programs_own_figure_if_it_knows_the_price(type: str, used: Usage) -> None:
    """Aider counts what came from the cache into its figure, although it does not tell how much that was."""
    signals, _ = recording(type, "priced")
    told = [s.data["usage"] for s in signals if s.type == "usage"]
    assert set(told) == {replace(used, cost="0.00844", cost_source="agent")}
    assert {s.data["usage"].cost for s in recording(type, "edit")[0] if s.type == "usage"} == {None}, "never zero"


@pytest.mark.parametrize("type", ALL)
def test_a_context_that_is_full_is_a_failure_in_its_vendors_words(type: str) -> None:
    signals, end = recording(type, "overflow")
    assert end == "exit 1"
    (ended,) = [s.data for s in signals if s.type == "turn_ended"]
    assert ended["result"] == "failed"
    assert ("token limit" if type == "aider" else "maximum context length") in ended["reason"]
    assert {s.data["usage"].output for s in signals if s.type == "usage"} <= {0}


def test_a_price_of_nothing_is_no_price() -> None:
    line = b'{"stretto":{"usage":{"input":1,"output":1,"cost":"0.0"},"id":"1","model":""}}'
    for type in ALL:
        (signal,) = agents.find(type).parse(line, {})
        assert signal.data["usage"] == Usage(1, 1)


@pytest.mark.parametrize("type", [*ALL, "gemini", "opencode"])
def test_a_launch_tells_the_program_behind_our_own_runner(type: str, tmp_path: Path) -> None:
    """A sandbox has to show that program, which may lie in an installation of its own."""
    spec = AgentSpec("a", type, ("/opt/tool/bin/prog",), permissions="skip")
    context = SessionContext("s", "r/t", tmp_path, tmp_path, {}, None, False, "a/b", "skip")
    launch = agents.find(type).launch(spec, context)
    assert launch.program[0] == "/opt/tool/bin/prog"
    assert launch.argv[0] == sys.executable


@pytest.mark.parametrize("type", ALL)
def test_a_refused_key_is_a_failure_whatever_the_program_ends_with(type: str) -> None:
    signals, end = recording(type, "refused")
    assert end == "exit 1"
    assert not [s for s in signals if s.type == "usage"]
    reasons = [s.data["reason"] for s in signals if s.type == "turn_ended" and s.data["result"] == "failed"]
    assert "401" in str(reasons or [s.data.get("text") for s in signals][-1])
    assert bool(reasons) == (type != "mini"), "mini ends with 1 by itself"


@pytest.mark.parametrize("type", ALL)
def test_what_it_is_started_with(type: str, tmp_path: Path) -> None:
    agent, said = agents.find(type), agents.declared(type)
    context = SessionContext("s1", "r/t", tmp_path, tmp_path, {"PATH": "/bin"}, None, False, None, "skip")
    spec = AgentSpec(type, type, args=("--more",), model="own", permissions="skip")
    argv = agent.launch(spec, replace(context, model="chosen")).argv
    assert argv[:4] == (sys.executable, "-I", "-S", str(RUNNER))
    job = json.loads(argv[4])
    assert job["argv"] == [said.program]
    assert job["words"][job["words"].index("chosen") - 1] in ("-m", "--model")
    assert job["args"] == ["--more"]
    assert "chosen" not in agent.launch(replace(spec, model=None), context).argv[4]
    assert "{file}" in argv[4] or "{text}" in argv[4] or job["input"]
    assert all(word == word.strip() and word for word in job["words"])


@pytest.mark.parametrize("type", ALL)
def test_what_it_cannot_keep_to_is_said_before_the_start(type: str, tmp_path: Path) -> None:
    agent = agents.find(type)
    (tmp_path / type).write_text("#!/bin/sh\n")
    (tmp_path / type).chmod(0o755)
    env, spec = {"PATH": str(tmp_path)}, AgentSpec("own", type, permissions="skip")
    assert agent.probe(spec, env) is None
    assert "not on PATH" in str(agent.probe(spec, {"PATH": "/nowhere"}))
    for policy in ("ask", "allow Edit", "deny Bash"):
        assert f"cannot keep to `{policy}`" in str(agent.probe(replace(spec, permissions=policy), env))
    assert "MCP" in str(agent.probe(replace(spec, mcp={"docs": {"command": "docs"}}), env))


def shapes() -> st.SearchStrategy[Any]:
    words = st.sampled_from(["assistant", "system", "init", "result", "text", "tool_use"])
    keys = st.sampled_from(["type", "subtype", "message", "content", "text", "name", "input", "command", "model"])
    plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | words
    return st.recursive(plain, lambda some: st.lists(some, max_size=3) | st.dictionaries(keys, some, max_size=5))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(shapes(), max_size=5))
def test_no_event_makes_qwens_parser_fail(events: list[Any]) -> None:
    state: dict[str, Any] = {}
    for event in events:
        agents.find("qwen").parse(json.dumps(event).encode(), state)
    json.dumps(state)
