"""Gemini CLI as an agent, in stream mode: `gemini --acp`, the Agent Client Protocol (verified with 0.61.0).

Its other structured output, `-o stream-json`, withholds the tools that change something instead of asking for them.
What the protocol tells of a turn's usage holds cached tokens among the others and leaves reasoning out; the program's
own recording tells each request exactly, and a bridge (`gemini_bridge.py`) puts that between its lines.

No file of the person is changed: MCP servers are handed over with the session, the model is a word of the command line.
Settings and login are the person's own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto.agents.acp import AcpAgent
from stretto.agents.acp_stream import INITIALIZE
from stretto.agents.declaration import Declaration
from stretto.agents.shapes import Json, as_count, as_object, as_text, untried
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import Launch, SessionContext, Signal

BRIDGE = Path(__file__).resolve().parent / "gemini_bridge.py"
TESTED = ("0.61.0",)
_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


class GeminiAgent(AcpAgent):
    """`type = "gemini"`. `command` replaces the program (default `gemini`), `args` are added at the end."""

    type = "gemini"
    declaration = Declaration(
        type="gemini",
        about="Gemini CLI, by the Agent Client Protocol",
        program="gemini",
        tested=TESTED,
        can=frozenset({"stream", "permissions", "resume", "usage", "mcp", "model"}),
        variables={
            **dict.fromkeys(_KEYS, True),
            "GOOGLE_APPLICATION_CREDENTIALS": False,
            "GOOGLE_CLOUD_PROJECT": False,
            "GOOGLE_CLOUD_LOCATION": False,
            "GOOGLE_GEMINI_BASE_URL": False,
            "GOOGLE_GENAI_USE_VERTEXAI": False,
            "GEMINI_CLI_HOME": False,
            "GEMINI_CLI_SYSTEM_SETTINGS_PATH": False,
        },
        keys=_KEYS,
        logins=("$GEMINI_CLI_HOME/.gemini/oauth_creds.json", "~/.gemini/oauth_creds.json"),
        install="npm install -g @google/gemini-cli",
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started with these permissions, else why not."""
        return super().probe(_whole(spec, spec.model), env)

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """The bridge around one process for the whole session."""
        found = super().launch(_whole(spec, context.model or spec.model), context)
        return replace(found, argv=(sys.executable, "-I", "-S", str(BRIDGE), *found.argv))

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Lines of the bridge are the usage; what the protocol says of it is left out."""
        try:
            told = json.loads(line) if line.startswith((b'{"usage"', b'{"jsonrpc"')) else {}
        except (ValueError, RecursionError):
            told = {}
        told = as_object(told)
        if "usage" in told:
            return _usage(as_object(told["usage"]), state)
        found = [_once(one) for one in super().parse(line, state) if one.type != "usage"]
        if told.get("id") == INITIALIZE:
            version = as_text(as_object(as_object(told.get("result")).get("agentInfo")).get("version"))
            found += untried("Gemini CLI", version, TESTED, state)
        return found


def _whole(spec: AgentSpec, model: str | None) -> AgentSpec:
    """The specification with all words of the command line."""
    words = (*(spec.command or ("gemini",)), "--acp", *(("-m", model) if model else ()))
    return replace(spec, command=words)


def _once(signal: Signal) -> Signal:
    """Without `always`: that changes the approval mode, which it refuses in a folder that it was not told to trust."""
    if signal.type != "asked":
        return signal
    options = [one for one in signal.data["options"] if one[0] != "always"]
    return Signal("asked", {**signal.data, "options": options})


def _usage(told: Json, state: Json) -> list[Signal]:
    """One request: its input holds the cached tokens, its output no thoughts."""
    tokens = as_object(told.get("tokens"))
    cached, thoughts = as_count(tokens.get("cached")), as_count(tokens.get("thoughts"))
    given = max(0, as_count(tokens.get("input")) - cached) + as_count(tokens.get("tool"))
    used = Usage(given, as_count(tokens.get("output")) + thoughts, cached, 0, thoughts)
    id = as_text(told.get("id"))[:100]
    if used == Usage() or not id:
        return []
    return [Signal("usage", {"key": id, "model": as_text(told.get("model"))[:200], "usage": used})]
