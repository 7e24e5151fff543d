"""Events, answers, policy and requests of opencode: recorded streams, and whatever else JSON can hold."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto.agents.opencode import OpencodeAgent
from stretto.agents.opencode_stream import TRIES
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext, Signal

GOLDEN = Path(__file__).parent / "golden" / "opencode"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.jsonl"))
AGENT = OpencodeAgent()
BEGUN: dict[str, Any] = {"handshake": True, "resumes": None, "wanted": "mock/mock-model", "model": "mock/mock-model"}


def parsed(*messages: Any, state: dict[str, Any] | None = None) -> list[Signal]:
    kept: dict[str, Any] = {"session": "s"} if state is None else state
    lines = (one if isinstance(one, bytes) else json.dumps(one).encode() for one in messages)
    return [signal for line in lines for signal in AGENT.parse(line, kept)]


def golden(name: str) -> list[bytes]:
    return (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_recorded_streams_mean_what_they_meant(name: str) -> None:
    found = [[s.type, s.data] for s in parsed(*golden(name), state=dict(BEGUN))]
    assert json.loads(json.dumps(found, default=asdict)) == json.loads((GOLDEN / f"{name}.signals.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_newer_version_adds_changes_nothing(name: str) -> None:
    strange = [
        {"event": {"type": "session.dreams", "properties": {"sessionID": "x"}}},
        {"id": "new", "status": 200},
        {},
    ]
    lines = [
        one for line in golden(name) for one in (line.replace(b'"version":"1.18.33"', b'"version":"2.0.0"'), *strange)
    ]
    found = parsed(*lines, state=dict(BEGUN))
    assert [s.data["text"] for s in found if s.type == "notice"] == [
        "opencode 2.0.0 was not tried with this stretto, 1.18.33 was"
    ]
    assert [s for s in found if s.type != "notice"] == parsed(*golden(name), state=dict(BEGUN))


def event(kind: str, **properties: Any) -> dict[str, Any]:
    return {"event": {"type": kind, "properties": {"sessionID": "s", **properties}}}


def said(role: str, created: int, *, done: bool = True, **more: Any) -> dict[str, Any]:
    time = {"created": created, **({"completed": created} if done and role == "assistant" else {})}
    return event("message.updated", info={"id": f"m{created}", "sessionID": "s", "role": role, "time": time, **more})


def status(kind: str, **more: Any) -> dict[str, Any]:
    return event("session.status", status={"type": kind, **more})


ABORTED = {"name": "MessageAbortedError", "data": {"message": "aborted"}}


def test_idle_before_the_answer_is_complete_is_no_end() -> None:
    state: dict[str, Any] = {"session": "s"}
    begun = parsed(said("user", 1), status("busy"), said("assistant", 2, done=False), status("idle"), state=state)
    assert [s.type for s in begun] == ["turn_started"]
    over = parsed(said("assistant", 2, error=ABORTED), status("idle"), status("busy"), status("idle"), state=state)
    assert [(s.type, s.data["result"]) for s in over] == [("turn_ended", "interrupted")]
    assert parsed(said("user", 1), state=state) == [], "an old message that is told again begins nothing"


@pytest.mark.parametrize(("words", "result"), [("overloaded", "failed"), ("rate limit reached", "limited")])
def test_a_vendor_that_fails_without_end_fails_the_turn(words: str, result: str) -> None:
    state: dict[str, Any] = {"session": "s"}
    again = [status("retry", attempt=n, message=words) for n in range(1, TRIES + 2)]
    found = parsed(said("user", 1), said("assistant", 2, done=False), *again, state=state)
    (stop,) = [s for s in found if s.type == "reply"]
    assert json.loads(stop.data["data"])["path"] == "/session/s/abort"
    assert len([s for s in found if s.type == "retry"]) == TRIES + 1
    (ended,) = parsed(
        event("session.error", error=ABORTED), said("assistant", 2, error=ABORTED), status("idle"), state=state
    )
    assert (ended.data["result"], words in ended.data["reason"]) == (result, True)


def test_a_session_that_is_gone_or_a_server_that_does_not_begin() -> None:
    (gone,) = parsed(
        {"id": "session", "status": 404, "body": {"name": "NotFoundError", "data": {"message": "no s"}}},
        state={**BEGUN, "resumes": "s"},
    )
    assert (gone.data["code"], gone.data["result"]) == ("no_conversation", "failed")
    for line in ({"unfit": "it is not there"}, {"id": "session", "status": 0, "body": "ConnectionRefusedError"}):
        (unfit,) = parsed(line, state=dict(BEGUN))
        assert unfit.type == "unfit"
    (refused,) = parsed({"id": "turn", "status": 400, "body": {"data": {"message": "no such model"}}})
    assert "no such model" in refused.data["reason"]
    (missing,) = parsed({"id": "mcp:docs", "status": 200, "body": {"docs": {"status": "failed", "error": "ENOENT"}}})
    assert (missing.type, missing.data["text"]) == ("notice", "the MCP server docs is not there: ENOENT")
    assert parsed({"id": "mcp:docs", "status": 200, "body": {"docs": {"status": "connected"}}}) == []


def launched(folder: Path, **changes: Any) -> Any:
    context = SessionContext("s1", "r/t", folder, folder, {"PATH": "/bin"}, None, False, None, "ask")
    spec = AgentSpec("o", "opencode", args=("--print-logs",), mcp=changes.pop("mcp", {}))
    return AGENT.launch(spec, replace(context, **changes))


def test_the_policy_is_opencode_s_own(tmp_path: Path) -> None:
    def policy(words: str, **more: Any) -> Any:
        return json.loads(launched(tmp_path, permissions=words, **more).env["OPENCODE_PERMISSION"])

    assert set(policy("skip").values()) == {"allow"}
    assert policy("ask", mcp={"docs": {"command": "d"}})["docs_*"] == "ask"
    found = policy("allow Write, Bash(git *), Bash; deny Bash(curl *), WebFetch")
    assert found["edit"] == "allow"
    assert list(found["bash"].items()) == [("git *", "allow"), ("*", "allow"), ("curl *", "deny")]
    assert found["webfetch"] == "deny"
    assert found["external_directory"] == "ask"


def test_what_a_session_is_told(tmp_path: Path) -> None:
    servers = {
        "docs": {"command": "d", "args": ["-x"], "env": {"A": "b"}},
        "web": {"url": "http://h", "headers": {"K": "v"}},
    }
    new = launched(tmp_path, model="mock/big/one", mcp=servers)
    assert new.argv[-2:] == ("opencode", "--print-logs")
    docs, web, begin = (json.loads(data) for _, data in new.first)
    assert docs["body"]["config"] == {"type": "local", "command": ["d", "-x"], "environment": {"A": "b"}}
    assert web["body"]["config"] == {"type": "remote", "url": "http://h", "headers": {"K": "v"}}
    assert (begin["method"], begin["path"]) == ("POST", "/session")
    turn = json.loads(AGENT.turn("hello", {**new.state, "session": "ses_1"}))
    assert turn["body"]["model"] == {"providerID": "mock", "modelID": "big/one"}
    (again,) = (json.loads(data) for _, data in launched(tmp_path, conversation="ses_1", resume=True).first)
    assert (again["method"], again["path"]) == ("GET", "/session/ses_1")


def test_what_it_cannot_do_is_said_before_the_start(tmp_path: Path) -> None:
    program = tmp_path / "opencode"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    env = {"PATH": str(tmp_path)}
    assert AGENT.probe(AgentSpec("o", "opencode"), env) is None
    assert "permissions" in str(AGENT.probe(AgentSpec("o", "opencode", permissions="now"), env))
    assert "PROVIDER/MODEL" in str(AGENT.probe(AgentSpec("o", "opencode", model="big"), env))
    assert "not on PATH" in str(AGENT.probe(AgentSpec("o", "opencode"), {"PATH": "/nowhere"}))


def shapes() -> st.SearchStrategy[Any]:
    """JSON with the words of the protocol in wrong places."""
    words = """id status body event type properties info part role time created completed error name data message
    sessionID messageID tokens cache cost questions options label metadata permission patterns attempt state callID"""
    texts = st.sampled_from(["s", "assistant", "user", "idle", "retry", "text", "tool", "step-finish", "running"])
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | texts
    keys = st.sampled_from(words.split())
    return st.recursive(plain, lambda some: st.lists(some, max_size=3) | st.dictionaries(keys, some, max_size=6))


KINDS = ["message.updated", "message.part.updated", "session.status", "session.error", "permission.asked"]
KINDS += ["permission.replied", "question.asked", "question.replied", "something.new"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(KINDS), shapes()) | shapes(), max_size=6))
def test_no_shape_of_json_makes_it_fail(messages: list[Any]) -> None:
    state: dict[str, Any] = {"session": "s"}
    for one in messages:
        body = {"event": {"type": one[0], "properties": one[1]}} if isinstance(one, tuple) else one
        for signal in AGENT.parse(json.dumps(body).encode(), state):
            if signal.type == "asked":
                AGENT.answer(json.loads(json.dumps(signal.data)), {"key": "1", "text": "x"})
    assert len(json.dumps(state)) < 10_000
