"""Observe, decide, act: the loop that moves every task on.

Specification. Level-triggered: a pass reads the facts of the tasks that were nudged (all of them at the start and every
`BACKSTOP` seconds), decides, writes changes of the derived view as events, and starts the one action that is missing.
Actions that only write rows run in the loop's own thread; effects run in a bounded pool, at most one for each task at a
time, and nudge the task when they end. An operation that works in a task's folder claims it first: then no effect of
that task runs beside it. A lost nudge costs at most `BACKSTOP` seconds. An action that raises is logged,
told as an event and tried again with growing pauses; it never ends the loop.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stretto import files
from stretto.core.actions import NOTHING, Action, Admit, Compose, Deliver, Nothing, Prepare
from stretto.core.admission import Candidate, admit
from stretto.core.checkout_rules import TAKEN
from stretto.core.decide import PAUSED, decide
from stretto.core.decision import Decision
from stretto.core.errors import StrettoError
from stretto.core.facts import Facts, Limits, Observed, limits_of
from stretto.core.limit_rules import UNTIL
from stretto.core.model import Run, Session, State, Task
from stretto.core.who import FALLBACK, choices, in_checkout
from stretto.engine.acts.rows import ROW_ACTS
from stretto.engine.acts.table import EFFECTS
from stretto.engine.parts import Parts
from stretto.reads.spending import with_spending
from stretto.store.facts import limited, load, why_limited

_log = logging.getLogger(__name__)

BACKSTOP = 5.0
#: seconds for which an operation waits until what is being done for a task has ended
CLAIM = 30.0
#: tasks that are not over, not cleaned up, or whose end no event has told yet (a crash came between)
LIVE = (
    "(outcome IS NULL OR (outcome = 'landed' AND cleaned = 0)"
    " OR (cleaned = 0 AND json_extract(fields, '$.workspace') = 'shared')"
    " OR uid IN (SELECT task FROM sessions WHERE ended_at IS NULL)"
    " OR uid IN (SELECT t.uid FROM tasks t JOIN views v ON v.uid = t.uid WHERE v.state != t.outcome))"
    " ORDER BY created_at, position"
)
#: actions in a row for one task within one pass
MOST_STEPS = 12
PAUSES = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
#: the longest pause when only space is missing: it may be there at any moment
LONGEST_FOR_SPACE = 2.0
#: what begins something new, and waits while the disk is low
BEGINNINGS = (Admit, Prepare, Compose)


@dataclass(slots=True)
class Trouble:
    """An action that raised: how often, and when it may be tried again (monotonic seconds)."""

    count: int
    again: float
    reason: str
    disk: bool = False


class Reconciler:
    """The loop. `nudge` may be called from any thread."""

    def __init__(
        self,
        parts: Parts,
        pool: ThreadPoolExecutor,
        after_pass: Callable[[], None],
        disk_low: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._disk_low = disk_low
        self._parts = parts
        self._pool = pool
        self._after_pass = after_pass
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._dirty: set[str] = set()
        self._all = True
        self._busy: dict[str, str] = {}
        #: effects that have ended for each task: facts that were read before the last end are stale
        self._ended: dict[str, int] = {}
        self._trouble: dict[str, Trouble] = {}
        self._views: dict[str, tuple[str | None, str, str]] = {}
        self._stopping = False
        #: set when the first pass is over
        self.passed = threading.Event()

    def nudge(self, uid: str | None) -> None:
        """Something happened to this task; None: look at everything."""
        with self._lock:
            if uid is None:
                self._all = True
            else:
                self._dirty.add(uid)
        self._wake.set()

    def stop(self) -> None:
        """Leave the loop after the present pass."""
        self._stopping = True
        self._wake.set()

    @property
    def busy(self) -> dict[str, str]:
        """Tasks with an effect under way, and which."""
        with self._lock:
            return dict(self._busy)

    @contextmanager
    def claim(self, uid: str, name: str) -> Iterator[None]:
        """Keep the effects of a task away for a while. Raises `busy` if one does not end within `CLAIM` seconds."""
        with self._lock:
            if not self._freed.wait_for(lambda: uid not in self._busy, CLAIM):
                raise StrettoError(
                    f"{uid} is busy ({self._busy[uid]})",
                    code="busy",
                    object=uid,
                    hint="try again in a moment",
                )
            self._busy[uid] = name
        try:
            yield
        finally:
            self._release(uid)

    def _release(self, uid: str) -> None:
        with self._lock:
            self._busy.pop(uid, None)
            self._ended[uid] = self._ended.get(uid, 0) + 1
            self._freed.notify_all()
        self.nudge(uid)

    def loop(self) -> None:
        """Run until stopped."""
        while not self._stopping:
            started = time.monotonic()
            try:
                self.one_pass()
                self._after_pass()
            except StrettoError as error:
                _log.error("pass: %s", error.message)
            except Exception:  # logged; the next pass looks at everything anew
                _log.exception("pass")
            self.passed.set()
            self._rest(started)

    def _rest(self, started: float) -> None:
        """Wait for a nudge; gather what comes within a few milliseconds."""
        if not self._wake.wait(self._patience()):
            self.nudge(None)
        self._wake.clear()
        time.sleep(max(0.0, min(0.01, 0.01 - (time.monotonic() - started))))

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [t.again - now for t in self._trouble.values()]
        return max(0.02, min([BACKSTOP, *waits]))

    # ------------------------------------------------------------ one pass

    def one_pass(self) -> None:
        """Look at what was nudged and act."""
        with self._lock:
            every, dirty = self._all, set(self._dirty)
            self._all, self._dirty = False, set()
        now = time.monotonic()
        dirty |= {uid for uid, t in self._trouble.items() if t.again <= now}
        todo = self._tasks(None if every else dirty)
        runs: set[str] = set()
        for _ in range(MOST_STEPS):
            if not todo:
                break
            todo = self._tasks(self._round(todo, runs))
        for uid in todo:
            self.nudge(uid.uid)
        for run in runs:
            self._admit(run)

    def _tasks(self, uids: Iterable[str] | None) -> list[Task]:
        """Tasks that are not over, or over and not yet cleaned up."""
        with self._parts.store.read() as db:
            if uids is None:
                return db.select(Task, LIVE)
            wanted = list(uids)
            found: list[Task] = []
            for start in range(0, len(wanted), 500):
                chunk = wanted[start : start + 500]
                found += db.select(Task, f"uid IN ({','.join('?' * len(chunk))})", *chunk)
            return found

    def _round(self, tasks: list[Task], runs: set[str]) -> set[str]:
        """Decide for these tasks; the uids that should be looked at again at once."""
        with self._lock:
            epochs = {task.uid: self._ended.get(task.uid, 0) for task in tasks}
        now = self._parts.clock.now()
        with self._parts.store.read() as db:
            facts = with_spending(db, load(db, tasks, self._observe, now=now), now)
        low = self._disk_low()
        decisions = [(f, self._held_up(f, decide(f, limits_of(f.run, f.task)), low)) for f in facts]
        again = self._write_views(decisions, runs)
        for f, decision in decisions:
            if isinstance(decision.action, Admit):
                runs.add(f.task.run)
            elif self._act(f, decision.action, epochs[f.task.uid]):
                again.add(f.task.uid)
        return again

    def _held_up(self, f: Facts, decision: Decision, low: str | None) -> Decision:
        """The same decision, or the reason why it cannot be carried out while the disk is full."""
        if low is not None and isinstance(decision.action, BEGINNINGS):
            return replace(decision, reason=low, action=NOTHING)
        trouble = self._trouble.get(f.task.uid)
        if trouble is not None and trouble.disk and not isinstance(decision.action, Nothing):
            return replace(decision, reason=f"disk: {trouble.reason}")
        return decision

    def _observe(self, task: Task, session: Session | None) -> Observed:
        worktree = _exists(task.workspace)
        shim = None
        if session is not None and session.ended_at is None:
            shim = self._shim_alive(session)
        return Observed(worktree=worktree, checkout=self._on_branch(task), shim=shim)

    def _on_branch(self, task: Task) -> bool | None:
        """Whether the main checkout is on the branch of a task that works there."""
        if not in_checkout(task.fields) or task.workspace is None or task.branch is None:
            return None
        try:
            return self._parts.repositories.git(task.workspace).holder(task.branch) == Path(task.workspace)
        except (StrettoError, OSError):
            return None

    def _shim_alive(self, session: Session) -> bool | None:
        """Dead only if the folder says so and the shim was there once: one that is being started has not died."""
        try:
            state = self._parts.shims.state(Path(session.folder))
        except (StrettoError, OSError):
            return None
        if state.alive is False and not state.begun:
            return None
        return state.alive

    # ------------------------------------------------------------ views

    def _write_views(self, decisions: list[tuple[Facts, Decision]], runs: set[str]) -> set[str]:
        """Write what changed as events; tasks that depend on what is over must be looked at again."""
        changed = [(f, d, view) for f, d in decisions if (view := _view(d)) != self._views.get(f.task.uid)]
        again: set[str] = set()
        if not changed:
            return again
        with self._parts.store.write() as tx:
            for f, d, view in changed:
                uid = f.task.uid
                old = tx.rows("SELECT stage, state, reason FROM views WHERE uid = ?", uid)
                self._views[uid] = view
                if old and tuple(old[0]) == view:
                    continue
                same = bool(old) and _standing(tuple(old[0])) == _standing(view)
                tx.execute(
                    "INSERT INTO views (uid, stage, state, reason, since) VALUES (?, ?, ?, ?, ?) ON CONFLICT (uid)"
                    " DO UPDATE SET stage = excluded.stage, state = excluded.state, reason = excluded.reason,"
                    " since = CASE WHEN ? THEN since ELSE excluded.since END",
                    uid,
                    *view,
                    tx.now,
                    same,
                )
                tx.event(
                    "task.state",
                    task=uid,
                    stage=d.stage,
                    state=d.state,
                    reason=d.reason,
                    **{"from": old[0]["state"] if old else None, "to": d.state},
                )
                runs.add(f.task.run)
                if f.task.outcome is not None:
                    again |= {
                        row["uid"]
                        for row in tx.rows(
                            "SELECT uid FROM tasks WHERE run = ? AND outcome IS NULL AND needs != '[]'", f.task.run
                        )
                    }
        return again

    # ------------------------------------------------------------ acting

    def _act(self, f: Facts, action: Action, epoch: int) -> bool:
        """Carry the action out or start it; whether the task should be looked at again at once.

        `epoch`: how many effects had ended when the facts were read. Another one since then: they are stale, and what
        they ask for may be done already; the end of that effect has nudged the task.
        """
        uid = f.task.uid
        if isinstance(action, Nothing) or self._resting(uid) or self._appended(f, action):
            return False
        if self._stale(uid, epoch):
            return False
        if not action.effect:
            return self._guarded(uid, lambda: ROW_ACTS[type(action)](self._parts, f, action))
        with self._lock:
            if uid in self._busy or self._ended.get(uid, 0) != epoch:
                return False
            self._busy[uid] = action.name
        self._pool.submit(self._effect, f, action)
        return False

    def _stale(self, uid: str, epoch: int) -> bool:
        with self._lock:
            return self._ended.get(uid, 0) != epoch

    def _appended(self, f: Facts, action: Action) -> bool:
        """A record that this daemon has appended is not appended again while its delivery is awaited."""
        if not isinstance(action, Deliver):
            return False
        message = next((m for m in f.messages if m.n == action.n), None)
        if message is None or message.number is None or message.session is None:
            return False
        return (message.session, message.number) in self._parts.appended

    def _effect(self, f: Facts, action: Action) -> None:
        uid = f.task.uid
        try:
            self._guarded(uid, lambda: EFFECTS[type(action)](self._parts, f, action))
        finally:
            self._release(uid)

    def _guarded(self, uid: str, work: Callable[[], Any]) -> bool:
        """Do it; after a failure rest for a while. Whether it went well."""
        try:
            work()
        except StrettoError as error:
            self._failed(uid, error.message, disk=files.is_full(error))
            _log.warning("%s: %s", uid, error.message)
            return False
        except Exception as error:
            self._failed(uid, f"{type(error).__name__}: {error}", disk=files.is_full(error))
            _log.exception("%s", uid)
            return False
        self._trouble.pop(uid, None)
        return True

    def _failed(self, uid: str, reason: str, *, disk: bool = False) -> None:
        before = self._trouble.get(uid)
        count = before.count + 1 if before else 1
        pause = min(PAUSES[min(count - 1, len(PAUSES) - 1)], LONGEST_FOR_SPACE if disk else PAUSES[-1])
        self._trouble[uid] = Trouble(count, time.monotonic() + pause, reason, disk)
        if before is not None and before.reason == reason:
            return
        try:
            with self._parts.store.write() as tx:
                tx.event("task.trouble", task=uid, reason=reason)
        except StrettoError as error:
            _log.error("%s: %s", uid, error.message)

    def _resting(self, uid: str) -> bool:
        trouble = self._trouble.get(uid)
        return trouble is not None and trouble.again > time.monotonic()

    # ------------------------------------------------------------ admission

    def _admit(self, run_id: str) -> None:
        """Give free places to ready tasks of a run."""
        with self._parts.store.read() as db:
            run = db.one(Run, "id = ?", run_id)
            rows = db.rows(
                "SELECT t.uid, t.run, t.lands, t.priority, t.position, t.created_at, t.admitted_at, t.paused,"
                " t.role, t.fields, t.attempts, v.state, v.since, v.reason FROM tasks t JOIN views v ON v.uid = t.uid"
                " WHERE t.run = ? AND t.outcome IS NULL",
                run_id,
            )
            limits = limited(db, self._parts.clock.now())
        if run is None or run.paused:
            return
        now = self._parts.clock.now()
        candidates = [
            Candidate(
                uid=r["uid"],
                run=r["run"],
                state=State(r["state"]),
                wants=r["state"] == "ready"
                and r["admitted_at"] is None
                and not r["paused"]
                and not r["reason"].startswith(TAKEN),
                started=r["admitted_at"] is not None,
                lands=bool(r["lands"]),
                priority=r["priority"],
                order=(r["created_at"], r["position"]),
                since=r["since"],
                resting=_rests(r["reason"]),
                limited=why_limited(_choices(run, r), limits, now) if limits else "",
            )
            for r in rows
        ]
        found = admit(candidates, run.open_limit, now, Limits())
        if not found.admitted:
            return
        with self._parts.store.write() as tx:
            for uid in found.admitted:
                if tx.execute("UPDATE tasks SET admitted_at = ? WHERE uid = ? AND admitted_at IS NULL", tx.now, uid):
                    tx.event("task.admitted", task=uid, open=found.open, limit=run.open_limit)
                self.nudge(uid)


def _choices(run: Run, row: Any) -> tuple[str, ...]:
    """The agents that may do a task, as its row says; those that would not do are left out."""
    fields, attempts = json.loads(row["fields"]), json.loads(row["attempts"])
    return choices(run.config, row["role"], fields.get("agent") or run.agent)[attempts.get(FALLBACK, 0) :]


def _view(d: Decision) -> tuple[str | None, str, str]:
    return (d.stage.value if d.stage else None, d.state.value, d.reason)


def _standing(view: tuple[str | None, str, str]) -> tuple[str | None, str, bool]:
    """What must change for a task's time in its state to begin anew; a pause, and a vendor's, count for themselves."""
    stage, state, reason = view
    return (stage, state, _rests(reason))


def _rests(reason: str) -> bool:
    """Whether a task for which this is the reason stands still: paused, or until its vendor takes more."""
    return reason == PAUSED or reason.startswith(UNTIL)


def _exists(path: str | None) -> bool | None:
    """Whether a worktree is there. None: cannot be told (permission, I/O error, an unmounted disk)."""
    if path is None:
        return None
    folder = Path(path)
    try:
        if (folder / ".git").exists():
            return True
        return False if folder.parent.exists() else None
    except OSError:
        return None
