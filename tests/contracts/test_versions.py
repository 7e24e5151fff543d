"""An agent of a version that nobody tried works with a notice: every adapter holds to it, in both modes."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from stretto import agents
from stretto.agents.pane_host import TUIS
from stretto.agents.tui import Tui
from stretto.terminal.screen import Screen

GOLDEN = Path(__file__).parent.parent / "agents" / "golden"
NEW = "99.0.1-beta.2"
#: what cannot be asked for its version, or says nothing of it while it works
SILENT = {"mini"}
#: where a program tells its version, if not in its recorded conversation
TOLD = {
    "pi": json.dumps(
        {
            "type": "extension_ui_request",
            "id": "1",
            "method": "notify",
            "message": 'stretto:{"kind":"version","version":"VERSION"}',
        }
    ),
}
#: how an interface names itself at its start; the one that is not here has its version in what it tells
BANNERS = {
    "claude": " ▐▛███▜▌   Claude Code vVERSION",
    "codex": "│ >_ OpenAI Codex (vVERSION)                      │",
    "gemini": " ▝▜▄     Gemini CLI vVERSION",
    "pi": " pi vVERSION",
}
TRIED = [type for type in agents.types() if agents.declared(type).tested]
PANES = [type for type in TRIED if "pane" in agents.declared(type).can]


def conversation(type: str, version: str) -> list[bytes]:
    """What the program writes from its beginning on, if it is of this version."""
    tested = agents.declared(type).tested[-1]
    (first, *_) = sorted((GOLDEN / type).glob("edit.*l")) or sorted((GOLDEN / type).glob("edit.out"))
    told = TOLD.get(type, "").replace("VERSION", version).encode()
    return [told, *first.read_bytes().replace(tested.encode(), version.encode()).splitlines()]


def heard(type: str, version: str) -> tuple[list[str], list[str]]:
    """The notices, and the types of all other signals."""
    adapter, state = agents.find(type), {"handshake": True}
    signals = [signal for line in conversation(type, version) for signal in adapter.parse(line, state)]
    return (
        [str(s.data["text"]) for s in signals if s.type == "notice"],
        [s.type for s in signals if s.type != "notice"],
    )


def tui_of(type: str) -> Tui:
    module, _, name = TUIS[type].partition(":")
    made: Tui = getattr(import_module(module), name)()
    return made


@pytest.mark.parametrize("type", sorted(set(TRIED) - SILENT))
def test_in_stream_mode_it_is_told_once_and_changes_nothing(type: str) -> None:
    tested = agents.declared(type).tested
    same, as_ever = heard(type, tested[-1])
    assert same == []
    assert as_ever
    assert heard(type, NEW)[1] == as_ever
    (notice,) = heard(type, NEW)[0]
    assert f"{NEW} was not tried" in notice


@pytest.mark.parametrize("type", PANES)
def test_in_a_pane_it_is_told_once(type: str) -> None:
    tui = tui_of(type)

    def met(version: str, state: dict[str, Any]) -> list[str]:
        if type in BANNERS:
            shown = BANNERS[type].replace("VERSION", version)
            told = tui.met(Screen(("", shown, ""), ("", "", "")), state)
        else:
            told = [s for line in conversation(type, version) for s in tui.line("events", line, state)]
        return [str(signal.data["text"]) for signal in told if signal.type == "notice"]

    state: dict[str, Any] = {}
    assert met(agents.declared(type).tested[-1], state) == []
    (notice,) = met(NEW, state)
    assert f"{NEW} was not tried" in notice
    assert met(NEW, state) == []
