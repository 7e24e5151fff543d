"""Take over what sessions say: bytes of the shim's folder become signals, signals become rows.

Specification. The cursor of a session moves in the transaction that writes what its bytes meant, so each line takes
effect exactly once, whenever the daemon dies. Only whole lines are read; a line longer than `LINE_LIMIT` is dropped and
counted as garbage. Signals of a session that is over are not read any more: its generation has ended. Sessions are
pumped one at a time each (a lock per session), in any thread.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
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
    SessionStatus,
    Task,
    TurnResult,
    Usage,
)
from stretto.core.who import PANE
from stretto.engine import believing
from stretto.engine.acts.endings import back, fail_waiting, limit_passed
from stretto.engine.acts.rows import add_control, close_permissions, open_item, short_id
from stretto.engine.acts.takeover import hand_back, take_up
from stretto.engine.parts import Parts
from stretto.interfaces import ShimState, Signal
from stretto.store.sqlite import Reader, Writer

_log = logging.getLogger(__name__)

LINE_LIMIT = 8 << 20
#: the code of a turn that ended because the agent knows no conversation of this id
NO_CONVERSATION = "no_conversation"
CHUNK = 1 << 20
#: the exit code (EX_TEMPFAIL) by which a program says that its vendor takes no more now
NOT_NOW = 75
#: characters of a turn's output that are kept with it; the rest stays in the session's files
OUTPUT_KEPT = 4000


class Pump:
    """Reads sessions when they are nudged."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def pump(self, session_id: str) -> str | None:
        """Take over all that is new; the task's uid if anything was."""
        with self._locks[session_id]:
            with self._parts.store.read() as db:
                session = db.one(Session, "id = ? AND ended_at IS NULL", session_id)
            if session is None:
                self._locks.pop(session_id, None)
                return None
            changed = self._read_all(session)
            return session.task if self._take_state(session.id) or changed else None

    def _read_all(self, session: Session) -> bool:
        changed, limit = False, CHUNK
        while True:
            data, after = self._parts.shims.read(Path(session.folder), "out", session.cursor, limit)
            lines, used = _lines(data)
            dropping = bool(session.parser.get("dropping"))
            if lines:
                session = self._take_lines(session, lines, after - len(data) + used)
            elif data and (dropping or len(data) > LINE_LIMIT):
                session = self._drop(session, after, len(data))
            elif len(data) < limit:
                return changed
            else:
                limit = LINE_LIMIT + 1  # a long line, perhaps not yet whole
                continue
            changed, limit = True, CHUNK

    def _take_lines(self, session: Session, lines: list[bytes], cursor: int) -> Session:
        state = dict(session.parser)
        if state.pop("dropping", False):
            lines = lines[1:]
        agent = self._parts.agent(str(state.get("type") or session.agent))
        signals: list[Signal] = []
        for line in lines:
            signals += agent.parse(line, state)
        with self._parts.store.write() as tx:
            take = _Taker(tx, session, state)
            for signal in signals:
                take(signal)
            take.flush()
            tx.update(Session, session.id, cursor=cursor, parser=state)
            return tx.one(Session, "id = ?", session.id) or session

    def _drop(self, session: Session, cursor: int, size: int) -> Session:
        """Let go of a piece of a line that is too long; its rest, up to the newline, goes the same way."""
        with self._parts.store.write() as tx:
            tx.update(Session, session.id, cursor=cursor, parser={**session.parser, "dropping": True})
            tx.event("session.garbage", task=session.task, session=session.id, bytes=size)
            return tx.one(Session, "id = ?", session.id) or session

    def _take_state(self, session_id: str) -> bool:
        """Deliveries, ends of turns and the exit, as the folder tells them."""
        with self._parts.store.read() as db:
            session = db.one(Session, "id = ?", session_id)
            waiting = db.select(
                Message,
                "session = ? AND number IS NOT NULL AND result IS NULL AND state IN ('written', 'delivered')",
                session_id,
            )
        if session is None:
            return False
        state = self._parts.shims.state(Path(session.folder))
        due = [m for m in waiting if _news(session, m, state)]
        if due:
            # what was written before the record of its end belongs to the turn
            self._read_all(session)
        gone = state.exit is not None and session.status is not SessionStatus.EXITED
        if not due and not gone:
            return False
        with self._parts.store.write() as tx:
            session = tx.one(Session, "id = ?", session_id) or session
            for message in due:
                _take_delivery(tx, session, message, state)
                _take_turn(tx, session, message, state)
            if gone:
                if session.parser.get("attended"):
                    hand_back(tx, session)
                believing.note(tx, session.id, believing.of_exit(state.exit or {}), now=SessionStatus.EXITED)
        return True


def _lines(data: bytes) -> tuple[list[bytes], int]:
    """Whole lines and how many bytes they take."""
    end = data.rfind(b"\n") + 1
    return data[:end].split(b"\n")[:-1], end


def _news(session: Session, message: Message, state: ShimState) -> bool:
    """What the shim knows that the rows do not. In a pane it knows nothing of turns: their host tells."""
    number = message.number or 0
    if session.mode == PANE and message.kind is MessageKind.TURN:
        return False
    if message.state is Delivery.WRITTEN and number <= state.delivered:
        return True
    return message.kind is MessageKind.TURN and "ended_at" in state.turns.get(number, {})


def _take_delivery(tx: Writer, session: Session, message: Message, state: ShimState) -> None:
    if message.state is not Delivery.WRITTEN or (message.number or 0) > state.delivered:
        return
    turn = message.kind is MessageKind.TURN
    if message.kind is MessageKind.CONTROL and message.origin is Origin.ANSWER:
        _resumes(tx, session, "got an answer")
    now = tx.one(Message, "task = ? AND n = ?", message.task, message.n)
    if now is not None and now.result is None:  # its end may have been read just now: that stays
        tx.update(
            Message,
            (message.task, message.n),
            state=Delivery.DELIVERED if turn else Delivery.DONE,
            delivered_at=tx.now,
        )
    tx.event("message.delivered", task=message.task, n=message.n, kind=message.kind)
    if turn:
        tx.update(Session, session.id, parser={**session.parser, "began": True})
        if now is not None and now.result is None:
            _resumes(tx, session, f"got message {message.n}")


def _resumes(tx: Writer, session: Session, why: str) -> None:
    """It has got something to do; unless it asks already: its output is read before the record of the delivery."""
    asks = "session = ? AND kind IN ('question', 'permission') AND closed_at IS NULL AND answer IS NULL"
    if tx.one(Item, asks, session.id) is None:
        believing.note(tx, session.id, (What.WORKING, why))


def _take_turn(tx: Writer, session: Session, message: Message, state: ShimState) -> None:
    """The end of a turn that was a process of its own."""
    record = state.turns.get(message.number or 0, {})
    if message.kind is not MessageKind.TURN or "ended_at" not in record:
        return
    code, signal = record.get("code"), record.get("signal")
    if record.get("interrupted"):
        result, reason = TurnResult.INTERRUPTED, "by you"
    elif code == 0:
        result, reason = TurnResult.OK, ""
    elif code == NOT_NOW:
        result, reason = TurnResult.LIMITED, f"exit code {code}: not now"
    else:
        result, reason = TurnResult.FAILED, str(record.get("reason") or _how(code, signal))
        told = tx.one(Message, "task = ? AND n = ?", message.task, message.n)
        reason = limit_passed(told.output if told is not None else "") or reason
    end_turn(tx, session, message.n, result, reason)


def _how(code: object, signal: object) -> str:
    return f"ended by signal {signal}" if signal else f"exit code {code}"


def end_turn(tx: Writer, session: Session, n: int, result: TurnResult, reason: str) -> None:
    """Write that a turn is over."""
    turn = tx.one(Message, "task = ? AND n = ?", session.task, n)
    if turn is None or turn.result is not None:
        return
    seconds = round(tx.now - (turn.delivered_at or turn.created_at), 3)
    tx.update(
        Message,
        (session.task, n),
        state=Delivery.DONE,
        result=result,
        reason=reason,
        ended_at=tx.now,
        delivered_at=turn.delivered_at or tx.now,
    )
    believing.note(tx, session.id, (believing.of_result(result, reason), reason))
    tx.update(Task, session.task, interrupt=False)  # it was meant for this turn
    tx.event("turn.ended", task=session.task, n=n, result=result, reason=reason, seconds=seconds)


def running_turn(db: Reader, session: str) -> Message | None:
    """The turn that an agent is in: the first one of its session that is not over."""
    where = "session = ? AND kind = 'turn' AND number IS NOT NULL AND result IS NULL AND state != 'undelivered'"
    return db.one(Message, f"{where} ORDER BY number", session)


class _Taker:
    """Writes signals of one batch of lines; text is gathered and written once."""

    def __init__(self, tx: Writer, session: Session, state: dict[str, Any]) -> None:
        self.tx, self.session, self.state = tx, session, state
        self._text: list[str] = []
        self._signs: list[Sign] = []

    def __call__(self, signal: Signal) -> None:
        sign = believing.of_signal(signal, self.session.generation, self.tx.now)
        if sign is not None:
            self._signs.append(sign)
        handler: Callable[[dict[str, Any]], None] | None = getattr(self, f"_on_{signal.type}", None)
        if handler is not None:
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
        believing.note(self.tx, self.session.id, *heard)

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
            data.get("model"),
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
