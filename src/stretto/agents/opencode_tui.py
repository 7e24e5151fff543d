"""opencode's own interface in a terminal (verified with 1.18.33).

Behind it stands the same server as in stream mode, and its events say all that matters: what is read off the screen is
only whether somebody could type there. Messages, answers and the end of a turn go to the server as well, so what a
person has typed is never in the way. A message is known to have begun its turn when the server tells the user's message
with its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stretto.agents.opencode_pane import ASKED, TOLD
from stretto.agents.opencode_stream import TURN, abort, parse_line, prompt_line, request, request_line, why
from stretto.agents.shapes import as_object, as_text, parsed
from stretto.agents.tui import Place, Tui, View
from stretto.core.evidence import Source
from stretto.interfaces import Signal
from stretto.terminal.screen import Screen

#: the lower edge of the composer, and the side of it
_EDGE, _SIDE = "╹▀▀▀▀", "┃"


class OpencodeTui(Tui):
    """`type = "opencode"` in a pane."""

    witness = Source.PROTOCOL

    def view(self, screen: Screen) -> View:
        """Whether there is a composer; without one it starts, works or asks, which its events tell."""
        edge = next((at for at, line in enumerate(screen.lines) if line.strip().startswith(_EDGE)), None)
        open_ = edge is not None and screen.lines[edge - 1].strip().startswith(_SIDE)
        return View(composer="" if open_ else None, working=not open_ or "esc interrupt" in screen.foot)

    def sources(self, place: Place) -> Sequence[tuple[str, Path]]:
        """What its server tells."""
        return [("server", Path(place.shared, TOLD))]

    def line(self, source: str, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """A line of the server, as in stream mode; but a turn has begun when its text is there."""
        said = parsed(line) or {}
        if as_text(said.get("id")) == TURN:
            status = said.get("status")
            taken = isinstance(status, int) and 200 <= status < 300
            return [] if taken else [Signal("refused", {"reason": f"its server did not take it: {why(said)}"})]
        found = [one for one in parse_line(line, state) if one.type != "turn_started"]
        event = as_object(said.get("event"))
        about = as_object(event.get("properties"))
        if event.get("type") == "message.updated":
            info = as_object(about.get("info"))
            if info.get("role") == "user" and info.get("sessionID") == state.get("session"):
                state["user"] = as_text(info.get("id"))[:100]
        part = as_object(about.get("part"))
        text = as_text(part.get("text"))
        told = part.get("messageID") != state.get("user") or state.get("user") == state.get("begun")
        if part.get("type") == "text" and text and not told:
            state["begun"] = state["user"]
            found.append(Signal("turn_started", {"prompt": text, "evidence": "its server's events"}))
        return found

    def channel(self, place: Place) -> Path | None:
        """What its server is asked."""
        return Path(place.shared, ASKED)

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """A prompt."""
        return prompt_line(text, state)

    def stop(self, state: Mapping[str, Any]) -> str:
        """The request that ends the turn."""
        return request_line(request("interrupt", abort(state)))
