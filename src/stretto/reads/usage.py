"""`usage`: tokens and cost, in all and by task, run, agent, role or model."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from stretto.core.errors import UsageError
from stretto.core.model import Session, Task, Usage
from stretto.reads import find
from stretto.reads.picture import now_of
from stretto.reads.shapes import Json, chunks, total, usage_json, usage_of
from stretto.reads.status import runs_of
from stretto.store.sqlite import Reader

#: seconds over which the rate is taken
WINDOW = 300.0


def usage(db: Reader, args: dict[str, Any]) -> Json:
    """Usage of one `task`, else of the runs that `status` shows; `by` is task, run, agent, role or model."""
    tasks = [find.task_of(db, args)] if args.get("task") else _tasks(db, args)
    by = str(args.get("by") or "task")
    found = _grouped(db, by, tasks)
    limit = _limit(db, tasks)
    return {
        "schema": 1,
        "total": usage_json(total(found.values())),
        "by": {key: usage_json(u) for key, u in sorted(found.items())},
        "limit": limit,
        "rate": {"tokens_per_s": _rate(db, tasks, now_of(args))},
    }


def _tasks(db: Reader, args: dict[str, Any]) -> list[Task]:
    runs = runs_of(db, args, now_of(args))
    return [t for r in runs for t in db.select(Task, "run = ? ORDER BY position", r.id)]


def _grouped(db: Reader, by: str, tasks: list[Task]) -> dict[str, Usage]:
    uids = [t.uid for t in tasks]
    match by:
        case "task" | "model":
            return usage_of(db, by, uids)
        case "run":
            return _regroup(usage_of(db, "task", uids), {t.uid: t.run for t in tasks})
        case "role":
            return _regroup(usage_of(db, "task", uids), {t.uid: t.role for t in tasks})
        case "agent":
            agents = {s.id: s.agent for uid in uids for s in db.select(Session, "task = ?", uid)}
            return _regroup(usage_of(db, "session", uids), agents)
        case _:
            raise UsageError(
                f"usage cannot be summed by {by!r}", object=by, hint="--by task, run, agent, role or model"
            )


def _regroup(parts: dict[str, Usage], names: dict[str, str]) -> dict[str, Usage]:
    groups: dict[str, list[Usage]] = defaultdict(list)
    for key, value in parts.items():
        groups[names.get(key, "unknown")].append(value)
    return {name: total(values) for name, values in groups.items()}


def _limit(db: Reader, tasks: list[Task]) -> Json | None:
    """The limits that the newest of these runs was given; shown, not enforced (DECISIONS 17)."""
    run = find.find_run(db, tasks[-1].run, None) if tasks else None
    limits = dict(run.config.get("limits", {})) if run else {}
    known = {k: limits[k] for k in ("tokens", "cost", "minutes") if limits.get(k) is not None}
    return known or None


def _rate(db: Reader, tasks: list[Task], now: float) -> float:
    tokens = 0
    for chunk in chunks(t.uid for t in tasks):
        marks = ",".join("?" * len(chunk))
        sql = f"SELECT SUM(input + output + cache_read + cache_write) FROM usage WHERE task IN ({marks}) AND at > ?"  # noqa: S608 (our words)
        tokens += int(db.value(sql, *chunk, now - WINDOW) or 0)
    return round(tokens / WINDOW, 2)
