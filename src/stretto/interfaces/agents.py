"""One kind of coding agent: how it is started, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from stretto.core.model import AgentSpec


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What an adapter needs to know to start or resume a session. `spool`: where its hooks may report to."""

    session: str
    task: str
    workspace: Path
    folder: Path
    env: Mapping[str, str]
    conversation: str | None
    resume: bool
    model: str | None
    permissions: str
    report_file: str | None = None
    generation: int = 1
    spool: Path | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """How an agent is started. `style`: `stream` (one process, stdin lines), `turns` (one process a turn), `pane` (its
    own face on a terminal, which the pane's host reads as that of `tui`).

    `first` are records written before any turn (kind, data): a protocol's handshake, say. `state` is what `parse`
    starts with, besides what the engine keeps there. While it holds a true `handshake`, no turn is given to the
    session: an agent whose turns need something that it has to say first (the id of its conversation) lets `parse`
    take it away. What stands under `kept` goes on to the next session of the same conversation. `program`: the command
    line that `argv` starts in its turn, where that is a runner or bridge of ours: a sandbox has to show it as well.
    """

    style: str
    argv: tuple[str, ...]
    env: dict[str, str]
    conversation: str | None = None
    first: tuple[tuple[str, str], ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    tui: str | None = None
    program: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that an agent reported. `type` is one of the words below, `data` depends on it.

    started{conversation,model} · turn_started · text{text} · tool{name,detail} · tool_failed{name,detail,code,said}:
    one could not do it, or its command ended with this exit code · asked{kind: question|permission,
    request, text, options: [[key, text]], questions, tool, input} · withdrawn{request} · usage{key, model, usage} ·
    turn_ended{result: TurnResult, reason, text} · status{status} · retry{reason, delay_s} · garbage{bytes} ·
    reply{request, data}: a record for the agent that nobody has to be asked for · unfit{reason}: it cannot begin, so
    the session is over and the turn that waits for it failed · notice{text}: something that the person should know ·
    sign{source, what, text, at, until}: a sign by itself (core.evidence), from a source other than the protocol ·
    worked{result}: a turn that the person began in its terminal is over ·
    undelivered{reason, touched}: the message did not reach the agent, as far as anyone knows ·
    quota{windows: [{window, used, resets_at, exhausted}]}: how full the vendor's windows are, as a share of 1
    """

    type: str
    data: dict[str, Any] = field(default_factory=dict)


class Agent(Protocol):
    """One kind of coding agent. Pure but for `probe`: it describes processes and translates bytes."""

    type: str

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started, else the reason why not, as a sentence."""
        ...

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch: ...

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """The `data` of a turn record that carries this text. `state` is what `parse` has kept, without a handshake."""
        ...

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """Kind and data of the record that interrupts the running turn. `state` is what `parse` has kept."""
        ...

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """The `data` of the control record that answers a question or permission; None: cannot be answered in-turn."""
        ...

    def refused(self, stderr: bytes) -> str | None:
        """Why an agent that ended by itself would not have its conversation: it then read no message at all.

        `no_conversation`: there is none of this id to resume; `conversation_in_use`: there is one already; None: any
        other end. `stderr` is the end of what it said there.
        """
        ...

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Translate one line of the agent's stdout. `state` is kept between lines and across daemon restarts."""
        ...


@runtime_checkable
class Interactive(Protocol):
    """An agent with a face of its own for a person at a terminal."""

    def tui(self, spec: AgentSpec, context: SessionContext, prompt: str | None) -> Launch:
        """How its face is started: style `pane`. `prompt` begins the conversation.

        With `resume` the conversation `context.conversation` goes on, or the newest of that folder if none is named.
        """
        ...

    def has_conversation(self, env: Mapping[str, str], folder: Path) -> bool:
        """Whether the program, started with this environment in this folder, has a conversation to go on with."""
        ...
