"""What every request must carry, what it may hold, and how failures come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stretto.client import PROTOCOL, Client
from stretto.core.errors import Bug, Conflict, StrettoError, TimedOut, UsageError
from stretto.daemon import api
from stretto.home import Home
from tests.support.unixhttp import UnixConnection
from tests.support.world import ROOT

JSON = {"Content-Type": "application/json"}


def ask(
    home: Home, headers: dict[str, str], body: bytes = b"{}", path: str = "/v1/run", method: str = "POST"
) -> tuple[int, Any]:
    connection = UnixConnection(str(home.default_socket), 10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if "Content-Length" not in headers:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, json.loads(data)


@pytest.fixture
def open_one(shared: Home) -> Home:
    return shared


@pytest.fixture
def client(shared: Home) -> Client:
    return Client(shared)


@pytest.fixture
def good(client: Client, open_one: Home) -> dict[str, str]:
    token = open_one.token_file.read_text().strip()
    return {"Host": "stretto", "Authorization": f"Bearer {token}", "Stretto-Protocol": str(PROTOCOL), **JSON}


PATHS = [("POST", "/v1/run"), ("POST", "/v1/ping"), ("GET", "/v1/events"), ("GET", "/"), ("POST", "/v1/nothing")]

BAD: dict[str, tuple[dict[str, Any], int]] = {
    "no token": ({"Authorization": None}, 401),
    "wrong token": ({"Authorization": "Bearer " + "0" * 64}, 401),
    "token of another form": ({"Authorization": "Basic abc"}, 401),
    "two hosts": ({"Host": "stretto, evil.example"}, 421),
    "foreign host": ({"Host": "evil.example"}, 421),
    "loopback host": ({"Host": "127.0.0.1"}, 421),
    "host with port": ({"Host": "stretto:80"}, 421),
    "foreign origin": ({"Origin": "https://evil.example"}, 403),
    "null origin": ({"Origin": "null"}, 403),
    "own origin": ({"Origin": "http://stretto"}, 403),
    "a browser": ({"Sec-Fetch-Site": "same-origin"}, 403),
    "older protocol": ({"Stretto-Protocol": "0"}, 426),
    "no protocol": ({"Stretto-Protocol": None}, 426),
}


@pytest.mark.parametrize("path", PATHS, ids=lambda p: " ".join(p))
def test_every_path_refuses_what_lacks_a_part(good: dict[str, str], open_one: Home, path: tuple[str, str]) -> None:
    for name, (change, status) in BAD.items():
        headers = {key: value for key, value in {**good, **change}.items() if value is not None}
        got, answer = ask(open_one, headers, path=path[1], method=path[0])
        assert got == status, name
        assert answer["error"]["code"], name


def test_a_request_without_a_host_is_no_request(good: dict[str, str], open_one: Home) -> None:
    connection = UnixConnection(str(open_one.default_socket), 10)
    connection.putrequest("POST", "/v1/run", skip_host=True)
    for name, value in good.items():
        if name != "Host":
            connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


def test_the_right_request_passes(good: dict[str, str], open_one: Home) -> None:
    status, answer = ask(open_one, good, b'{"a": 1}')
    assert (status, answer["given"]) == (200, {"a": 1})
    assert ask(open_one, {**good, "Content-Type": "application/json; charset=utf-8"})[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"[" * 200_000, {}, 400),
        (b"{}", {"Content-Length": str(api.BODY_LIMIT + 1)}, 413),
    ],
)
def test_bodies(good: dict[str, str], open_one: Home, body: bytes, headers: dict[str, str], status: int) -> None:
    assert ask(open_one, {**good, **headers}, body)[0] == status


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(client: Client, open_one: Home) -> None:
    text = "x" * (api.BODY_LIMIT - 100)
    assert client.call("run", text=text)["given"]["text"] == text
    with pytest.raises(StrettoError):
        client.call("run", text="x" * api.BODY_LIMIT)
    assert client.ping()


def test_garbage_on_the_socket_hurts_nobody(client: Client, open_one: Home) -> None:
    connection = UnixConnection(str(open_one.default_socket), 10)
    connection.connect()
    connection.sock.sendall(os.urandom(4096) + b"\r\n\r\n")
    assert b"400" in connection.sock.recv(100)
    connection.close()
    assert client.ping()


@pytest.mark.parametrize(
    ("how", "kind", "exit_code"),
    [("usage", UsageError, 2), ("conflict", Conflict, 1), ("time", TimedOut, 4), ("plain", StrettoError, 1)],
)
def test_errors_come_back_as_they_were(client: Client, how: str, kind: type[StrettoError], exit_code: int) -> None:
    with pytest.raises(kind) as raised:
        client.call("answer", how=how)
    error = raised.value
    assert type(error) is kind
    assert (error.message, error.code, error.object, error.hint) == ("it failed", "worded", "o", "h")
    assert error.details == {"d": [1]}
    assert error.exit_code == exit_code


def test_a_conflict_is_409(good: dict[str, str], open_one: Home) -> None:
    assert ask(open_one, good, b'{"how": "conflict"}', "/v1/answer")[0] == 409


def test_a_bug_leaves_a_report_without_values(client: Client, open_one: Home) -> None:
    with pytest.raises(Bug) as raised:
        client.call("answer", how="bug")
    report = Path(raised.value.object or "")
    assert report.parent == open_one.bug_reports
    text = report.read_text()
    assert "ZeroDivisionError" in text
    assert "_fail" in text
    token = open_one.token_file.read_text().strip()
    assert token not in text
    assert client.ping(), "the daemon lives on"


def test_an_unknown_operation_is_named(client: Client) -> None:
    with pytest.raises(StrettoError, match="no operation dance"):
        client.call("dance")


def test_another_protocol_is_told_apart_from_no_daemon(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stretto.client.PROTOCOL", 2)
    with pytest.raises(StrettoError) as raised:
        client.ping()
    assert raised.value.code == "protocol"
    assert "stretto down" in (raised.value.hint or "")


def test_both_sides_name_the_same_protocol() -> None:
    assert PROTOCOL == api.PROTOCOL


def test_status_names_the_daemon(client: Client) -> None:
    told = client.ping()
    assert told is not None
    assert client.call("status")["daemon"]["pid"] == told["pid"]


CALL = "import sys,json;from stretto.client import connect;print(json.dumps(connect().call(sys.argv[1])))"


@pytest.mark.parametrize("depth", [0, 1])
def test_an_agent_cannot_steer_but_may_look(open_one: Home, depth: int) -> None:
    """Neither itself nor through a child that has shed the marker from its environment."""
    shed = "import os,subprocess,sys;os.environ.pop('STRETTO_SESSION');sys.exit(subprocess.call(sys.argv[1:]))"
    prefix = [sys.executable, "-c", shed] if depth else []
    env = {**os.environ, "STRETTO_SESSION": "s1", "STRETTO_HOME": str(open_one.path)}
    for op, allowed in (("run", False), ("status", True)):
        argv = [*prefix, sys.executable, "-c", CALL, op]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
        assert (done.returncode == 0) is allowed, done.stderr
        assert allowed or "an agent cannot steer" in done.stderr
