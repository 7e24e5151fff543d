"""Read the facts of many tasks at once: a fixed number of queries, however many tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from stretto.core.admission import EXHAUSTED_FOR, LIMITED_FOR
from stretto.core.facts import Facts, Observed, expand_needs
from stretto.core.model import Approval, Check, CheckSpec, Entry, Item, Message, Run, Session, Task
from stretto.core.who import in_checkout
from stretto.core.workspace_commands import MIGRATE, TIMEOUT
from stretto.store.sqlite import Reader

T = TypeVar("T")


def load(
    db: Reader, tasks: Sequence[Task], observe: Callable[[Task, Session | None], Observed] | None = None
) -> list[Facts]:
    """The facts of these tasks, in their order. Without `observe` nothing is known of the world."""
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
                observed=observe(task, session) if observe else Observed(),
            )
        )
    return found


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


def limited(db: Reader, now: float) -> dict[str, float]:
    """Agents whose vendor took no more a short while ago, and has not since: name -> when it is tried again."""
    found = db.rows(
        "SELECT s.agent AS agent, MAX(CASE WHEN m.result = 'limited' THEN m.ended_at END) AS at,"
        " MAX(CASE WHEN m.result = 'ok' THEN m.ended_at END) AS well"
        " FROM messages m JOIN sessions s ON s.id = m.session"
        " WHERE m.ended_at > ? AND m.result IN ('limited', 'ok') GROUP BY s.agent",
        now - LIMITED_FOR,
    )
    told = [(str(r["agent"]), r["at"], r["well"]) for r in found if r["at"] is not None]
    limits = {agent: float(at) + LIMITED_FOR for agent, at, well in told if well is None or well < at}
    # a window that is used up: until it begins anew, but at the latest after a while somebody tries
    full = "SELECT agent, MIN(resets_at, at + ?) AS until FROM quotas WHERE exhausted AND resets_at > ? AND at + ? > ?"
    for row in db.rows(full, EXHAUSTED_FOR, now, EXHAUSTED_FOR, now):
        agent = str(row["agent"])
        limits[agent] = max(limits.get(agent, 0.0), float(row["until"]))
    return limits


def why_limited(names: Sequence[str], limits: Mapping[str, float], now: float) -> str:
    """Why nothing new is given to any of these agents now; empty if one of them takes it."""
    if not limits or any(name not in limits for name in names):
        return ""
    seconds = min(limits[name] for name in names) - now
    return (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} limited by the vendor; tried again in {seconds:.0f} s"
    )


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
