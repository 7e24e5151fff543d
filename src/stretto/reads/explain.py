"""`explain`: the evidence behind a task's state, and what would change it."""

from __future__ import annotations

import json
import os
from typing import Any

from stretto.core.evidence import believe, evidence_of, from_plain
from stretto.core.limit_rules import LIMITED
from stretto.core.model import TERMINAL, QueueState, SessionStatus, State, Task
from stretto.core.who import CLONE, NO_SANDBOX, WORKTREE, in_checkout, isolation
from stretto.reads import find
from stretto.reads.answering import answer_command, look_command
from stretto.reads.clashes import clashes_of
from stretto.reads.picture import Place, now_of, place
from stretto.reads.preparing import RUNGS
from stretto.reads.shapes import Json, age, approved, iso
from stretto.store.sqlite import Reader

#: in what a task's agent is kept, in words
_ISOLATIONS = {
    NO_SANDBOX: "none: its agent can do what you can",
    WORKTREE: "a sandbox, its git in the repository",
    CLONE: "a sandbox, its git in a clone of its own",
}


def explain(db: Reader, args: dict[str, Any]) -> Json:
    """State, reason, the signals that they rest on with their age, and what comes next."""
    now = now_of(args)
    p = place(db, find.task_of(db, args), now)
    d = p.decision
    return {
        "schema": 1,
        "task": p.task.uid,
        "stage": d.stage.value if d.stage else None,
        "state": d.state.value,
        "reason": p.reason,
        "cause": d.cause,
        "action": d.action.name,
        "since": iso(p.since),
        "age_s": age(p.since, now),
        "evidence": evidence(db, p, now, bool(args.get("live"))),
        "next": next_of(p),
    }


def evidence(db: Reader, p: Place, now: float, live: bool) -> list[Json]:
    """Signals, each with its value and its age in seconds (null: it has no time)."""
    found: list[Json] = []

    def add(signal: str, value: object, at: float | None = None) -> None:
        found.append({"signal": signal, "value": value, "age_s": age(at, now)})

    f, t = p.facts, p.task
    for n in f.needs:
        add(f"need {n.id}", n.outcome.value if n.outcome else "not over")
    if t.paused or f.run.paused:
        add("paused", "the run" if f.run.paused else "the task")
    if t.wanted != "run":
        add("wanted", t.wanted)
    add("started", t.admitted_at is not None, t.admitted_at)
    if t.workspace is not None:
        there = os.path.isdir(t.workspace)  # noqa: PTH112 (pathlib is not worth its import here)
        add("worktree", t.workspace if there else f"{t.workspace} is gone", now)
        add("isolation", _ISOLATIONS[isolation(f)])
        if in_checkout(t.fields):
            add("database", "yours, if it uses one: in your checkout a task has none of its own")
        elif "DATABASE_URL" in t.held:
            add("database", t.held["DATABASE_URL"])
    _session(p, now, live, found, add)
    _progress(p, add)
    for at, text in packages(db, t.uid):
        add("packages", text, at)
    for clash in clashing(db, t):
        add("migrations", clash)
    for branch, held in (t.diff.get("left_in_clone") or {}).items():
        add("branch of its clone", f"{branch} could not be brought over; {held or 'nothing'} holds its commit")
    for item in f.open_items:
        add(f"inbox item {item.id}", f"{item.kind.value}: {item.text}", item.opened_at)
    if t.outcome is not None:
        add("outcome", t.outcome.value, t.ended_at)
    return found


def packages(db: Reader, uid: str) -> list[tuple[float, str]]:
    """How the packages came into the workspace, each as it was last: when, and by which rung of the ladder."""
    rows = db.rows("SELECT at, data FROM events WHERE task = ? AND type = 'dependencies.ready' ORDER BY id", uid)
    told = [(float(row["at"]), json.loads(row["data"])) for row in rows]
    last = {data["name"]: (at, data) for at, data in told}
    return [(at, f"{data['name']}: {RUNGS[data['rung']]} in {data['seconds']:.1f} s") for at, data in last.values()]


def clashing(db: Reader, task: Task) -> list[str]:
    """Which live tasks have migrations that cannot be applied together with this one's, and what to do about it."""
    if not task.diff.get("migrations") or task.outcome is not None:
        return []
    others = db.select(Task, "repo = ? AND outcome IS NULL ORDER BY created_at, position", task.repo)
    return [
        f"{one['paths'][0]} and {one['paths'][1]} of {one['task'].rpartition('/')[2]}: {one['text']};"
        f" who lands second: {one['remedy']}"
        for one in clashes_of(others)[task.uid]
    ]


def _session(p: Place, now: float, live: bool, found: list[Json], add: Any) -> None:
    s = p.facts.session
    if s is None:
        return
    add("agent", f"{s.agent} ({s.model or 'its own model'}), {s.role}", s.started_at)
    if s.ended_at is not None:
        why = s.end_reason or (f"exit {s.exit_code}" if s.exit_code is not None else "no reason recorded")
        add("session", f"{SessionStatus.EXITED.value}: {why}", s.ended_at)
        return
    status = s.status if live else SessionStatus.UNKNOWN
    believed = f"{status.value}: {s.belief['reason']}" if s.belief.get("reason") else status.value
    add("session", believed if live else "unknown: no daemon watches it", s.status_at or s.started_at)
    belief = believe(from_plain(s.signs), now, generation=s.generation, silence=float("inf"))
    found.extend({**row, "signal": f"session: {row['signal']}"} for row in evidence_of(belief))


def _progress(p: Place, add: Any) -> None:
    f, t = p.facts, p.task
    if (turn := f.turn) is not None:
        add(f"turn {turn.n} ({turn.origin.value})", turn.state.value, turn.delivered_at or turn.created_at)
        if turn.result is not None:
            add(f"turn {turn.n} result", " ".join(filter(None, (turn.result.value, turn.reason))), turn.ended_at)
    if t.head is not None:
        add("head", t.head)
    for spec in f.specs:
        row = f.check(spec)
        if row is not None:
            value = row.result.value if row.result else "running"
            add(f"check {spec.name}", f"{value} {row.reason}".strip(), row.started_at + (row.seconds or 0))
    if f.approval is not None:
        text = f"by {f.approval.by}" if approved(f) else "of an earlier patch; it does not hold any more"
        add("approval", text, f.approval.at)
    if (e := f.entry) is not None and (e.state is not QueueState.EJECTED or not e.settled):
        add("landing queue", f"{e.state.value}: {e.reason}", e.updated_at)
    for name, count in sorted(t.attempts.items()):
        add(f"attempts: {name}", count)


def next_of(p: Place) -> str:
    """What would change the state, as a sentence or a command."""
    f, t, d = p.facts, p.task, p.decision
    if d.state in TERMINAL:
        return _after_the_end(p)
    if f.open_items:
        item = f.open_items[0]
        return f"{answer_command(item)}   (look: {look_command(item, p)})"
    if d.cause == "paused":
        return f"stretto resume --run {t.run}" if f.run.paused else f"stretto resume {t.uid}"
    if d.cause == LIMITED:
        return f"it goes on by itself then; at once: stretto retry {t.uid}"
    if d.state is State.BLOCKED:
        broken = [n for n in f.needs if n.broken]
        if broken:
            return f"stretto retry {broken[0].uid}"
        if p.stuck:
            return "a task further up failed or was cancelled: retry that one"
        waits = [n.id for n in f.needs if n.outcome is None]
        return f"it becomes ready when {', '.join(waits[:4])} landed"
    if d.state is State.READY:
        if p.limited:
            return "it starts by itself when one of its agents is taken again"
        return "it starts now" if p.starts else "it starts when a place is free, or: stretto run … --open N"
    if d.state is State.QUEUED:
        return "the landing queue takes it in its turn: stretto queue"
    if f.turn_running:
        return f"its agent ends the turn (stretto logs {t.uid} -f), or: stretto interrupt {t.uid}"
    return f"stretto does the next step by itself: {d.reason}"


def _after_the_end(p: Place) -> str:
    t = p.task
    match p.decision.state:
        case State.FAILED | State.CANCELLED:
            return f"stretto retry {t.uid}"
        case State.FINISHED:
            return f"its result: stretto logs {t.uid}" if t.report is None else f"its report: {t.report}"
        case _:
            commit = (t.landed or {}).get("commit", "")
            return f"nothing: it is on the target as {commit}"
