"""An agent in a pane, as the engine speaks with it: the protocol of the pane's host (pane_host.py), for every agent.

The host has read the agent's screen and files already; what it says here are signals, and what it is told are requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stretto.agents.programs import why_not_startable
from stretto.agents.shapes import as_count, as_list, as_object, as_text, garbage, parsed
from stretto.core.errors import StrettoError
from stretto.core.model import AgentSpec, MessageKind, SessionStatus, TurnResult, Usage
from stretto.interfaces import Agent, Launch, SessionContext, Signal

#: what stands behind the type of an agent whose session is in a pane
SUFFIX = "/pane"
_KNOWN = frozenset(
    {
        *("started", "turn_started", "text", "tool", "asked", "withdrawn", "usage", "turn_ended", "status", "notice"),
        *("undelivered", "sign", "retry", "worked"),
    }
)
#: dollars as an agent itself counts them
_COST = re.compile(r"\d{1,12}(\.\d{1,12})?")
#: how many counts a total has (agents.codex_stream)
_TOTALS = 5
_COUNTS = frozenset({"input", "output", "cache_read", "cache_write", "reasoning"})


class PaneAgent:
    """The adapter `own` with its session in a pane. Raises StrettoError (`no_pane`) for one that has no interface."""

    def __init__(self, own: Agent) -> None:
        self.type = f"{own.type}{SUFFIX}"
        self.conversational = getattr(own, "conversational", True)
        self._own = own
        if not hasattr(own, "pane"):
            raise StrettoError(f"agents of type {own.type} cannot run in a pane", code="no_pane", object=own.type)

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """As without a pane; it must be able to keep the permissions there; and tmux must be there."""
        own = getattr(self._own, "probe_pane", self._own.probe)
        return own(spec, env) or why_not_startable("tmux", env, f"agent {spec.name} in a pane")

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """The agent's own interface; `style` is `pane`. Its first records are lines for its channel."""
        found: Launch = self._own.pane(spec, context)  # type: ignore[attr-defined]  # looked for when we were made
        return replace(found, first=tuple((kind, _line(data)) for kind, data in found.first))

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """A message to deliver."""
        return json.dumps({"turn": text})

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """The keys that end a turn."""
        return MessageKind.INTERRUPT.value, json.dumps({"interrupt": number})

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """The key of an option, else the person's words, which the host gives to a dialog that takes some.

        What was asked by the agent's own protocol is answered by it.
        """
        if "keys" not in payload:
            line = self._own.answer(payload, answer)
            return None if line is None else _line(line)
        key = as_object(payload.get("keys")).get(str(answer.get("key")))
        said = {"text": as_text(answer.get("text")) or as_text(answer.get("key"))} if key is None else {"key": str(key)}
        return json.dumps({"answer": payload.get("request"), **said})

    def refused(self, stderr: bytes) -> str | None:
        """What the agent itself says on its last screen."""
        return self._own.refused(stderr)

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """A line of the host."""
        said = parsed(line)
        if said is None:
            return garbage(len(line), state)
        type, data = as_text(said.get("signal")), as_object(said.get("data"))
        if type not in _KNOWN or not _fits(type, data):
            return garbage(len(line), state)
        if type == "started" and data.get("conversation"):
            state.pop("handshake", None)
        if type == "usage":
            told = data["usage"]
            _remember(as_object(data.pop("totals", None)), state)
            used = Usage(**{k: v for k, v in told.items() if k in _COUNTS})
            cost = as_text(told.get("cost"))
            if _COST.fullmatch(cost):
                used = replace(used, cost=cost, cost_source="agent")
            data = {**data, "usage": used}
        return [Signal(type, data)]


def _line(data: str) -> str:
    return json.dumps({"line": data})


def _remember(totals: Mapping[str, Any], state: dict[str, Any]) -> None:
    """What a conversation has used in all: an agent that tells totals in stream mode counts on from there."""
    for name, counts in list(totals.items())[:1]:
        if len(as_list(counts)) == _TOTALS:
            kept = state.setdefault("kept", {}).setdefault("totals", {})
            kept[name] = [as_count(count) for count in as_list(counts)]


def _fits(type: str, data: Mapping[str, Any]) -> bool:
    match type:
        case "usage":
            counts = as_object(data.get("usage"))
            return "key" in data and all(as_count(n) == n for n in (counts.get(name, 0) for name in _COUNTS))
        case "turn_ended":
            return data.get("result") in set(TurnResult)
        case "status":
            return data.get("status") in set(SessionStatus)
        case "asked":
            return data.get("kind") in ("question", "permission") and isinstance(data.get("options"), list)
        case "notice":
            return "text" in data
    return True
