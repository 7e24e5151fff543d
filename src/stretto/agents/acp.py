"""Any agent that speaks the Agent Client Protocol, in stream mode: JSON-RPC lines both ways, protocol version 1.

    [agents.mine]
    type = "acp"
    command = ["some-agent", "--acp"]

The handshake is `initialize`, and after its answer `session/new`, or `session/load` to resume: some agents take nothing
else before they have answered. The agent gives its sessions their ids, so no turn can be said before it has told one.
It works on the files itself: stretto offers it neither files nor a terminal. What it asks in a form reaches the person.
MCP servers are handed over with the session.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stretto import __version__
from stretto.agents import acp_forms
from stretto.agents.acp_stream import INITIALIZE, PROMPT, SESSION, parse_line, permission
from stretto.agents.declaration import Declaration
from stretto.agents.permissions import parse_permissions
from stretto.agents.programs import why_not_startable
from stretto.agents.turns import environment
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec, MessageKind
from stretto.interfaces import Launch, SessionContext, Signal

VERSION = 1


class AcpAgent:
    """`type = "acp"`, `command = ["some-agent", "--acp"]`; `args` are added at the end."""

    type = "acp"
    conversational = True
    declaration = Declaration(
        type="acp",
        about="any agent that speaks the Agent Client Protocol",
        can=frozenset({"stream", "questions", "permissions", "resume", "mcp"}),
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started with these permissions, else why not."""
        if not spec.command or not spec.command[0]:
            return f'agent {spec.name} has no command: set `command = ["PROG", "--acp"]` in [agents.{spec.name}]'
        try:
            rules = parse_permissions(spec.permissions)
        except UsageError as error:
            return f"agent {spec.name}: {error.message}"
        if rules.allow or rules.deny:
            return (
                f"agent {spec.name}: the Agent Client Protocol does not say what a permission is for in words that a "
                'rule could be held against; write permissions = "ask" or "skip"'
            )
        return why_not_startable(spec.command[0], {**env, **spec.env}, f"agent {spec.name}")

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """One process for the whole session. Raises UsageError for a spec without a command."""
        if not spec.command:
            raise UsageError(f"agent {spec.name} has no command", object=spec.name, hint="see [agents.NAME] command")
        conversation = context.conversation if context.resume else None
        first = ((MessageKind.CONTROL.value, _line(_hello())),)
        skip = parse_permissions(context.permissions or spec.permissions).skip
        opening = _line(_opening(spec, context, conversation))
        state = {"handshake": True, "resumes": conversation, "skip": skip, "opening": opening}
        return Launch("stream", (*spec.command, *spec.args), environment(spec, context), conversation, first, state)

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """A prompt to the session that the handshake has told."""
        params = {"sessionId": state.get("session", ""), "prompt": [{"type": "text", "text": text}]}
        return _line({"jsonrpc": "2.0", "id": PROMPT, "method": "session/prompt", "params": params})

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """A notification that ends the running turn; harmless when none is running."""
        params = {"sessionId": state.get("session", "")}
        return MessageKind.INTERRUPT.value, _line({"jsonrpc": "2.0", "method": "session/cancel", "params": params})

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """The response to a form or to a request for permission."""
        response = acp_forms.answer(payload, answer) or permission(payload, answer)
        return None if response is None else _line(response)

    def taken_back(self, payload: Mapping[str, Any]) -> str | None:
        """What a request for permission is answered when the turn is interrupted: the protocol wants one for each."""
        response = permission(payload, {"key": "cancelled"})
        return None if response is None else _line(response)

    def refused(self, stderr: bytes) -> str | None:
        """None: it answers a session that it does not know in its protocol."""
        return None

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Translate one line (without its newline, at most 8 MiB; a cut line counts as garbage)."""
        return parse_line(line, state)


def _hello() -> dict[str, Any]:
    files = {"readTextFile": False, "writeTextFile": False}
    capabilities = {"fs": files, "terminal": False, "elicitation": {"form": {}}}
    client = {"name": "stretto", "title": "stretto", "version": __version__}
    hello = {"protocolVersion": VERSION, "clientCapabilities": capabilities, "clientInfo": client}
    return {"jsonrpc": "2.0", "id": INITIALIZE, "method": "initialize", "params": hello}


def _opening(spec: AgentSpec, context: SessionContext, conversation: str | None) -> dict[str, Any]:
    params: dict[str, Any] = {"cwd": str(context.workspace), "mcpServers": _servers(spec.mcp)}
    if conversation is not None:
        params["sessionId"] = conversation
    method = "session/new" if conversation is None else "session/load"
    return {"jsonrpc": "2.0", "id": SESSION, "method": method, "params": params}


def _servers(mcp: Mapping[str, Any]) -> list[dict[str, Any]]:
    """MCP servers in the protocol's form: variables and headers are lists of names with values."""
    servers = mcp.get("mcpServers", mcp)
    return [_server(str(name), one) for name, one in servers.items() if isinstance(one, Mapping)]


def _server(name: str, server: Mapping[str, Any]) -> dict[str, Any]:
    if "url" in server:
        kind = str(server.get("type", "http"))
        return {"type": kind, "name": name, "url": str(server["url"]), "headers": _pairs(server.get("headers"))}
    arguments = [str(one) for one in server.get("args", ())]
    return {
        "name": name,
        "command": str(server.get("command", "")),
        "args": arguments,
        "env": _pairs(server.get("env")),
    }


def _pairs(values: Any) -> list[dict[str, str]]:
    return [{"name": str(k), "value": str(v)} for k, v in values.items()] if isinstance(values, Mapping) else []


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
