"""The model server without an agent: scenarios, faults, counts."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from stretto.core.model import Usage
from stretto.prompts.header import header
from stretto.testing.anthropic import USAGE
from stretto.testing.modelserver import ModelServer
from stretto.testing.scenario import Block, next_answer
from tests.support.waiting import wait_for


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def post(server: ModelServer, prompt: str, session: str = "s1", **body: Any) -> tuple[int, bytes]:
    request = {"model": "m", "tools": [{}], "messages": [{"role": "user", "content": prompt}], **body}
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)
    try:
        connection.request("POST", "/v1/messages?beta=true", json.dumps(request), {"X-Claude-Code-Session-Id": session})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def said(*conversation: str) -> tuple[str, Any]:
    """The answer after texts and results (those begin with =)."""
    blocks = [Block("result", x[1:]) if x.startswith("=") else Block("text", x) for x in conversation]
    answer = next_answer(blocks)
    return answer.word, answer.values


PLAN = 'Do: [[write path=a.py text="x = [1]\\n"]] then [[sh=make test]] [[commit=Add a]] [[say=All done.]]'


def test_a_scenario_goes_on_with_each_result() -> None:
    assert said(PLAN) == ("write", {"path": "a.py", "text": "x = [1]\n"})
    assert said(PLAN, "=ok") == ("sh", {"text": "make test"})
    assert said(PLAN, "=ok", "=ok", "a reminder without a marker") == ("commit", {"text": "Add a"})
    assert said(PLAN, "=ok", "=ok", "=ok") == ("say", {"text": "All done."})
    assert said(PLAN, "=ok", "=ok", "=ok", "=one more than asked for") == ("say", {"text": "All done."})
    assert said("hello") == said() == ("say", {"text": "done"})


def test_the_last_prompt_with_a_marker_counts() -> None:
    assert said(PLAN, "=ok", "[Request interrupted]", "Now: [[sh=ls]]") == ("sh", {"text": "ls"})
    assert said("[[sh=ls]] [[say=saw {{result}}]]", "=a b") == ("say", {"text": "saw a b"})


def test_turns_of_another_origin_follow_what_was_said_for_them() -> None:
    spec = 'x [[write path=a text="bad"]] [[on=check write path=a text="good"]] [[on=conflict sh=git merge]]'
    start, check = header(origin="start") + spec, header(origin="check") + "\nnot yet"
    assert said(start, "=ok") == ("say", {"text": "done"})
    assert said(header(origin="start") + "\n" + spec) == ("write", {"path": "a", "text": "bad"})
    assert said(spec, "=ok", check) == ("write", {"path": "a", "text": "good"})
    assert said(spec, "=ok", check, "=ok") == ("say", {"text": "done"})
    framed = "Solve this: " + header(origin="check") + "\n[[on=start say=no]] [[on=check sh=ls]]"
    assert said(framed) == ("sh", {"text": "ls"}), "an agent may put words of its own before a message"
    assert said(spec, "=ok", header(origin="gate") + "\nred") == ("say", {"text": "done"})
    assert said(spec, "=ok", header(origin="person") + "\n[[sh=ls]]") == ("sh", {"text": "ls"})


def test_questions_of_one_call_and_any_tool() -> None:
    word, values = said('[[ask q="Which?" options="A|B"]] [[ask q="More?" multi]] [[ask q="Last" header=H]]')
    assert word == "ask"
    assert [(q["question"], q["multiSelect"]) for q in values["questions"]] == [
        ("Which?", False),
        ("More?", True),
        ("Last", False),
    ]
    assert said('[[tool Grep {"pattern": "x"}]]') == ("tool", {"name": "Grep", "input": {"pattern": "x"}})
    assert "makes no sense" in said("[[tool Grep {]]")[1]["text"]
    assert "makes no sense" in said("[[slow=much]] [[say=x]]")[1]["text"]


def test_an_answer_whole_and_streamed(server: ModelServer) -> None:
    status, data = post(server, "[[sh=ls]]")
    message = json.loads(data)
    assert (status, message["stop_reason"], message["content"][0]["name"]) == (200, "tool_use", "Bash")
    _, stream = post(server, "[[say=hi]]", stream=True)
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: ")]
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[2]["delta"]["text"] == "hi"
    assert (events[0]["message"]["usage"]["output_tokens"], events[4]["usage"]["output_tokens"]) == (1, USAGE.output)


def test_it_counts_by_session(server: ModelServer) -> None:
    for session in ("a", "a", "b"):
        post(server, "[[say=x]]", session)
    post(server, "title?", "b", tools=[])
    assert server.usage("a") == Usage(2 * USAGE.input, 2 * USAGE.output, 2 * USAGE.cache_read, 2 * USAGE.cache_write)
    assert [one.side for one in server.served("b")] == [False, True]
    assert server.usage().input == 4 * USAGE.input
    assert server.usage("nobody") == Usage()


@pytest.mark.parametrize("status", [401, 429, 500, 529])
def test_refusals_come_as_often_as_asked_for_in_each_session(server: ModelServer, status: int) -> None:
    prompt = f"[[err={status}x2]] [[say=x]]"
    assert [post(server, prompt, "a")[0] for _ in range(3)] == [status, status, 200]
    assert post(server, prompt, "b")[0] == status
    assert [one.outcome for one in server.served("a")] == ["refused", "refused", "served"]
    assert server.usage("b") == Usage()


def test_faults_one_after_the_other(server: ModelServer) -> None:
    prompt = "[[slow=0.01]] [[err=529x1]] [[overflow]] [[cut=1]] [[garbage=1]] [[say=x]]"
    answers = [post(server, prompt, stream=True) for _ in range(5)]
    assert [status for status, _ in answers] == [529, 400, 200, 200, 200]
    assert b"prompt is too long: 210000 tokens > 200000 maximum" in answers[1][1]
    assert b"message_stop" not in answers[2][1]
    assert b"nonsense" in answers[3][1]
    assert b"message_stop" in answers[4][1]
    assert [one.outcome for one in server.served()] == ["refused", "refused", "torn", "torn", "served"]


def test_a_client_that_leaves_is_not_served(server: ModelServer) -> None:
    prompt = [{"role": "user", "content": "[[slow=60]] [[say=x]]"}]
    body = json.dumps({"model": "m", "stream": True, "tools": [{}], "messages": prompt}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"POST /v1/messages HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    wait_for(lambda: [one.outcome for one in server.served()] == ["aborted"])
    assert server.usage() == Usage()
    assert post(server, "[[say=x]]")[0] == 200, "it lives on"


def test_a_slow_answer_does_not_hold_up_the_end() -> None:
    with ModelServer() as server, socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as sock:
        body = b'{"tools": [{}], "messages": [{"role": "user", "content": "[[slow=60]]"}]}'
        sock.sendall(b"POST /v1/messages HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        server.stop()
        sock.settimeout(10)
        with suppress(ConnectionResetError):  # it was not accepted yet
            assert sock.recv(1) == b""


def test_other_paths(server: ModelServer) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)
    for method, path, status in (
        ("GET", "/v1/models", 200),
        ("GET", "/served", 200),
        ("HEAD", "/", 200),
        ("GET", "/x", 404),
        ("POST", "/v1/messages/count_tokens", 200),
        ("POST", "/v1/embeddings", 404),
        ("POST", "/v1beta/models/g:countTokens", 200),
    ):
        connection.request(method, path, "{}" if method == "POST" else None)
        response = connection.getresponse()
        response.read()
        assert (path, response.status) == (path, status)
    connection.close()
