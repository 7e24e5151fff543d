"""`usage`: tokens and cost, in all and by task, run, role, agent, model or day; budgets, rates, and what-if."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from stretto.core.errors import UsageError
from stretto.core.model import Run, Session, Task
from stretto.core.usage import Bill, Part, Price, bill
from stretto.core.who import agent_spec
from stretto.reads import find, prices
from stretto.reads.picture import now_of, places
from stretto.reads.shapes import Json, age, chunks, iso, usage_json
from stretto.reads.spending import parts, with_spending
from stretto.reads.status import runs_of
from stretto.store.sqlite import Reader

#: seconds over which the rate is taken
WINDOW = 300.0


def usage(db: Reader, args: dict[str, Any]) -> Json:
    """Usage of one `task`, else of the runs that `status` shows; `by` is task, run, role, agent, model or day."""
    now = now_of(args)
    task = find.task_of(db, args) if args.get("task") else None
    runs = [find.find_run(db, task.run, None)] if task is not None else runs_of(db, args, now)
    tasks = (
        [task] if task is not None else [t for r in runs for t in db.select(Task, "run = ? ORDER BY position", r.id)]
    )
    found = _parts(db, task, runs)
    config = runs[-1].config if runs else {}
    strong = {run.id: agent_spec(run.config, "driver", None).model for run in runs}
    known = prices.prices(config, {p.model for p in found} | {m for m in strong.values() if m})
    groups = _grouped(db, str(args.get("by") or "task"), tasks, found)
    total = bill(found, known)
    return {
        "schema": 1,
        "total": bill_json(total),
        "by": {key: bill_json(bill(group, known)) for key, group in sorted(groups.items())},
        "limit": _limit(runs),
        "budgets": _budgets(db, tasks, now),
        "rate": _rate(db, tasks, now),
        "quotas": quotas(db, now),
        "unpriced": list(total.unknown),
        "prices": prices.source({m: p for m, p in known.items() if any(one.model == m for one in found)}),
        "strong": _strong(found, strong, known),
    }


def _parts(db: Reader, task: Task | None, runs: Iterable[Run]) -> list[Part]:
    if task is not None:
        return parts(db, "t.uid = ?", task.uid)
    return [part for run in runs for part in parts(db, "t.run = ?", run.id)]


def bill_json(found: Bill) -> Json:
    """A bill as the part `usage`."""
    cost = None if found.cost is None else format(found.cost, "f")
    return usage_json(replace(found.usage, cost=cost, cost_source=found.source))


def _grouped(db: Reader, by: str, tasks: list[Task], found: list[Part]) -> dict[str, list[Part]]:
    key = _key(db, by, tasks)
    groups: dict[str, list[Part]] = defaultdict(list)
    for part in found:
        groups[key(part)].append(part)
    return groups


def _key(db: Reader, by: str, tasks: list[Task]) -> Callable[[Part], str]:
    match by:
        case "task":
            return lambda part: part.task
        case "model":
            return lambda part: part.model
        case "day":
            return lambda part: part.day
        case "run":
            return lambda part: part.task.rpartition("/")[0]
        case "role":
            roles = {t.uid: t.role for t in tasks}
            return lambda part: roles.get(part.task, "unknown")
        case "agent":
            agents = _agents(db, tasks)
            return lambda part: agents.get(part.session or "", "unknown")
        case _:
            raise UsageError(
                f"usage cannot be summed by {by!r}", object=by, hint="--by task, run, role, agent, model or day"
            )


def _agents(db: Reader, tasks: list[Task]) -> dict[str, str]:
    """Session -> the name of its agent."""
    found: dict[str, str] = {}
    for chunk in chunks(t.uid for t in tasks):
        marks = ",".join("?" * len(chunk))
        found |= {s.id: s.agent for s in db.select(Session, f"task IN ({marks})", *chunk)}
    return found


def _limit(runs: list[Run]) -> Json | None:
    """The limits that the newest of these runs was given."""
    limits = dict(runs[-1].config.get("limits", {})) if runs else {}
    known = {k: limits[k] for k in ("tokens", "cost", "minutes") if limits.get(k) is not None}
    return known or None


def _budgets(db: Reader, tasks: list[Task], now: float) -> list[Json]:
    """How far each budget that holds for these tasks is used, the fullest first, each once."""
    facts = [place.facts for place in places(db, {t.run for t in tasks}, now).values()]
    wanted = {t.uid for t in tasks}
    found = {}
    for f in with_spending(db, [f for f in facts if f.task.uid in wanted], now):
        for level in f.spent.levels if f.spent is not None else ():
            of = {"task": f.task.uid, "run": f.task.run}.get(level.scope, level.key.rpartition(":")[2])
            found[level.scope, level.measure, of] = {
                "scope": level.scope,
                "of": of,
                "measure": level.measure,
                "used": round(level.used, 6),
                "limit": level.limit,
                "share": round(level.share, 4),
            }
    return sorted(found.values(), key=lambda one: -float(one["share"]))


def quotas(db: Reader, now: float) -> list[Json]:
    """What agents told last of their vendors' windows that are not over yet."""
    rows = db.rows("SELECT * FROM quotas WHERE resets_at IS NULL OR resets_at > ? ORDER BY agent, resets_at", now)
    return [
        {
            "agent": row["agent"],
            "window": row["window"],
            "used": row["used"],
            "resets_at": iso(row["resets_at"]),
            "exhausted": bool(row["exhausted"]),
            "age_s": age(row["at"], now),
        }
        for row in rows
    ]


def _rate(db: Reader, tasks: list[Task], now: float) -> Json:
    """Tokens per second of the sessions that work now, in all and by agent.

    Of each: what it used in the last minutes, over the time that it was in turns meanwhile.
    """
    agents = _agents(db, tasks)
    rates: dict[str, float] = defaultdict(float)
    for chunk in chunks(t.uid for t in tasks):
        marks = ",".join("?" * len(chunk))
        since = now - WINDOW
        working = (
            "SELECT session, SUM(COALESCE(ended_at, ?) - MAX(delivered_at, ?)) AS seconds FROM messages"  # noqa: S608 (our words)
            f" WHERE task IN ({marks}) AND kind = 'turn' AND delivered_at IS NOT NULL AND COALESCE(ended_at, ?) > ?"
            " AND (ended_at IS NOT NULL OR state = 'delivered') GROUP BY session HAVING COUNT(ended_at) < COUNT(*)"
        )
        seconds = {r["session"]: float(r["seconds"]) for r in db.rows(working, now, since, *chunk, now, since)}
        used = (
            "SELECT session, SUM(input + output + cache_read + cache_write) AS tokens FROM usage"  # noqa: S608 (our words)
            f" WHERE task IN ({marks}) AND at > ? GROUP BY session"
        )
        for row in db.rows(used, *chunk, since):
            if row["session"] in seconds:
                rates[agents.get(row["session"], "unknown")] += int(row["tokens"] or 0) / max(
                    1.0, seconds[row["session"]]
                )
    by = {agent: round(rate, 2) for agent, rate in sorted(rates.items())}
    return {"tokens_per_s": round(sum(rates.values()), 2), "agents": by}


def _strong(found: list[Part], strong: Mapping[str, str | None], known: Mapping[str, Price]) -> Json | None:
    """What the same tokens would have cost with the model of the driver's role; None if that has no price."""
    cost, models = Decimal(0), set()
    for part in found:
        model = strong.get(part.task.rpartition("/")[0])
        if model is None or model not in known:
            return None
        cost += known[model].of(part.usage)
        models.add(model)
    if not models:
        return None
    return {"amount": format(cost, "f"), "currency": "USD", "models": sorted(models)}
