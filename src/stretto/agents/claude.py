"""Claude Code as an agent, in stream mode: one process a session, JSON lines both ways (verified with 2.1.329).

    claude -p --input-format stream-json --output-format stream-json --verbose --permission-prompt-tool stdio …

The conversation's id is chosen here, so that a session can be resumed whatever happened to its first process. Partial
messages are asked for because only they carry the final token counts of a request before the turn is over: usage then
is exact even if the agent is killed. Messages are echoed (`--replay-user-messages`): the echo is the proof that a turn
began. Background tasks are switched off: a turn that is over must not go on working on the files under check.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto.agents.claude_asks import control_answer
from stretto.agents.claude_stream import INITIALIZE, TESTED, parse_line
from stretto.agents.declaration import Declaration
from stretto.agents.hooks import Spool, claude_settings
from stretto.agents.permissions import parse_permissions
from stretto.agents.programs import why_not_startable
from stretto.agents.turns import environment
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec, MessageKind
from stretto.interfaces import Launch, SessionContext, Signal

_STREAM = (
    *("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
    *("--include-partial-messages", "--replay-user-messages", "--permission-prompt-tool", "stdio"),
)
#: for the agent's process unless the workspace or the configuration say otherwise
_DEFAULTS = {"CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1", "DISABLE_AUTOUPDATER": "1"}
_CONVERSATIONS = uuid.UUID("5f0f7a52-6a43-4c9e-8d0c-0e2b7d1c4a11")


class ClaudeAgent:
    """`type = "claude"`. `command` replaces the program (default `claude`), `args` are added at the end."""

    type = "claude"
    conversational = True
    declaration = Declaration(
        type="claude",
        about="Claude Code, in stream mode or in a pane",
        program="claude",
        tested=TESTED,
        can=frozenset({"stream", "pane", "questions", "permissions", "resume", "usage", "mcp", "model"}),
        variables={
            "ANTHROPIC_API_KEY": True,
            "ANTHROPIC_AUTH_TOKEN": True,
            "CLAUDE_CODE_OAUTH_TOKEN": True,
            "ANTHROPIC_BASE_URL": False,
            "CLAUDE_CONFIG_DIR": False,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": False,
            "CLAUDE_CODE_MAX_RETRIES": False,
            "DISABLE_TELEMETRY": False,
            "DISABLE_ERROR_REPORTING": False,
        },
        keys=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        logins=("$CLAUDE_CONFIG_DIR/.credentials.json", "~/.claude/.credentials.json"),
        hosts=("api.anthropic.com", "platform.claude.com", "console.anthropic.com"),
        servers=("ANTHROPIC_BASE_URL",),
        models={"strong": "opus", "fast": "sonnet", "cheap": "haiku"},
        install="npm install -g @anthropic-ai/claude-code",
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started with these permissions, else why not."""
        merged = {**env, **spec.env}
        try:
            skip = parse_permissions(spec.permissions).skip
        except UsageError as error:
            return f"agent {spec.name}: {error.message}"
        if (missing := why_not_startable(_program(spec)[0], merged, f"agent {spec.name}")) is not None:
            return missing
        if skip and os.geteuid() == 0 and merged.get("IS_SANDBOX") != "1":
            return (
                f'agent {spec.name}: Claude Code refuses permissions = "skip" as root; run as another user, '
                "or set IS_SANDBOX=1 in its env if this machine is a sandbox"
            )
        return None

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """One process for the whole session; its first record is the protocol's handshake."""
        conversation = context.conversation or str(uuid.uuid5(_CONVERSATIONS, context.session))
        argv = (
            *_program(spec),
            *_STREAM,
            *("--resume" if context.resume else "--session-id", conversation),
            *_model(context.model or spec.model),
            *_permissions(context.permissions or spec.permissions),
            *_mcp(spec.mcp),
            *spec.args,
        )
        env = {**_DEFAULTS, **environment(spec, context)}
        return Launch("stream", argv, env, conversation, first=((MessageKind.CONTROL.value, _initialize()),))

    def tui(self, spec: AgentSpec, context: SessionContext, prompt: str | None) -> Launch:
        """Its own face, in the workspace; it asks as `permissions` say, whatever its model would do by itself."""
        return self._face(spec, context, prompt, {})

    def _face(
        self, spec: AgentSpec, context: SessionContext, prompt: str | None, settings: Mapping[str, Any]
    ) -> Launch:
        rules = context.permissions or spec.permissions
        if not parse_permissions(rules).skip:  # with some models it begins in its auto mode, which does not ask
            settings = {**settings, "permissions": {"defaultMode": "default"}}
        if context.resume:
            which = ("--resume", context.conversation) if context.conversation else ("--continue",)
        else:
            which = ("--session-id", context.conversation or str(uuid.uuid5(_CONVERSATIONS, context.session)))
        argv = (
            *_program(spec),
            *which,
            *_model(context.model or spec.model),
            *_permissions(rules),
            *_mcp(spec.mcp),
            *spec.args,
            *(("--settings", _line(settings)) if settings else ()),
            *(("--", prompt) if prompt else ()),
        )
        env = {"DISABLE_AUTOUPDATER": "1", **environment(spec, context)}
        return Launch("pane", argv, env, context.conversation)

    def has_conversation(self, env: Mapping[str, str], folder: Path) -> bool:
        """Whether there is a transcript of this folder: its path with everything but letters and digits as `-`."""
        home = Path(env.get("CLAUDE_CONFIG_DIR") or Path(env.get("HOME") or "/") / ".claude")
        return any((home / "projects" / re.sub(r"[^A-Za-z0-9]", "-", str(folder))).glob("*.jsonl"))

    def pane(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """Its own face with hooks that report to us, for this session alone."""
        spool = Spool(context.spool or context.folder, context.session, context.generation)
        face = self._face(spec, context, None, claude_settings(spool))
        return replace(face, env={**_DEFAULTS, **face.env}, tui="claude")

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """A user message."""
        return _line({"type": "user", "message": {"role": "user", "content": text}})

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """A control request that ends the running turn; harmless when none is running."""
        request = {"type": "control_request", "request_id": f"interrupt-{number}", "request": {"subtype": "interrupt"}}
        return MessageKind.INTERRUPT.value, _line(request)

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """The control response for a question or permission; see `claude_asks.control_answer`."""
        response = control_answer(payload, answer)
        return None if response is None else _line(response)

    def refused(self, stderr: bytes) -> str | None:
        """What it says when it will not resume or begin a conversation."""
        if b"No conversation found" in stderr:
            return "no_conversation"
        return "conversation_in_use" if b"is already in use" in stderr else None

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Translate one line (without its newline, at most 8 MiB; a cut line counts as garbage)."""
        return parse_line(line, state)


def _program(spec: AgentSpec) -> tuple[str, ...]:
    return spec.command or ("claude",)


def _model(model: str | None) -> tuple[str, ...]:
    return ("--model", model) if model else ()


def _permissions(text: str) -> tuple[str, ...]:
    rules = parse_permissions(text)
    if rules.skip:
        return ("--dangerously-skip-permissions",)
    allow = ("--allowedTools", ",".join(rules.allow)) if rules.allow else ()
    deny = ("--disallowedTools", ",".join(rules.deny)) if rules.deny else ()
    return (*allow, *deny)


def _mcp(servers: Mapping[str, Any]) -> tuple[str, ...]:
    """Only the servers that are configured. Secrets belong in variables: Claude Code expands `${NAME}` in them."""
    if not servers:
        return ()
    config = dict(servers) if "mcpServers" in servers else {"mcpServers": dict(servers)}
    return ("--mcp-config", _line(config), "--strict-mcp-config")


def _initialize() -> str:
    return _line({"type": "control_request", "request_id": INITIALIZE, "request": {"subtype": "initialize"}})


def _line(value: Any) -> str:
    """JSON without a newline, whatever the text holds: a broken line would end the agent."""
    return json.dumps(value, separators=(",", ":"))
