"""A fake agent whose output *is* signals: for tests of whatever consumes them.

Its process writes lines that `FakeAgent.line` makes, or anything else; tests play that process by writing to a fake
shim or a file. Records to it are JSON objects: {"turn": text}, {"interrupt": n}, {"answer": …, "request": …}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stretto.core.model import AgentSpec, MessageKind, Usage
from stretto.interfaces import Launch, SessionContext, Signal


@dataclass
class FakeAgent:
    """Implements `interfaces.Agent`. `missing` is what `probe` says; `style` is stream or turns.

    With `chooses` the agent gives its conversations their ids: no turn can be said before its `started` has come.
    """

    style: str = "stream"
    chooses: bool = False
    missing: str | None = None
    argv: tuple[str, ...] = ("fake-agent",)
    type: str = "fake"
    conversational: bool = True

    @staticmethod
    def line(type: str, **data: Any) -> bytes:
        """What the agent's process writes so that `parse` gives this signal (without the newline)."""
        return json.dumps({"signal": type, "data": data}).encode()

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """Whatever the test says."""
        return self.missing

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """The same argv for every session; a stream's conversation is `conversation-<session>`."""
        env = {**context.env, **spec.env}
        if self.style == "turns":
            return Launch("turns", self.argv, env)
        conversation = context.conversation or f"conversation-{context.session}"
        resume = ("--resume",) if context.resume else ()
        if self.chooses:
            known = context.conversation if context.resume else None
            hello = ((MessageKind.CONTROL.value, json.dumps({"hello": known})),)
            return Launch("stream", (*self.argv, *resume), env, known, hello, {"handshake": True})
        hello = ((MessageKind.CONTROL.value, json.dumps({"hello": conversation})),)
        return Launch("stream", (*self.argv, *resume, conversation), env, conversation, hello)

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """The text as a record, with its conversation if the agent has chosen it."""
        if self.style != "stream":
            return text
        return json.dumps({"turn": text} | ({"in": state["conversation"]} if self.chooses else {}))

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """An interrupt record."""
        return MessageKind.INTERRUPT.value, json.dumps({"interrupt": number}) if self.style == "stream" else ""

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """The answer with its request; None for style turns."""
        if self.style == "turns" or "request" not in payload:
            return None
        return json.dumps({"request": payload["request"], "answer": dict(answer)})

    def refused(self, stderr: bytes) -> str | None:
        """What the process said on stderr after `refused: `."""
        word = stderr.decode().rpartition("refused: ")[2].strip()
        return word if b"refused: " in stderr else None

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """The signal that the line holds; garbage for anything else. `state["lines"]` counts."""
        state["lines"] = state.get("lines", 0) + 1
        try:
            message = json.loads(line)
            data = dict(message["data"])
            if message["signal"] in ("started", "unfit") or data.get("code") == "no_conversation":
                state.pop("handshake", None)
            if message["signal"] == "started":
                state["conversation"] = data["conversation"]
            if message["signal"] == "usage":
                data["usage"] = Usage(**data["usage"])
            return [Signal(message["signal"], data)]
        except (ValueError, TypeError, KeyError, RecursionError):
            return [Signal("garbage", {"bytes": len(line)})]
