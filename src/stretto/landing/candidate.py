"""The commit that would land: made in memory, from two commits alone, the same again after a crash."""

from __future__ import annotations

from dataclasses import dataclass

from stretto.core.model import Entry, Task
from stretto.interfaces import Git

#: columns of the subject of a landing
SUBJECT = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """A merge commit with its tree, or the paths that conflict (then `commit` is None)."""

    commit: str | None
    tree: str
    conflicts: tuple[str, ...] = ()
    messages: str = ""


def build(git: Git, tip: str, entry: Entry, task: Task) -> Candidate:
    """Merge the entry's head into `tip`; a text conflict is a result, not an error.

    The first parent is `tip`. Both dates are the latest of enqueueing and parents, so that the same entry on the same
    tip always gives the same object. An unreferenced object: whoever waits with it keeps a ref on it.
    """
    merged = git.merge(tip, entry.head)
    if not merged.clean:
        return Candidate(None, merged.tree, merged.conflicts, merged.messages)
    at = max(entry.enqueued_at, git.commit_time(tip), git.commit_time(entry.head))
    commit = git.commit(merged.tree, [tip, entry.head], message(task, merged.tree), at=float(int(at)))
    return Candidate(commit, merged.tree)


def message(task: Task, tree: str) -> str:
    """The message of the landing of a task: subject and trailers, `Stretto-Tree` being the tree to be tested."""
    title = " ".join(task.title.split())
    subject = f"Land {task.id}: {title}" if title else f"Land {task.id}"
    if len(subject) > SUBJECT:
        subject = subject[: SUBJECT - 1].rstrip() + "…"
    return f"{subject}\n\nStretto-Task: {task.uid}\nStretto-Run: {task.run}\nStretto-Tree: {tree}\n"
