"""`databases`: which workspace has which database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stretto.core.errors import StrettoError
from stretto.core.model import Space, Task
from stretto.core.who import in_checkout
from stretto.reads import find
from stretto.reads.shapes import Json
from stretto.reads.spaces import require_folder
from stretto.reads.task import require_worktree
from stretto.store.sqlite import Reader


def databases(db: Reader, args: dict[str, Any]) -> Json:
    """The database of every workspace of the repository that has one: those by name, then those of tasks.

    With `task` only that workspace's. Raises StrettoError (`no_worktree`, `no_database`) where that has none, and why.
    """
    repo = find.require_repository(args)
    spaces = db.select(Space, "repo = ? AND path IS NOT NULL ORDER BY created_at, name", repo)
    tasks = db.select(Task, "repo = ? AND workspace IS NOT NULL ORDER BY created_at, position", repo)
    if args.get("task"):
        space = find.space_of(db, args)
        spaces, tasks = ([space], []) if space is not None else ([], [find.task_of(db, args)])
        _require(*spaces, *tasks)
    found = [_told(space.name, None, space.path, space.held) for space in spaces]
    found += [_told(task.id, task.uid, task.workspace, task.held) for task in tasks]
    return {"databases": [one for one in found if one is not None]}


def _require(one: Space | Task) -> None:
    """Raises StrettoError, saying why, for a workspace without a database."""
    if one.held.get("DATABASE_URL") is not None:
        return
    name, folder = (one.name, require_folder(one)) if isinstance(one, Space) else (one.id, require_worktree(one))
    if isinstance(one, Task) and in_checkout(one.fields):
        why, hint = f"{name} works in your checkout {folder}, with your own database", None
    else:
        why = f"{name} has no database"
        hint = "describe one in [database] of stretto.toml; stretto db list shows those that there are"
    raise StrettoError(why, code="no_database", object=name, hint=hint)


def _told(name: str, uid: str | None, path: str | None, held: Mapping[str, str]) -> Json | None:
    url = held.get("DATABASE_URL")
    if url is None:
        return None
    return {"name": name, "task": uid, "path": path, "url": url, "passfile": held.get("PGPASSFILE")}
