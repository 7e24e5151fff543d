"""Codex as an agent: `codex app-server`, JSON-RPC lines both ways, or its own face (verified with 0.169.0).

The handshake is three records: `initialize`, `initialized`, and `thread/start` or `thread/resume`. The program gives
its threads their ids, so no turn can be said before it has answered. What configures it travels in `-c` flags: no file
of the person is changed, and the repository's own configuration is not read (it is untrusted). Plugins are off, because
they look for updates on the net.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto import __version__, files
from stretto.agents.codex_asks import response_to
from stretto.agents.codex_stream import INITIALIZE, TESTED, THREAD, TURN, parse_line
from stretto.agents.declaration import Declaration
from stretto.agents.hooks import Spool, codex_words
from stretto.agents.permissions import Permissions, parse_permissions
from stretto.agents.programs import why_not_startable
from stretto.agents.turns import environment
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec, MessageKind
from stretto.interfaces import Launch, SessionContext, Signal

#: what keeps the rules that deny something
RULES = Path(__file__).resolve().with_name("codex_rules.py")
_SERVER = ("app-server", "--disable", "plugins", "--enable", "default_mode_request_user_input")
_TUI = ("--no-daemon", "--disable", "plugins", "--enable", "default_mode_request_user_input")
#: the newest rollouts in which a conversation of a folder is looked for
_ROLLOUTS = 200
#: bytes of a rollout's first line in which its folder stands
_META = 4096
_QUIET = {"suppress_unstable_features_warning": True, "check_for_update_on_startup": False}
#: what Codex takes as the name of an MCP server
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class CodexAgent:
    """`type = "codex"`. `command` replaces the program (default `codex`), `args` are added at the end."""

    type = "codex"
    conversational = True
    declaration = Declaration(
        type="codex",
        about="Codex, by its app server or in a pane",
        program="codex",
        tested=TESTED,
        can=frozenset({"stream", "pane", "questions", "permissions", "resume", "usage", "mcp", "model"}),
        variables={"OPENAI_API_KEY": True, "CODEX_API_KEY": True, "OPENAI_BASE_URL": False, "CODEX_HOME": False},
        keys=("OPENAI_API_KEY", "CODEX_API_KEY"),
        logins=("$CODEX_HOME/auth.json", "~/.codex/auth.json"),
        hosts=("api.openai.com", "chatgpt.com", "auth.openai.com"),
        servers=("OPENAI_BASE_URL",),
        install="npm install -g @openai/codex",
        confines=("sandbox", "--"),
        folder="CODEX_HOME",
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started with these permissions, else why not."""
        try:
            parse_permissions(spec.permissions)
        except UsageError as error:
            return f"agent {spec.name}: {error.message}"
        if strange := [name for name in _named(spec.mcp) if not _NAME.fullmatch(name)]:
            return f"agent {spec.name}: Codex takes no MCP server called {strange[0]!r}: use letters, digits, - and _"
        return why_not_startable(_program(spec)[0], {**env, **spec.env}, f"agent {spec.name}")

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """One process for the whole session, whose first records are the protocol's handshake."""
        rules = parse_permissions(context.permissions or spec.permissions)
        conversation = context.conversation if context.resume else None
        settings = {**_QUIET, **_sandbox(rules, context.workspace), **_servers(spec.mcp)}
        flags = (word for name, value in settings.items() for word in ("-c", f"{name}={toml(value)}"))
        argv = (*_program(spec), *_SERVER, *flags, *spec.args)
        first = [(MessageKind.CONTROL.value, _line(one)) for one in _handshake(spec, context, rules)]
        state: dict[str, Any] = {"handshake": True, "allow": list(rules.allow), "deny": list(rules.deny)}
        return Launch("stream", argv, environment(spec, context), conversation, tuple(first), state)

    def tui(self, spec: AgentSpec, context: SessionContext, prompt: str | None) -> Launch:
        """Its own face, in the workspace. `--no-daemon`: without it two processes outlive the terminal."""
        return self._face(spec, context, prompt, None)

    def _face(self, spec: AgentSpec, context: SessionContext, prompt: str | None, spool: Spool | None) -> Launch:
        rules = parse_permissions(context.permissions or spec.permissions)
        settings = {**_QUIET, **_sandbox(rules, context.workspace), **_servers(spec.mcp)}
        flags = (word for name, value in settings.items() for word in ("-c", f"{name}={toml(value)}"))
        model = context.model or spec.model
        which = ("resume", context.conversation or "--last") if context.resume else ()
        argv = (
            *_program(spec),
            *which,
            *_TUI,
            *flags,
            *("-c", f"approval_policy={toml('never' if rules.skip else 'on-request')}", "-C", str(context.workspace)),
            *(("--model", model) if model else ()),
            *spec.args,
            *codex_words(spool, guard(rules)),
            *(("--", prompt) if prompt else ()),
        )
        return Launch("pane", argv, environment(spec, context), context.conversation)

    def pane(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """Its own face with hooks that report to us, for this session alone."""
        spool = Spool(context.spool or context.folder, context.session, context.generation)
        face = self._face(spec, context, None, spool)
        conversation = context.conversation if context.resume else None  # a new thread gets its id from Codex
        return replace(face, conversation=conversation, tui="codex")

    def has_conversation(self, env: Mapping[str, str], folder: Path) -> bool:
        """Whether a rollout of the last days was made in this folder: each says so in its first line."""
        home = Path(env.get("CODEX_HOME") or Path(env.get("HOME") or "/") / ".codex")
        found = sorted((home / "sessions").glob("*/*/*/rollout-*.jsonl"), reverse=True)
        return any(f'"cwd":{json.dumps(str(folder))}' in _first_line(path) for path in found[:_ROLLOUTS])

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """A turn of the thread that the handshake has told."""
        params = {"threadId": state.get("thread", ""), "input": [{"type": "text", "text": text}]}
        return _line({"id": TURN, "method": "turn/start", "params": params})

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """A request that ends the running turn: the one that we know of, else whichever is about to start."""
        params = {"threadId": state.get("thread", ""), "turnId": state.get("turn", "")}
        return MessageKind.INTERRUPT.value, _line(
            {"id": f"interrupt-{number}", "method": "turn/interrupt", "params": params}
        )

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """The response to a question or a request for approval; see `codex_asks.response_to`."""
        response = response_to(payload, answer)
        return None if response is None else _line(response)

    def refused(self, stderr: bytes) -> str | None:
        """What its own face says of a thread that it does not know; its protocol has an answer for that."""
        return "no_conversation" if b"No saved session found" in stderr else None

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Translate one line (without its newline, at most 8 MiB; a cut line counts as garbage)."""
        return parse_line(line, state)


def toml(value: Any) -> str:
    """A value of JSON as TOML of one line; null, which TOML does not know, is left out of tables."""
    if isinstance(value, Mapping):
        inner = (f"{toml(str(key))}={toml(one)}" for key, one in value.items() if one is not None)
        return "{" + ",".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(toml(one) for one in value) + "]"
    if isinstance(value, str):  # the pairs of surrogates in which JSON may write a character are none in TOML
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _first_line(path: Path) -> str:
    line = files.read_start(path, _META).partition(b"\n")[0]
    return line.decode("utf-8", "replace").replace('": "', '":"')


def _program(spec: AgentSpec) -> tuple[str, ...]:
    return spec.command or ("codex",)


def guard(rules: Permissions) -> str:
    """The line that keeps the rules that deny something; its interface itself does not ask before all that it does."""
    if not rules.deny:
        return ""
    return shlex.join([sys.executable, "-I", str(RULES), json.dumps(rules.deny)])


def _handshake(spec: AgentSpec, context: SessionContext, rules: Permissions) -> list[dict[str, Any]]:
    client = {"name": "stretto", "title": "stretto", "version": __version__}
    hello = {"clientInfo": client, "capabilities": {"experimentalApi": True}}
    params: dict[str, Any] = {"cwd": str(context.workspace), "approvalPolicy": _policy(rules)}
    if model := context.model or spec.model:
        params["model"] = model
    if context.resume:
        params |= {"threadId": context.conversation, "excludeTurns": True}
    begin = {"id": THREAD, "method": "thread/resume" if context.resume else "thread/start", "params": params}
    return [{"id": INITIALIZE, "method": "initialize", "params": hello}, {"method": "initialized"}, begin]


def _policy(rules: Permissions) -> str:
    """When Codex asks: as it likes for `ask`, about everything when there are rules to judge it by, else never."""
    if rules.skip:
        return "never"
    return "untrusted" if rules.allow or rules.deny else "on-request"


def _sandbox(rules: Permissions, workspace: Path) -> dict[str, Any]:
    """Codex' own sandbox lets it write to the worktree and, so that it can commit, to what git writes then."""
    project = {"projects": {str(workspace): {"trust_level": "untrusted"}}}
    if rules.skip:
        return {"sandbox_mode": "danger-full-access", **project}
    roots = {"sandbox_workspace_write": {"writable_roots": _git_directories(workspace)}}
    return {"sandbox_mode": "workspace-write", **roots, **project}


def _git_directories(workspace: Path) -> list[str]:
    """Where a commit of this worktree is written: its own git directory and the one that all worktrees share."""
    try:
        own = (workspace / ".git").read_text().strip().removeprefix("gitdir: ")
    except OSError:
        return []
    return [own, str(Path(own).parent.parent)]


def _servers(mcp: Mapping[str, Any]) -> dict[str, Any]:
    """MCP servers as settings, one by one: the person's own stay. Names stand bare: quotes would be part of them."""
    return {f"mcp_servers.{name}": _server(one) for name, one in _named(mcp).items()}


def _named(mcp: Mapping[str, Any]) -> Mapping[str, Any]:
    servers = mcp.get("mcpServers", mcp)
    return servers if isinstance(servers, Mapping) else {}


def _server(server: Any) -> Any:
    """`type` is Claude Code's word; Codex tells them apart by `command` and `url`."""
    return {key: value for key, value in server.items() if key != "type"} if isinstance(server, dict) else server


def _line(value: Any) -> str:
    """JSON without a newline, whatever the text holds: a broken line would be no request."""
    return json.dumps(value, separators=(",", ":"))
