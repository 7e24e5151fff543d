"""Rows as the JSON that CONTRACTS promises."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stretto.core.facts import Facts
from stretto.core.model import OWN_TERMINAL, Check, Entry, Item, Session, Usage
from stretto.core.who import WORKTREE, badges, isolation, sandbox
from stretto.reads.picture import Place
from stretto.store.sqlite import Reader

Json = dict[str, Any]


def iso(at: float | None) -> str | None:
    """Seconds since the epoch as `2026-01-01T00:00:00Z`; None stays None."""
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def age(at: float | None, now: float) -> float | None:
    """Seconds that passed since; never negative."""
    return None if at is None else round(max(0.0, now - at), 1)


def task_json(
    p: Place, checks: Sequence[Check], usage: Usage, now: float, live: bool, clashes: Sequence[Json] = ()
) -> Json:
    """A task in `status --json`. `worktree` is where its files are, also after its end (`workspace` is null then)."""
    f, t, d = p.facts, p.task, p.decision
    return {
        "uid": t.uid,
        "run": t.run,
        "id": t.id,
        "repo": t.repo,
        "title": t.title,
        "kind": t.kind.value,
        "role": t.role,
        "priority": t.priority,
        "lands": t.lands,
        "stage": d.stage.value if d.stage else None,
        "state": d.state.value,
        "paused": t.paused or f.run.paused,
        "reason": p.reason,
        "needs": [n.uid for n in f.needs],
        "branch": t.branch,
        "kept": t.kept,
        "base": t.base,
        "head": t.head,
        "landed": {**t.landed, "at": iso(t.landed.get("at"))} if t.landed else None,
        "attempts": attempts(f, checks),
        "checks": [check_json(c) for c in checks],
        "diff": diff_json(t.diff),
        "approved": approved(f),
        "workspace": workspace_json(f),
        "worktree": t.workspace,
        "session": session_json(f.session, now, live),
        "badges": [*badges(f), *(["migrations clash"] if clashes else [])],
        "clashes": list(clashes),
        "usage": usage_json(usage),
        "report": t.report,
        "since": iso(p.since),
        "age_s": age(p.since, now),
        "started_at": iso(t.admitted_at),
        "ended_at": iso(t.ended_at),
    }


def approved(f: Facts) -> bool:
    """Whether consent to exactly the present patch is on record."""
    return f.approval is not None and f.approval.patch == f.task.patch


def attempts(f: Facts, checks: Sequence[Check]) -> dict[str, int]:
    """Tries of each stage so far: turns, rounds of checks, entries of the landing queue; and the counted repairs."""
    rounds: dict[str, int] = defaultdict(int)
    for check in checks:
        if check.purpose == "task":
            rounds[check.name] += 1
    found = {"implement": len(f.turns), "check": max(rounds.values(), default=0), **f.task.attempts}
    return {name: count for name, count in found.items() if count}


def check_json(c: Check) -> Json:
    """One execution of a check; `result` is null while it runs."""
    return {
        "name": c.name,
        "head": c.head,
        "tree": c.tree,
        "purpose": c.purpose,
        "result": c.result.value if c.result else None,
        "seconds": c.seconds,
        "at": iso(c.started_at),
        "reason": c.reason,
    }


def diff_json(diff: Mapping[str, Any]) -> Json | None:
    """Size of the task's patch, once it is known."""
    return {k: diff.get(k, 0) for k in ("files", "added", "deleted")} if "files" in diff else None


def ports_of(held: Mapping[str, str]) -> dict[str, int]:
    """The ports of a workspace by the names of their variables."""
    return {name: int(value) for name, value in held.items() if name == "PORT" or name.startswith("PORT_")}


def workspace_json(f: Facts) -> Json | None:
    """Where a task that is not over works."""
    t = f.task
    if t.workspace is None or t.outcome is not None:
        return None
    ports = ports_of(t.held)
    slot = int(t.held.get("STRETTO_SLOT", t.bay or 0))
    url = t.held.get("DATABASE_URL")
    database = None if url is None else {"url": url}
    git = t.held.get("STRETTO_RECIPE", WORKTREE)
    place = {"path": t.workspace, "slot": slot, "ports": ports, "database": database}
    return {**place, "sandbox": sandbox(f), "git": git, "isolation": isolation(f)}


def session_json(s: Session | None, now: float, live: bool) -> Json | None:
    """The session of a task. Without a daemon nobody watches it, so its status is not known."""
    if s is None:
        return None
    over = s.ended_at is not None
    return {
        "id": s.id,
        "role": s.role,
        "agent": s.agent,
        "model": s.model,
        "mode": s.mode,
        "status": "exited" if over else s.status.value if live else "unknown",
        "age_s": age(s.ended_at or s.status_at or s.started_at, now),
        "evidence": list(s.evidence),
        "belief": {**s.belief, "until": iso(s.belief.get("until"))} if s.belief and live and not over else None,
        "generation": s.generation,
        "conversation": s.conversation,
        "end_reason": s.end_reason,
        "exit_code": s.exit_code,
    }


def usage_json(u: Usage) -> Json:
    """Tokens and cost; a cost that nobody told is null."""
    cost = None if u.cost is None else {"amount": u.cost, "currency": "USD", "source": u.cost_source}
    return {
        "input": u.input,
        "output": u.output,
        "cache_read": u.cache_read,
        "cache_write": u.cache_write,
        "reasoning": u.reasoning,
        "cost": cost,
    }


def item_json(i: Item, title: str, now: float) -> Json:
    """What waits for the person."""
    return {
        "id": i.id,
        "task": i.task,
        "title": title,
        "kind": i.kind.value,
        "text": i.text,
        "options": [{"key": key, "text": text} for key, text in i.options],
        "at": iso(i.opened_at),
        "waiting_s": age(i.opened_at, now),
        "session": i.session,
        "terminal": bool(i.payload.get(OWN_TERMINAL)),
    }


def entry_json(e: Entry, now: float) -> Json:
    """An entry of the landing queue."""
    return {
        "task": e.task,
        "state": e.state.value,
        "reason": e.reason,
        "id": e.id,
        "target": e.target,
        "head": e.head,
        "candidate": e.candidate,
        "tree": e.tree,
        "cause": e.cause,
        "files": list(e.files),
        "at": iso(e.enqueued_at),
        "age_s": age(e.updated_at, now),
    }


def checks_of(db: Reader, uids: Iterable[str]) -> dict[str, list[Check]]:
    """All executions of checks by task, oldest first, those in the gate included."""
    found: dict[str, list[Check]] = defaultdict(list)
    for chunk in chunks(uids):
        marks = ",".join("?" * len(chunk))
        for check in db.select(Check, f"task IN ({marks}) ORDER BY id", *chunk):
            found[check.task].append(check)
    return found


_SUMS = (
    "SUM(input) AS input, SUM(output) AS output, SUM(cache_read) AS cache_read, SUM(cache_write) AS cache_write,"
    " SUM(reasoning) AS reasoning"
)


def usage_of(db: Reader, by: str, uids: Iterable[str]) -> dict[str, Usage]:
    """Usage of these tasks, summed by `task`, `model`, `session` or `n`, the message that began the turn."""
    if by not in {"task", "model", "session", "n"}:
        raise ValueError(by)
    sums: dict[str, list[Usage]] = defaultdict(list)
    for chunk in chunks(uids):
        marks = ",".join("?" * len(chunk))
        grouped = f"SELECT {by} AS by, {_SUMS}, NULL AS cost, NULL AS cost_source FROM usage"  # noqa: S608 (our words)
        for row in db.rows(f"{grouped} WHERE task IN ({marks}) GROUP BY {by}", *chunk):
            sums[str(row["by"] or "")].append(_usage(row))
        priced = f"SELECT {by} AS by, cost, cost_source FROM usage WHERE cost IS NOT NULL"  # noqa: S608 (our words)
        for row in db.rows(f"{priced} AND task IN ({marks})", *chunk):
            sums[str(row["by"] or "")].append(Usage(cost=row["cost"], cost_source=row["cost_source"]))
    return {key: total(values) for key, values in sums.items()}


def _usage(row: Any) -> Usage:
    return Usage(row["input"], row["output"], row["cache_read"], row["cache_write"], row["reasoning"])


def total(values: Iterable[Usage]) -> Usage:
    """The sum; its cost is that of the parts whose cost is known, exact to the last digit."""
    values = list(values)
    return Usage(
        sum(u.input for u in values),
        sum(u.output for u in values),
        sum(u.cache_read for u in values),
        sum(u.cache_write for u in values),
        sum(u.reasoning for u in values),
        *_cost([u for u in values if u.cost is not None]),
    )


def _cost(priced: Sequence[Usage]) -> tuple[str | None, str | None]:
    if not priced:
        return None, None
    from decimal import Decimal  # costs as much as the rest of `status`, and most have no price

    sources = {u.cost_source for u in priced}
    amount = sum((Decimal(u.cost or "0") for u in priced), Decimal(0))
    return f"{amount:f}", "agent" if sources == {"agent"} else "table"


def chunks(keys: Iterable[str], size: int = 500) -> list[list[str]]:
    """Keys in groups below SQLite's limit of variables."""
    wanted = list(keys)
    return [wanted[start : start + size] for start in range(0, len(wanted), size)]
