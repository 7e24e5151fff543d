"""The lines, permissions and handshake of the Agent Client Protocol, and whatever else JSON can hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto.agents.acp import AcpAgent
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import SessionContext, Signal

AGENT = AcpAgent()
SPEC = AgentSpec("own", "acp", command=("agent", "--acp"))
WORDS = """id method params result error update sessionUpdate sessionId content text toolCall title kind options name
codex threadStatus systemError active session_info_update agent_message_chunk optionId rawInput code message data
stopReason usage inputTokens outputTokens _meta quota token_count models model_usage
requestedSchema properties question_0 type items oneOf const description cost amount currency"""


def parsed(*messages: dict[str, Any], state: dict[str, Any] | None = None) -> list[Signal]:
    kept: dict[str, Any] = {"session": "s"} if state is None else state
    return [signal for message in messages for signal in AGENT.parse(json.dumps(message).encode(), kept)]


def update(what: str, session: str = "s", **more: Any) -> dict[str, Any]:
    return {"method": "session/update", "params": {"sessionId": session, "update": {"sessionUpdate": what, **more}}}


def chunk(text: str) -> dict[str, Any]:
    return update("agent_message_chunk", content={"type": "text", "text": text})


def over(reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    return {"id": "prompt", "result": {"stopReason": reason, **more}}


def context(folder: Path, **changes: Any) -> SessionContext:
    return replace(SessionContext("s1", "r/t", folder, folder, {"PATH": "/bin"}, None, False, None, "ask"), **changes)


def test_pieces_of_a_text_are_one_until_something_else_is_said() -> None:
    tool = update("tool_call", kind="edit", title="Write a")
    found = parsed(chunk("Good "), chunk("day."), tool, chunk("Done"), over())
    assert [s.type for s in found] == ["turn_started", "text", "tool", "text", "turn_ended"]
    assert [s.data["text"] for s in found if s.type == "text"] == ["Good day.", "Done"]


def test_other_sessions_and_what_is_repeated_while_loading_are_not_heard() -> None:
    assert parsed(update("tool_call", "another", title="x")) == []
    assert parsed(chunk("old"), state={"handshake": True, "session": "s", "resumes": "s"}) == []


@pytest.mark.parametrize(
    ("answer", "result", "code"),
    [
        (over("end_turn"), "ok", ""),
        (over("something_new"), "ok", ""),
        (over("cancelled"), "interrupted", "interrupted"),
        (over("refusal"), "failed", "refusal"),
        (over("max_tokens"), "failed", "max_tokens"),
        ({"id": "prompt", "error": {"code": -1, "message": "broken"}}, "failed", "error"),
        ({"id": "prompt", "error": {"code": -1, "message": "x", "data": "rate limit"}}, "limited", "limited"),
        ({"id": "prompt", "error": {"code": -1, "data": {"details": "429"}}}, "limited", "limited"),
    ],
)
def test_how_a_turn_ends(answer: dict[str, Any], result: str, code: str) -> None:
    (ended,) = parsed(answer)
    assert (ended.data["result"], ended.data["code"]) == (result, code)


@pytest.mark.parametrize(
    ("said", "result", "reason"),
    [
        ("Out of room.", "failed", "error: Out of room."),
        ("last status: 429 Too Many Requests", "limited", "limited: last status: 429 Too Many Requests"),
        ("", "failed", "error: the agent gave up"),
    ],
)
def test_a_turn_that_codex_gave_up_has_failed_though_its_adapter_answers_well(
    said: str, result: str, reason: str
) -> None:
    def thread(status: str) -> dict[str, Any]:
        return update("session_info_update", _meta={"codex": {"threadStatus": {"type": status}}})

    state: dict[str, Any] = {"session": "s"}
    words = [chunk(said)] if said else []
    found = parsed(thread("active"), chunk("Hm."), thread("systemError"), *words, over(), state=state)
    assert (found[-1].data["result"], found[-1].data["reason"]) == (result, reason)
    assert parsed(chunk("Done."), over(), state=state)[-1].data["result"] == "ok", "the next turn is another"
    again = parsed(thread("systemError"), chunk("Broken."), thread("active"), chunk("Done."), over(), state=state)
    assert again[-1].data["result"] == "ok", "it went on by itself"


def test_usage_is_taken_where_agents_tell_it() -> None:
    usage, _ = parsed(over(usage={"inputTokens": 5, "outputTokens": 2, "cachedReadTokens": 7, "thoughtTokens": 1}))
    assert usage.data["usage"] == Usage(5, 2, 7, 0, 1)
    gemini, _ = parsed(over(_meta={"quota": {"token_count": {"input_tokens": 9, "output_tokens": 3}}}))
    assert gemini.data["usage"] == Usage(9, 3)
    state: dict[str, Any] = {"session": "s"}
    keys = [s.data["key"] for s in parsed(*[over(usage={"inputTokens": 1})] * 3, state=state) if s.type == "usage"]
    assert len(set(keys)) == 3
    assert parsed(over())[0].type == "turn_ended", "many tell nothing"


def ask(*kinds: str, **state: Any) -> Signal:
    options = [{"optionId": f"o-{kind}", "name": kind.title(), "kind": kind} for kind in kinds]
    params = {"sessionId": "s", "toolCall": {"title": "touch x", "kind": "execute"}, "options": options}
    request = {"id": 7, "method": "session/request_permission", "params": params}
    (signal,) = parsed(request, state={"session": "s", **state})
    return signal


def chosen(signal: Signal, **answer: str) -> Any:
    told = json.loads(AGENT.answer(json.loads(json.dumps(signal.data)), answer) or "")
    assert told["id"] == 7
    return told["result"]["outcome"].get("optionId")


def test_permissions_take_the_options_that_are_offered() -> None:
    asked = ask("allow_always", "allow_once", "reject_once")
    assert [key for key, _ in asked.data["options"]] == ["allow", "always", "deny"]
    assert chosen(asked, key="allow") == "o-allow_once"
    assert chosen(asked, key="always") == "o-allow_always"
    assert chosen(asked, key="deny") == "o-reject_once"
    assert chosen(asked, text="rather not") == "o-reject_once"
    only = ask("allow_once")
    assert [key for key, _ in only.data["options"]] == ["allow", "deny"]
    assert chosen(only, key="deny") is None, "cancelled: there is nothing else to say"


def test_skip_allows_at_once_and_nothing_else_is_done_for_an_agent() -> None:
    reply = ask("allow_once", "reject_once", skip=True)
    assert reply.type == "reply"
    assert json.loads(reply.data["data"])["result"]["outcome"]["optionId"] == "o-allow_once"
    assert ask("reject_once", skip=True).type == "asked", "it offers nothing that could be allowed"
    (other,) = parsed({"id": 1, "method": "fs/read_text_file", "params": {"path": "/etc/passwd"}})
    assert json.loads(other.data["data"])["error"]["code"] == -32601


def test_usage_is_told_for_each_model_and_cost_as_what_a_session_cost_more(tmp_path: Path) -> None:
    state: dict[str, Any] = {"session": "s", "model": "m"}
    count = {"inputTokens": 9, "cachedInputTokens": 4, "cachedWriteTokens": 3, "outputTokens": 2}
    told = [{"model": "a", "token_count": count}, {"model": "b", "token_count": {"inputTokens": 1}}]
    end = over(usage={"inputTokens": 5}, _meta={"quota": {"model_usage": told}})
    costs = [update("usage_update", cost={"amount": dollars, "currency": "USD"}) for dollars in (0.25, 0.75)]
    first = parsed(costs[0], end, state=state)
    second = parsed(costs[1], end, over(), state=state)
    found = [(s.data["model"], s.data["usage"]) for s in [*first, *second] if s.type == "usage"]
    assert found == [
        ("a", Usage(9, 2, 4, 3, cost="0.25", cost_source="agent")),
        ("b", Usage(1)),
        ("a", Usage(9, 2, 4, 3, cost="0.5", cost_source="agent")),
        ("b", Usage(1)),
    ]
    euros = update("usage_update", cost={"amount": 9, "currency": "EUR"})
    assert "cost" not in str(
        parsed(euros, over(usage={"inputTokens": 5}), state={"session": "s"})[0].data["usage"].cost
    )


FORM: dict[str, Any] = {
    "question_0": {"type": "string", "oneOf": [{"const": "Blue"}, {"const": "Red"}], "description": "Which colour?"},
    "question_0_custom": {"type": "string", "title": "Other"},
    "question_1": {"type": "array", "items": {"anyOf": [{"const": "S"}, {"const": "M"}]}, "title": "Sizes"},
    "sure": {"type": "boolean", "title": "Sure?"},
    "many": {"type": "integer", "title": "How many?"},
    "why": {"type": "string", "title": "Why?"},
}


def form(message: str, mode: str = "form", **fields: Any) -> Signal:
    params = {"sessionId": "s", "mode": mode, "message": message, "requestedSchema": {"properties": fields}}
    (signal,) = parsed({"id": "f-1", "method": "elicitation/create", "params": params})
    return signal


def content(signal: Signal, **answer: Any) -> Any:
    told = json.loads(AGENT.answer(json.loads(json.dumps(signal.data)), answer) or "")
    assert (told["id"], told["result"]["action"]) == ("f-1", "accept")
    return told["result"]["content"]


def test_a_form_of_one_question_is_a_question() -> None:
    asked = form("Which?", **{name: FORM[name] for name in ("question_0", "question_0_custom")})
    assert (asked.data["kind"], asked.data["text"]) == ("question", "Which?\nWhich colour?")
    assert asked.data["options"] == [["1", "Blue"], ["2", "Red"]]
    assert content(asked, key="2") == {"question_0": "Red"}
    assert content(asked, text="Red") == {"question_0": "Red"}
    assert content(asked, text="green, dark") == {"question_0_custom": "green, dark"}


def test_a_question_stands_in_the_message_the_title_or_the_description_and_a_heading_beside_it() -> None:
    """As the adapters of Claude Code, which has the message for one question, and of Codex put it."""
    text = {"type": "string"}
    assert form("Which colour?", a={**text, "title": "Colour"}).data["text"] == "Which colour?"
    codex = form("Codex needs your input.", a={**text, "title": "Which colour?", "description": "Colour"})
    assert codex.data["text"] == "Codex needs your input.\nWhich colour?"
    several = form("x", a={**text, "title": "Hue", "description": "Which?"}, b={**text, "title": "A size?"})
    assert several.data["text"].startswith("x\n1. Which?\n2. A size?")


def test_the_note_of_a_choice_takes_the_persons_own_words() -> None:
    note = {"type": "string", "title": "More", "_meta": {"codex": {"questionId": "q", "role": "user_note"}}}
    asked = form("Which?", q={**FORM["question_0"], "description": "Which?"}, q_note=note)
    assert asked.data["options"] == [["1", "Blue"], ["2", "Red"]]
    assert content(asked, text="green") == {"q_note": "green"}
    assert content(asked, key="1") == {"q": "Blue"}
    assert len(form("Say", q_note=note).data["questions"]) == 1, "a note of nothing is a question"


def test_a_form_of_several_takes_a_line_for_each() -> None:
    asked = form("Please answer.", **FORM)
    assert asked.data["options"] == []
    assert asked.data["text"].startswith("Please answer.\n1. Which colour?\n   1) Blue")
    said = content(asked, text="1\n1, 2\nyes\n7\nbecause")
    assert said == {"question_0": "Blue", "question_1": ["S", "M"], "sure": True, "many": 7, "why": "because"}
    assert "many" not in content(asked, text="1\n1\nno\nmany\nx")


def test_fields_of_the_same_words_get_their_own_answers() -> None:
    plain = {"type": "string"}
    asked = form("Who?", a=plain, b=plain)
    assert asked.data["text"].startswith("Who?\n1. a\n2. b")
    asked = form("Who?", a={**plain, "title": "Name"}, b={**plain, "title": "Name"})
    assert content(asked, text="x\ny") == {"a": "x", "b": "y"}


def test_answers_are_values_of_their_fields() -> None:
    some = form("Which?", a={"type": "array", "items": {"enum": ["red, dark", "red", "blue"]}})
    assert content(some, text="1,3") == {"a": ["red, dark", "blue"]}
    assert content(some, text="red, green") == {"a": ["red", "green"]}
    for said in ("nan", "1e999", "-inf"):
        assert content(form("How much?", a={"type": "number"}), text=said) == {}


def test_a_form_without_measure_is_declined_or_shortened() -> None:
    fields: dict[str, Any] = {f"f{n}": {"type": "string"} for n in range(41)}
    many = form("Say", **fields)
    assert json.loads(many.data["data"])["result"] == {"action": "decline"}
    long = form("x" * 1_000_000, a={"type": "string", "enum": [f"o{n}" for n in range(50_000)]})
    assert len(json.dumps(long.data)) < 20_000
    assert content(long, text="o40000") == {"a": "o40000"}, "what is not shown can be typed"


def test_what_is_no_form_is_declined_at_once() -> None:
    for signal in (form("Open this", "url", a={"type": "string"}), form("Nothing")):
        assert signal.type == "reply"
        assert json.loads(signal.data["data"])["result"] == {"action": "decline"}


def test_the_handshake(tmp_path: Path) -> None:
    spec = replace(
        SPEC, mcp={"docs": {"command": "docs", "args": ["-x"], "env": {"A": "b"}}, "web": {"url": "http://h"}}
    )

    def begin(**changes: Any) -> list[dict[str, Any]]:
        launch = AGENT.launch(spec, context(tmp_path, **changes))
        assert len(launch.first) == 1, "some agents take nothing before they have answered the first request"
        state = dict(launch.state)
        (reply,) = parsed({"id": "initialize", "result": {"protocolVersion": 1}}, state=state)
        assert parsed({"id": "initialize", "result": {"protocolVersion": 1}}, state=state) == [], "and it is sent once"
        return [json.loads(launch.first[0][1]), json.loads(reply.data["data"])]

    new, load = begin(), begin(conversation="c", resume=True)
    assert [m["method"] for m in new] == ["initialize", "session/new"]
    assert [m["method"] for m in load] == ["initialize", "session/load"]
    assert load[1]["params"]["sessionId"] == "c"
    assert new[0]["params"]["clientCapabilities"] == {
        "fs": {"readTextFile": False, "writeTextFile": False},
        "terminal": False,
        "elicitation": {"form": {}},
    }
    assert new[1]["params"]["mcpServers"] == [
        {"name": "docs", "command": "docs", "args": ["-x"], "env": [{"name": "A", "value": "b"}]},
        {"type": "http", "name": "web", "url": "http://h", "headers": []},
    ]


def test_a_session_begins_is_loaded_or_is_not_known() -> None:
    state: dict[str, Any] = {"handshake": True, "resumes": None}
    started, _ = parsed({"id": "session", "result": {"sessionId": "n"}}, state=state)
    assert (started.data["conversation"], state["session"], "handshake" in state) == ("n", "n", False)
    state = {"handshake": True, "resumes": "old"}
    assert parsed({"id": "session", "result": None}, state=state)[0].data["conversation"] == "old"
    said = {"code": -32603, "message": "Internal error", "data": {"details": "No previous sessions found"}}
    for error in ({"code": -32601}, {"code": -32002}, said):
        (gone,) = parsed({"id": "session", "error": error}, state={"handshake": True, "resumes": "old"})
        assert gone.data["code"] == "no_conversation"
    for state in ({"handshake": True}, {"handshake": True, "resumes": "old"}):
        (unfit,) = parsed({"id": "session", "error": {"code": -32000, "message": "log in first"}}, state=state)
        assert (unfit.type, "log in first" in unfit.data["reason"]) == ("unfit", True)


def test_what_it_cannot_keep_is_said_before_the_start() -> None:
    env = {"PATH": "/usr/bin:/bin"}
    assert AGENT.probe(AgentSpec("own", "acp", command=("sh",)), env) is None
    assert "no command" in str(AGENT.probe(AgentSpec("own", "acp"), env))
    assert "ask" in str(AGENT.probe(AgentSpec("own", "acp", command=("sh",), permissions="allow Edit"), env))
    assert "permissions" in str(AGENT.probe(AgentSpec("own", "acp", command=("sh",), permissions="now"), env))


def shapes() -> st.SearchStrategy[Any]:
    words = st.sampled_from(
        ["session/update", "session/request_permission", "elicitation/create", "usage_update", "prompt", "USD", "array"]
    )
    plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | words
    keys = st.sampled_from(WORDS.split())
    return st.recursive(plain, lambda some: st.lists(some, max_size=3) | st.dictionaries(keys, some, max_size=5))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from(WORDS.split()[:5]), shapes()), max_size=6))
def test_no_shape_of_json_makes_it_fail(messages: list[dict[str, Any]]) -> None:
    state: dict[str, Any] = {"session": "s"}
    for message in messages:
        for signal in AGENT.parse(json.dumps(message).encode(), state):
            if signal.type == "asked":
                AGENT.answer(json.loads(json.dumps(signal.data)), {"key": "allow"})
    json.dumps(state)
