"""pi as an agent, by its RPC mode, JSON lines both ways, or by its own face (verified with 0.87.1).

    pi --mode rpc --session-id ID -e pi_extension.js --no-approve …

pi has neither permissions nor questions of its own: an extension of ours, loaded for the session only, adds both. What
a repository brings along for pi (`.pi/`) is not loaded, for it runs programs: `args = ["--approve"]` allows it. The
conversation's id is chosen here; `--session` resumes it and refuses an unknown one. The providers, models and keys are
the person's own (`PI_CODING_AGENT_DIR`, else `~/.pi/agent`). `model` is `PROVIDER/MODEL`, as pi writes it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto.agents.declaration import Declaration
from stretto.agents.permissions import parse_permissions
from stretto.agents.pi_asks import response
from stretto.agents.pi_stream import STATE, TESTED, parse_line
from stretto.agents.programs import why_not_startable
from stretto.agents.turns import environment
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec, MessageKind
from stretto.interfaces import Launch, SessionContext, Signal

EXTENSION = Path(__file__).resolve().parent / "pi_extension.js"
_EXTENDED = ("--extension", str(EXTENSION), "--no-approve")
_CONVERSATIONS = uuid.UUID("c0b9f3f1-0b52-4a34-8f43-5b1f6e7a2d90")
_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_OAUTH_TOKEN", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY")
#: what the person set up in pi's own folder: a login, or providers with keys
_LOGINS = ("auth.json", "models.json")


class PiAgent:
    """`type = "pi"`. `command` replaces the program (default `pi`), `args` are added at the end."""

    type = "pi"
    conversational = True
    declaration = Declaration(
        type="pi",
        about="pi, in stream mode (its RPC mode) or in a pane",
        program="pi",
        tested=TESTED,
        can=frozenset({"stream", "pane", "questions", "permissions", "resume", "usage", "model"}),
        variables={
            **dict.fromkeys(_KEYS, True),
            "PI_CODING_AGENT_DIR": False,
            "PI_OFFLINE": False,
            "PI_SKIP_VERSION_CHECK": False,
            "PI_TELEMETRY": False,
        },
        keys=_KEYS,
        logins=tuple(f"{at}/{name}" for at in ("$PI_CODING_AGENT_DIR", "~/.pi/agent") for name in _LOGINS),
        hosts=("api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com", "openrouter.ai"),
        install="npm install -g @earendil-works/pi-coding-agent (needs node 22)",
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started with these permissions, else why not."""
        try:
            parse_permissions(spec.permissions)
        except UsageError as error:
            return f"agent {spec.name}: {error.message}"
        if spec.mcp:
            return f"agent {spec.name}: pi knows no MCP servers: take `mcp` out of [agents.{spec.name}]"
        return why_not_startable(_program(spec)[0], {**env, **spec.env}, f"agent {spec.name}")

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """One process for the whole session; its first record asks for the state, which tells that it is there."""
        conversation = context.conversation or str(uuid.uuid5(_CONVERSATIONS, context.session))
        model = context.model or spec.model
        argv = (
            *_program(spec),
            *("--mode", "rpc"),
            *("--session" if context.resume else "--session-id", conversation),
            *_EXTENDED,
            *(("--model", model) if model else ()),
            *spec.args,
        )
        hello = ((MessageKind.CONTROL.value, _line({"id": STATE, "type": "get_state"})),)
        return Launch("stream", argv, _environment(spec, context), conversation, hello)

    def tui(self, spec: AgentSpec, context: SessionContext, prompt: str | None) -> Launch:
        """Its own face, in the workspace; with our extension, so that it asks as the policy says."""
        model = context.model or spec.model
        if context.resume:
            which = ("--session", context.conversation) if context.conversation else ("--continue",)
        else:
            which = ("--session-id", context.conversation or str(uuid.uuid5(_CONVERSATIONS, context.session)))
        argv = (
            *_program(spec),
            *which,
            *_EXTENDED,
            *(("--model", model) if model else ()),
            *spec.args,
            *((prompt,) if prompt else ()),
        )
        return Launch("pane", argv, _environment(spec, context), context.conversation)

    def pane(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """Its own face; the extension reports to the spool of this session."""
        face = self.tui(spec, context, None)
        spool = [str(context.spool or context.folder), context.session, context.generation]
        return replace(face, env={**face.env, "STRETTO_PI_SPOOL": json.dumps(spool)}, tui="pi")

    def has_conversation(self, env: Mapping[str, str], folder: Path) -> bool:
        """Whether there is a session file of this folder: its path with `-` for `/`, between two dashes."""
        home = Path(env.get("PI_CODING_AGENT_DIR") or Path(env.get("HOME") or "/") / ".pi" / "agent")
        name = f"--{str(folder).strip('/').replace('/', '-').replace(':', '-')}--"
        return any((home / "sessions" / name).glob("*.jsonl"))

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """A prompt."""
        return _line({"type": "prompt", "message": text})

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """Ends the running turn; harmless when none is running."""
        return MessageKind.INTERRUPT.value, _line({"id": f"interrupt-{number}", "type": "abort"})

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """The response to a dialog; see `pi_asks.response`."""
        found = response(payload, answer)
        return None if found is None else _line(found)

    def refused(self, stderr: bytes) -> str | None:
        """What it says when there is no conversation of this id."""
        return "no_conversation" if b"No session found matching" in stderr else None

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Translate one line (without its newline, at most 8 MiB; a cut line counts as garbage)."""
        return parse_line(line, state)


def _program(spec: AgentSpec) -> tuple[str, ...]:
    return spec.command or ("pi",)


def _environment(spec: AgentSpec, context: SessionContext) -> dict[str, str]:
    rules = parse_permissions(context.permissions or spec.permissions)
    policy = {"skip": rules.skip, "allow": list(rules.allow), "deny": list(rules.deny)}
    return {**environment(spec, context), "STRETTO_PI_POLICY": json.dumps(policy)}


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
