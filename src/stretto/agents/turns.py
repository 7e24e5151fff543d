"""What agents of style `turns` have in common: one process a turn, free text out, questions over the agent API.

`parse` gets one line without its newline. The shim's reader cuts lines at 8 MiB; here only the first `MAX_TEXT`
characters of a line become a signal: the whole output stays in the session's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stretto.core.model import AgentSpec, MessageKind
from stretto.interfaces import Launch, SessionContext, Signal

MAX_TEXT = 8192


class TurnsAgent:
    """The half of the Agent protocol that is the same for every agent of style `turns`."""

    #: each turn is a new process that knows nothing of the one before
    conversational = False

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """The shim writes this to STRETTO_PROMPT_FILE as it is."""
        return text

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """An interrupt record without data: the shim sends SIGINT to the turn's process group."""
        return MessageKind.INTERRUPT.value, ""

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """None: what such an agent asks comes over its socket and is answered there."""
        return None

    def refused(self, stderr: bytes) -> str | None:
        """None: it has no conversation that it could refuse."""
        return None

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Each line that is not blank is text; ends of turns come from the shim's records."""
        text = line[: MAX_TEXT * 4].decode("utf-8", "replace").rstrip()[:MAX_TEXT]
        return [Signal("text", {"text": text})] if text else []


def environment(spec: AgentSpec, context: SessionContext) -> dict[str, str]:
    """The environment of an agent's process: the workspace's, then the agent's own, then the report file."""
    env = {**context.env, **spec.env}
    if context.report_file:
        env["STRETTO_REPORT_FILE"] = context.report_file
    return env


def launch_turns(
    argv: tuple[str, ...], spec: AgentSpec, context: SessionContext, program: tuple[str, ...] = ()
) -> Launch:
    """A launch of style `turns`. `program`: what `argv` starts in its turn."""
    return Launch(style="turns", argv=argv, env=environment(spec, context), program=program)
