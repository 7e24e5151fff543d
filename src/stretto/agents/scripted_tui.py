"""The scripted agent's interface in a terminal (testing/composer.py), as we read it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stretto.agents.hooks import Report
from stretto.agents.tui import Place, Tui, View, boxed, numbered, unnumbered
from stretto.core.evidence import What
from stretto.interfaces import Signal
from stretto.terminal.screen import Screen

_FOLDED = re.compile(r"\[Pasted text \+\d+ characters\]")
_KEYS = re.compile(r"Esc to cancel")
#: the file of its report, in the folder that the host gives it
LOG = "composer.jsonl"


class ScriptedTui(Tui):
    """`type = "scripted"` in a pane."""

    interrupt: tuple[str, ...] = ("Escape",)

    def view(self, screen: Screen) -> View:
        """As it draws itself."""
        text = boxed(screen, "❯")
        return View(
            composer=text,
            folded=text is not None and bool(_FOLDED.fullmatch(text)),
            working="esc to interrupt" in screen.foot,
            dialog=(numbered(screen) or unnumbered(screen, _KEYS)) if text is None else None,
        )

    def title(self, title: str) -> What | None:
        """Nothing: it sets none."""
        return None

    def conversation(self, report: Report) -> str | None:
        """None: it gives it no name."""
        return None

    def sources(self, place: Place) -> Sequence[tuple[str, Path]]:
        """Its report."""
        return [("report", Path(place.shared, LOG))]

    def line(self, source: str, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """A line of its report."""
        try:
            said = json.loads(line)
        except ValueError:
            return []
        if not isinstance(said, dict):
            return []
        if "began" in said:
            return [Signal("turn_started", {"prompt": str(said.get("prompt")), "evidence": "session file"})]
        if "text" in said:
            return [Signal("text", {"text": str(said["text"])})]
        if "ended" in said:
            code = said.get("code")
            word = "interrupted" if said.get("interrupted") else "ok" if code == 0 else "failed"
            reason = {"interrupted": "by you", "ok": ""}.get(word, f"exit code {code}")
            return [Signal("turn_ended", {"result": word, "reason": reason})]
        return []
