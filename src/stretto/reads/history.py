"""`events`, `messages` and `prompt`: what happened and what was said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stretto.core.errors import UsageError
from stretto.core.model import Event, Message, MessageKind, Usage
from stretto.reads import find
from stretto.reads.shapes import Json, iso, usage_json, usage_of
from stretto.store.sqlite import Reader

#: events in one answer unless told otherwise, and at most
LIMIT, MOST = 500, 5000


def events(db: Reader, args: dict[str, Any]) -> Json:
    """Events after `since`, oldest first, at most `limit`; `cursor` is where the next question begins.

    Of one repository when `repo` (its key) is given, and of one task when `task` is.
    """
    since, limit = _number(args, "since", 0), min(_number(args, "limit", LIMIT), MOST)
    where: list[str] = ["id > ?"]
    values: list[Any] = [since]
    for column in ("repo", "run"):
        if args.get(column):
            where.append(f"{column} = ?")
            values.append(args[column])
    if args.get("task"):
        where.append("task = ?")
        values.append(find.task_of(db, args).uid)
    last = db.cursor
    found = db.select(Event, f"{' AND '.join(where)} ORDER BY id LIMIT ?", *values, limit)
    more = len(found) == limit
    return {
        "schema": 1,
        "events": [event_json(e) for e in found],
        "cursor": found[-1].id if more and found else max(last, since),
        "more": more,
    }


def event_json(e: Event) -> Json:
    """An event as `events --json` prints it."""
    return {"id": e.id, "at": iso(e.at), "repo": e.repo, "run": e.run, "task": e.task, "type": e.type, "data": e.data}


def messages(db: Reader, args: dict[str, Any]) -> Json:
    """The messages of a task and how far each got."""
    task = find.task_of(db, args)
    found = db.select(Message, "task = ? ORDER BY n", task.uid)
    return {"schema": 1, "task": task.uid, "messages": messages_json(db, found)}


def messages_json(db: Reader, found: Sequence[Message]) -> list[Json]:
    """Messages of one task without their text, each turn with what it used so far."""
    used = usage_of(db, "n", {m.task for m in found})
    return [_message(m, used.get(str(m.n), Usage())) for m in found]


def _message(m: Message, used: Usage) -> Json:
    return {
        "n": m.n,
        "kind": m.kind.value,
        "state": m.state.value,
        "at": iso(m.created_at),
        "origin": m.origin.value,
        "delivered_at": iso(m.delivered_at),
        "ended_at": iso(m.ended_at),
        "result": m.result.value if m.result else None,
        "reason": m.reason,
        "session": m.session,
        "head": m.head,
        "usage": usage_json(used) if m.kind is MessageKind.TURN else None,
    }


def prompt(db: Reader, args: dict[str, Any]) -> Json:
    """Everything that the agent of a task was or will be told, word for word."""
    task = find.task_of(db, args)
    found = db.select(Message, "task = ? AND kind = ? ORDER BY n", task.uid, MessageKind.TURN.value)
    return {
        "schema": 1,
        "task": task.uid,
        "messages": [{**told, "text": m.text} for told, m in zip(messages_json(db, found), found, strict=True)],
    }


def _number(args: dict[str, Any], name: str, default: int) -> int:
    value = args.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not str(value).isdigit() or len(str(value)) > 18:
        raise UsageError(f"{name} must be a number, not {value!r}", object=name, hint=f"--{name} N")
    return int(value)
