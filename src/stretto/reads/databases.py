"""`databases`: which workspace has which database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stretto.core.model import Space, Task
from stretto.reads import find
from stretto.reads.shapes import Json
from stretto.store.sqlite import Reader


def databases(db: Reader, args: dict[str, Any]) -> Json:
    """The database of every workspace of the repository that has one: those by name, then those of tasks.

    With `task` only that workspace's.
    """
    repo = find.require_repository(args)
    spaces = db.select(Space, "repo = ? AND path IS NOT NULL ORDER BY created_at, name", repo)
    tasks = db.select(Task, "repo = ? AND workspace IS NOT NULL ORDER BY created_at, position", repo)
    if args.get("task"):
        space = find.space_of(db, args)
        spaces, tasks = ([space], []) if space is not None else ([], [find.task_of(db, args)])
    found = [_told(space.name, None, space.path, space.held) for space in spaces]
    found += [_told(task.id, task.uid, task.workspace, task.held) for task in tasks]
    return {"databases": [one for one in found if one is not None]}


def _told(name: str, uid: str | None, path: str | None, held: Mapping[str, str]) -> Json | None:
    url = held.get("DATABASE_URL")
    if url is None:
        return None
    return {"name": name, "task": uid, "path": path, "url": url, "passfile": held.get("PGPASSFILE")}
