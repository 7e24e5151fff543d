"""`diff` and `snapshots`: what a task did to the files, asked of git."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stretto.core.errors import StrettoError
from stretto.core.model import Message, Run, Task, TurnResult
from stretto.git.repository import Repository
from stretto.home import home_path
from stretto.reads import find
from stretto.reads.shapes import Json, iso
from stretto.store.sqlite import Reader


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared: two commits or trees.

    `loose`: the newer one is what lies in the worktree now. `beside`: paths that lie there and are not in it.
    """

    old: str
    new: str
    loose: bool
    beside: tuple[str, ...] = ()


def diff(db: Reader, args: dict[str, Any]) -> Json:
    """What a task changed since it left the target, or `since_turn`.

    Uncommitted work counts until the turn that left it is committed: then the commit is what will be approved, and what
    else lies in the worktree (of checks, say) is only named.
    """
    task = find.task_of(db, args)
    run = _run(db, task)
    git = Repository.open(Path(run.root), home_path())
    sides = _sides(db, git, task, args.get("since_turn"))
    return {
        "task": task.uid,
        "base": sides.old,
        "head": task.head,
        "tree": sides.new if sides.loose else git.tree_of(sides.new),
        "uncommitted": sides.loose,
        "files": sorted(git.changed_paths(sides.old, sides.new)),
        "warnings": [*warnings(task), *_beside(sides)],
        "diff": git.diff(sides.old, sides.new, stat=bool(args.get("stat")), color=bool(args.get("color"))),
    }


def _run(db: Reader, task: Task) -> Run:
    run = db.one(Run, "id = ?", task.run)
    if run is None:
        raise StrettoError(f"the run of {task.uid} is unknown", code="no_run", object=task.uid)
    return run


def _sides(db: Reader, git: Repository, task: Task, since: object) -> Sides:
    if task.base is None or task.head is None:
        raise StrettoError(
            f"{task.uid} has changed nothing yet: it was not started",
            code="not_started",
            object=task.uid,
            hint=f"stretto explain {task.uid}",
        )
    if git.resolve(task.head) is None:
        raise StrettoError(f"the commit {task.head} of {task.uid} is gone", code="commit_gone", object=task.head)
    old = _old(db, git, task) if since is None else _after_turn(db, task, int(str(since)))
    loose = _loose(git, task)
    if loose is not None and _committed(db, task):
        return Sides(old, task.head, False, tuple(sorted(git.changed_paths(task.head, loose))))
    return Sides(old, loose or task.head, loose is not None)


def _committed(db: Reader, task: Task) -> bool:
    """Whether the last turn ended well and its work was committed."""
    last = db.one(Message, "task = ? AND kind = 'turn' AND state != 'withdrawn' ORDER BY n DESC", task.uid)
    return last is not None and last.settled and last.result is TurnResult.OK


def _beside(sides: Sides) -> list[str]:
    if not sides.beside:
        return []
    named = ", ".join(sides.beside[:3]) + (f" and {len(sides.beside) - 3} more" if len(sides.beside) > 3 else "")
    return [f"not in the change, but in the worktree and not ignored: {named}"]


def _old(db: Reader, git: Repository, task: Task) -> str:
    """Where the task's change begins: a landed one's before its landing, else where it left the target."""
    assert task.base is not None  # noqa: S101 — the caller looked
    if task.landed is not None:
        return git.parents(str(task.landed["commit"]))[0] if _is_there(git, task.landed) else task.base
    tip = git.read_ref(f"refs/heads/{_run(db, task).target}")
    return (tip and task.head and git.merge_base(tip, task.head)) or task.base


def _is_there(git: Repository, landed: Mapping[str, Any]) -> bool:
    return git.resolve(str(landed["commit"])) is not None


def _after_turn(db: Reader, task: Task, n: int) -> str:
    """The task's commit at the end of turn `n`; its base for 0 and for turns that left none."""
    assert task.base is not None  # noqa: S101 — the caller looked
    found = db.one(Message, "task = ? AND n <= ? AND head IS NOT NULL ORDER BY n DESC", task.uid, n)
    return task.base if found is None or found.head is None else found.head


def _loose(git: Repository, task: Task) -> str | None:
    """The tree of the worktree if it holds something that is not committed."""
    if task.outcome is not None or task.workspace is None or not Path(task.workspace).is_dir():
        return None
    tree = git.worktree_tree(Path(task.workspace))
    return None if task.head is not None and tree == git.tree_of(task.head) else tree


def warnings(task: Task) -> list[str]:
    """Sentences for changed files that decide what trusted commands do (DESIGN 5.7)."""
    found = [f"it changes {path}, which decides what checks do" for path in task.diff.get("scripts", ())]
    return [*found, str(task.diff["warning"])] if "warning" in task.diff else found


def snapshots(db: Reader, args: dict[str, Any]) -> Json:
    """The kept states of a task, newest first. `skipped`: paths that a snapshot could not hold."""
    task = find.task_of(db, args)
    git = Repository.open(Path(_run(db, task).root), home_path())
    found = sorted(git.snapshots(task.uid), key=lambda s: s.at, reverse=True)
    return {
        "task": task.uid,
        "snapshots": [
            {
                "ref": s.ref,
                "at": iso(s.at),
                "reason": s.reason,
                "tree": s.tree,
                "commit": s.commit,
                "skipped": list(s.skipped),
            }
            for s in found
        ],
    }
