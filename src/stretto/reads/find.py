"""From what a person typed to a repository, a run and a task, without starting git."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from stretto.core.errors import StrettoError, UsageError
from stretto.core.model import BY_HAND, Run, Space, Task
from stretto.core.names import split_uid
from stretto.store.sqlite import Reader


def repository(cwd: str) -> str | None:
    """The repository key of a folder: the real path of its git common folder. None outside of a repository.

    Linked worktrees, submodules and bare repositories are known by their files, as git knows them.
    """
    folder = os.path.realpath(cwd)
    while True:
        if (found := _git_folder(folder)) is not None:
            return _common(found)
        parent = os.path.dirname(folder)  # noqa: PTH120 (pathlib costs as much as the whole search)
        if parent == folder:
            return None
        folder = parent


def _git_folder(folder: str) -> str | None:
    inside = os.path.join(folder, ".git")  # noqa: PTH118
    if _is_git(inside):
        return inside
    if (pointed := _first_line(inside)) is not None and pointed.startswith("gitdir:"):
        target = os.path.join(folder, pointed.removeprefix("gitdir:").strip())  # noqa: PTH118
        return target if os.path.exists(os.path.join(target, "HEAD")) else None  # noqa: PTH110, PTH118
    return folder if _is_git(folder) else None


def _is_git(folder: str) -> bool:
    def has(name: str) -> bool:
        return os.path.exists(os.path.join(folder, name))  # noqa: PTH110, PTH118

    return has("HEAD") and ((has("objects") and has("refs")) or has("commondir"))


def _common(git_folder: str) -> str:
    common = _first_line(os.path.join(git_folder, "commondir"))  # noqa: PTH118
    found = os.path.realpath(os.path.join(git_folder, common) if common else git_folder)  # noqa: PTH118
    # nothing runs in a repository whose path is not UTF-8: any key that can be looked for will do
    return os.fsencode(found).decode(errors="backslashreplace")


def _first_line(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            return file.readline(8192).rstrip("\r\n")
    except OSError:
        return None


def require_repository(args: dict[str, Any]) -> str:
    """The repository of the caller's folder. Raises StrettoError outside of one."""
    cwd = str(args.get("cwd") or ".")
    found = repository(cwd)
    if found is None:
        raise StrettoError(
            "this folder is in no git repository",
            code="not_a_repository",
            object=os.path.realpath(cwd),
            hint="change into your repository, or ask for all of them: stretto status --all",
        )
    return found


def unfinished(db: Reader, repo: str | None) -> list[Run]:
    """Runs with a task that is not over, newest first; of all repositories when `repo` is None."""
    return db.select(
        Run,
        "(? IS NULL OR repo = ?) AND EXISTS (SELECT 1 FROM tasks t WHERE t.run = runs.id AND t.outcome IS NULL)"
        " ORDER BY created_at DESC, rowid DESC",
        repo,
        repo,
    )


def newest(db: Reader, repo: str | None) -> Run | None:
    """The newest run, over or not."""
    return db.one(Run, "(? IS NULL OR repo = ?) ORDER BY created_at DESC, rowid DESC", repo, repo)


def find_run(db: Reader, name: str | None, repo: str | None) -> Run:
    """The run of this id, else the newest unfinished one of the repository, else its newest. Raises UsageError."""
    if name:
        run = db.one(Run, "id = ?", name)
        if run is None:
            raise UsageError(f"there is no run {name}", code="unknown_run", object=name, hint="stretto status --all")
        return run
    open_runs = unfinished(db, repo)
    run = open_runs[0] if open_runs else newest(db, repo)
    if run is None:
        raise StrettoError("nothing was run here yet", code="no_run", object=repo, hint="stretto run PLAN.md")
    return run


def find_space(db: Reader, name: str, repo: str | None) -> Space | None:
    """The workspace without a task of this name in the repository: `NAME`, or `by-hand/NAME` whole."""
    return db.one(Space, "repo = ? AND name = ?", repo, name.removeprefix(f"{BY_HAND}/"))


def space_of(db: Reader, args: dict[str, Any]) -> Space | None:
    """The workspace without a task that a request names in `task`; None if a task is meant.

    A task of that id which is not over comes first, so that nobody is led elsewhere by an old workspace.
    """
    name, repo = str(args.get("task") or ""), repository(str(args.get("cwd") or "."))
    if not name or repo is None or ("/" in name and not name.startswith(f"{BY_HAND}/")):
        return None
    if db.one(Task, "repo = ? AND id = ? AND outcome IS NULL", repo, name) is not None:
        return None
    return find_space(db, name, repo)


def find_task(db: Reader, name: str, repo: str | None) -> Task:
    """The task of a uid, or of an id: of the repository's newest unfinished run, else of its newest run that has it.

    Outside of a repository (`repo` None) an id is looked for everywhere. Raises UsageError when there is none, or when
    several fit equally well; the candidates are in its details.
    """
    if "/" in name:
        task = db.one(Task, "uid = ?", name) if split_uid(name) else None
        if task is None:
            raise UsageError(f"there is no task {name}", code="unknown_task", object=name, hint="stretto status --all")
        return task
    found = _named(db, name, repo)
    if not found:
        hint = f"for all tasks of that run: --run {name}" if db.one(Run, "id = ?", name) else "stretto status"
        raise UsageError(f"there is no task {name} here", code="unknown_task", object=name, hint=hint)
    preferred = _newest_run(db, found, repo) if repo is not None else _alive(found)
    if len(preferred) == 1:
        return preferred[0]
    uids = [t.uid for t in preferred]
    raise UsageError(
        f"{name} can be {', '.join(uids[:6])}",
        code="ambiguous_task",
        object=name,
        hint=f"name one of them whole: {uids[0]}",
        details={"candidates": uids},
    )


def _named(db: Reader, name: str, repo: str | None) -> list[Task]:
    """Tasks of this id, those that are not over first, the newest run's first."""
    return db.select(
        Task,
        "id = ? AND (? IS NULL OR repo = ?) ORDER BY outcome IS NOT NULL,"
        " (SELECT created_at FROM runs WHERE runs.id = tasks.run) DESC, rowid DESC",
        name,
        repo,
        repo,
    )


def _newest_run(db: Reader, found: Sequence[Task], repo: str) -> list[Task]:
    """The one that the newest unfinished run has, else the newest run; else those of the other unfinished runs."""
    runs = unfinished(db, repo)
    last = newest(db, repo)
    order = [runs[0].id] if runs else []
    order += [last.id] if last is not None else []
    for run in order:
        if hit := [t for t in found if t.run == run]:
            return hit
    return [t for t in found if t.run in {r.id for r in runs}] or [found[0]]


def _alive(found: Sequence[Task]) -> list[Task]:
    return [t for t in found if t.outcome is None] or list(found)


def task_of(db: Reader, args: dict[str, Any]) -> Task:
    """The task that a request names in `task`."""
    name = str(args.get("task") or "")
    if not name:
        raise UsageError("name a task", code="usage", hint="stretto status")
    return find_task(db, name, repository(str(args.get("cwd") or ".")))
