"""What was spent so far on a task, a run and a day, against their budgets; and the parts that a bill is made of.

Budgets: a task's own (`budget`), else `[limits.task]`; a run's (`[limits]`); a day's (`[limits.day]`) of all runs of
the repository, since midnight here. Minutes are the time that agents spent in turns. Without a budget nothing is read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from stretto.core.facts import Facts
from stretto.core.model import Usage
from stretto.core.usage import Level, Part, Spent, bill, budgets
from stretto.reads.prices import prices
from stretto.store.sqlite import Reader

#: scope -> the tasks that it holds
_TASKS = {"task": "t.uid = ?", "run": "t.run = ?", "day": "t.repo = ?"}


def with_spending(db: Reader, facts: Sequence[Facts], now: float) -> list[Facts]:
    """The same facts, with what was spent where a budget holds."""
    known: dict[tuple[str, str, str], dict[str, Level]] = {}
    return [replace(f, spent=_spent(db, f, now, known)) if budgets_of(f) else f for f in facts]


def budgets_of(f: Facts) -> dict[str, dict[str, float]]:
    """The budgets that hold for a task: scope -> measure -> limit."""
    return budgets(f.run.config.get("limits") or {}, f.task.fields.get("budget") or {})


def _spent(db: Reader, f: Facts, now: float, known: dict[tuple[str, str, str], dict[str, Level]]) -> Spent:
    levels: list[Level] = []
    run = f.task.run  # two runs of a repository may have been given different budgets of the same day
    for scope, given in budgets_of(f).items():
        of = {"task": f.task.uid, "run": f.task.run}.get(scope, f.task.repo)
        if (scope, of, run) not in known:
            known[scope, of, run] = _levels(db, f, scope, of, given, now)
        levels += known[scope, of, run].values()
    return Spent(tuple(levels), _noted(db, f))


def _levels(db: Reader, f: Facts, scope: str, of: str, given: Mapping[str, float], now: float) -> dict[str, Level]:
    since = midnight(now) if scope == "day" else 0.0
    day = f":{time.strftime('%Y-%m-%d', time.localtime(now))}" if scope == "day" else ""
    found = parts(db, _TASKS[scope], of, since)
    total = bill(found, prices(f.run.config, {p.model for p in found}) if "cost" in given else {})
    used = {"tokens": float(total.usage.tokens), "cost": float(total.cost or Decimal(0))}
    if "minutes" in given:
        used["minutes"] = seconds_in_turns(db, _TASKS[scope], of, since, now) / 60
    return {
        name: Level(scope, name, used[name], limit, f"{scope}:{name}{day}", total.unknown if name == "cost" else ())
        for name, limit in given.items()
    }


def midnight(now: float) -> float:
    """When the present day began, here."""
    local = time.localtime(now)
    return time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, 0, 0, 0, 0, -1))


def parts(db: Reader, where: str, of: str, since: float = 0.0) -> list[Part]:
    """What each model used in each turn of some tasks (`where` speaks of tasks as `t`).

    Every word of an agent by its own means is a part for itself: a cost that it tells is not that of other words.
    """
    rows = db.rows(
        "SELECT u.task AS task, u.session AS session, u.n AS n, u.model AS model, SUM(u.input) AS input,"  # noqa: S608 (our words)
        " SUM(u.output) AS output, SUM(u.cache_read) AS cache_read, SUM(u.cache_write) AS cache_write,"
        " SUM(u.reasoning) AS reasoning, GROUP_CONCAT(u.cost) AS costs, MAX(u.at) AS at"
        f" FROM usage u JOIN tasks t ON t.uid = u.task WHERE {where} AND u.at >= ?"
        " GROUP BY u.task, u.session, u.n, u.model, CASE WHEN u.key LIKE 'agent:%' THEN u.key END,"
        " strftime('%Y-%m-%d', u.at, 'unixepoch', 'localtime')",
        of,
        since,
    )
    return [_part(row) for row in rows]


def _part(row: Any) -> Part:
    used = Usage(row["input"], row["output"], row["cache_read"], row["cache_write"], row["reasoning"])
    costs = [Decimal(one) for one in (row["costs"] or "").split(",") if one]
    told = format(sum(costs, Decimal(0)), "f") if costs else None
    day = time.strftime("%Y-%m-%d", time.localtime(row["at"]))
    return Part(str(row["task"]), str(row["model"] or ""), used, told, row["session"], day, row["n"])


def seconds_in_turns(db: Reader, where: str, of: str, since: float, now: float) -> float:
    """How long agents were in turns of some tasks, those that run now included."""
    rows = db.rows(
        "SELECT m.delivered_at AS began, m.ended_at AS ended FROM messages m JOIN tasks t ON t.uid = m.task"  # noqa: S608
        f" WHERE {where} AND m.kind = 'turn' AND m.delivered_at IS NOT NULL AND COALESCE(m.ended_at, ?) > ?"
        " AND (m.ended_at IS NOT NULL OR m.state = 'delivered')",
        of,
        now,
        since,
    )
    return sum(max(0.0, float(r["ended"] or now) - max(since, float(r["began"]))) for r in rows)


def _noted(db: Reader, f: Facts) -> frozenset[str]:
    """Keys of the notes about budgets that concern this task: its own, its run's, its repository's."""
    rows = db.rows(
        "SELECT i.key AS key FROM items i JOIN tasks t ON t.uid = i.task WHERE i.kind = 'budget' AND t.repo = ?"
        " AND (t.uid = ? OR (t.run = ? AND i.key LIKE 'budget-note:run:%') OR i.key LIKE 'budget-note:day:%')",
        f.task.repo,
        f.task.uid,
        f.task.run,
    )
    return frozenset(str(r["key"]).removeprefix("budget-note:") for r in rows)
