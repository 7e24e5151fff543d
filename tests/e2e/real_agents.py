"""The real agents as one suite sees them: how each is led to the model server, asked, and counted.

An agent whose requests do not name their conversation is known to the server by `[[as=TASK]]`, which stands in every
spec; one that names it is known by that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e.claude_stage import FREE, MODEL, PATIENCE, Stage
from tests.support import acp_adapters, claude, codex, gemini, opencode, pi
from tests.support.stream import clean_environment

Json = dict[str, Any]
TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")
#: a limit, an overload, an error of a server, an answer that breaks off, and one that is none
PASSES = ("err=429x1", "err=529x1", "err=500x1", "cut=1", "garbage=1")


def without(*faults: str) -> tuple[str, ...]:
    return tuple(one for one in PASSES if one not in faults)


@dataclass(frozen=True)
class Kind:
    """One agent. `free`: a policy that never asks for what the tests do; `asking`: one that asks for every command."""

    name: str
    model: str
    program: Callable[[], Path]
    environment: Callable[[Path, str], Mapping[str, str]]
    #: the text of a turn in the record that the shim got
    prompt: Callable[[Json], str]
    #: what its output says when a turn is over
    over: bytes
    #: what may be written below its home
    folders: frozenset[str]
    arguments: Callable[[str], tuple[str, ...]] = lambda url: ()
    free: str = FREE
    asking: str = "ask"
    #: an answer that breaks off, after which the agent asks again
    torn: str = "cut=1"
    #: turns a command into what the inbox shows of it
    shown: str = "Bash: {}"
    #: whether it needs no daemon that allows what it asks for
    alone: bool = True
    #: whether it loses a turn that did not end from its conversation, and the conversation with its first turn
    forgets: bool = False
    #: whether it tells what a request has used whose step was broken off while it asked
    tells_broken: bool = True
    #: whether it can put questions to the person
    asks: bool = True
    #: a command as the model runs it where it has to be asked for, and what the environment needs for that
    asked_for: str = "[[sh={}]]"
    asking_env: dict[str, Any] = field(default_factory=dict)
    #: what stands before the words of a question, and the options that it adds to those of the model
    asks_first: str = ""
    adds: tuple[str, ...] = ()
    #: whether a permission that is denied ends the turn: it has to be told what to do instead
    deny_ends: bool = False
    #: its type, if its name is none
    type: str = ""
    #: whether it starts in a second
    quick: bool = False
    #: the errors of its vendor, after each of which it asks again, and those that end its turn
    passes: tuple[str, ...] = PASSES
    breaks: tuple[str, ...] = ()
    #: what it says of a full context, in small letters
    full: str = "context"
    #: whether a full context fails its turn: some sum up what was said and go on
    overflows: bool = True
    #: whether it ends its turn while its vendor takes no more: some try for ever
    gives_up: bool = True
    #: whether it tells all that was used: some leave out requests beside the conversation
    exact: bool = True
    #: whether it tells what it uses while it works, not only when a turn is over
    live: bool = True
    #: what it says of a key that the vendor refuses
    refused: str = "401"
    #: what the model calls the tool `echo` of the tool server `probe`, and the policy that lets it; None: it knows none
    echo: tuple[str, str] | None = None


def _claude(home: Path, url: str) -> Mapping[str, str]:
    own = clean_environment(home, url)
    return {name: own[name] for name in own if name not in ("PATH", "HOME", "LANG", "TMPDIR", "STRETTO_TEST_RUN")}


KINDS = {
    "claude": Kind(
        name="claude",
        quick=True,
        model=MODEL,
        program=claude.program,
        environment=_claude,
        prompt=lambda record: str(record["message"]["content"]),
        over=b'"type":"result"',
        full="prompt is too long",
        passes=without("cut=1"),
        torn="garbage=1",  # of one that is cut it counts what its beginning said, as the vendor does
        folders=frozenset({".claude"}),
        echo=("mcp__probe__echo", f"{FREE}, mcp__probe__echo"),
    ),
    "codex": Kind(
        name="codex",
        quick=True,
        passes=without("err=429x1"),
        model=codex.MODEL,
        program=codex.program,
        environment=lambda home, url: codex.environment(home),
        prompt=lambda record: str(record["params"]["input"][0]["text"]),
        over=b'"turn/completed"',
        folders=frozenset({".codex"}),
        arguments=lambda url: (*codex.arguments(url), *codex.OPEN),
        free="skip",
        asking=codex.ASKING,
        echo=("echo", "skip"),
        shown="command: {}",
    ),
    "pi": Kind(
        name="pi",
        quick=True,
        passes=without("garbage=1"),
        breaks=("garbage=1",),
        model=pi.MODEL,
        program=pi.program,
        environment=pi.environment,
        prompt=lambda record: str(record["message"]),
        over=b"agent_settled",
        folders=frozenset({"pi"}),
        shown="bash: {}",
    ),
    "opencode": Kind(
        name="opencode",
        model=opencode.MODEL,
        program=opencode.program,
        environment=opencode.environment,
        prompt=lambda record: str(record["body"]["parts"][0]["text"]),
        over=b'"type":"idle"',
        folders=frozenset({"opencode", ".npm"}),  # it uses npm itself for its own extensions
        tells_broken=False,
        overflows=False,
        gives_up=False,
        shown="bash: {}",
        echo=("probe_echo", f"{FREE}, probe_echo"),
    ),
    "gemini": Kind(
        name="gemini",
        passes=without("cut=1"),  # it takes the call of an answer that is cut for one more
        full="exceeds the maximum number of tokens",
        model=gemini.MODEL,
        program=gemini.program,
        environment=gemini.environment,
        prompt=lambda record: str(record["params"]["prompt"][0]["text"]),
        over=b'"stopReason"',
        folders=frozenset({".gemini"}),
        free="skip",
        shown="execute: {}",
        alone=False,
        asks=False,
        forgets=True,
        echo=("mcp_probe_echo", "skip"),
    ),
    "claude-acp": Kind(
        name="claude-acp",
        model=MODEL,
        program=partial(acp_adapters.program, "claude-acp"),
        environment=acp_adapters.claude_environment,
        prompt=lambda record: str(record["params"]["prompt"][0]["text"]),
        over=b'"stopReason"',
        full="prompt is too long",
        passes=without("cut=1"),
        torn="garbage=1",
        folders=frozenset({".claude", ".claude.json", ".npm", ".cache"}),
        free="skip",
        shown="execute: {}",
        alone=False,
        type="acp",
        exact=False,
        live=False,
        refused="Authentication required",
        echo=("mcp__probe__echo", "skip"),
    ),
    "codex-acp": Kind(
        name="codex-acp",
        passes=without("err=429x1"),
        model=codex.MODEL,
        program=partial(acp_adapters.program, "codex-acp"),
        environment=acp_adapters.codex_environment,
        prompt=lambda record: str(record["params"]["prompt"][0]["text"]),
        over=b'"stopReason"',
        folders=frozenset({".codex", ".npm"}),
        free="skip",
        asked_for='[[tool exec_command {{"cmd":"{}","sandbox_permissions":"require_escalated","justification":"x"}}]]',
        asking_env={"INITIAL_AGENT_MODE": "workspace-write"},
        asks_first="Codex needs your input to continue.\n",
        adds=("None of the above",),
        deny_ends=True,
        shown="execute: {}",
        alone=False,
        type="acp",
        exact=False,
        live=False,
        refused="Authentication required",
        echo=("echo", "skip"),
    ),
}


def chosen() -> list[str]:
    """Those that are to be tested: the ones that STRETTO_AGENTS names, else all; one that is missing is a skip."""
    return [name for name in os.environ.get("STRETTO_AGENTS", "").split() if name in KINDS] or list(KINDS)


@dataclass
class RealStage(Stage):
    """The words of the tests for any of these agents."""

    kind: Kind = field(default_factory=lambda: KINDS["claude"])

    def configure(
        self, permissions: str | None = None, command: list[str] | None = None, more: str = "", **env: str
    ) -> None:
        """Commit a stretto.toml that leads the agent to the model server."""
        kind, url = self.kind, self.server.url
        own = {**kind.environment(self.folder / "agent-home", url), **env}
        lines = [
            "schema = 1",
            f"[agents.{kind.name}]",
            *([f'type = "{kind.type}"'] if kind.type else []),
            f"command = {json.dumps(command or [str(kind.program())])}",
            f"args = {json.dumps(list(kind.arguments(url)))}",
            f"permissions = {json.dumps(permissions or kind.free)}",
            f"model = {json.dumps(kind.model)}",
            f"[agents.{kind.name}.env]",
            *(f"{name} = {json.dumps(value)}" for name, value in own.items()),
        ]
        (self.repo.path / "stretto.toml").write_text("\n".join([*lines, more, ""]))
        self.repo.git("add", "stretto.toml")
        self.repo.git("commit", "-q", "-m", "Configure")

    def run(self, *tasks: str, checks: str = '["true"]', approve: str = "human", words: tuple[str, ...] = ()) -> Json:
        known = ("--unsandboxed",) if self.kind.free == "skip" else ()
        return super().run(*tasks, checks=checks, approve=approve, words=("--agent", self.kind.name, *known, *words))

    def wait(self, what: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        """Some need 600 MB and many seconds of a core to start."""
        return super().wait(what, max(timeout, 60.0 if self.kind.quick else 240.0))

    def prompts(self, session: str) -> list[str]:
        records = [json.loads(r["data"]) for r in self.records(session) if r["kind"] == "turn"]
        return [self.kind.prompt(record) for record in records]

    def names(self, id: str) -> set[str]:
        """What the server knows the conversations of a task by."""
        return {id, *self.conversations(id), *([""] if self.kind.forgets else [])}

    def served(self, id: str) -> int:
        return len([one for name in self.names(id) for one in self.server.served(name) if one.outcome == "served"])

    def served_usage(self, id: str) -> dict[str, int]:
        parts = [self.server.usage(name) for name in self.names(id)]
        return {name: sum(getattr(part, name) for part in parts) for name in TOKENS}

    def counted(self, id: str) -> dict[str, int]:
        told = next(t for t in self.json("status")["tasks"] if t["id"] == id)["usage"]
        return {name: told[name] for name in TOKENS}

    def wait_served(self, count: int, id: str) -> None:
        if self.kind.live:
            super().wait_served(count, id)
        else:
            self.wait(lambda: self.served(id) >= count)

    def usage_is_right(self, id: str) -> dict[str, int]:
        if self.kind.exact:
            return super().usage_is_right(id)
        counted, served = self.counted(id), self.served_usage(id)
        assert all(0 <= counted[name] <= served[name] for name in TOKENS), f"counted {counted}, served {served}"
        return counted

    def output(self, session: str) -> bytes:
        """All that the agent of a session has written."""
        return b"".join(path.read_bytes() for path in (self.home.sessions / session).glob("out.0*"))
