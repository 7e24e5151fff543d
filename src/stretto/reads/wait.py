"""`wait`: one look at whether what is waited for has come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stretto.core.errors import UsageError
from stretto.core.model import TERMINAL, State
from stretto.core.wait import Goal, Verdict, verdict
from stretto.reads import find
from stretto.reads.picture import Place, now_of, places
from stretto.reads.shapes import Json
from stretto.reads.status import inbox_json, runs_of
from stretto.store.sqlite import Reader


def wait(db: Reader, args: dict[str, Any]) -> Json:
    """`result` is `reached`, `impossible` or `pending` for these `tasks` (all of the `run`, else of the repository).

    `for` is one of landed, terminal, idle, inbox. `cursor` is where the events that may change it begin.
    """
    now, cursor = now_of(args), db.cursor
    goal = _goal(str(args.get("for") or "landed"))
    chosen = _selection(db, args, now)
    result = verdict(goal, [p.standing for p in chosen.values()])
    if result is Verdict.REACHED and goal in {Goal.LANDED, Goal.TERMINAL} and _owed(db, chosen.values()):
        result = Verdict.PENDING
    return {
        "schema": 1,
        "result": result.value,
        "cursor": cursor,
        "tasks": {uid: {"state": p.decision.state.value, "reason": p.reason} for uid, p in chosen.items()},
        "inbox": inbox_json(chosen, now),
        "frozen": _frozen(db, chosen.values()),
    }


def _frozen(db: Reader, chosen: Iterable[Place]) -> list[str]:
    """Why the landing queues of those that are not over stand still until the person answers; empty if none does."""
    repos = sorted({p.facts.run.repo for p in chosen if p.decision.state not in TERMINAL})
    marks = ", ".join("?" * len(repos))
    sql = f"SELECT DISTINCT frozen FROM repos WHERE frozen IS NOT NULL AND key IN ({marks})"  # noqa: S608
    return [str(row["frozen"]) for row in db.rows(sql, *repos)]


def _owed(db: Reader, chosen: Iterable[Place]) -> bool:
    """Whether a landing has yet to reach the person's checkout or the remote.

    Who waited for it looks at those next. A frozen queue is not waited for: it stands still until the person answers.
    """
    repos = {p.facts.run.repo for p in chosen if p.decision.state is State.LANDED}
    marks = ", ".join("?" * len(repos))
    sql = f"SELECT 1 FROM repos, json_each(data, '$.owed') WHERE frozen IS NULL AND repos.key IN ({marks}) LIMIT 1"  # noqa: S608
    return db.value(sql, *sorted(repos)) is not None


def _goal(word: str) -> Goal:
    try:
        return Goal(word)
    except ValueError as error:
        words = ", ".join(g.value for g in Goal)
        raise UsageError(f"cannot wait for {word!r}: it must be one of {words}", object=word, hint="--help") from error


def _selection(db: Reader, args: dict[str, Any], now: float) -> dict[str, Place]:
    names = [str(name) for name in args.get("tasks") or ()]
    if names:
        repo = find.repository(str(args.get("cwd") or "."))
        uids = [find.find_task(db, name, repo).uid for name in names]
        found = places(db, {uid.partition("/")[0] for uid in uids}, now)
        return {uid: found[uid] for uid in uids}
    if args.get("run"):
        return places(db, [find.find_run(db, str(args["run"]), None).id], now)
    return places(db, [r.id for r in _current(db, args, now)], now)


def _current(db: Reader, args: dict[str, Any], now: float) -> list[Any]:
    """Unfinished runs, else the newest: what is long over does not make waiting impossible."""
    repo = None if args.get("all") else find.require_repository(args)
    return find.unfinished(db, repo) or runs_of(db, args, now)[-1:]
