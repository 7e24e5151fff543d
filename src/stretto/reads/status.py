"""`status` and `queue`: everything that is going on, at once."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from stretto.core.inbox import ranked
from stretto.core.landing import IN_WORK, order
from stretto.core.model import Entry, Item, QueueState, Run, Usage
from stretto.reads import find
from stretto.reads.answering import look_command
from stretto.reads.clashes import clashes_of
from stretto.reads.picture import Place, now_of, open_places, places
from stretto.reads.shapes import Json, age, checks_of, chunks, entry_json, iso, item_json, task_json, usage_of
from stretto.store.sqlite import Reader

#: seconds for which a run that is over is still shown beside the others
RECENT = 86400.0


def status(db: Reader, args: dict[str, Any]) -> Json:
    """All tasks of the repository's unfinished, newest and recent runs; of one `run`; or of `all` repositories.

    `daemon` is null: the daemon, when it is the one who answers, puts itself there.
    """
    now, live = now_of(args), bool(args.get("live"))
    cursor = db.cursor
    runs = runs_of(db, args, now)
    found = places(db, [r.id for r in runs], now)
    checks = checks_of(db, found)
    usage = usage_of(db, "task", found)
    clashing = clashes_of(p.task for p in found.values())
    shown = [p for r in runs for p in found.values() if p.task.run == r.id]
    return {
        "schema": 1,
        "cursor": cursor,
        "daemon": None,
        "runs": runs_json(db, runs, shown, now),
        "tasks": [
            task_json(p, checks[p.task.uid], usage.get(p.task.uid, Usage()), now, live, clashing[p.task.uid])
            for p in shown
        ],
        "inbox": inbox_json(found, now),
        "queue": queue_json(db, found, now),
        "notices": notices(db, runs),
    }


def runs_of(db: Reader, args: Mapping[str, Any], now: float) -> list[Run]:
    """The runs that a request is about, oldest first."""
    if args.get("run"):
        return [find.find_run(db, str(args["run"]), None)]
    repo = None if args.get("all") else find.require_repository(dict(args))
    shown = {r.id: r for r in find.unfinished(db, repo)}
    recent = db.select(
        Run,
        "(? IS NULL OR repo = ?) AND EXISTS (SELECT 1 FROM tasks t WHERE t.run = runs.id AND t.ended_at > ?)",
        repo,
        repo,
        now - RECENT,
    )
    last = find.newest(db, repo)
    shown.update({r.id: r for r in [*recent, *([last] if last else [])]})
    return sorted(shown.values(), key=lambda r: (r.created_at, r.id))


def runs_json(db: Reader, runs: Iterable[Run], shown: list[Place], now: float) -> list[Json]:
    """A line for each run: what it is, how full it is, how far it got."""
    taken = open_places(shown, now)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for p in shown:
        counts[p.task.run][p.decision.state.value] += 1
    return [
        {
            "id": r.id,
            "title": r.title,
            "repo": r.repo,
            "root": r.root,
            "plan": r.plan_path,
            "base": r.base,
            "base_at": iso(r.config.get("base_at")),
            "target": r.target,
            "agent": r.agent,
            "approve": r.approve,
            "open": taken.get(r.id, 0),
            "limit": r.open_limit,
            "counts": dict(counts[r.id]),
            "paused": r.paused,
            "checkout": r.checkout,
            "created_at": iso(r.created_at),
            "elapsed_s": _elapsed(r, [p for p in shown if p.task.run == r.id], now),
        }
        for r in runs
    ]


def _elapsed(run: Run, shown: list[Place], now: float) -> float | None:
    ends = [p.task.ended_at for p in shown]
    known = [e for e in ends if e is not None]
    return age(run.created_at, max(known) if known and len(known) == len(ends) else now)


def inbox_json(found: Mapping[str, Place], now: float) -> list[Json]:
    """Open items of these tasks, what needs the person most first."""
    return [
        item_json(i, found[i.task].task.title, now) | {"look": look_command(i, found[i.task])}
        for i in open_items(found)
    ]


def open_items(found: Mapping[str, Place]) -> list[Item]:
    """Open items, ranked. A task that is over can have one: a landing that froze the queue."""
    dependents: Counter[str] = Counter()
    for p in found.values():
        if p.task.outcome is None:
            dependents.update(n.uid for n in p.facts.needs if n.outcome is None)
    sizes = {uid: int(p.task.diff.get("added", 0)) + int(p.task.diff.get("deleted", 0)) for uid, p in found.items()}
    items = [i for p in found.values() for i in (*p.facts.open_items, *p.facts.notes)]
    return ranked(items, dependents, sizes)


_SHOWN_ORDER = {QueueState.LANDING: 0, QueueState.TESTING: 1, QueueState.WAITING: 2, QueueState.EJECTED: 3}


def queue_json(db: Reader, found: Mapping[str, Place], now: float) -> list[Json]:
    """The latest entry of each task: in work, then waiting in the order of landing, then thrown out, then landed."""
    latest: dict[str, Entry] = {}
    for chunk in chunks(found):
        marks = ",".join("?" * len(chunk))
        for entry in db.select(Entry, f"task IN ({marks}) ORDER BY id", *chunk):
            latest[entry.task] = entry
    waiting = [e for e in latest.values() if e.state is QueueState.WAITING]
    needs = {uid: [n.uid for n in p.facts.needs] for uid, p in found.items()}
    line = order(waiting, {uid: p.task.priority for uid, p in found.items()}, needs)
    rank = {e.task: at for at, e in enumerate(line)}
    entries = sorted(
        latest.values(), key=lambda e: (_SHOWN_ORDER.get(e.state, 4), rank.get(e.task, 0), e.updated_at, e.id)
    )
    return [entry_json(e, now) for e in entries]


def queue(db: Reader, args: dict[str, Any]) -> Json:
    """The landing queue of the repository: its entries, what is in work, and why it stands still if it does."""
    now = now_of(args)
    runs = runs_of(db, args, now)
    entries = queue_json(db, places(db, [r.id for r in runs], now), now)
    known = notices(db, runs)
    return {
        "schema": 1,
        "queue": entries,
        "in_work": [e["task"] for e in entries if QueueState(e["state"]) in IN_WORK],
        "frozen": next((n["text"] for n in known if n["kind"] == "frozen"), None),
        "notices": known,
    }


def notices(db: Reader, runs: Iterable[Run]) -> list[Json]:
    """What the person should know of a repository, each with the next command: a frozen queue, a checkout behind."""
    found: list[Json] = []
    for repo, target in sorted({(r.repo, r.target) for r in runs}):
        frozen = db.value("SELECT frozen FROM repos WHERE key = ?", repo)
        if frozen and not any(n["repo"] == repo for n in found):
            found.append({"kind": "frozen", "repo": repo, "text": frozen, "next": "stretto inbox"})
        if (text := _behind(db, repo, target)) is not None:
            found.append({"kind": "checkout", "repo": repo, "text": text, "next": "stretto update-checkout"})
    for repo in sorted({r.repo for r in runs}):
        found += _not_given_back(db, repo)
    return found


def _not_given_back(db: Reader, repo: str) -> list[Json]:
    """The main checkout is still on the branch of a task that worked there and is over: why."""
    sql = (
        "SELECT id, uid, branch, workspace FROM tasks WHERE repo = ? AND outcome IS NOT NULL AND cleaned = 0"
        " AND workspace IS NOT NULL AND json_extract(fields, '$.workspace') = 'shared'"
    )
    last = "SELECT json_extract(data, '$.reason') FROM events WHERE type = 'task.trouble' AND task = ? ORDER BY id DESC"
    found: list[Json] = []
    for row in db.rows(sql, repo):
        why = db.value(last, row["uid"])
        if why is not None:
            still = f"{row['id']} is over, and your checkout is still on {row['branch']}"
            text = f"{still}: {why}; commit it or put it away"
            found.append({"kind": "checkout", "repo": repo, "text": text, "next": f"git -C {row['workspace']} status"})
    return found


def _behind(db: Reader, repo: str, target: str) -> str | None:
    """What the last landing said of a checkout that it left behind, while the record of that stands (landing.checkout).

    The record is a ref, looked up as a file: `status` starts no git.
    """
    name = f"refs/stretto/checkout/{target}/shows"
    if not os.path.exists(os.path.join(repo, name)) and not _packed(repo, name):  # noqa: PTH110, PTH118
        return None
    last = "SELECT data FROM events WHERE type = 'checkout.behind' AND repo = ? ORDER BY id DESC LIMIT 1"
    told = db.value(last, repo)
    return str(json.loads(told)["text"]) if told else None


def _packed(repo: str, name: str) -> bool:
    try:
        with open(os.path.join(repo, "packed-refs"), encoding="utf-8", errors="replace") as file:  # noqa: PTH118, PTH123
            return any(line.rstrip("\n").endswith(f" {name}") for line in file)
    except OSError:
        return False
