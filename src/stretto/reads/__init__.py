"""Questions about what is stored: `name(db, args) -> dict`, asked by the daemon and, without one, by the client.

Specification. A read changes nothing and starts no program, except `diff` and `snapshots`, which start git. It sees one
moment: all its queries run in one transaction. Arguments are the plain values of a request: `cwd` (the caller's
folder), and what the verb takes. `live` is set by the daemon: without it nobody watches the sessions, and their status
is `unknown` (DECISIONS 15). `now` (seconds since the epoch) is set by who has a clock. Modules are imported when their
verb is asked: `stretto status` must not pay for `diff`.
"""

from __future__ import annotations

from collections.abc import Callable

from stretto.core.errors import UsageError

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from typing import Any

    from stretto.store.sqlite import Reader

#: verb -> where its function lives
READS: dict[str, str] = {
    "databases": "stretto.reads.databases:databases",
    "diff": "stretto.reads.work:diff",
    "env": "stretto.reads.task:env",
    "events": "stretto.reads.history:events",
    "explain": "stretto.reads.explain:explain",
    "inbox": "stretto.reads.inbox:inbox",
    "logs": "stretto.reads.task:logs",
    "messages": "stretto.reads.history:messages",
    "next": "stretto.reads.inbox:next_step",
    "path": "stretto.reads.task:path",
    "prompt": "stretto.reads.history:prompt",
    "queue": "stretto.reads.status:queue",
    "snapshots": "stretto.reads.work:snapshots",
    "ports": "stretto.reads.ports:ports",
    "status": "stretto.reads.status:status",
    "task": "stretto.reads.task:task",
    "usage": "stretto.reads.usage:usage",
    "wait": "stretto.reads.wait:wait",
    "workspaces": "stretto.reads.spaces:workspaces",
}


def function(verb: str) -> Callable[[Reader, dict[str, Any]], dict[str, Any]]:
    """The function of a read verb. Raises UsageError for an unknown one."""
    from importlib import import_module

    if verb not in READS:
        raise UsageError(f"there is no read operation {verb}", code="unknown_operation", object=verb, hint="--help")
    module, _, name = READS[verb].partition(":")
    found: Callable[[Reader, dict[str, Any]], dict[str, Any]] = getattr(import_module(module), name)
    return found


def read(verb: str, db: Reader, args: dict[str, Any]) -> dict[str, Any]:
    """Answer one question, from one moment of the database. The answer is JSON and carries `schema`."""
    answer = function(verb)
    connection = db.connection
    if connection.in_transaction:
        return {"schema": 1, **answer(db, args)}
    connection.execute("BEGIN")
    try:
        return {"schema": 1, **answer(db, args)}
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
