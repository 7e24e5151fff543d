"""How a session ended, and what that says of the messages that it had: evidence from the shim's folder.

Specification. Three kinds of ends are told apart. A session whose shim died left no record: what it had reached may
have had its effect. An agent that ended by itself is recorded with its exit code: its turn failed, and the last line
that it said on stderr is the reason. An agent that refused its conversation read no message at all: what was given to
it goes to the next session, with a conversation of its own or the one that is there already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stretto.agents.pane_host import NO_TERMINAL
from stretto.core.escapes import without_sequences
from stretto.core.model import Delivery, Item, Message, MessageKind, Origin, Session, TurnResult
from stretto.core.who import PANE
from stretto.engine.acts.rows import add_control
from stretto.engine.parts import Parts
from stretto.interfaces import Agent, ShimState
from stretto.store.sqlite import Writer
from stretto.workspace.sandbox.launch_limits import ENDED

#: bytes of stderr that are looked at, and characters of its last line that are told
TAIL, TOLD = 4096, 300
_WORD = re.compile(r"[^\W\d_]{2}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\uffff]")


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session is over.

    `own`: its agent ended by itself. `refused`: the word for a conversation that it would not have.
    """

    why: str
    own: bool = False
    refused: str | None = None


def take_back(tx: Writer, agent: Agent, session: Session) -> None:
    """Answer, in the agent's own way, what it asks to be allowed while its turn is interrupted; nobody else may then.

    Most agents take their requests back by themselves; one that does not has the method `taken_back`.
    """
    reply = getattr(agent, "taken_back", None)
    if reply is None:
        return
    where = "session = ? AND kind = 'permission' AND closed_at IS NULL AND answered_at IS NULL"
    for item in tx.select(Item, where, session.id):
        if (data := reply(item.payload)) is not None:
            add_control(tx, session.task, session.id, MessageKind.CONTROL, Origin.ANSWER, data)
            tx.update(Item, item.id, closed_at=tx.now)
            tx.event("item.closed", task=session.task, item=item.id, reason="the turn was interrupted")


def look(parts: Parts, session: Session) -> Ending:
    """What the folder of a session that is over says of its end."""
    folder = Path(session.folder)
    if session.parser.get("refused"):
        return Ending("its agent does not know the conversation", refused=str(session.parser["refused"]))
    if session.parser.get("because"):
        return Ending(str(session.parser["because"]))
    if session.parser.get("unfit"):
        return Ending(str(session.parser["unfit"]), own=True)
    record = parts.shims.state(folder).exit
    if record is None:
        return Ending("its session died")
    reason = str(record.get("reason") or "")
    if not reason.startswith(("exited", "cannot start")):
        return Ending(f"its session was ended: {reason}" if reason else "its session was ended")
    if record.get("signal") is not None:
        return Ending(f"its agent was ended by signal {record['signal']}")
    if session.mode == PANE and record.get("code") == NO_TERMINAL:
        return Ending("its terminal (tmux) is gone")
    said = parts.shims.tail(folder, "err", TAIL)
    agent = parts.agent(str(session.parser.get("type") or session.agent))
    refused = agent.refused(said)
    last = last_screen(said) if session.mode == PANE else last_line(said)
    return Ending(_words(record, reason, last), own=refused is None, refused=refused)


def _words(record: dict[str, Any], reason: str, last: str) -> str:
    what = reason if reason.startswith("cannot start") else f"its agent ended with exit code {record.get('code')}"
    return f"{what}: {last}" if last else what


def last_line(said: bytes) -> str:
    """The last line that says something, fit to be shown."""
    lines = [_UNPRINTABLE.sub("", line).strip() for line in _lines(said)]
    return next((line[:TOLD] for line in reversed(lines) if line), "")


def _lines(said: bytes) -> list[str]:
    return without_sequences(said.decode("utf-8", "replace")).splitlines()


def last_screen(said: bytes) -> str:
    """The last words on a screen, fit to be shown: what stands together at its end, up to a line without a word."""
    words: list[str] = []
    for line in reversed(_lines(said)):
        text = " ".join(_UNPRINTABLE.sub("", line).split())
        if _WORD.search(text):
            words.insert(0, text)
        elif words:
            break
    return " ".join(words[-6:])[:TOLD]


def limit_passed(output: str) -> str:
    """What the sandbox's launcher said at the end if it was ended for what it took; else nothing."""
    last = last_line(output[-TAIL:].encode())
    return last if last.startswith(ENDED) else ""


def reached(session: Session, message: Message, state: ShimState) -> ShimState:
    """The shim's word on how far messages got; the host of a pane has read one long before it reached the agent."""
    inside = session.mode == PANE and message.kind is MessageKind.TURN and message.state is Delivery.WRITTEN
    return replace(state, delivered=min(state.delivered, (message.number or 0) - 1)) if inside else state


def fate(message: Message, state: ShimState, ending: Ending, *, first: bool) -> dict[str, Any]:
    """What becomes of a message of a session that is over (DECISIONS 20). `first`: no turn had reached it before."""
    number = message.number or 0
    delivered, attempted = number <= state.delivered, number <= state.attempting
    if message.kind is not MessageKind.TURN:
        return {"state": Delivery.DONE if delivered else Delivery.WITHDRAWN}
    if ending.refused is not None:
        return back()
    if ending.own and (delivered or first):
        # also what it never read: an agent that ends at once would be started again for ever
        return {"state": Delivery.DONE, "result": TurnResult.FAILED}
    if delivered:
        return {"state": Delivery.INTERRUPTED, "result": TurnResult.INTERRUPTED}
    return {"state": Delivery.UNDELIVERED} if attempted else back()


def fail_waiting(tx: Writer, task: str, why: str) -> None:
    """Fail the turn that waits for its session to begin: the agent would be started again for ever."""
    where = "task = ? AND kind = 'turn' AND state = 'queued' AND number IS NULL ORDER BY n"
    turn = tx.one(Message, where, task)
    if turn is None:
        return
    changes = {"state": Delivery.DONE, "result": TurnResult.FAILED, "reason": why, "ended_at": tx.now}
    tx.update(Message, (task, turn.n), **changes)
    tx.event("turn.ended", task=task, n=turn.n, result=TurnResult.FAILED, reason=why, seconds=0.0)


def back() -> dict[str, Any]:
    """The changes that give a message back to the queue: certainly nobody has read it."""
    return {"state": Delivery.QUEUED, "session": None, "number": None, "delivered_at": None}
