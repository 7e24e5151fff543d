"""The session's socket: what gets through, what does not, and what survives a daemon's restart."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from stretto.agentapi.client import AgentClient, Answer, TaskCancelled
from stretto.agentapi.protocol import MAX_LINE, MAX_SOCKET_PATH, question_key, socket_path
from stretto.agentapi.server import peer_uid
from stretto.core.errors import Bug, StrettoError, TimedOut, Unavailable, UsageError
from tests.support.agent_api import TOKEN, Api, served
from tests.support.unprivileged import Unprivileged
from tests.support.waiting import wait_for


def client(api: Api, token: str = TOKEN) -> AgentClient:
    return AgentClient(api.path, token, "1")


def raw(path: Path, data: bytes) -> bytes:
    """What the server says to these bytes before it closes or after its first line."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        try:
            sock.sendall(data)
            return sock.makefile("rb").readline()
        except (BrokenPipeError, ConnectionResetError):
            return b""


def request(**changes: Any) -> bytes:
    return json.dumps({"id": "1", "token": TOKEN, "verb": "status", "args": {}, **changes}).encode() + b"\n"


def test_every_verb_reaches_the_handler(short_folder: Path) -> None:
    def answers(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        return {"ask": {"answer": "blau", "key": "1"}, "status": {"task": "t"}}.get(verb, {})

    with served(short_folder, answers) as api:
        me = client(api)
        assert me.ask("Which colour?", ["blau", "rot"]) == Answer("blau", "1")
        me.note("done", result=True)
        me.usage(input=3, output=4, cost="0.01", model="m")
        assert me.status() == {"task": "t"}
    seen = [(verb, {k: v for k, v in args.items() if k != "request"}) for verb, args in api.calls]
    assert seen == [
        ("ask", {"text": "Which colour?", "options": ["blau", "rot"], "turn": "1", "timeout": None}),
        ("note", {"text": "done", "result": True}),
        ("usage", {"input": 3, "output": 4, "cost": "0.01", "model": "m"}),
        ("status", {}),
    ]
    assert len({args["request"] for _, args in api.calls}) == 4


def test_the_socket_is_private_and_goes_with_the_server(short_folder: Path) -> None:
    with served(short_folder / "new") as api:
        assert stat.S_IMODE(api.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(api.path.parent.stat().st_mode) == 0o700
    assert not api.path.exists()


def test_a_stale_socket_is_replaced_and_a_file_is_not(short_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(short_folder / "agent.sock"))
    with served(short_folder, lambda *_: {}) as api:
        assert client(api).status() == {}
    (short_folder / "agent.sock").write_text("mine")
    with pytest.raises(Unavailable, match="cannot listen"), served(short_folder):
        pass
    assert (short_folder / "agent.sock").read_text() == "mine"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (request(token="no"), "forbidden"),
        (request(token=None), "forbidden"),
        (request(token="t0ken\u00e9"), "forbidden"),
        (request(verb="approve"), "bad_request"),
        (request(verb=["ask"]), "bad_request"),
        (request(verb="ask"), "bad_request"),
        (request(verb="ask", args={"text": "  "}), "bad_request"),
        (request(verb="ask", args={"text": "x", "task": "other"}), "bad_request"),
        (request(verb="ask", args={"text": "x", "options": "ab"}), "bad_request"),
        (request(verb="ask", args={"text": "x", "timeout": "NaN"}), "bad_request"),
        (request(verb="note", args={"text": "x" * 20000}), "too_long"),
        (request(verb="usage", args={"input": -1}), "bad_request"),
        (request(verb="usage", args={"input": True}), "bad_request"),
        (request(verb="usage", args={"cost": "many"}), "bad_request"),
        (request(args=[]), "bad_request"),
        (request(id=7), "bad_request"),
        (b"[]\n", "bad_request"),
        (b"\xff\xfe\n", "bad_request"),
        (b"[" * 60000 + b"\n", "bad_request"),
    ],
)
def test_bad_requests_are_refused_with_a_reason_and_never_handled(short_folder: Path, line: bytes, code: str) -> None:
    with served(short_folder, lambda *_: {}) as api:
        reply = json.loads(raw(api.path, line))
        assert reply["error"]["code"] == code
        assert reply["exit_code"] in (1, 2)
        assert api.calls == []
        assert client(api).status() == {}, "the server lives on"


def test_a_line_that_is_too_long_ends_the_connection(short_folder: Path) -> None:
    with served(short_folder, lambda *_: {}) as api:
        assert b'"ok"' not in raw(api.path, request(verb="note", args={"text": "x" * 4 * MAX_LINE}))
        assert api.calls == []
        assert client(api).status() == {}


def test_many_requests_on_one_connection_are_answered_in_order(short_folder: Path) -> None:
    with served(short_folder, lambda verb, args: {"n": args["text"]}) as api, socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(api.path))
        sock.sendall(b"".join(request(verb="note", id=str(n), args={"text": f"n{n}"}) for n in range(50)))
        reader = sock.makefile("rb")
        assert [json.loads(reader.readline())["ok"]["n"] for _ in range(50)] == [f"n{n}" for n in range(50)]


def test_other_users_get_nothing(short_folder: Path, unprivileged: Unprivileged) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.geteuid()
    if unprivileged.folder.stat().st_uid == os.geteuid():
        return  # without root there is no second user to try it with
    with served(short_folder, lambda *_: {}) as api:
        api.path.chmod(0o777)  # the mode alone must not decide
        assert unprivileged.call(raw, api.path, request()) == b""
        assert api.calls == []


def test_failures_of_the_handler_reach_the_agent(short_folder: Path) -> None:
    def answers(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        if verb == "ask":
            raise StrettoError("the task was cancelled", code="cancelled", object="run/task")
        if verb == "note":
            raise UsageError("no notes here", hint="write them down")
        raise RuntimeError("secret detail")

    with served(short_folder, answers) as api:
        with pytest.raises(TaskCancelled) as cancelled:
            client(api).ask("go on?")
        assert cancelled.value.exit_code == 3
        assert cancelled.value.object == "run/task"
        with pytest.raises(UsageError, match="no notes here") as refused:
            client(api).note("x")
        assert refused.value.hint == "write them down"
        with pytest.raises(Bug) as bug:
            client(api).status()
        assert "secret" not in bug.value.message


def test_a_question_survives_the_restart_of_the_daemon(short_folder: Path) -> None:
    answered: list[Answer] = []
    with served(short_folder) as api:
        asking = threading.Thread(target=lambda: answered.append(client(api).ask("left or right?")))
        asking.start()
        wait_for(lambda: len(api.calls) == 1)
        api.down()
        wait_for(lambda: api.cancelled == 1)
        api.answers = lambda verb, args: {"answer": "left"}
        api.up()
        asking.join(10)
    assert answered == [Answer("left", None)]
    first, second = (args for _, args in api.calls)
    assert first == second, "the same request, so that it can be counted once"
    assert question_key(first["turn"], first["text"]) == question_key("1", "left or right?")
    assert question_key("2", "left or right?") != question_key("1", "left or right?")


def test_a_question_times_out_with_a_daemon_and_without(short_folder: Path) -> None:
    with served(short_folder) as api:
        with pytest.raises(TimedOut) as slow:
            client(api).ask("anybody?", timeout=0.2)
        assert slow.value.exit_code == 4
        wait_for(lambda: api.cancelled == 1, what="the server to notice that the agent left")
        api.down()
        with pytest.raises(TimedOut):
            client(api).ask("anybody?", timeout=0.2)


def test_without_a_session_the_client_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not a session of stretto"):
        AgentClient.from_environment({})
    gone = AgentClient(tmp_path / "gone" / "agent.sock", TOKEN)
    with pytest.raises(Unavailable, match="cannot be reached"):
        gone.ask("anybody?")


def test_too_many_connections_are_turned_away(short_folder: Path) -> None:
    with served(short_folder, lambda *_: {}) as api:
        held = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        try:
            for sock in held:
                sock.settimeout(10)
                sock.connect(str(api.path))
            assert held[-1].recv(1) == b""
        finally:
            for sock in held:
                sock.close()
        assert client(api).status() == {}


def test_long_paths_move_to_the_runtime_folder() -> None:
    runtime = Path("/run/user/1000")
    assert socket_path(Path("/h/sessions/a"), runtime) == Path("/h/sessions/a/api/agent.sock")
    deep = Path("/h/" + "x" * 100)
    moved = socket_path(deep, runtime)
    assert moved.parent.parent == runtime, "a folder of its own, which a sandbox can show without the others"
    assert len(bytes(moved)) <= MAX_SOCKET_PATH
    assert moved == socket_path(deep, runtime) != socket_path(deep / "b", runtime)
