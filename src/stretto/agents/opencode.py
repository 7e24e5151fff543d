"""opencode as an agent: its own server, `opencode serve`, and its events (verified with 1.18.33).

The server is started by a bridge (`opencode_bridge.py`), which is the agent's process: it speaks lines with the shim,
and HTTP with the server, on a loopback port of the session's own and with a password that nobody else gets. So the
server ends with its session, and no two sessions share one. In a pane (`opencode_pane.py`) its interface shows what
that server does, and a person can take part.

Permissions travel in a variable, because rules of a conversation do not hold for its sub-agents; MCP servers travel in
requests. No file of the person is changed; their own configuration, login and conversations are used as they are. What
a repository brings along for opencode (`.opencode/`, `opencode.json`) is not loaded, for it runs programs: an empty
OPENCODE_DISABLE_PROJECT_CONFIG in `env` allows it. The server gives conversations their ids, so no turn can be said
before it has answered.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto.agents.declaration import Declaration
from stretto.agents.opencode_data import known
from stretto.agents.opencode_pane import NONE_SUCH
from stretto.agents.opencode_stream import (
    SERVER,
    SESSION,
    TESTED,
    abort,
    parse_line,
    prompt_line,
    request,
    request_line,
    response,
)
from stretto.agents.permissions import Permissions, parse_permissions
from stretto.agents.programs import why_not_startable
from stretto.agents.turns import environment
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec, MessageKind
from stretto.interfaces import Launch, SessionContext, Signal

BRIDGE = Path(__file__).resolve().parent / "opencode_bridge.py"
PANE = Path(__file__).resolve().parent / "opencode_pane.py"
#: for the agent's process unless the workspace or the configuration say otherwise
_DEFAULTS = {"OPENCODE_DISABLE_PROJECT_CONFIG": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"}
_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY", "OPENCODE_API_KEY")
#: what changes something, or reaches out: asked for unless a rule says otherwise
_ASKED = ("edit", "bash", "webfetch", "websearch", "external_directory", "doom_loop")
#: the words of rules that name a tool otherwise than opencode does
_WORDS = {"write": "edit", "multiedit": "edit", "apply_patch": "edit", "patch": "edit", "shell": "bash"}


class OpencodeAgent:
    """`type = "opencode"`. `command` replaces the program (default `opencode`), `args` are added at the end."""

    type = "opencode"
    conversational = True
    declaration = Declaration(
        type="opencode",
        about="opencode, by its server or in a pane",
        program="opencode",
        tested=TESTED,
        can=frozenset({"stream", "pane", "questions", "permissions", "resume", "usage", "mcp", "model"}),
        variables={
            **dict.fromkeys(_KEYS, True),
            "OPENCODE_CONFIG": False,
            "OPENCODE_CONFIG_CONTENT": True,
            "OPENCODE_CONFIG_DIR": False,
            "XDG_CONFIG_HOME": False,
            "XDG_DATA_HOME": False,
            "XDG_STATE_HOME": False,
            "XDG_CACHE_HOME": False,
        },
        keys=_KEYS,
        logins=("$XDG_DATA_HOME/opencode/auth.json", "~/.local/share/opencode/auth.json"),
        hosts=(
            *("api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com", "openrouter.ai"),
            *("opencode.ai", "models.dev"),
        ),
        install="npm install -g opencode-ai",
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started with these permissions and this model, else why not."""
        try:
            parse_permissions(spec.permissions)
        except UsageError as error:
            return f"agent {spec.name}: {error.message}"
        if spec.model and "/" not in spec.model:
            return f'agent {spec.name}: opencode names models PROVIDER/MODEL; write model = "…/{spec.model}"'
        return why_not_startable(_program(spec)[0], {**env, **spec.env}, f"agent {spec.name}")

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """The bridge, for the whole session; the first records add MCP servers and begin or find the conversation."""
        return self._start(spec, context, "stream", ("-I", "-S", str(BRIDGE)))

    def pane(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """The same server, and its own interface beside it."""
        return replace(self._start(spec, context, "pane", ("-I", "-S", str(PANE))), tui="opencode")

    def _start(self, spec: AgentSpec, context: SessionContext, style: str, program: tuple[str, ...]) -> Launch:
        rules = parse_permissions(context.permissions or spec.permissions)
        conversation = context.conversation if context.resume else None
        servers = _servers(spec.mcp)
        policy = _policy(rules, [name for name, _ in servers])
        argv = (sys.executable, *program, *_program(spec), *spec.args)
        first = [request(f"{SERVER}:{name}", ("POST", "/mcp", {"name": name, "config": one})) for name, one in servers]
        first.append(_begin(context, conversation))
        records = tuple((MessageKind.CONTROL.value, request_line(one)) for one in first)
        model = context.model or spec.model or ""
        state = {"handshake": True, "resumes": conversation, "wanted": model, "model": model}
        env = {**_DEFAULTS, **environment(spec, context), "OPENCODE_PERMISSION": json.dumps(policy)}
        return Launch(style, argv, env, conversation, records, state, program=_program(spec))

    def tui(self, spec: AgentSpec, context: SessionContext, prompt: str | None) -> Launch:
        """Its own interface with a server of its own, for a person at a terminal."""
        policy = _policy(parse_permissions(context.permissions or spec.permissions), [])
        model = context.model or spec.model
        which = ("--session", context.conversation) if context.conversation else ("--continue",)
        argv = (
            *_program(spec),
            *(which if context.resume else ()),
            *(("--model", model) if model else ()),
            *(("--prompt", prompt) if prompt else ()),
            *spec.args,
        )
        env = {**_DEFAULTS, **environment(spec, context), "OPENCODE_PERMISSION": json.dumps(policy)}
        return Launch("pane", argv, env)

    def has_conversation(self, env: Mapping[str, str], folder: Path) -> bool:
        """Whether its database has one of this folder; one that cannot be read has none."""
        data = env.get("XDG_DATA_HOME") or f"{env.get('HOME', '')}/.local/share"
        return known(Path(data, "opencode", "opencode.db"), folder)

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """A prompt to the conversation that the handshake has told."""
        return prompt_line(text, state)

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """A request that ends the running turn; harmless when none is running."""
        return MessageKind.INTERRUPT.value, request_line(request(f"interrupt-{number}", abort(state)))

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """The request that answers a question or permission; see `opencode_stream.response`."""
        found = response(payload, answer)
        return None if found is None else request_line(found)

    def refused(self, stderr: bytes) -> str | None:
        """What is said in a pane; in stream mode the protocol tells of a conversation that it does not know."""
        return "no_conversation" if NONE_SUCH.encode() in stderr else None

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Translate one line (without its newline, at most 8 MiB; a cut line counts as garbage)."""
        return parse_line(line, state)


def _program(spec: AgentSpec) -> tuple[str, ...]:
    return spec.command or ("opencode",)


def _begin(context: SessionContext, conversation: str | None) -> dict[str, Any]:
    """A title spares the request with which opencode would think of one."""
    if conversation is None:
        return request(SESSION, ("POST", "/session", {"title": f"stretto {context.task}"}))
    return request(SESSION, ("GET", f"/session/{conversation}", None))


def _policy(rules: Permissions, servers: list[str]) -> dict[str, Any]:
    """The setting `permission`, laid over the person's own: of the patterns that fit, the last one holds."""
    if rules.skip:
        return dict.fromkeys(("*", *_ASKED), "allow")
    policy: dict[str, dict[str, str]] = {name: {"*": "ask"} for name in (*_ASKED, *(f"{name}_*" for name in servers))}
    for action, named in (("allow", rules.allow), ("deny", rules.deny)):
        for tool, pattern in map(_named, named):
            patterns = policy.pop(tool, {})
            patterns.pop(pattern, None)
            policy[tool] = {**patterns, pattern: action}
    # of some tools it knows no patterns, and takes nothing but the word
    return {tool: told["*"] if set(told) == {"*"} else told for tool, told in policy.items()}


def _named(rule: str) -> tuple[str, str]:
    """`Bash(git *)` in opencode's words: its tools are named in small letters."""
    tool, _, pattern = rule.partition("(")
    name = tool.lower()
    return _WORDS.get(name, name), pattern.removesuffix(")") or "*"


def _servers(mcp: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """MCP servers in opencode's form."""
    servers = mcp.get("mcpServers", mcp)
    return [(str(name), _server(one)) for name, one in servers.items() if isinstance(one, Mapping)]


def _server(server: Mapping[str, Any]) -> dict[str, Any]:
    if "url" in server:
        remote: dict[str, Any] = {"type": "remote", "url": str(server["url"])}
        return {**remote, "headers": _texts(server["headers"])} if server.get("headers") else remote
    command = [str(server.get("command", "")), *(str(one) for one in server.get("args", ()))]
    return {"type": "local", "command": command, "environment": _texts(server.get("env"))}


def _texts(values: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in values.items()} if isinstance(values, Mapping) else {}
