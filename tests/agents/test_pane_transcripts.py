"""What codex and pi write and show while they work in a terminal, recorded from the real programs, as we read it."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto import agents
from stretto.agents.codex_tui import CodexTui
from stretto.agents.hooks import Report
from stretto.agents.pane import PaneAgent
from stretto.agents.pi_tui import PiTui
from stretto.agents.tui import Place, Tui
from stretto.core.evidence import What
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import SessionContext, Signal
from stretto.terminal.screen import read

PANES = Path(__file__).parent / "panes"
TUIS: dict[str, tuple[type[Tui], str]] = {"codex": (CodexTui, "rollout"), "pi": (PiTui, "session")}


def plain(signal: Signal) -> list[Any]:
    data = {name: asdict(one) if is_dataclass(one) else one for name, one in signal.data.items()}  # type: ignore[arg-type]  # an instance
    return [signal.type, data]


def recorded(kind: str) -> list[bytes]:
    return (PANES / kind / "turns.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("kind", list(TUIS))
def test_a_recorded_conversation_becomes_the_same_signals(kind: str) -> None:
    """An edit, a question, a refused key, an interrupt; one line is nothing that we know."""
    tui, source = TUIS[kind][0](), TUIS[kind][1]
    state: dict[str, Any] = {}
    found = [plain(signal) for line in recorded(kind) for signal in tui.line(source, line, state)]
    assert found == json.loads((PANES / kind / "turns.signals.json").read_text())
    assert sum(type == "usage" for type, _ in found) == 3


def test_an_error_of_pi_waits_for_its_last_word_and_an_answer_ends_the_turn() -> None:
    state: dict[str, Any] = {}
    ends = []
    for line in recorded("pi"):
        if any(signal.type == "turn_started" for signal in PiTui().line("session", line, state)):
            ends.append((state.pop("ending", None), state.pop("verdict", {}).get("result")))
    ends.append((state.pop("ending", None), state["verdict"]["result"]))
    assert ends == [(None, None), ({}, "ok"), (None, "failed"), ({}, "interrupted")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", list(TUIS))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_unknown_fields_and_values_of_any_shape_are_passed_over(kind: str, data: st.DataObject) -> None:
    line = json.loads(data.draw(st.sampled_from(recorded(kind))))
    part = line
    for name in data.draw(st.sampled_from([(), ("payload",), ("payload", "item"), ("message",), ("message", "usage")])):
        part = part[name] if isinstance(part.get(name), dict) else part
    part[data.draw(st.sampled_from([*part, "unknown"]))] = data.draw(JSON)
    tui, source = TUIS[kind][0](), TUIS[kind][1]
    for signal in tui.line(source, json.dumps(line).encode(), {}):
        json.dumps(plain(signal))
        if signal.type == "usage":
            assert isinstance(signal.data["usage"], Usage)
            assert min(signal.data["usage"].input, signal.data["usage"].output) >= 0


@pytest.mark.parametrize("kind", list(TUIS))
@given(line=st.binary(max_size=60))
@settings(max_examples=40, deadline=None)
def test_what_is_no_json_is_passed_over(kind: str, line: bytes) -> None:
    assert TUIS[kind][0]().line(TUIS[kind][1], line, {}) == []


def test_what_a_pane_has_used_is_counted_on_from_in_stream_mode() -> None:
    state: dict[str, Any] = {}
    codex: dict[str, Any] = {}
    for line in recorded("codex"):
        for signal in CodexTui().line("rollout", line, codex):
            PaneAgent(agents.find("codex")).parse(
                json.dumps(dict(zip(("signal", "data"), plain(signal), strict=True))).encode(), state
            )
    ((thread, counts),) = state["kept"]["totals"].items()
    total = {"inputTokens": counts[0], "cachedInputTokens": counts[1], "cacheWriteInputTokens": counts[2]}
    total |= {"outputTokens": counts[3] + 7, "reasoningOutputTokens": counts[4]}
    params = {"threadId": thread, "tokenUsage": {"total": total}}
    line = json.dumps({"method": "thread/tokenUsage/updated", "params": params}).encode()
    (used,) = agents.find("codex").parse(line, state)
    assert used.data["usage"] == Usage(0, 7, 0, 0, 0)


# ---------------------------------------------------------------- screens

RULE = "─" * 100
FOOT = "  gpt-5.1-codex default · /home/user/wt · name\n  ← for agents · ? for shortcuts"
ACCESS = """
  Folder access
  /home/user/wt

› 1. Open restricted
  2. Back to Agent Command Center

  enter continue · esc back
"""
LOADING = """
  >_ OpenAI Codex (v0.169.0)
     loading

› \x1b[2mAsk Codex to do anything\x1b[0m

  ? for shortcuts
"""
APPROVAL = """
• Running touch yes

  Would you like to run the following command?

  Environment: local

  Reason: I want to

  $ touch yes; echo a long line
  that goes on

› 1. Yes, proceed (y)
  2. Yes, and don't ask again for commands that start with `touch yes` (p)
  3. No, and tell Codex what to do differently (esc)

  Press enter to confirm or esc to cancel
"""
QUESTION = """
  Question 1/2 (2 unanswered)
  Which colour?

    1. Blue               take Blue
  › 2. Red                take Red
    3. None of the above  Optionally, add details in notes (tab)

  tab to add notes | enter to submit answer | ←/→ to navigate questions | esc to interrupt
"""
NOTES = """
  Question 1/1 (1 unanswered)
  Which colour?

    2. Red                take Red
  › 3. None of the above  Optionally, add details in notes (tab)

  › Add notes

  tab or esc to clear notes | enter to submit answer
"""


def composer(text: str, above: str = "") -> str:
    return f"{above}\n\n› {text}\n\n{FOOT}\n"


def test_codex_says_what_it_waits_for() -> None:
    view = CodexTui().view(read(APPROVAL)).dialog
    assert view is not None
    assert view.text == "command: touch yes; echo a long line that goes on (I want to)"
    assert [key for key, _ in view.options] == ["allow", "always", "deny"]
    assert view.keys == {"allow": ("1",), "always": ("2",), "deny": ("3",)}
    asked = CodexTui().view(read(QUESTION)).dialog
    assert asked is not None
    assert (asked.text, asked.options) == ("Which colour?", (("1", "Blue"), ("2", "Red")))
    assert asked.words == ("Down", "Tab")
    notes = CodexTui().view(read(NOTES)).dialog
    assert notes is not None
    assert (notes.options, notes.words) == ((), ())


def test_codex_is_written_to_only_when_it_is_ready() -> None:
    assert CodexTui().view(read(ACCESS)).pass_by == ("Enter",)
    assert CodexTui().view(read(LOADING)).composer is None
    idle = CodexTui().view(read(composer("\x1b[2mAsk Codex to do anything\x1b[0m")))
    assert (idle.composer, idle.working, idle.dialog) == ("", False, None)
    draft = CodexTui().view(read(composer("1. press enter to confirm\n\n  or esc to cancel")))
    assert draft.composer == "1. press enter to confirm\n\nor esc to cancel"
    assert draft.dialog is None
    assert CodexTui().view(read(composer("[Pasted Content 2199 chars]"))).folded
    busy = CodexTui().view(read(composer("", "◦ Working (1m 2s • esc to interrupt)")))
    assert busy.working
    assert not CodexTui().view(read(composer("", "• it said: esc to interrupt"))).working


def test_the_title_of_codex_is_a_sign() -> None:
    tui = CodexTui()
    assert [tui.title(t) for t in ("vm", "⠹ name", "[ ! ] Action Required | name", "⠼ name", "name", "name")] == [
        None,
        What.WORKING,
        What.ASKING,
        What.WORKING,
        What.DONE,
        None,
    ]


def test_the_thread_of_codex_is_believed_only_if_it_can_be_one(tmp_path: Path) -> None:
    id = "01a20036-48a0-7532-b72d-07fa92372b32"
    told = lambda said: CodexTui().conversation(Report("s", 1, "SessionStart", 0.0, {"session_id": said}))  # noqa: E731
    assert told(id) == id
    assert [told(said) for said in ("../../etc", "*", f"{id}/x", "", None, 7)] == [None] * 6
    place = Place("/w", {"CODEX_HOME": str(tmp_path)}, "", "", "")
    assert CodexTui().sources(place) == []


def pi_dialog(kind: str, *options: str, cursor: int = 0) -> str:
    rows = [("→ " if n == cursor else "  ") + f"{n + 1}. {text}" for n, text in enumerate(options)]
    hint = " ↑↓ navigate  enter select  escape/ctrl+c cancel" if options else " enter submit  escape/ctrl+c cancel"
    body = [f" stretto:3 {kind}", " Which colour?", "", *(f" {row}" for row in rows), *([] if options else ["> "])]
    return "\n".join([RULE, "", *body, "", hint, "", RULE, "/home/user (w)", "0.0%/200k"])


def test_pi_says_what_it_waits_for() -> None:
    asked = PiTui().view(read(pi_dialog("question", "Blue", "Red", "Other words"))).dialog
    assert asked is not None
    assert (asked.text, asked.options) == ("Which colour?", (("1", "Blue"), ("2", "Red")))
    assert asked.keys["2"] == ("Down", "Enter")
    assert asked.words == ("Down", "Down", "Enter")
    permission = (
        PiTui().view(read(pi_dialog("permission", "Allow once", "Allow exactly this", "Deny", cursor=2))).dialog
    )
    assert permission is not None
    assert permission.permission
    assert permission.keys == {"allow": ("Up", "Up", "Enter"), "always": ("Up", "Enter"), "deny": ("Enter",)}
    words = PiTui().view(read(pi_dialog("question"))).dialog
    assert words is not None
    assert (words.text, words.options, words.words) == ("Which colour?", (), ())


@pytest.mark.parametrize(
    ("top", "working"), [(RULE, False), ("── ⠹ Working " + RULE, True), ("── Working " + RULE, False)]
)
def test_pi_works_while_its_wheel_turns(top: str, working: bool) -> None:
    view = PiTui().view(read(f"hello\n{top}\nenter select  esc cancels\n{RULE}\n/home/user (w)"))
    assert (view.working, view.composer, view.dialog) == (working, "enter select  esc cancels", None)


def test_codex_in_a_pane_is_told_what_is_denied_by_a_hook_that_it_trusts(tmp_path: Path) -> None:
    def words(permissions: str) -> str:
        spec = AgentSpec(name="c", type="codex", command=("/bin/true",), permissions=permissions)
        assert PaneAgent(agents.find("codex")).probe(spec, {"PATH": "/usr/bin:/bin"}) is None
        place = SessionContext("s", "r/t", tmp_path, tmp_path, {}, None, False, None, permissions)
        return "\n".join(PaneAgent(agents.find("codex")).launch(spec, place).argv)

    denied = words("deny Bash(curl *)")
    assert "codex_rules.py" in denied
    assert "pre_tool_use:1:0" in denied, "a hash by which it trusts that hook, too"
    assert "codex_rules.py" not in words("ask")
    assert "pre_tool_use:1:0" not in words("ask")
