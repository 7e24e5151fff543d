"""Into the landing queue: only what is in the worktree now, and only once for each head."""

from __future__ import annotations

from stretto.core.actions import Enqueue
from stretto.core.facts import Facts
from stretto.core.model import Entry, QueueState
from stretto.engine.acts.work import refresh
from stretto.engine.parts import Parts


def enqueue(parts: Parts, f: Facts, action: Enqueue) -> None:
    """Take a place. Work that was added by hand since (another head) is checked and approved first.

    Otherwise it would be left behind on a branch that is deleted after the landing.
    """
    t = f.task
    if t.head is None or t.patch is None or refresh(parts, f):
        return
    with parts.store.write() as tx:
        standing = tx.one(
            Entry, "task = ? AND head = ? AND settled = 0 AND state IN ('waiting', 'testing', 'landing')", t.uid, t.head
        )
        if standing is not None:
            return
        tx.execute("UPDATE queue SET settled = 1 WHERE task = ? AND settled = 0 AND state = 'ejected'", t.uid)
        tx.insert(
            Entry(
                id=0,
                task=t.uid,
                repo=t.repo,
                target=f.run.target,
                head=t.head,
                patch=t.patch,
                state=QueueState.WAITING,
                reason="waits for its turn in the landing queue",
                enqueued_at=tx.now,
                updated_at=tx.now,
            )
        )
        tx.event("queue.entered", task=t.uid, head=t.head)
