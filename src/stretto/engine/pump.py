"""Take over what sessions say: bytes of the shim's folder become signals, signals become rows.

Specification. The cursor of a session moves in the transaction that writes what its bytes meant, so each line takes
effect exactly once, whenever the daemon dies. Only whole lines are read; a line longer than `LINE_LIMIT` is dropped and
counted as garbage. Signals of a session that is over are not read any more: its generation has ended. Sessions are
pumped one at a time each (a lock per session), in any thread.

Lines that mean nothing (most of what a busy agent streams) are written down once in `HELD` seconds at the most, as a
sound of it; until then they are passed over in memory only, and whoever comes after a crash passes over them again.
"""

from __future__ import annotations

import copy
import threading
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from stretto.core.evidence import What
from stretto.core.model import (
    Delivery,
    Item,
    Message,
    MessageKind,
    Origin,
    Session,
    SessionStatus,
    TurnResult,
)
from stretto.core.who import PANE
from stretto.engine import believing
from stretto.engine.acts.endings import last_line, limit_passed
from stretto.engine.acts.rows import close_permissions
from stretto.engine.acts.takeover import LEFT, hand_back
from stretto.engine.parts import Parts
from stretto.engine.taking import Taker, end_turn
from stretto.interfaces import ShimState, Signal
from stretto.store.sqlite import Reader, Writer

LINE_LIMIT = 8 << 20
CHUNK = 1 << 20
#: the exit code (EX_TEMPFAIL) by which a program says that its vendor takes no more now
NOT_NOW = 75
#: seconds between two sounds of a session that are written down
HELD = 1.0
#: the turns and other messages of a session whose delivery or end is awaited
_AWAITED = "session = ? AND number IS NOT NULL AND result IS NULL AND state IN ('written', 'delivered')"


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a session was read in memory, and when that was last written down (monotonic seconds)."""

    cursor: int
    written: float


class Pump:
    """Reads sessions when they are nudged. `held`: seconds for which lines without a meaning move no cursor."""

    def __init__(self, parts: Parts, held: float = HELD) -> None:
        self._parts, self.held = parts, held
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._places: dict[str, _Place] = {}

    def pump(self, session_id: str) -> str | None:
        """Take over all that is new; the task's uid if anything was that a decision could depend on."""
        with self._locks[session_id]:
            with self._parts.store.read() as db:
                session = db.one(Session, "id = ? AND ended_at IS NULL", session_id)
            if session is None:
                self._locks.pop(session_id, None)
                self._places.pop(session_id, None)
                return None
            matters = self._read_all(session)
            return session.task if self._take_state(session) or matters else None

    def _read_all(self, session: Session) -> bool:
        """Whether anything mattered."""
        matters, limit = False, CHUNK
        if (place := self._places.get(session.id)) is not None and place.cursor > session.cursor:
            session = replace(session, cursor=place.cursor)
        while True:
            data, after = self._parts.shims.read(Path(session.folder), "out", session.cursor, limit)
            lines, used = _lines(data)
            dropping = bool(session.parser.get("dropping"))
            if lines:
                session, did = self._take_lines(session, lines, after - len(data) + used)
                matters = matters or did
            elif data and (dropping or len(data) > LINE_LIMIT):
                session, matters = self._drop(session, after, len(data)), True
            elif len(data) < limit:
                return matters
            else:
                limit = LINE_LIMIT + 1  # a long line, perhaps not yet whole
                continue
            limit = CHUNK

    def _take_lines(self, session: Session, lines: list[bytes], cursor: int) -> tuple[Session, bool]:
        """The session behind these lines, and whether they mattered."""
        state = copy.deepcopy(
            session.parser
        )  # what an adapter gathers in it must not change the row that it is compared with
        if state.pop("dropping", False):
            lines = lines[1:]
        agent = self._parts.agent(str(state.get("type") or session.agent))
        signals: list[Signal] = []
        for line in lines:
            signals += agent.parse(line, state)
        now, place = self._parts.clock.monotonic(), self._places.get(session.id)
        idle = not signals and state == session.parser
        idle = idle and session.status is SessionStatus.WORKING  # any other status a sound of it may change
        if idle and place is not None and now - place.written < self.held:
            self._places[session.id] = replace(place, cursor=cursor)
            return replace(session, cursor=cursor), False
        with self._parts.store.write() as tx:
            take = Taker(tx, session, state)
            for signal in signals:
                take(signal)
            take.flush()
            tx.update(Session, session.id, cursor=cursor, parser=state)
            after = tx.one(Session, "id = ?", session.id) or session
        self._places[session.id] = _Place(cursor, now)
        return after, take.matters

    def _drop(self, session: Session, cursor: int, size: int) -> Session:
        """Let go of a piece of a line that is too long; its rest, up to the newline, goes the same way."""
        with self._parts.store.write() as tx:
            tx.update(Session, session.id, cursor=cursor, parser={**session.parser, "dropping": True})
            tx.event("session.garbage", task=session.task, session=session.id, bytes=size)
            return tx.one(Session, "id = ?", session.id) or session

    def _take_state(self, session: Session) -> bool:
        """Deliveries, ends of turns and the exit, as the folder tells them."""
        state = self._parts.shims.state(Path(session.folder))
        with self._parts.store.read() as db:
            waiting = db.select(Message, _AWAITED, session.id)
        due = [m for m in waiting if _news(session, m, state)]
        gone = state.exit is not None and session.status is not SessionStatus.EXITED
        if not due and not gone:
            return False
        if due:
            # what was written before the record of its end belongs to the turn
            with self._parts.store.read() as db:
                session = db.one(Session, "id = ?", session.id) or session
            self._read_all(session)
        with self._parts.store.write() as tx:
            session = tx.one(Session, "id = ?", session.id) or session
            for message in due:
                _take_delivery(tx, session, message, state)
                _take_turn(tx, session, message, state)
            if gone:
                over = believing.of_exit(state.exit or {})
                if session.parser.get("attended"):
                    hand_back(tx, session)
                    over = (What.STOPPED, LEFT) if over[0] is What.LEFT else over
                believing.note(tx, session.id, over, now=SessionStatus.EXITED)
                close_permissions(tx, session, "its session is over")
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
        said = last_line(_output(tx, message).encode())
        result, reason = TurnResult.LIMITED, f"exit code {code}: not now" + (f": {said}" if said else "")
    else:
        result, reason = TurnResult.FAILED, str(record.get("reason") or _how(code, signal))
        reason = limit_passed(_output(tx, message)) or reason
    end_turn(tx, session, message.n, result, reason)


def _output(tx: Reader, turn: Message) -> str:
    told = tx.one(Message, "task = ? AND n = ?", turn.task, turn.n)
    return told.output if told is not None else ""


def _how(code: object, signal: object) -> str:
    return f"ended by signal {signal}" if signal else f"exit code {code}"
