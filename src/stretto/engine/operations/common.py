"""What operations share: which repository, run and task a caller means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stretto.core.errors import StrettoError, UsageError
from stretto.core.facts import Facts
from stretto.core.model import ItemKind, Run, Task
from stretto.engine.engine import Engine
from stretto.git.repository import Repository
from stretto.reads import find
from stretto.reads.find import find_run, find_task
from stretto.store.facts import load

Args = Mapping[str, Any]
#: items that stay open when the person writes to the agent: a running agent waits for exactly their answer
KEPT = (ItemKind.QUESTION, ItemKind.PERMISSION)


def words(args: Args, name: str) -> str:
    """A text argument that must be there; without NUL, which no argument, variable or commit message can hold."""
    value = args.get(name)
    said = value.replace("\0", "") if isinstance(value, str) else ""
    if not said.strip():
        raise UsageError(f"{name} is missing", object=name)
    return said


def repository(engine: Engine, args: Args) -> Repository:
    """The repository of the caller's folder."""
    return Repository.open(Path(words(args, "cwd")), engine.home.path)


def key_of(git: Repository) -> str:
    """The key of a repository in every row: the real path of its common dir."""
    return str(git.common)


def task_of(engine: Engine, args: Args) -> Task:
    """The task that the caller names, in the repository of their folder unless they give a uid."""
    with engine.store.read() as db:
        return find_task(db, words(args, "task"), _repo(args))


def run_of(engine: Engine, args: Args) -> Run:
    """The run that the caller names, else the newest of their repository."""
    with engine.store.read() as db:
        return find_run(db, args.get("run"), _repo(args))


def _repo(args: Args) -> str | None:
    return find.repository(str(args.get("cwd") or "."))


def tasks_of(engine: Engine, args: Args) -> list[Task]:
    """One task, or all unfinished tasks of a run."""
    if args.get("task"):
        return [task_of(engine, args)]
    run = run_of(engine, args)
    with engine.store.read() as db:
        return db.select(Task, "run = ? AND outcome IS NULL ORDER BY position", run.id)


def facts_of(engine: Engine, task: Task) -> Facts:
    """The facts of one task as they are now."""
    with engine.store.read() as db:
        fresh = db.one(Task, "uid = ?", task.uid) or task
        return load(db, [fresh], now=engine.parts.clock.now())[0]


def require_open(task: Task) -> None:
    """Refuse to steer a task that is over."""
    if task.outcome is not None:
        raise StrettoError(
            _over(task),
            code="task_over",
            object=task.uid,
            hint=f"stretto retry {task.id}" if task.outcome.value in {"failed", "cancelled"} else "stretto status",
        )


def _over(task: Task) -> str:
    """That it is over, without saying `cancelled: cancelled by you`."""
    word = task.outcome.value if task.outcome is not None else "not over"
    reason = task.outcome_reason
    return f"{task.id} was {reason}" if reason.startswith(word) else f"{task.id} is {word}: {reason}".rstrip(": ")


def refuse_filters(git: Repository, commit: str) -> None:
    """Raise StrettoError for a commit whose files need a filter (git-lfs, git-crypt …) to be written."""
    named = git.filters(commit)
    if named:
        raise StrettoError(
            f"the repository's attributes name a filter ({named[0]}), which stretto does not run yet",
            code="filters",
            object=named[0],
            hint="take the filter out of .gitattributes of the target, or work without stretto on this repository",
        )
