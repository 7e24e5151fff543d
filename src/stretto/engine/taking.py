"""What the signals of a session mean, as rows.

Specification. A batch of signals is taken in one transaction, that of the reader's cursor (pump.py); text is gathered
and written once, and so is what was seen of the agent. `Taker.matters` tells whether anything was said that a decision
could depend on: text and mere work are none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from stretto.agents.quotas import windows_of
from stretto.core.evidence import Sign, What
from stretto.core.model import (
    Delivery,
    Item,
    ItemKind,
    Message,
    MessageKind,
    Origin,
    Session,
    Task,
    TurnResult,
    Usage,
)
from stretto.core.who import PANE
from stretto.engine import believing, limiting
from stretto.engine.acts.endings import back, fail_waiting
from stretto.engine.acts.rows import add_control, close_permissions, open_item, short_id
from stretto.engine.acts.takeover import take_up
from stretto.interfaces import Signal
from stretto.store.sqlite import Reader, Writer

#: the code of a turn that ended because the agent knows no conversation of this id
NO_CONVERSATION = "no_conversation"
#: characters of a turn's output that are kept with it; the rest stays in the session's files
OUTPUT_KEPT = 4000


def end_turn(tx: Writer, session: Session, n: int, result: TurnResult, reason: str) -> None:
    """Write that a turn is over."""
    turn = tx.one(Message, "task = ? AND n = ?", session.task, n)
    if turn is None or turn.result is not None:
        return
    seconds = round(tx.now - (turn.delivered_at or turn.created_at), 3)
    until = limiting.until(tx, session, reason) if result is TurnResult.LIMITED else None
    tx.update(
        Message,
        (session.task, n),
        state=Delivery.DONE,
        result=result,
        reason=reason,
        ended_at=tx.now,
        delivered_at=turn.delivered_at or tx.now,
        until=until,
    )
    believing.note(tx, session.id, (believing.of_result(result, reason), reason))
    tx.update(Task, session.task, interrupt=False)  # it was meant for this turn
    tx.event("turn.ended", task=session.task, n=n, result=result, reason=reason, seconds=seconds, until=until)


def running_turn(db: Reader, session: str) -> Message | None:
    """The turn that an agent is in: the first one of its session that is not over."""
    where = "session = ? AND kind = 'turn' AND number IS NOT NULL AND result IS NULL AND state != 'undelivered'"
    return db.one(Message, f"{where} ORDER BY number", session)


class Taker:
    """Writes signals of one batch of lines."""

    def __init__(self, tx: Writer, session: Session, state: dict[str, Any]) -> None:
        self.tx, self.session, self.state = tx, session, state
        self.matters = False
        self._text: list[str] = []
        self._signs: list[Sign] = []

    def __call__(self, signal: Signal) -> None:
        """Take one signal; of a type that is not known, only that the agent made a sound."""
        sign = believing.of_signal(signal, self.session.generation, self.tx.now)
        if sign is not None:
            self._signs.append(sign)
        handler: Callable[[dict[str, Any]], None] | None = getattr(self, f"_on_{signal.type}", None)
        if handler is not None:
            self.matters = self.matters or signal.type != "text"
            handler(signal.data)

    def flush(self) -> None:
        """Write the gathered text, and what was seen."""
        turn = self._turn()
        if self._text and turn is not None:
            output = (turn.output + "".join(self._text))[-OUTPUT_KEPT:]
            self.tx.update(Message, (turn.task, turn.n), output=output)
        self._text = []
        signs, self._signs = self._signs, []
        if turn is None and self.session.mode == "stream":  # words after a turn's end are no work
            signs = [replace(one, what=What.SOUND) if one.what is What.WORKING else one for one in signs]
        heard: list[Sign | tuple[What, str]] = [*signs] or [(What.SOUND, "")]
        belief = believing.note(self.tx, self.session.id, *heard)
        self.matters = self.matters or belief is None or belief.session is not self.session.status

    def _turn(self) -> Message | None:
        """The turn that the agent is in: the first one of the session that is not over."""
        return running_turn(self.tx, self.session.id)

    def _on_started(self, data: dict[str, Any]) -> None:
        if data.get("conversation"):
            self.tx.update(Session, self.session.id, conversation=data["conversation"])
        if data.get("model"):
            self.tx.update(Session, self.session.id, model=data["model"])

    def _on_turn_started(self, data: dict[str, Any]) -> None:
        turn = self._turn()
        if self.session.mode == PANE and turn is not None and turn.state is Delivery.WRITTEN:
            self.tx.update(Message, (turn.task, turn.n), state=Delivery.DELIVERED, delivered_at=self.tx.now)
            self.tx.event("message.delivered", task=turn.task, n=turn.n, kind=turn.kind)
            self.state["began"] = True

    def _on_undelivered(self, data: dict[str, Any]) -> None:
        turn = self._turn()
        if turn is not None and turn.state is Delivery.WRITTEN:
            reason = str(data.get("reason") or "")
            self.tx.update(Message, (turn.task, turn.n), state=Delivery.UNDELIVERED, reason=reason)
            self.state["used"] = turn.number
            self.tx.event("message.undelivered", task=turn.task, n=turn.n, reason=reason)
            self.tx.update(Task, turn.task, interrupt=False)

    def _on_text(self, data: dict[str, Any]) -> None:
        self._text.append(str(data.get("text", "")) + "\n")

    def _on_retry(self, data: dict[str, Any]) -> None:
        self.tx.event("session.retry", task=self.session.task, session=self.session.id, **data)

    def _on_asked(self, data: dict[str, Any]) -> None:
        turn = self._turn()
        kind = ItemKind(data["kind"])
        payload = {k: v for k, v in data.items() if k not in {"text", "options"}}
        open_item(
            self.tx,
            Item(
                id=short_id(),
                task=self.session.task,
                kind=kind,
                key=f"request:{self.session.id}:{data.get('request')}",
                text=str(data.get("text", "")),
                options=tuple((str(k), str(t)) for k, t in data.get("options", ())),
                payload={**payload, "turn": turn.n if turn else None},
                opened_at=self.tx.now,
                session=self.session.id,
                generation=self.session.generation,
            ),
        )

    def _on_withdrawn(self, data: dict[str, Any]) -> None:
        key = f"request:{self.session.id}:{data.get('request')}"
        item = self.tx.one(Item, "task = ? AND key = ? AND closed_at IS NULL", self.session.task, key)
        if item is not None:
            self.tx.update(Item, item.id, closed_at=self.tx.now)
            self.tx.event("item.closed", task=self.session.task, item=item.id, reason="withdrawn by the agent")

    def _on_reply(self, data: dict[str, Any]) -> None:
        """What the agent is told without asking anyone: sent once, for it is written with the cursor."""
        add_control(self.tx, self.session.task, self.session.id, MessageKind.CONTROL, Origin.ANSWER, str(data["data"]))

    def _on_unfit(self, data: dict[str, Any]) -> None:
        self.state["unfit"] = str(data["reason"])
        fail_waiting(self.tx, self.session.task, self.state["unfit"])

    def _on_sign(self, data: dict[str, Any]) -> None:
        if data.get("what") == What.WORKING.value and self.session.parser.get("attended"):
            self.state["worked"] = True

    def _on_worked(self, data: dict[str, Any]) -> None:
        """In a terminal that was opened for the person, all that they did is one turn, when they leave."""
        if not self.session.parser.get("attended"):
            take_up(self.tx, self.session)

    def _on_notice(self, data: dict[str, Any]) -> None:
        self.tx.event("session.notice", task=self.session.task, session=self.session.id, text=str(data["text"]))

    def _on_usage(self, data: dict[str, Any]) -> None:
        turn = self._turn()
        record_usage(
            self.tx,
            self.session.task,
            self.session.id,
            turn.n if turn else None,
            str(data["key"]),
            data.get("model") or self.session.model,
            data["usage"],
        )

    def _on_quota(self, data: dict[str, Any]) -> None:
        """Kept for the agent, not the session: all its sessions share the vendor's windows."""
        for one in windows_of(data):
            record_quota(self.tx, self.session.agent, self.session.task, one)

    def _on_turn_ended(self, data: dict[str, Any]) -> None:
        turn = self._turn()
        if data.get("code") == NO_CONVERSATION:
            # it read nothing: what it was given goes to a session with a conversation of its own
            self.state["refused"] = NO_CONVERSATION
            if turn is not None:
                self.tx.update(Message, (turn.task, turn.n), **back())
            return
        if turn is None:
            return
        if data.get("text"):
            self._text.append(str(data["text"]) + "\n")
        self.flush()
        result = TurnResult(data["result"])
        end_turn(self.tx, self.session, turn.n, result, str(data.get("reason") or ""))
        close_permissions(self.tx, self.session, "the turn is over")

    def _on_garbage(self, data: dict[str, Any]) -> None:
        self.tx.event("session.garbage", task=self.session.task, session=self.session.id, **data)


def record_usage(
    tx: Writer, task: str, session: str | None, n: int | None, key: str, model: str | None, usage: Usage
) -> None:
    """Add one request's tokens; the same key replaces what was known of it."""
    values = asdict(usage)
    tx.execute("DELETE FROM usage WHERE task = ? AND key = ?", task, key)
    tx.execute(
        "INSERT INTO usage (task, session, n, key, model, input, output, cache_read, cache_write, reasoning, cost,"
        " cost_source, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        task,
        session,
        n,
        key,
        model,
        values["input"],
        values["output"],
        values["cache_read"],
        values["cache_write"],
        values["reasoning"],
        values["cost"],
        values["cost_source"],
        tx.now,
    )
    tx.event("usage.reported", task=task, session=session, n=n, model=model, **values)


def record_quota(tx: Writer, agent: str, task: str, window: Mapping[str, Any]) -> None:
    """Keep the last that an agent told of one of its vendor's windows; a change of a whole percent is an event."""
    name, used, resets = str(window["window"]), window.get("used"), window.get("resets_at")
    exhausted = bool(window.get("exhausted"))
    known = tx.rows('SELECT used, exhausted FROM quotas WHERE agent = ? AND "window" = ?', agent, name)
    if used is None and known:
        used = known[0]["used"]  # not every report has it
    tx.execute("INSERT OR REPLACE INTO quotas VALUES (?, ?, ?, ?, ?, ?)", agent, name, used, resets, exhausted, tx.now)
    before = (round((known[0]["used"] or 0) * 100), bool(known[0]["exhausted"])) if known else None
    if before != (round((used or 0) * 100), exhausted):
        told: dict[str, Any] = {"used": used, "resets_at": resets, "exhausted": exhausted}
        tx.event("agent.quota", task=task, agent=agent, window=name, **told)
