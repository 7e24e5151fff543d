"""Gemini CLI as an agent, in stream mode: `gemini --acp`, the Agent Client Protocol (verified with 0.61.0).

Its other structured output, `-o stream-json`, withholds the tools that change something instead of asking for them.
What the protocol tells of a turn's usage holds cached tokens among the others and leaves reasoning out; the program's
own recording tells each request exactly, and a bridge (`gemini_bridge.py`) puts that between its lines.

No file of the person is changed: MCP servers are handed over with the session, the model is a word of the command line.
Settings and login are the person's own.

In a terminal it is its own interface (`gemini_tui.py` reads it). There it asks first whether a folder is trusted, and
what a repository brings along for it runs programs: so it is told that the folder is not, unless the person lets it do
everything. A GEMINI_CLI_TRUST_WORKSPACE in `env` decides otherwise.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto import files
from stretto.agents.acp import AcpAgent
from stretto.agents.acp_stream import INITIALIZE
from stretto.agents.declaration import Declaration
from stretto.agents.permissions import parse_permissions
from stretto.agents.shapes import Json, as_count, as_object, as_text, untried
from stretto.agents.turns import environment
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import Launch, SessionContext, Signal

BRIDGE = Path(__file__).resolve().parent / "gemini_bridge.py"
TESTED = ("0.61.0",)
_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_CONVERSATIONS = uuid.UUID("0f7c3f1e-8f0a-4e55-9a35-1c2d3a7a6d51")


class GeminiAgent(AcpAgent):
    """`type = "gemini"`. `command` replaces the program (default `gemini`), `args` are added at the end."""

    type = "gemini"
    declaration = Declaration(
        type="gemini",
        about="Gemini CLI, by the Agent Client Protocol or in a pane",
        program="gemini",
        tested=TESTED,
        can=frozenset({"stream", "pane", "permissions", "resume", "usage", "mcp", "model"}),
        variables={
            **dict.fromkeys(_KEYS, True),
            "GOOGLE_APPLICATION_CREDENTIALS": False,
            "GOOGLE_CLOUD_PROJECT": False,
            "GOOGLE_CLOUD_LOCATION": False,
            "GOOGLE_GEMINI_BASE_URL": False,
            "GOOGLE_GENAI_USE_VERTEXAI": False,
            "GEMINI_CLI_HOME": False,
            "GEMINI_CLI_TRUST_WORKSPACE": False,
            "GEMINI_CLI_SYSTEM_SETTINGS_PATH": False,
        },
        keys=_KEYS,
        logins=("$GEMINI_CLI_HOME/.gemini/oauth_creds.json", "~/.gemini/oauth_creds.json"),
        hosts=("generativelanguage.googleapis.com", "cloudcode-pa.googleapis.com", "oauth2.googleapis.com"),
        servers=("GOOGLE_GEMINI_BASE_URL",),
        install="npm install -g @google/gemini-cli",
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started with these permissions, else why not."""
        return super().probe(_whole(spec, spec.model), env)

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """The bridge around one process for the whole session."""
        found = super().launch(_whole(spec, context.model or spec.model), context)
        return replace(found, argv=(sys.executable, "-I", "-S", str(BRIDGE), *found.argv), program=found.argv)

    def probe_pane(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """As `probe`; its interface takes MCP servers from settings only, which are the person's."""
        if spec.mcp:
            return f"agent {spec.name}: in a pane Gemini CLI takes MCP servers from its own settings only"
        return self.probe(spec, env)

    def pane(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """Its own interface, for a conversation whose id is chosen here."""
        conversation = context.conversation or str(uuid.uuid5(_CONVERSATIONS, context.session))
        which = ("--resume" if context.resume else "--session-id", conversation)
        return replace(_face(spec, context, *which), conversation=conversation, tui="gemini")

    def tui(self, spec: AgentSpec, context: SessionContext, prompt: str | None) -> Launch:
        """The same for a person at a terminal."""
        which = ("--resume", context.conversation or "latest") if context.resume else ()
        return _face(spec, context, *which, *(("-i", prompt) if prompt else ()))

    def has_conversation(self, env: Mapping[str, str], folder: Path) -> bool:
        """Whether one is recorded for this folder, which its project names."""
        tmp = Path(env.get("GEMINI_CLI_HOME") or env.get("HOME") or "/nonexistent", ".gemini", "tmp")
        return any(_root(chat.parent.parent) == str(folder) for chat in tmp.glob("*/chats/session-*.jsonl"))

    def refused(self, stderr: bytes) -> str | None:
        """What its own interface says when it will not resume or begin a conversation."""
        if b"Error resuming session" in stderr:
            return "no_conversation"
        return "conversation_in_use" if b"Error starting session" in stderr and b"already exists" in stderr else None

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Lines of the bridge are the usage; what the protocol says of it is left out."""
        try:
            told = json.loads(line) if line.startswith((b'{"usage"', b'{"jsonrpc"')) else {}
        except (ValueError, RecursionError):
            told = {}
        told = as_object(told)
        if "usage" in told:
            return usage(as_object(told["usage"]), state)
        found = [_once(one) for one in super().parse(line, state) if one.type != "usage"]
        if told.get("id") == INITIALIZE:
            version = as_text(as_object(as_object(told.get("result")).get("agentInfo")).get("version"))
            found += untried("Gemini CLI", version, TESTED, state)
        return found


def _whole(spec: AgentSpec, model: str | None) -> AgentSpec:
    """The specification with all words of the command line."""
    words = (*(spec.command or ("gemini",)), "--acp", *(("-m", model) if model else ()))
    return replace(spec, command=words)


def _face(spec: AgentSpec, context: SessionContext, *more: str) -> Launch:
    skip = parse_permissions(context.permissions or spec.permissions).skip
    model = context.model or spec.model
    argv = (
        *(spec.command or ("gemini",)),
        *(("-m", model) if model else ()),
        *(("--approval-mode", "yolo") if skip else ()),
        *more,
        *spec.args,
    )
    trust = {"GEMINI_CLI_TRUST_WORKSPACE": "true" if skip else "false"}
    return Launch("pane", argv, {**trust, **environment(spec, context)})


#: bytes of the path of a project that are read
_ROOT = 8192


def _root(project: Path) -> str:
    return files.read_start(project / ".project_root", _ROOT).decode("utf-8", "replace").strip()


def _once(signal: Signal) -> Signal:
    """Without `always`: that changes the approval mode, which it refuses in a folder that it was not told to trust."""
    if signal.type != "asked":
        return signal
    options = [one for one in signal.data["options"] if one[0] != "always"]
    return Signal("asked", {**signal.data, "options": options})


def usage(told: Json, state: Json) -> list[Signal]:
    """One request: its input holds the cached tokens, its output no thoughts."""
    tokens = as_object(told.get("tokens"))
    cached, thoughts = as_count(tokens.get("cached")), as_count(tokens.get("thoughts"))
    given = max(0, as_count(tokens.get("input")) - cached) + as_count(tokens.get("tool"))
    used = Usage(given, as_count(tokens.get("output")) + thoughts, cached, 0, thoughts)
    id = as_text(told.get("id"))[:100]
    if used == Usage() or not id:
        return []
    return [Signal("usage", {"key": id, "model": as_text(told.get("model"))[:200], "usage": used})]
