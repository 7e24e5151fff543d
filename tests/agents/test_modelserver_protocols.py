"""The model server in the words of each protocol: the same scenario, the same faults, the same counting."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import pytest

from stretto.core.model import Usage
from stretto.testing import anthropic, gemini, openai_chat, openai_responses
from stretto.testing.dialect import Dialect, Offer, example
from stretto.testing.modelserver import ModelServer
from stretto.testing.scenario import Answer
from stretto.testing.tools import call_for

Json = dict[str, Any]
WRITE_AND_RUN = 'Do it: [[write path=a.py text="x = 1\\n"]] [[sh=make test]] [[say=All done.]]'


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def schema(**names: str) -> Json:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": said} for name, said in names.items()},
    }


@dataclass(frozen=True)
class Client:
    """An agent of one protocol, as far as a test needs one. `said`: a text of the model, `called`: its call."""

    dialect: Dialect
    path: Callable[[bool], str]
    body: Callable[[list[tuple[str, str]], bool], Json]
    headers: Callable[[str], dict[str, str]]
    said: Callable[[Json], str]
    called: Callable[[Json], tuple[str, Json]]
    used: Callable[[Json], Usage]
    joined: Callable[[list[Json]], Json]


# ---------------------------------------------------------------- anthropic


def anthropic_body(turns: list[tuple[str, str]], stream: bool) -> Json:
    kinds = {"text": "text", "result": "tool_result"}
    content = [{"type": kinds[kind], "text" if kind == "text" else "content": text} for kind, text in turns]
    tools = [
        {"name": "Write", "input_schema": schema(file_path="absolute", content="")},
        {"name": "Bash", "input_schema": schema(command="")},
    ]
    return {"model": "m", "stream": stream, "tools": tools, "messages": [{"role": "user", "content": content}]}


def anthropic_joined(events: list[Json]) -> Json:
    message: Json = next(e for e in events if e["type"] == "message_start")["message"]
    block: Json = next(e for e in events if e["type"] == "content_block_start")["content_block"]
    deltas = [e["delta"] for e in events if e["type"] == "content_block_delta"]
    if block["type"] == "tool_use":
        block["input"] = json.loads("".join(d["partial_json"] for d in deltas))
    else:
        block["text"] = "".join(d["text"] for d in deltas)
    message["usage"].update(next(e for e in events if e["type"] == "message_delta")["usage"])
    return message | {"content": [block]}


def anthropic_used(message: Json) -> Usage:
    u = message["usage"]
    return Usage(u["input_tokens"], u["output_tokens"], u["cache_read_input_tokens"], u["cache_creation_input_tokens"])


# ---------------------------------------------------------------- responses


def responses_body(turns: list[tuple[str, str]], stream: bool) -> Json:
    said = {"text": {"type": "message", "role": "user"}, "result": {"type": "function_call_output", "call_id": "c"}}
    items = [
        {**said[kind], "content": [{"type": "input_text", "text": text}]}
        if kind == "text"
        else {**said[kind], "output": text}
        for kind, text in turns
    ]
    tools = [{"type": "function", "name": "exec_command", "parameters": schema(cmd="", workdir="")}]
    head = {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "[[say=no]]"}]}
    return {"model": "m", "stream": stream, "tools": tools, "input": [head, *items]}


def responses_joined(events: list[Json]) -> Json:
    (done,) = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    deltas = "".join(e["delta"] for e in events if e["type"].endswith(".delta"))
    assert deltas == (done["arguments"] if done["type"] == "function_call" else done["content"][0]["text"])
    whole: Json = next(e for e in events if e["type"] == "response.completed")["response"]
    assert whole["output"] == [done]
    return whole


def responses_used(response: Json) -> Usage:
    u, inside = response["usage"], response["usage"]["input_tokens_details"]
    read, write = inside["cached_tokens"], inside["cache_write_tokens"]
    reasoning = u["output_tokens_details"]["reasoning_tokens"]
    return Usage(u["input_tokens"] - read - write, u["output_tokens"], read, write, reasoning)


# ---------------------------------------------------------------- chat


def chat_body(turns: list[tuple[str, str]], stream: bool) -> Json:
    said = {"text": {"role": "user"}, "result": {"role": "tool", "tool_call_id": "c"}}
    messages: list[Json] = [{"role": "system", "content": "[[say=no]]"}]
    for kind, text in turns:
        messages.append({**said[kind], "content": text if kind == "result" else [{"type": "text", "text": text}]})
    tools = [
        {"type": "function", "function": {"name": "write", "parameters": schema(path="", content="")}},
        {"type": "function", "function": {"name": "bash", "parameters": schema(command="", description="")}},
    ]
    return {"model": "m", "stream": stream, "tools": tools, "messages": messages}


def chat_joined(chunks: list[Json]) -> Json:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    message: Json = {"role": "assistant", "content": "".join(d.get("content") or "" for d in deltas)}
    if calls:
        arguments = "".join(c["function"]["arguments"] for c in calls)
        message["tool_calls"] = [
            calls[0] | {"function": {"name": calls[0]["function"]["name"], "arguments": arguments}}
        ]
    assert chunks[-1]["choices"] == []
    return {"choices": [{"message": message}], "usage": chunks[-1]["usage"]}


def chat_used(completion: Json) -> Usage:
    u = completion["usage"]
    read = u["prompt_tokens_details"]["cached_tokens"]
    reasoning = u["completion_tokens_details"]["reasoning_tokens"]
    return Usage(u["prompt_tokens"] - read, u["completion_tokens"], read, 0, reasoning)


def chat_called(completion: Json) -> tuple[str, Json]:
    function = completion["choices"][0]["message"]["tool_calls"][0]["function"]
    return function["name"], json.loads(function["arguments"])


# ---------------------------------------------------------------- gemini


def gemini_body(turns: list[tuple[str, str]], stream: bool) -> Json:
    parts = [
        {"text": text} if kind == "text" else {"functionResponse": {"name": "x", "response": {"output": text}}}
        for kind, text in turns
    ]
    contents = [{"role": "user", "parts": [part]} for part in parts]
    contents.insert(1, {"role": "model", "parts": [{"text": "[[say=no]]"}]})
    functions = [
        {"name": "write_file", "parametersJsonSchema": schema(file_path="An absolute path", content="")},
        {"name": "run_shell_command", "parametersJsonSchema": schema(command="", description="")},
    ]
    return {"contents": contents, "tools": [{"functionDeclarations": functions}]}


def gemini_joined(chunks: list[Json]) -> Json:
    parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    said = [part for part in parts if not part.get("thought") and part != {"text": ""}]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    return {"candidates": [{"content": {"parts": said}}], "usageMetadata": chunks[-1]["usageMetadata"]}


def gemini_used(response: Json) -> Usage:
    u = response["usageMetadata"]
    read, thoughts = u["cachedContentTokenCount"], u["thoughtsTokenCount"]
    return Usage(u["promptTokenCount"] - read, u["candidatesTokenCount"] + thoughts, read, 0, thoughts)


def gemini_part(response: Json) -> Json:
    part: Json = response["candidates"][0]["content"]["parts"][0]
    return part


CLIENTS = {
    "anthropic": Client(
        anthropic,
        lambda stream: "/v1/messages?beta=true",
        anthropic_body,
        lambda session: {"X-Claude-Code-Session-Id": session},
        lambda message: message["content"][0]["text"],
        lambda message: (message["content"][0]["name"], message["content"][0]["input"]),
        anthropic_used,
        anthropic_joined,
    ),
    "responses": Client(
        openai_responses,
        lambda stream: "/v1/responses",
        responses_body,
        lambda session: {"Thread-Id": session},
        lambda response: response["output"][0]["content"][0]["text"],
        lambda response: (response["output"][0]["name"], json.loads(response["output"][0]["arguments"])),
        responses_used,
        responses_joined,
    ),
    "chat": Client(
        openai_chat,
        lambda stream: "/v1/chat/completions",
        chat_body,
        lambda session: {"session_id": session},
        lambda completion: completion["choices"][0]["message"]["content"],
        chat_called,
        chat_used,
        chat_joined,
    ),
    "gemini": Client(
        gemini,
        lambda stream: "/v1beta/models/m:" + ("streamGenerateContent?alt=sse" if stream else "generateContent"),
        gemini_body,
        lambda session: {},
        lambda response: gemini_part(response)["text"],
        lambda response: (gemini_part(response)["functionCall"]["name"], gemini_part(response)["functionCall"]["args"]),
        gemini_used,
        gemini_joined,
    ),
}
#: what each agent's tools make of "write a.py" and "make test"
CALLS: dict[str, list[tuple[str, Json]]] = {
    "anthropic": [
        ("Write", {"file_path": "a.py", "content": "x = 1\n"}),
        ("Bash", {"command": "make test", "description": "run a command"}),
    ],
    "responses": [
        ("exec_command", {"cmd": "mkdir -p \"$(dirname a.py)\" && printf %s 'x = 1\n' > a.py"}),
        ("exec_command", {"cmd": "make test"}),
    ],
    "chat": [
        ("write", {"path": "a.py", "content": "x = 1\n"}),
        ("bash", {"command": "make test", "description": "run a command"}),
    ],
    "gemini": [
        (
            "run_shell_command",
            {
                "command": "mkdir -p \"$(dirname a.py)\" && printf %s 'x = 1\n' > a.py",
                "description": "run a command",
            },
        ),
        ("run_shell_command", {"command": "make test", "description": "run a command"}),
    ],
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]


def post(server: ModelServer, path: str, body: Any, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)
    try:
        connection.request("POST", path, body if isinstance(body, str) else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def ask(server: ModelServer, client: Client, session: str, *turns: str, stream: bool = False) -> Json:
    """The model's answer after texts and results (those begin with =), streamed or not."""
    said = [("result", turn[1:]) if turn.startswith("=") else ("text", turn) for turn in turns]
    status, data = post(server, client.path(stream), client.body(said, stream), client.headers(session))
    assert status == 200, data
    if not stream:
        found: Json = json.loads(data)
        return found
    lines = [line.removeprefix(b"data: ") for line in data.splitlines() if line.startswith(b"data: ")]
    return client.joined([json.loads(line) for line in lines if line != b"[DONE]"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_scenario_in_the_words_of_the_protocol(server: ModelServer, client: Client, stream: bool) -> None:
    name = client.dialect.NAME
    session = f"{name}-{stream}"
    prompt = f"[[as={session}]] {WRITE_AND_RUN}"
    answers = [
        ask(server, client, session, prompt, stream=stream),
        ask(server, client, session, prompt, "=ok", stream=stream),
        ask(server, client, session, prompt, "=ok", "=ok", stream=stream),
    ]
    assert [client.called(answer) for answer in answers[:2]] == CALLS[name]
    assert client.said(answers[2]) == "All done."
    assert [client.used(answer) for answer in answers] == [client.dialect.USAGE] * 3
    served = server.served(session)
    assert [(one.protocol, one.model, one.side, one.outcome) for one in served] == [(name, "m", False, "served")] * 3
    tripled = {f.name: 3 * getattr(client.dialect.USAGE, f.name) for f in fields(Usage) if "cost" not in f.name}
    assert server.usage(session) == Usage(**tripled)


@pytest.mark.parametrize("status", [401, 429, 500, 529])
def test_refusals(server: ModelServer, client: Client, status: int) -> None:
    session = f"{client.dialect.NAME}-refused-{status}"
    body = client.body([("text", f"[[as={session}]] [[err={status}x2]] [[say=x]]")], True)
    found = [post(server, client.path(True), body, client.headers(session)) for _ in range(3)]
    assert [code for code, _ in found] == [status, status, 200]
    assert f"pretended {status}" in json.loads(found[0][1])["error"]["message"]
    assert [one.outcome for one in server.served(session)] == ["refused", "refused", "served"]
    assert server.usage(session) == client.dialect.USAGE


def test_overflow_cut_and_garbage(server: ModelServer, client: Client) -> None:
    session = f"{client.dialect.NAME}-faults"
    body = client.body([("text", f"[[as={session}]] [[overflow]] [[cut=1]] [[garbage=1]] [[say=whole]]")], True)
    found = [post(server, client.path(True), body, client.headers(session)) for _ in range(4)]
    assert [code for code, _ in found] == [400, 200, 200, 200]
    assert json.loads(found[0][1])["error"]
    assert found[1][1]
    assert not found[1][1].endswith(b"\n\n")
    assert b"nonsense" in found[2][1]
    assert b"whole" in found[3][1]
    assert [one.outcome for one in server.served(session)] == ["refused", "torn", "torn", "served"]


def test_a_question_uses_the_tool_for_it(server: ModelServer) -> None:
    client = CLIENTS["responses"]
    name, asked = client.called(ask(server, client, "q", '[[ask q="Which?" options="Blue|Red"]]'))
    assert name == "request_user_input"
    assert asked["questions"][0]["id"] == "q1"
    assert [option["label"] for option in asked["questions"][0]["options"]] == ["Blue", "Red"]


def test_side_requests_keep_the_schema_they_ask_for(server: ModelServer) -> None:
    wanted = {
        "type": "object",
        "properties": {
            "next": {"enum": ["user", "model"]},
            "score": {"type": "integer"},
            "why": {"type": ["null", "string"]},
            "ok": {"type": "boolean"},
            "list": {"type": "array"},
        },
    }
    kept = {"next": "user", "score": 1, "why": "aside", "ok": False, "list": []}
    assert example(wanted) == kept
    bodies: dict[str, Json] = {
        "responses": {"text": {"format": {"type": "json_schema", "schema": wanted}}},
        "chat": {"response_format": {"type": "json_schema", "json_schema": {"schema": wanted}}},
        "gemini": {"generationConfig": {"responseJsonSchema": wanted}},
        "anthropic": {"output_format": {"type": "json_schema", "schema": wanted}},
    }
    for name, more in bodies.items():
        client = CLIENTS[name]
        body = client.body([("text", f"[[as=side-{name}]] [[say=not this]]")], False) | more
        body.pop("tools")
        _, data = post(server, client.path(False), body, client.headers(f"side-{name}"))
        assert json.loads(client.said(json.loads(data))) == kept
        assert [one.side for one in server.served(f"side-{name}")] == [True]


def test_an_agent_without_tools_says_so(server: ModelServer) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "[[bare]] [[as=b]] [[say=an edit]]"}]}
    _, data = post(server, "/v1/chat/completions", body, {})
    assert json.loads(data)["choices"][0]["message"]["content"] == "an edit"
    assert [(one.session, one.side) for one in server.served("b")] == [("b", False)]


def test_groups_of_tools_and_free_tools_are_called_as_they_were_offered(server: ModelServer) -> None:
    client = CLIENTS["responses"]
    probe = {"type": "namespace", "name": "mcp__p", "tools": [{"type": "function", "name": "look", "parameters": {}}]}
    patch = {"type": "custom", "name": "apply_patch"}

    def item(marker: str) -> Json:
        body = client.body([("text", marker)], False)
        body["tools"] += [probe, patch]
        found: Json = json.loads(post(server, client.path(False), body, {})[1])["output"][0]
        return found

    look, apply = item('[[tool look {"at": 1}]]'), item('[[tool apply_patch {"input": "*** Begin"}]]')
    assert (look["type"], look["namespace"], look["arguments"]) == ("function_call", "mcp__p", '{"at": 1}')
    assert (apply["type"], apply["input"]) == ("custom_tool_call", "*** Begin")


def test_a_request_that_is_no_object_is_refused(server: ModelServer, client: Client) -> None:
    for body in ("[1]", "{", '"x"'):
        assert post(server, client.path(False), body, {})[0] == 400


@pytest.mark.parametrize(
    ("tool", "key"), [("question", "multiple"), ("ask_user", "type"), ("ask_user_question", "multiSelect")]
)
def test_each_agent_asks_in_its_own_words(tool: str, key: str) -> None:
    question = {"question": "Q?", "header": "H", "options": [], "multiSelect": True}
    call = call_for(Answer("ask", {"questions": [question]}), [Offer(tool)])
    assert call is not None
    assert call.name == tool
    assert key in call.arguments["questions"][0]


def test_without_a_tool_for_it_a_question_is_text(server: ModelServer) -> None:
    client = CLIENTS["chat"]
    assert client.said(ask(server, client, "t", '[[ask q="Which?" options="A|B"]]')) == "Which?"
