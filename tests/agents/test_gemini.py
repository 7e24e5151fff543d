"""Gemini CLI: recorded streams, usage from its own recording, and the bridge around a program of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto.agents.gemini import BRIDGE, GeminiAgent
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import SessionContext, Signal

GOLDEN = Path(__file__).parent / "golden" / "gemini"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.jsonl"))
AGENT = GeminiAgent()
BEGUN: dict[str, Any] = {"handshake": True, "resumes": None, "skip": False}


def parsed(*lines: bytes, state: dict[str, Any] | None = None) -> list[Signal]:
    kept: dict[str, Any] = dict(BEGUN) if state is None else state
    return [signal for line in lines for signal in AGENT.parse(line, kept)]


def golden(name: str) -> list[bytes]:
    return (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_recorded_streams_mean_what_they_meant(name: str) -> None:
    found = [[s.type, s.data] for s in parsed(*golden(name))]
    assert json.loads(json.dumps(found, default=asdict)) == json.loads((GOLDEN / f"{name}.signals.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_newer_version_is_told_and_works(name: str) -> None:
    strange = (b'{"jsonrpc":"2.0","method":"session/dreams","params":{}}', b'{"usage":7}', b'{"jsonrpc":[]}')
    lines = [one for line in golden(name) for one in (line.replace(b'"0.61.0"', b'"9.0.0"'), *strange)]
    found = parsed(*lines)
    notices = [s.data["text"] for s in found if s.type == "notice"]
    assert notices == ["Gemini CLI 9.0.0 was not tried with this stretto, 0.61.0 was"]
    assert [s for s in found if s.type != "notice"] == parsed(*golden(name))


def test_usage_is_that_of_the_recording() -> None:
    tokens = {"input": 4200, "output": 34, "cached": 3000, "thoughts": 30, "tool": 5, "total": 4269}
    line = json.dumps({"usage": {"id": "m1", "model": "g", "tokens": tokens}}, separators=(",", ":")).encode()
    (one,) = parsed(line)
    assert (one.data["key"], one.data["model"], one.data["usage"]) == ("m1", "g", Usage(1205, 64, 3000, 0, 30))
    told = {"stopReason": "end_turn", "_meta": {"quota": {"token_count": {"input_tokens": 9, "output_tokens": 3}}}}
    over = json.dumps({"jsonrpc": "2.0", "id": "prompt", "result": told}, separators=(",", ":")).encode()
    assert [s.type for s in parsed(over, state={"session": "s"})] == ["turn_ended"]


def test_what_it_is_started_with(tmp_path: Path) -> None:
    context = SessionContext("s1", "r/t", tmp_path, tmp_path, {"PATH": "/bin"}, None, False, "g-pro", "ask")
    found = AGENT.launch(AgentSpec("g", "gemini", args=("--debug",)), context)
    assert found.argv == (sys.executable, "-I", "-S", str(BRIDGE), "gemini", "--acp", "-m", "g-pro", "--debug")
    again = AGENT.launch(AgentSpec("g", "gemini"), replace(context, conversation="c", resume=True))
    assert json.loads(again.state["opening"])["method"] == "session/load"
    program = tmp_path / "gemini"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert AGENT.probe(AgentSpec("g", "gemini"), {"PATH": str(tmp_path)}) is None
    assert "not on PATH" in str(AGENT.probe(AgentSpec("g", "gemini"), {"PATH": "/nowhere"}))
    assert "ask" in str(AGENT.probe(AgentSpec("g", "gemini", permissions="allow Edit"), {"PATH": str(tmp_path)}))


#: a program that names a conversation, records a request before each answer, and would never end by itself
PROGRAM = """
import json, os, sys, time
chats = os.path.join(os.environ["HOME"], ".gemini", "tmp", "repo", "chats")
os.makedirs(chats, exist_ok=True)
path = os.path.join(chats, "session-2026-11-21T19-00-abcdefgh.jsonl")
for n, line in enumerate(sys.stdin):
    asked = json.loads(line)
    if asked["method"] == "session/new":
        with open(path, "a") as file:
            file.write(json.dumps({"sessionId": "abcdefgh-1"}) + "\\n")
        answer = {"id": "session", "result": {"sessionId": "abcdefgh-1"}}
    elif asked["method"] == "session/load":
        answer = {"id": "session", "result": {}}
    else:
        with open(path, "a") as file:
            said = json.dumps({"id": asked["params"], "model": "g", "tokens": {"input": 1}})
            file.write("not json\\n" + said + "\\n" + said + "\\n")
        answer = {"id": "prompt", "result": {"stopReason": "end_turn"}}
    print(json.dumps({"jsonrpc": "2.0", **answer}, separators=(",", ":")), flush=True)
time.sleep(600)
"""


def played(home: Path, *asked: dict[str, Any]) -> list[dict[str, Any]]:
    """What comes out of the bridge for these lines, each asked when the one before is answered."""
    argv = [sys.executable, "-I", "-S", str(BRIDGE), sys.executable, "-c", PROGRAM]
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "STRETTO_TEST_RUN": os.environ["STRETTO_TEST_RUN"]}
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bridge:
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        output, found = bridge.stdout, []
        for one in asked:
            bridge.stdin.write(json.dumps(one).encode() + b"\n")
            bridge.stdin.flush()
            for line in map(json.loads, output):
                found.append(line)
                if "id" in line:
                    break
        bridge.stdin.close()
        assert output.read() == b""
        assert bridge.wait(60) == 128 + 15
    return found


def test_the_bridge_tells_each_request_once_and_ends_with_its_input(tmp_path: Path) -> None:
    prompts = [{"method": "session/prompt", "params": name} for name in ("one", "two")]
    new = played(tmp_path, {"method": "session/new"}, *prompts)
    assert [one.get("id") or one["usage"]["id"] for one in new] == ["session", "one", "prompt", "two", "prompt"]
    load = {"method": "session/load", "params": {"sessionId": "abcdefgh-1"}}
    again = played(tmp_path, load, {"method": "session/prompt", "params": "three"})
    assert [one.get("id") or one["usage"]["id"] for one in again] == ["session", "three", "prompt"]


def shapes() -> st.SearchStrategy[Any]:
    words = "usage id model tokens input output cached thoughts tool jsonrpc result agentInfo version method params"
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["initialize", "session", "x"])
    keys = st.sampled_from(words.split())
    return st.recursive(plain, lambda some: st.lists(some, max_size=3) | st.dictionaries(keys, some, max_size=6))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["usage", "jsonrpc"]), shapes(), shapes()), max_size=6))
def test_no_shape_of_json_makes_it_fail(messages: list[tuple[str, Any, Any]]) -> None:
    state: dict[str, Any] = dict(BEGUN)
    for head, value, more in messages:
        body = {head: value, **(more if isinstance(more, dict) else {})}
        AGENT.parse(json.dumps(body, separators=(",", ":")).encode(), state)
    assert len(json.dumps(state)) < 10_000
