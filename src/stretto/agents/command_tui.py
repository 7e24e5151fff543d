"""Any program in a pane, as `command_pane.py` runs it: turns are processes, so their beginning and end are certain.

What the program does in between is not known: it says something, or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stretto.agents.command_pane import ASKED, PROMPT, TOLD
from stretto.agents.shapes import as_count, as_object, as_text, parsed
from stretto.agents.tui import Place, Tui, View
from stretto.agents.turn_rules import heard
from stretto.interfaces import Signal
from stretto.terminal.screen import Screen

#: an exit code that says: not now (the stream mode knows it, too)
NOT_NOW = 75


class CommandTui(Tui):
    """`type = "command"` in a pane."""

    def view(self, screen: Screen) -> View:
        """Whether the line for a person stands there; else the program runs, whatever it shows."""
        last = next((line for line in reversed(screen.lines) if line.strip()), "")
        rests = last.startswith(PROMPT.rstrip())
        return View(composer="" if rests else None, working=not rests)

    def sources(self, place: Place) -> Sequence[tuple[str, Path]]:
        """What its runner tells."""
        return [("report", Path(place.shared, TOLD))]

    def line(self, source: str, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """A line of the report."""
        said = parsed(line) or {}
        if "began" in said:
            return [Signal("turn_started", {"prompt": as_text(said.get("prompt")), "evidence": "its process"})]
        if "text" in said:
            return [Signal("text", {"text": as_text(said["text"])})]
        if "line" in said:
            found = heard(as_text(said["line"]).encode(), state) or []
            verdict = next((one.data for one in found if one.type == "turn_ended"), None)
            if verdict is not None:  # it ends with its process
                state["judged"] = verdict
            return [one for one in found if one.type != "turn_ended"]
        if "ended" not in said:
            return []
        judged = as_object(state.pop("judged", None))
        return [Signal("turn_ended", _end(said) if said.get("interrupted") else {**_end(said), **judged})]

    def channel(self, place: Place) -> Path | None:
        """What its runner is asked."""
        return Path(place.shared, ASKED)

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """A turn."""
        return json.dumps({"turn": text})

    def stop(self, state: Mapping[str, Any]) -> str:
        """Its end."""
        return json.dumps({"stop": True})


def _end(said: dict[str, Any]) -> dict[str, Any]:
    if said.get("interrupted"):
        return {"result": "interrupted", "reason": "by you"}
    if said.get("signal"):
        return {"result": "failed", "reason": f"ended by signal {as_count(said['signal'])}"}
    code = said.get("code")
    if code == 0:
        return {"result": "ok", "reason": ""}
    if code == NOT_NOW:
        return {"result": "limited", "reason": f"exit code {code}: not now"}
    return {"result": "failed", "reason": f"exit code {as_count(code)}"}
