"""Sessions that say nothing in the middle of a turn, and those that do not end it when they are interrupted.

Specification. A turn counts as silent from the last byte that we saw of it (or from the daemon's start: what we did not
watch proves nothing); so does one that waits until its session takes turns. An agent that waits for the person is not
silent. After `[limits] silence` (half an hour) the session is `stalled` and the person is asked; with nobody there
(`auto`) the task fails, so that `--wait` ends. The agent is left as it is: when it says something again, the item is
closed and the turn goes on. A turn that goes on for `PATIENCE` after its interrupt was sent is ended with its session;
the conversation can be continued in the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Row

from stretto.core.evidence import Status
from stretto.core.inbox import options
from stretto.core.model import Item, ItemKind, Run, Session, SessionStatus, State, Task
from stretto.engine import believing
from stretto.engine.acts.rows import end_task, open_item, short_id
from stretto.engine.parts import Parts
from stretto.store.sqlite import Reader, Writer

#: seconds without a byte, unless the configuration says otherwise
SILENCE = 1800.0
#: seconds that an agent has to end its turn after an interrupt
PATIENCE = 30.0
#: why such a session is over
DEAF = "it did not react to the interrupt"
_RUNNING = """
SELECT s.id, s.task, s.cursor, m.n,
EXISTS (SELECT 1 FROM items i WHERE i.session = s.id AND i.kind = 'stall' AND i.closed_at IS NULL) AS asked
FROM sessions s JOIN messages m ON m.kind = 'turn' AND m.result IS NULL
AND ((m.session = s.id AND m.number IS NOT NULL)
     OR (m.task = s.task AND m.state = 'queued' AND json_extract(s.parser, '$.handshake')))
WHERE s.ended_at IS NULL
AND NOT EXISTS (SELECT 1 FROM items i WHERE i.task = s.task AND i.closed_at IS NULL
                AND i.kind IN ('question', 'permission'))
"""
_INTERRUPTED = """
SELECT DISTINCT s.id FROM sessions s
JOIN messages m ON m.session = s.id AND m.kind = 'turn' AND m.number IS NOT NULL AND m.result IS NULL
JOIN messages i ON i.session = s.id AND i.kind = 'interrupt' AND i.n > m.n AND i.created_at < ?
WHERE s.ended_at IS NULL AND i.state != 'withdrawn'
"""


@dataclass(slots=True)
class _Seen:
    """The position of a turn's output and when it was new (monotonic seconds); `told`: the person knows."""

    place: tuple[int, int]
    at: float
    told: bool = False


class Silence:
    """Looks at running turns now and then; one thread at a time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._seen: dict[str, _Seen] = {}

    def look(self) -> None:
        """Compare with the last look; tell of turns that are silent for too long, and of those that go on."""
        now = self._parts.clock.monotonic()
        with self._parts.store.read() as db:
            rows = {row["id"]: row for row in db.rows(_RUNNING)}
            quiet = {id: limit for id, row in rows.items() if (limit := self._quiet(db, row, now))}
        for id in self._seen.keys() - rows.keys():
            self._over(id, self._seen.pop(id))
        for id, limit in quiet.items():
            self._seen[id].told = True
            self._tell(id, rows[id], limit)
        self._end_the_deaf()
        self._judge_anew()

    def _judge_anew(self) -> None:
        """What signs of several sources say together can change by time alone."""
        with self._parts.store.read() as db:
            several = db.select(Session, "ended_at IS NULL AND json_array_length(signs) > 1 AND mode != 'stream'")
        for session in several:
            if believing.outdated(session, self._parts.clock.now()):
                with self._parts.store.write() as tx:
                    believing.note(tx, session.id)

    def _end_the_deaf(self) -> None:
        with self._parts.store.read() as db:
            rows = db.rows(_INTERRUPTED, self._parts.clock.now() - PATIENCE)
            deaf = [s for row in rows if (s := db.one(Session, "id = ?", row["id"])) is not None]
        for session in deaf:
            with self._parts.store.write() as tx:
                tx.update(Session, session.id, parser={**session.parser, "because": DEAF})
            self._parts.shims.end(Path(session.folder), 1.0)  # what follows is the same as after a crash of the shim
            self._parts.nudge(session.task)

    def _quiet(self, db: Reader, row: Row, now: float) -> float:
        """Seconds of silence that are too much; 0 while all is well."""
        place = (row["n"], row["cursor"])
        seen = self._seen.get(row["id"])
        if seen is None or seen.place != place:
            self._seen[row["id"]] = _Seen(place, now)
            if seen is not None:
                self._over(row["id"], seen)
            return 0.0
        if seen.told and not row["asked"]:  # the person said: go on
            self._seen[row["id"]] = _Seen(place, now)
            return 0.0
        limit = _limit(db, row["task"])
        return limit if not seen.told and now - seen.at > limit else 0.0

    def _over(self, session: str, seen: _Seen) -> None:
        if not seen.told:
            return
        with self._parts.store.write() as tx:
            for item in tx.select(Item, "session = ? AND kind = 'stall' AND closed_at IS NULL", session):
                tx.update(Item, item.id, closed_at=tx.now)
                tx.event("item.closed", task=item.task, item=item.id, reason="it goes on")
                self._parts.nudge(item.task)

    def _tell(self, id: str, row: Row, limit: float) -> None:
        with self._parts.store.write() as tx:
            session, task = tx.one(Session, "id = ?", id), tx.one(Task, "uid = ?", row["task"])
            run = tx.one(Run, "id = ?", task.run) if task is not None else None
            if session is None or task is None or run is None or task.outcome is not None:
                return
            long = f"{limit / 60:g} minutes" if limit % 60 == 0 else f"{limit:g} seconds"
            text = f"the agent has said nothing for {long}"
            said = {"status": Status.STALLED.value, "reason": text, "until": None}
            tx.update(Session, id, status=SessionStatus.STALLED, evidence=(text, *session.evidence), belief=said)
            tx.event("session.status", task=task.uid, session=id, status=SessionStatus.STALLED)
            if run.approve == "auto":
                end_task(tx, task, State.FAILED, text)
            else:
                _ask(tx, session, row["n"], text)
        self._parts.nudge(row["task"])


def _limit(db: Reader, uid: str) -> float:
    run = db.one(Run, "id = (SELECT run FROM tasks WHERE uid = ?)", uid)
    said = run.config.get("limits", {}).get("silence") if run is not None else None
    return SILENCE if said is None else float(said)


def _ask(tx: Writer, session: Session, n: int, text: str) -> None:
    times = len(tx.select(Item, "task = ? AND key LIKE 'stall:%'", session.task))
    open_item(
        tx,
        Item(
            id=short_id(),
            task=session.task,
            kind=ItemKind.STALL,
            key=f"stall:{n}:{times}",
            text=f"{text}; continue waits as long again, `stretto interrupt` ends its turn",
            options=options(ItemKind.STALL),
            payload={"turn": n},
            opened_at=tx.now,
            session=session.id,
            generation=session.generation,
        ),
    )
