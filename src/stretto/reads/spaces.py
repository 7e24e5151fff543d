"""`workspaces`: what there is in a repository, for tasks and without one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from stretto.core.errors import StrettoError
from stretto.core.model import Space, Task
from stretto.reads import find
from stretto.reads.shapes import Json, iso, ports_of
from stretto.store.sqlite import Reader


def workspaces(db: Reader, args: dict[str, Any]) -> Json:
    """Every workspace of the repository that has a worktree: those by name, then those of tasks, oldest first."""
    repo = find.require_repository(args)
    spaces = db.select(Space, "repo = ? ORDER BY created_at, name", repo)
    tasks = db.select(Task, "repo = ? AND workspace IS NOT NULL ORDER BY created_at, position", repo)
    return {"workspaces": [*map(_space, spaces), *map(_task, tasks)]}


def _space(space: Space) -> Json:
    return {
        "name": space.name,
        "task": None,
        "path": space.path,
        "branch": space.branch,
        "slot": _slot(space.held),
        "ports": ports_of(space.held),
        "adopted": space.adopted,
        "ready": space.ready,
        "gone": _gone(space.path),
        "at": iso(space.created_at),
    }


def _task(task: Task) -> Json:
    return {
        "name": task.id,
        "task": task.uid,
        "path": task.workspace,
        "branch": task.branch,
        "slot": _slot(task.held),
        "ports": ports_of(task.held),
        "adopted": False,
        "ready": True,
        "gone": _gone(task.workspace),
        "at": iso(task.created_at),
    }


def _gone(path: str | None) -> bool:
    """Whether a folder that was made is not there any more."""
    return path is not None and not os.path.isdir(path)  # noqa: PTH112


def _slot(held: Mapping[str, str]) -> int | None:
    return int(held["STRETTO_SLOT"]) if "STRETTO_SLOT" in held else None


def require_folder(space: Space) -> str:
    """The path of a workspace without a task. Raises StrettoError when there is none."""
    if space.path is None:
        raise StrettoError(
            f"the workspace {space.name} is not complete: it is still being made, or was cut off",
            code="no_worktree",
            object=space.name,
            hint=f"stretto workspace new {space.name}",
        )
    if not os.path.isdir(space.path):  # noqa: PTH112
        raise StrettoError(
            f"the worktree {space.path} of {space.name} is gone",
            code="worktree_gone",
            object=space.path,
            hint=f"stretto workspace remove {space.name}",
        )
    return space.path


def env(space: Space) -> Json:
    """The variables of a workspace without a task, as `env` answers them."""
    require_folder(space)
    config = space.config
    return {
        "schema": 1,
        "task": space.owner,
        "env": dict(space.env),
        "captured": sorted(config.get("capture", {})),
        "secret": sorted(config.get("secret_names", ())),
    }
