"""Gemini CLI's own interface, as it was recorded (record_panes.py): its screens and its recording of a conversation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto import agents
from stretto.agents.gemini_tui import GeminiTui
from stretto.agents.pane import PaneAgent
from stretto.agents.tui import Place, View
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import SessionContext, Signal
from stretto.terminal.screen import read
from tests.agents.record_panes import CONVERSATION, STEPS

GOLDEN = Path(__file__).parent / "golden" / "gemini_pane"
LINES = (GOLDEN / "recording.txt").read_bytes().splitlines()


def view(name: str) -> View:
    title, _, shown = (GOLDEN / f"{name}.screen").read_text().partition("\n")
    return GeminiTui().view(read(shown, title))


def heard(lines: list[bytes]) -> tuple[list[Signal], dict[str, Any]]:
    state: dict[str, Any] = {}
    return [signal for line in lines for signal in GeminiTui().line("recording", line, state)], state


@pytest.mark.parametrize("name", ["idle", "empty", "cleared", "done", "cancelled"])
def test_an_empty_composer_is_one(name: str) -> None:
    assert view(name) == View(composer="")


def test_what_a_person_wrote_is_seen() -> None:
    found = view("draft")
    assert found.composer == "a thought of mine\nand another"
    assert not found.folded
    assert view("folded").folded


def test_the_edge_of_a_composer_is_not_its_text() -> None:
    """Terminals with many colours get one."""
    rule, edge = "─" * 60, "▀" * 60
    rows = [rule, " Shift+Tab to accept edits", "▄" * 60, " >   Type your message or @path/to/file", edge, " workspace"]
    assert GeminiTui().view(read("\n".join(rows))).composer == ""
    rows[3] = " > a word"
    assert GeminiTui().view(read("\n".join(rows))).composer == "a word"


def test_it_works_while_its_title_says_so_even_before_it_is_ready() -> None:
    assert view("working").working
    shown = (GOLDEN / "idle.screen").read_text().partition("\n")[2]
    assert GeminiTui().view(read(shown, "✦  Working… (work)")).working


def test_a_composer_that_takes_no_keys_yet_is_none() -> None:
    shown = (GOLDEN / "idle.screen").read_text().partition("\n")[2]
    assert GeminiTui().view(read(shown, "◇  Ready (work)", taken=False)) == View(working=True)


def test_a_permission_is_allowed_or_denied_by_its_own_keys() -> None:
    dialog = view("permission").dialog
    assert dialog is not None
    assert dialog.permission
    assert "touch yes" in dialog.text
    assert [key for key, _ in dialog.options] == ["allow", "deny"]
    assert dialog.keys == {"allow": ("1",), "deny": ("2",)}
    edit = view("edit").dialog
    assert edit is not None
    assert edit.keys == {"allow": ("1",), "deny": ("3",)}, "an editor is nothing for the inbox"


def test_a_question_has_the_options_that_a_key_answers() -> None:
    dialog = view("question").dialog
    assert dialog is not None
    assert not dialog.permission
    assert "Which colour?" in dialog.text
    assert dialog.options == (("1", "Blue"), ("2", "Red"))


def test_its_recording_tells_turns_and_each_request_once() -> None:
    signals, state = heard(LINES)
    assert next(s.data["prompt"] for s in signals if s.type == "turn_started") == STEPS
    assert [s.data["text"] for s in signals if s.type == "text"] == ["All of it done."]
    used = [s.data["usage"] for s in signals if s.type == "usage"]
    assert used == [Usage(1200, 64, 3000, 0, 30)] * 4
    ended = [s.data for s in signals if s.type == "turn_ended"]
    assert ended == [{"result": "interrupted", "reason": "by you"}]
    assert state["ending"]["result"] == "failed"
    assert "401" in state["ending"]["reason"]


def test_a_turn_is_not_over_while_a_tool_was_called() -> None:
    """The same request is written without its tools first; and a conversation that is written anew is no work."""
    state: dict[str, Any] = {}
    tui = GeminiTui()
    said = {"id": "1", "type": "gemini", "content": "", "tokens": {"input": 1, "output": 1}}
    tui.line("recording", json.dumps(said).encode(), state)
    assert state["ending"] == {"result": "ok", "reason": ""}
    assert [
        s.type for s in tui.line("recording", json.dumps({**said, "toolCalls": [{"name": "x"}]}).encode(), state)
    ] == ["tool"]
    assert "ending" not in state
    anew = {"id": "2", "type": "gemini", "content": [{"text": "old"}], "tokens": None}
    assert tui.line("recording", json.dumps(anew).encode(), state) == []
    assert "ending" not in state


def test_it_is_found_by_the_beginning_of_its_id_in_any_project(tmp_path: Path) -> None:
    place = Place("/w", {"HOME": "/home/me"}, str(tmp_path), CONVERSATION, "/s")
    ((word, path),) = GeminiTui().sources(place)
    assert word == "recording"
    assert path == tmp_path / ".gemini" / "tmp" / "*" / "chats" / f"session-*-{CONVERSATION[:8]}.jsonl"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=8), some, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["type", "content", "tokens", "toolCalls", "id", "text", "name", "$set", "model"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, json_values), st.sampled_from(["user", "gemini", "error", "info", "new"]))
def test_no_shape_of_json_breaks_it(said: dict[str, Any], type: str) -> None:
    state: dict[str, Any] = {}
    for value in (said, {**said, "type": type}):
        for signal in GeminiTui().line("recording", json.dumps(value).encode(), state):
            assert signal.type in {"turn_started", "turn_ended", "text", "tool", "usage"}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(LINES) - 1), st.dictionaries(st.text(min_size=1).map(lambda key: f"x{key}"), json_values))
def test_fields_of_a_newer_version_change_nothing(at: int, more: dict[str, Any]) -> None:
    newer = json.dumps({**json.loads(LINES[at]), **more}).encode()
    assert heard([*LINES[:at], newer, *LINES[at + 1 :]]) == heard(LINES)


def context(**changes: Any) -> SessionContext:
    given: dict[str, Any] = {
        **{"session": "s", "task": "r/t", "workspace": Path("/w"), "folder": Path("/f"), "env": {"A": "1"}},
        **{"conversation": "c1", "resume": False, "model": None, "permissions": "ask"},
    }
    return SessionContext(**{**given, **changes})


def launch(spec: AgentSpec, **changes: Any) -> Any:
    return PaneAgent(agents.find("gemini")).launch(spec, context(**changes))


def test_it_is_led_by_flags_and_trusts_no_repository_unless_all_is_allowed() -> None:
    spec = AgentSpec("gemini", "gemini", args=("--debug",), model="m")
    began = launch(spec)
    assert began.argv == ("gemini", "-m", "m", "--session-id", "c1", "--debug")
    assert (began.style, began.tui, began.conversation) == ("pane", "gemini", "c1")
    assert began.env == {"A": "1", "GEMINI_CLI_TRUST_WORKSPACE": "false"}
    again = launch(spec, resume=True, permissions="skip")
    assert again.argv == ("gemini", "-m", "m", "--approval-mode", "yolo", "--resume", "c1", "--debug")
    assert again.env["GEMINI_CLI_TRUST_WORKSPACE"] == "true"


def test_servers_that_it_would_not_get_are_refused() -> None:
    spec = AgentSpec("gemini", "gemini", command=("/bin/true",), mcp={"probe": {"command": "x"}})
    assert "MCP" in str(PaneAgent(agents.find("gemini")).probe(spec, {"PATH": "/usr/bin:/bin"}))
    assert agents.find("gemini").probe(spec, {"PATH": "/usr/bin:/bin"}) is None


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (b'Error resuming session: Invalid session identifier "x".', "no_conversation"),
        (b'Error starting session: Session ID "x" already exists. Use --resume', "conversation_in_use"),
        (b"Error: no such flag", None),
    ],
)
def test_what_it_says_of_a_conversation(said: bytes, word: str | None) -> None:
    assert agents.find("gemini").refused(said) == word


def test_a_folder_is_known_by_the_root_of_its_project(tmp_path: Path) -> None:
    agent: Any = agents.find("gemini")
    env, folder = {"HOME": str(tmp_path)}, tmp_path / "work"
    assert not agent.has_conversation(env, folder)
    chats = tmp_path / ".gemini" / "tmp" / "work" / "chats"
    chats.mkdir(parents=True)
    (chats.parent / ".project_root").write_text(str(folder))
    assert not agent.has_conversation(env, folder)
    (chats / "session-1-00000000.jsonl").touch()
    assert agent.has_conversation(env, folder)
    assert not agent.has_conversation(env, tmp_path)


def test_words_with_which_it_goes_on_by_itself_are_nobodys() -> None:
    nudge = {"type": "user", "content": [{"text": "[System: You successfully executed a tool but returned nothing.]"}]}
    assert [signal.type for signal in heard([json.dumps(nudge).encode()])[0]] == ["goes_on"]
