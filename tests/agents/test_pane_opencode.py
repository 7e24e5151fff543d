"""opencode in a pane: what its server's events mean there, what is said to it, and the program that stands between."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stretto import agents
from stretto.agents.channel import BEGIN_S, Channel, Line
from stretto.agents.opencode_pane import ASKED, NONE_SUCH, TOLD
from stretto.agents.opencode_tui import OpencodeTui
from stretto.agents.pane import PaneAgent
from stretto.core.delivery import READY_S, Act, Look
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext, Signal
from stretto.terminal.screen import read
from tests.support.waiting import wait_for

GOLDEN = Path(__file__).parent / "golden" / "opencode"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.jsonl"))
BEGUN: dict[str, Any] = {"handshake": True, "resumes": None, "wanted": "mock/mock-model", "model": "mock/mock-model"}


def heard(name: str) -> list[Signal]:
    state = dict(BEGUN)
    lines = (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()
    return [signal for line in lines for signal in OpencodeTui().line("server", line, state)]


@pytest.mark.parametrize("name", NAMES)
def test_recorded_events_mean_what_they_mean_in_stream_mode(name: str) -> None:
    state = dict(BEGUN)
    lines = (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()
    stream = [signal for line in lines for signal in agents.find("opencode").parse(line, state)]
    rest = [s for s in heard(name) if s.type != "turn_started"]
    assert rest == [s for s in stream if s.type != "turn_started"]
    began = [s for s in heard(name) if s.type == "turn_started"]
    assert len(began) >= len([s for s in stream if s.type == "turn_started"]), "and what it asks itself to go on"
    assert all(s.data["prompt"] for s in began), "each turn is told with its text"


def test_what_its_server_does_not_take_has_not_arrived() -> None:
    refused = OpencodeTui().line("server", b'{"id": "turn", "status": 400, "body": {"message": "no"}}', {})
    assert refused == [Signal("refused", {"reason": "its server did not take it: no"})]
    assert OpencodeTui().line("server", b'{"id": "turn", "status": 204, "body": null}', {}) == []
    assert [s.type for s in OpencodeTui().line("server", b"{", {})] == ["garbage"]


def test_nothing_is_read_off_its_screen_but_that_it_is_there() -> None:
    composer = "  ┃\n  ┃\n  ┃  Build · mock-model mock\n  ╹▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀\n   /work    ctrl+p commands"
    assert OpencodeTui().view(read(composer)).composer == ""
    assert not OpencodeTui().view(read(composer)).working
    assert OpencodeTui().view(read(composer + "\n esc interrupt")).working
    assert OpencodeTui().view(read("starting opencode …")).working
    assert OpencodeTui().view(read("  ┃  △ Permission required")).composer is None


# ---------------------------------------------------------------- what is said to it


def line(path: Path) -> Line:
    return Line(Channel(path), "do it\r\n", lambda text: json.dumps({"say": text}), 0.0)


def test_a_message_waits_for_a_turn_is_said_once_and_has_arrived_when_a_turn_began(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    message = line(path)
    assert message.go(lambda: Look(1.0, working=True)).act is Act.WAIT
    assert not path.exists()
    assert not message.way.touched
    assert message.go(lambda: Look(2.0)).act is Act.WAIT
    assert message.go(lambda: Look(3.0)).act is Act.WAIT
    assert path.read_text() == '{"say": "do it\\n"}\n'
    assert message.go(lambda: Look(4.0, began="events")).act is Act.BEGAN


def test_what_does_not_begin_in_time_is_given_up_and_not_said_again(tmp_path: Path) -> None:
    message = line(tmp_path / "asked")
    message.go(lambda: Look(1.0))
    step = message.go(lambda: Look(1.0 + BEGIN_S))
    assert (step.act, step.why) == (Act.GIVE_UP, "nothing says that the turn began")
    assert len((tmp_path / "asked").read_text().splitlines()) == 1
    blocked = line(tmp_path / "other")
    assert blocked.go(lambda: Look(READY_S, dialog=True)).act is Act.GIVE_UP
    assert line(tmp_path / "other").go(lambda: Look(1.0, alive=False)).act is Act.GIVE_UP
    assert not (tmp_path / "other").exists()


def test_a_link_in_the_place_of_its_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "asked").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="asked"):
        Channel(tmp_path / "asked").say("x")
    assert not (tmp_path / "mine").exists()


def context(**changes: Any) -> SessionContext:
    given: dict[str, Any] = {
        **{"session": "s", "task": "r/t", "workspace": Path("/w"), "folder": Path("/f"), "env": {"A": "1"}},
        **{"conversation": "ses_1", "resume": False, "model": None, "permissions": "ask"},
    }
    return SessionContext(**{**given, **changes})


def test_it_begins_with_the_lines_of_stream_mode_and_takes_turns_when_it_knows_its_conversation() -> None:
    agent, spec = PaneAgent(agents.find("opencode")), AgentSpec("opencode", "opencode", mcp={"p": {"url": "http://x"}})
    launch = agent.launch(spec, context(resume=True))
    said = [json.loads(json.loads(data)["line"]) for _, data in launch.first]
    assert [(one["id"], one["method"]) for one in said] == [("mcp:p", "POST"), ("session", "GET")]
    assert (launch.style, launch.tui) == ("pane", "opencode")
    state: dict[str, Any] = {"handshake": True}
    agent.parse(b'{"signal": "started", "data": {"conversation": ""}}', state)
    assert state["handshake"], "it has not told its conversation yet"
    agent.parse(b'{"signal": "started", "data": {"conversation": "ses_1"}}', state)
    assert "handshake" not in state


def test_what_it_asked_by_its_events_is_answered_by_a_request() -> None:
    agent = PaneAgent(agents.find("opencode"))
    payload = {"kind": "permission", "request": "per_1", "options": []}
    answer = json.loads(json.loads(str(agent.answer(payload, {"key": "allow"})))["line"])
    assert (answer["path"], answer["body"]) == ("/permission/per_1/reply", {"reply": "once"})


def test_its_cost_comes_through() -> None:
    told = {"signal": "usage", "data": {"key": "k", "usage": {"input": 7, "cost": "0.0012"}}}
    (signal,) = PaneAgent(agents.find("opencode")).parse(json.dumps(told).encode(), {})
    assert (signal.data["usage"].cost, signal.data["usage"].cost_source) == ("0.0012", "agent")
    told["data"]["usage"]["cost"] = "much"  # type: ignore[index]  # a dictionary
    (signal,) = PaneAgent(agents.find("opencode")).parse(json.dumps(told).encode(), {})
    assert signal.data["usage"].cost is None


def test_a_folder_is_looked_up_in_its_database(tmp_path: Path) -> None:
    agent: Any = agents.find("opencode")
    env = {"XDG_DATA_HOME": str(tmp_path)}
    assert not agent.has_conversation(env, Path("/w"))
    (tmp_path / "opencode").mkdir()
    db = sqlite3.connect(tmp_path / "opencode" / "opencode.db")
    assert not agent.has_conversation(env, Path("/w")), "one that it has only begun"
    db.execute("CREATE TABLE session (id TEXT, parent_id TEXT, directory TEXT)")
    db.execute("INSERT INTO session VALUES ('a', NULL, '/w'), ('b', 'a', '/part')")
    db.commit()
    db.close()
    assert agent.has_conversation(env, Path("/w"))
    assert not agent.has_conversation(env, Path("/part"))


def test_a_driver_goes_on_with_its_conversation_or_begins_one() -> None:
    agent: Any = agents.find("opencode")
    spec = AgentSpec("opencode", "opencode", model="p/m")
    begun = agent.tui(spec, context(conversation=None), "Plan.")
    assert begun.argv == ("opencode", "--model", "p/m", "--prompt", "Plan.")
    assert json.loads(begun.env["OPENCODE_PERMISSION"])["bash"] == "ask"
    assert agent.tui(spec, context(conversation=None, resume=True), None).argv == (
        *("opencode", "--continue", "--model", "p/m"),
    )


# ---------------------------------------------------------------- the program in the pane

#: an opencode that knows the conversation ses_1: `serve` answers requests, `attach` shows what it was told, and waits
FAKE = """#!{python}
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
words = sys.argv[1:]
here = Path(__file__).parent
if words[0] == "attach":
    (here / "attached").write_text(" ".join(words) + os.environ["OPENCODE_SERVER_PASSWORD"])
    while not (here / "leave").exists():
        time.sleep(0.02)
    sys.exit(7)
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status); self.send_header("Content-Length", str(len(data))); self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        if self.path != "/event":
            return self.answer(*((200, {{"id": "ses_1"}}) if self.path == "/session/ses_1" else (404, {{}})))
        self.send_response(200); self.end_headers()
        self.wfile.write(b'data: {{"type": "session.status", "properties": {{}}}}\\n\\n'); self.wfile.flush()
        time.sleep(600)
server = ThreadingHTTPServer(("127.0.0.1", int(words[words.index("--port") + 1])), Handler)
print("listening", flush=True)
server.serve_forever()
"""


def start(tmp_path: Path, conversation: str) -> subprocess.Popen[bytes]:
    program = tmp_path / "opencode"
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    request = {"id": "session", "method": "GET", "path": f"/session/{conversation}", "body": None}
    (tmp_path / ASKED).write_text(json.dumps(request) + "\n")
    pane = Path(str(sys.modules["stretto.agents.opencode_pane"].__file__))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(pane), str(program)],
        env={**os.environ, "STRETTO_PANE_FOLDER": str(tmp_path)},
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )


def test_the_interface_shows_the_conversation_of_a_server_of_its_own(tmp_path: Path) -> None:
    with start(tmp_path, "ses_1") as process:
        wait_for((tmp_path / "attached").exists, 60)
        told = [json.loads(one) for one in (tmp_path / TOLD).read_bytes().splitlines()]
        assert {"id": "session", "status": 200, "body": {"id": "ses_1"}} in told
        assert {"event": {"type": "session.status", "properties": {}}} in told
        wait_for(lambda: "--session ses_1" in (tmp_path / "attached").read_text())
        Channel(tmp_path / ASKED).say(json.dumps({"id": "more", "method": "GET", "path": "/x", "body": None}))
        wait_for(lambda: b'"id":"more","status":404' in (tmp_path / TOLD).read_bytes())
        (tmp_path / "leave").touch()
        assert process.wait(30) == 7, "the interface's end is its own"


def test_a_conversation_that_is_not_known_is_said(tmp_path: Path) -> None:
    with start(tmp_path, "ses_2") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert NONE_SUCH.encode() in out
    assert agents.find("opencode").refused(out) == "no_conversation"
    assert not (tmp_path / "attached").exists()
