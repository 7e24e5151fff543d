"""`usage`: tokens and cost, in all and by task, run, role, agent, model, day, session or turn; budgets, what-if.

Each repository's prices are those that its newest run was given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
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

#: what usage can be summed by
KEYS = ("task", "run", "role", "agent", "model", "day", "session", "turn")
#: seconds over which the rate is taken
WINDOW = 300.0
_Table = dict[str, Price]


def usage(db: Reader, args: dict[str, Any]) -> Json:
    """Usage of one `task`, else of the runs that `status` shows, by one of `KEYS`.

    `daemon` is null: the daemon, when it is the one who answers, puts itself there.
    """
    now, cursor = now_of(args), db.cursor
    task = find.task_of(db, args) if args.get("task") else None
    runs = [find.find_run(db, task.run, None)] if task is not None else runs_of(db, args, now)
    tasks = (
        [task] if task is not None else [t for r in runs for t in db.select(Task, "run = ? ORDER BY position", r.id)]
    )
    found = _parts(db, task, runs)
    strong = {run.id: agent_spec(run.config, "driver", None).model for run in runs}
    tables = _tables(db, runs, found, strong)
    found = [replace(part, price=tables[_run(part)].get(part.model)) for part in found]
    groups = _grouped(db, str(args.get("by") or "task"), tasks, found)
    total = bill(found)
    return {
        "schema": 1,
        "cursor": cursor,
        "daemon": None,
        "total": bill_json(total),
        "by": {key: _row(bill(group)) for key, group in sorted(groups.items())},
        "limit": _limit(runs),
        "budgets": _budgets(db, tasks, now),
        "rate": _rate(db, tasks, now),
        "quotas": quotas(db, now),
        "unpriced": list(total.unknown),
        "prices": prices.source((part.model, part.price) for part in found if part.price is not None),
        "strong": _strong(found, strong, tables),
    }


def _run(part: Part) -> str:
    return part.task.rpartition("/")[0]


def _tables(
    db: Reader, runs: Sequence[Run], found: Iterable[Part], strong: Mapping[str, str | None]
) -> dict[str, _Table]:
    """Run -> the prices that hold for it, those of its repository's newest run, whichever was asked for."""
    newest = (db.one(Run, "repo = ? ORDER BY created_at DESC, rowid DESC", repo) for repo in {run.repo for run in runs})
    configs = {run.repo: run.config for run in newest if run is not None}
    models: dict[str, set[str]] = defaultdict(set)
    repos = {run.id: run.repo for run in runs}
    for part in found:
        models[repos[_run(part)]].add(part.model)
    for id, model in strong.items():
        models[repos[id]].add(model or "")
    known = {repo: prices.prices(config, models[repo]) for repo, config in configs.items()}
    return {run.id: known[run.repo] for run in runs}


def _parts(db: Reader, task: Task | None, runs: Iterable[Run]) -> list[Part]:
    if task is not None:
        return parts(db, "t.uid = ?", task.uid)
    return [part for run in runs for part in parts(db, "t.run = ?", run.id)]


def bill_json(found: Bill) -> Json:
    """A bill as the part `usage`."""
    cost = None if found.cost is None else format(found.cost, "f")
    return usage_json(replace(found.usage, cost=cost, cost_source=found.source))


def _row(found: Bill) -> Json:
    """A sum with the models that it leaves out of its cost."""
    return {**bill_json(found), "unpriced": list(found.unknown)}


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
            return _run
        case "session":
            return lambda part: part.session or "unknown"
        case "turn":
            return lambda part: f"{part.task}#{'unknown' if part.n is None else part.n}"
        case "role":
            roles = {t.uid: t.role for t in tasks} | {s.id: s.role for s in _sessions(db, tasks)}
            return lambda part: roles.get(part.session or "") or roles.get(part.task, "unknown")
        case "agent":
            agents = _agents(db, tasks)
            return lambda part: agents.get(part.session or "", "unknown")
        case _:
            raise UsageError(f"usage cannot be summed by {by!r}", object=by, hint=f"--by {', '.join(KEYS)}")


def _agents(db: Reader, tasks: list[Task]) -> dict[str, str]:
    """Session -> the name of its agent."""
    return {s.id: s.agent for s in _sessions(db, tasks)}


def _sessions(db: Reader, tasks: list[Task]) -> list[Session]:
    found: list[Session] = []
    for chunk in chunks(t.uid for t in tasks):
        marks = ",".join("?" * len(chunk))
        found += db.select(Session, f"task IN ({marks})", *chunk)
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
    """Tokens per second of the sessions that work now, in all and by agent; one that waits for the person does not.

    Of each: what it read anew and wrote in the last minutes, over the time that it was in turns meanwhile. What comes
    from a cache, or goes to one, is most of the tokens and says nothing of how fast an agent is.
    """
    agents = _agents(db, tasks)
    rates: dict[str, float] = defaultdict(float)
    for chunk in chunks(t.uid for t in tasks):
        marks = ",".join("?" * len(chunk))
        since = now - WINDOW
        working = (
            "SELECT session, SUM(COALESCE(ended_at, ?) - MAX(delivered_at, ?)) AS seconds FROM messages"  # noqa: S608 (our words)
            f" WHERE task IN ({marks}) AND kind = 'turn' AND delivered_at IS NOT NULL AND COALESCE(ended_at, ?) > ?"
            " AND (ended_at IS NOT NULL OR state = 'delivered')"
            " AND NOT EXISTS (SELECT 1 FROM sessions WHERE id = messages.session AND status = 'waiting')"
            " AND NOT EXISTS (SELECT 1 FROM items WHERE items.session = messages.session AND closed_at IS NULL"
            " AND answered_at IS NULL AND kind IN ('question', 'permission'))"
            " GROUP BY session HAVING COUNT(ended_at) < COUNT(*)"
        )
        seconds = {r["session"]: float(r["seconds"]) for r in db.rows(working, now, since, *chunk, now, since)}
        used = (
            "SELECT session, SUM(input + output) AS tokens FROM usage"  # noqa: S608 (our words)
            f" WHERE task IN ({marks}) AND at > ? GROUP BY session"
        )
        for row in db.rows(used, *chunk, since):
            if row["session"] in seconds:
                rates[agents.get(row["session"], "unknown")] += int(row["tokens"] or 0) / max(
                    1.0, seconds[row["session"]]
                )
    by = {agent: round(rate, 2) for agent, rate in sorted(rates.items())}
    return {"tokens_per_s": round(sum(rates.values()), 2), "agents": by}


def _strong(found: list[Part], strong: Mapping[str, str | None], tables: Mapping[str, _Table]) -> Json | None:
    """What the same tokens would have cost with the model of the driver's role.

    None if some run names no such model; the amount is null if one of the models has no price.
    """
    cost, models = Decimal(0), dict[str, str]()
    priced = True
    for part in found:
        model = strong.get(_run(part))
        if model is None:
            return None
        price = tables[_run(part)].get(model)
        models[model] = price.model if price is not None else ""
        priced = priced and price is not None
        cost += price.of(part.usage) if price is not None else 0
    if not models:
        return None
    amount = format(cost, "f") if priced else None
    return {
        "amount": amount,
        "currency": "USD",
        "models": sorted(models),
        "unpriced": sorted(m for m, of in models.items() if not of),
        "priced_as": {m: of for m, of in sorted(models.items()) if of and of != m},
    }
