"""Where every task of some runs stands: facts, decision, place and hope, from one moment of the database."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from stretto.core.actions import Admit
from stretto.core.admission import Admission, Candidate, admit
from stretto.core.decide import decide
from stretto.core.decision import Decision
from stretto.core.facts import Facts, limits_of
from stretto.core.limit_rules import RESTING
from stretto.core.limited import Limit
from stretto.core.model import State, Task
from stretto.core.quick import dataclass
from stretto.core.usage import budgets
from stretto.core.wait import Standing, stuck
from stretto.core.who import FALLBACK, choices_of
from stretto.store.facts import limited, load, why_limited
from stretto.store.sqlite import Reader

#: the cause of a task whose workspace is being made
PREPARING = "prepare"


@dataclass(frozen=True, slots=True)
class Place:
    """One task as it stands. `since`: when its state began; `reason` names the place in line of a ready one.

    `limited`: it would start, but the vendors of all its agents take no more now.
    """

    facts: Facts
    decision: Decision
    reason: str
    since: float
    stuck: bool
    starts: bool
    limited: bool

    @property
    def task(self) -> Task:
        """The task's row."""
        return self.facts.task

    @property
    def standing(self) -> Standing:
        """What `wait` needs to know."""
        state, asks = self.decision.state, len(self.facts.open_items)
        held = self.decision.cause == "paused"
        moves = (state in {State.ACTIVE, State.QUEUED} and not held) or self.starts
        return Standing(self.task.uid, state, self.stuck, moves, asks)


def now_of(args: Mapping[str, Any]) -> float:
    """The caller's time, or the clock's."""
    given = args.get("now")
    return time.time() if given is None else float(given)


def places(db: Reader, runs: Iterable[str], now: float) -> dict[str, Place]:
    """All tasks of these runs by uid, in the order of the plan."""
    wanted = sorted(set(runs))
    tasks = [t for run in wanted for t in db.select(Task, "run = ? ORDER BY position, created_at, uid", run)]
    facts = load(db, tasks, now=now)
    if any(budgets(f.run.config.get("limits") or {}, f.task.fields.get("budget") or {}) for f in facts):
        from stretto.reads.spending import with_spending  # most have no budget, and prices take time to load

        facts = with_spending(db, facts, now)
    decisions = {f.task.uid: decide(f, limits_of(f.run, f.task)) for f in facts}
    since = _since(db, facts, decisions)
    hopeless = stuck({f.task.uid: f.needs for f in facts if f.task.admitted_at is None and f.task.outcome is None})
    limits = limited(db, now)
    of_run = {run: [f for f in facts if f.run.id == run] for run in wanted}
    admissions = {run: _admission(found, decisions, since, now, limits) for run, found in of_run.items()}
    found = {}
    for f in facts:
        uid, decision, admission = f.task.uid, decisions[f.task.uid], admissions[f.run.id]
        reason = admission.reasons.get(uid, decision.reason)
        if decision.cause == PREPARING:
            from stretto.reads import preparing  # few are at it at a time

            reason = preparing.said(db, uid, decision.reason, since[uid], now)
        starts = uid in admission.admitted
        found[uid] = Place(f, decision, reason, since[uid], uid in hopeless, starts, uid in admission.limited)
    return found


def place(db: Reader, task: Task, now: float) -> Place:
    """One task as it stands among those of its run."""
    return places(db, [task.run], now)[task.uid]


def open_places(found: Iterable[Place], now: float) -> dict[str, int]:
    """How many places are taken, by run."""
    groups: dict[str, list[Place]] = defaultdict(list)
    for p in found:
        groups[p.task.run].append(p)
    return {
        run: _admission(
            [p.facts for p in group],
            {p.task.uid: p.decision for p in group},
            {p.task.uid: p.since for p in group},
            now,
            {},
        ).open
        for run, group in groups.items()
    }


def _admission(
    facts: list[Facts],
    decisions: Mapping[str, Decision],
    since: Mapping[str, float],
    now: float,
    limits: Mapping[str, Limit],
) -> Admission:
    if not facts:
        return Admission((), {}, 0)
    run = facts[0].run
    live = [f for f in facts if f.task.outcome is None]
    candidates = [_candidate(f, decisions[f.task.uid], since[f.task.uid], limits, now) for f in live]
    return admit(candidates, run.open_limit, now, limits_of(run, facts[0].task))


def _candidate(f: Facts, decision: Decision, since: float, limits: Mapping[str, Limit], now: float) -> Candidate:
    t = f.task
    return Candidate(
        uid=t.uid,
        run=t.run,
        state=decision.state,
        wants=isinstance(decision.action, Admit),
        started=t.admitted_at is not None,
        lands=t.lands,
        priority=t.priority,
        order=(f.run.created_at, t.position),
        since=since,
        resting=decision.cause in RESTING,
        limited=why_limited(choices_of(f)[t.attempts.get(FALLBACK, 0) :], limits, now) if limits else "",
    )


def _since(db: Reader, facts: Iterable[Facts], decisions: Mapping[str, Decision]) -> dict[str, float]:
    """When each task entered its state: what the engine recorded, else the last fact that is dated."""
    views = {row["uid"]: (row["state"], row["since"]) for row in db.rows("SELECT uid, state, since FROM views")}
    found = {}
    for f in facts:
        t = f.task
        state, at = views.get(t.uid, (None, None))
        known = at is not None and state == decisions[t.uid].state.value
        found[t.uid] = float(at) if known else (t.ended_at or at or t.admitted_at or t.created_at)
    return found
