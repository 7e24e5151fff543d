"""Read the facts of many tasks at once: a fixed number of queries, however many tasks."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from stretto.core.admission import EXHAUSTED_FOR, LIMITED_FOR
from stretto.core.facts import Facts, Observed, expand_needs
from stretto.core.limited import SLACK, Limit, TurnedAway, told
from stretto.core.model import Approval, Check, CheckSpec, Entry, Item, Message, Run, Session, Task, TurnResult
from stretto.core.who import choices_of, fallback_of, in_checkout
from stretto.core.workspace_commands import MIGRATE, TIMEOUT
from stretto.store.sqlite import Reader

T = TypeVar("T")


def load(
    db: Reader,
    tasks: Sequence[Task],
    observe: Callable[[Task, Session | None], Observed] | None = None,
    *,
    now: float,
) -> list[Facts]:
    """The facts of these tasks at this moment, in their order. Without `observe` nothing is known of the world."""
    if not tasks:
        return []
    runs = {r.id: r for r in _in(db, Run, "id", {t.run for t in tasks})}
    siblings: dict[str, dict[str, Task]] = defaultdict(dict)
    if any(t.needs for t in tasks):
        for other in _in(db, Task, "run", {t.run for t in tasks if t.needs}):
            siblings[other.run][other.id] = other
    uids = [t.uid for t in tasks]
    sessions = {s.task: s for s in _in(db, Session, "task", uids, "ORDER BY generation")}
    messages = _by_task(_in(db, Message, "task", uids, "ORDER BY n"))
    items = _by_task(_in(db, Item, "task", uids, "ORDER BY opened_at, id"))
    checks = _by_task(_in(db, Check, "task", uids, "AND purpose = 'task' ORDER BY id"))
    approvals = {a.task: a for a in _in(db, Approval, "task", uids, "AND revoked_at IS NULL ORDER BY at, rowid")}
    entries = {e.task: e for e in _in(db, Entry, "task", uids, "ORDER BY id")}
    ahead = _ahead(db, tasks)
    found = []
    for task in tasks:
        run, session = runs[task.run], sessions.get(task.uid)
        found.append(
            Facts(
                task=task,
                run=run,
                needs=expand_needs(task, siblings[task.run]) if task.needs else (),
                session=session,
                messages=tuple(messages[task.uid]),
                items=tuple(items[task.uid]),
                checks=tuple(checks[task.uid]),
                specs=(*migration_check(run.config, task), *check_specs(run.config, task)),
                approval=approvals.get(task.uid),
                entry=entries.get(task.uid),
                ahead=ahead.get(task.uid),
                now=now,
                observed=observe(task, session) if observe else Observed(),
            )
        )
    return [_with_turned_away(db, f) if _is_limited(f) else f for f in found]


def _ahead(db: Reader, tasks: Sequence[Task]) -> dict[str, str]:
    """For tasks that want the main checkout and do not have it: who has it, or was given a place before."""
    waiting = [t for t in tasks if in_checkout(t.fields) and t.workspace is None and t.outcome is None]
    if not waiting:
        return {}
    where = (
        "admitted_at IS NOT NULL AND (outcome IS NULL OR cleaned = 0)"
        " AND json_extract(fields, '$.workspace') = 'shared' ORDER BY workspace IS NULL, admitted_at, uid"
    )
    there = _in(db, Task, "repo", {t.repo for t in waiting}, f"AND {where}")
    found: dict[str, str] = {}
    for task in waiting:
        mine = (task.admitted_at or float("inf"), task.uid)
        others = (t for t in there if t.repo == task.repo and t.uid != task.uid)
        first = next((t for t in others if t.workspace is not None or (t.admitted_at or 0.0, t.uid) < mine), None)
        if first is not None:
            found[task.uid] = first.id if first.run == task.run else first.uid
    return found


def _is_limited(f: Facts) -> bool:
    return f.task.outcome is None and f.turn is not None and f.turn.result is TurnResult.LIMITED


def _with_turned_away(db: Reader, f: Facts) -> Facts:
    """The facts with all agents that would not do, the present one last, and when their windows begin anew."""
    from dataclasses import replace  # it takes longer to import than most states take to read

    names = choices_of(f)[: f.task.attempts.get(fallback_of(f), 0) + 1]
    passed: dict[str, Any] = {}
    for row in db.rows("SELECT data FROM events WHERE task = ? AND type = 'agent.replaced' ORDER BY id", f.task.uid):
        passed |= {one["agent"]: one for one in json.loads(row["data"]).get("passed", ())}
    turn = f.turn
    if turn is not None and names:
        passed[names[-1]] = {"reason": turn.reason}
    ends = {str(row["agent"]): row["ends"] for row in db.rows(_ENDS, (turn and turn.ended_at) or 0.0)}
    away = [(name, passed.get(name, {})) for name in names]
    told = (TurnedAway(n, one.get("reason", ""), ends.get(n), one.get("limited", True)) for n, one in away)
    return replace(f, turned_away=tuple(told))


#: when the windows that are used up begin anew, by agent; those that have since a given time are none
_ENDS = "SELECT agent, MAX(resets_at) AS ends FROM quotas WHERE exhausted AND resets_at > ? GROUP BY agent"


def limited(db: Reader, now: float) -> dict[str, Limit]:
    """Agents whose vendor took no more a short while ago, and has not since, by name."""
    found = db.rows(
        "SELECT s.agent AS agent, MAX(CASE WHEN m.result = 'limited' THEN m.ended_at END) AS at,"
        " MAX(CASE WHEN m.result = 'limited' THEN COALESCE(MIN(m.until, m.ended_at + ?), m.ended_at + ?) END) AS until,"
        " MAX(CASE WHEN m.result = 'ok' THEN m.ended_at END) AS well"
        " FROM messages m JOIN sessions s ON s.id = m.session"
        " WHERE m.ended_at > ? AND m.ended_at <= ? AND m.result IN ('limited', 'ok') GROUP BY s.agent",
        EXHAUSTED_FOR,
        LIMITED_FOR,
        now - EXHAUSTED_FOR,
        now + SLACK,  # not of a clock that was set back since
    )
    told = [(str(r["agent"]), r["at"], r["until"], r["well"]) for r in found if r["at"] is not None]
    limits = {a: Limit(float(until)) for a, at, until, well in told if until > now and (well is None or well < at)}
    # a window that is used up: until it begins anew, but at the latest after a while somebody tries
    for row in db.rows("SELECT agent, resets_at, at FROM quotas WHERE exhausted AND resets_at > ?", now):
        known, ends = limits.get(str(row["agent"]), Limit(0.0)), float(row["resets_at"])
        again, ends = min(ends, float(row["at"]) + EXHAUSTED_FOR), max(ends, known.ends or 0.0)
        if again > now:
            limits[str(row["agent"])] = Limit(max(known.again, again), ends)
    return limits


def why_limited(names: Sequence[str], limits: Mapping[str, Limit], now: float) -> str:
    """Why nothing new is given to any of these agents now; empty if one of them takes it."""
    if not limits or any(name not in limits for name in names):
        return ""
    who = told([TurnedAway(name, ends=limits[name].ends) for name in names])
    return f"{who}; tried again in {min(limits[name].again for name in names) - now:.0f} s"


def check_specs(config: Mapping[str, Any], task: Task) -> tuple[CheckSpec, ...]:
    """The checks of a task: its own, else those of its run (DECISIONS 4). None for what lands nothing."""
    if not task.lands:
        return ()
    own = task.fields.get("checks")
    found: Iterable[Mapping[str, Any]] = own if own is not None else config.get("checks", ())
    return tuple(
        CheckSpec(
            name=str(c["name"]),
            run=str(c["run"]),
            timeout=float(c.get("timeout", 1800.0)),
            serve=tuple(c.get("serve", ())),
        )
        for c in found
    )


def migration_check(config: Mapping[str, Any], task: Task) -> tuple[CheckSpec, ...]:
    """The command that migrates its database, as a check of a task that changed migrations: it comes before all others.

    Nothing in a gate, which migrates in any case, and for databases that keep nothing.
    """
    if in_checkout(task.fields):
        return ()  # the database there is the person's own, which only `stretto db apply` migrates
    database = config.get("database") or {}
    paths = task.diff.get("paths", ())
    if not task.lands or not paths or not database.get("migrate") or database.get("provider") == "memory":
        return ()
    from stretto.core.migrations import is_migration  # `stretto status` is asked without it, too

    if not any(map(is_migration, paths)):
        return ()
    spec = CheckSpec(MIGRATE, str(database["migrate"]), TIMEOUT)
    return () if any(own.name == MIGRATE for own in check_specs(config, task)) else (spec,)


def _by_task(values: Iterable[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for value in values:
        groups[value.task].append(value)
    return groups


def _in(db: Reader, kind: type[T], column: str, keys: Iterable[str], tail: str = "") -> list[T]:
    """Rows whose column is one of the keys, in chunks below SQLite's limit of variables."""
    wanted = list(keys)
    found: list[T] = []
    for start in range(0, len(wanted), 500):
        chunk = wanted[start : start + 500]
        marks = ",".join("?" * len(chunk))
        found += db.select(kind, f"{column} IN ({marks}) {tail}", *chunk)
    return found
