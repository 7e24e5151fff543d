"""`task`, `path`, `logs` and `env`: everything about one task, and where its parts lie."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stretto.core.errors import StrettoError
from stretto.core.model import Approval, Check, Entry, Item, Message, Run, Session, Task, Usage
from stretto.core.who import in_checkout
from stretto.core.workspace_commands import variables
from stretto.reads import find, spaces
from stretto.reads.history import messages_json
from stretto.reads.picture import now_of, place
from stretto.reads.shapes import (
    Json,
    check_json,
    checks_of,
    entry_json,
    iso,
    item_json,
    session_json,
    task_json,
    usage_json,
    usage_of,
)
from stretto.store.sqlite import Reader

#: bytes of a report that are shown
REPORT_LIMIT = 1 << 20


def task(db: Reader, args: dict[str, Any]) -> Json:
    """Everything about one task: its row as in `status`, its spec, and every fact on record."""
    now, live = now_of(args), bool(args.get("live"))
    p = place(db, find.task_of(db, args), now)
    t, uid = p.task, p.task.uid
    checks = checks_of(db, [uid])[uid]
    usage = usage_of(db, "task", [uid]).get(uid, Usage())
    sessions = db.select(Session, "task = ? ORDER BY generation", uid)
    used = usage_of(db, "session", [uid])
    return {
        "schema": 1,
        "task": task_json(p, checks, usage, now, live),
        "spec": t.spec,
        "accept": t.accept,
        "files": list(t.files),
        "tables": list(t.tables),
        "fields": t.fields,
        "context": p.facts.run.context,
        "note": t.note,
        "report": report_of(t),
        "outcome_reason": t.outcome_reason,
        "sessions": [
            {**(session_json(s, now, live) or {}), "folder": s.folder, "usage": usage_json(used.get(s.id, Usage()))}
            for s in sessions
        ],
        "messages": messages_json(db, db.select(Message, "task = ? ORDER BY n", uid)),
        "items": [_item(i, t.title, now) for i in db.select(Item, "task = ? ORDER BY opened_at, id", uid)],
        "checks": [{**check_json(c), "command": c.command, "output": c.output, "files": files_of(c)} for c in checks],
        "approvals": [_approval(a) for a in db.select(Approval, "task = ? ORDER BY at, rowid", uid)],
        "entries": [entry_json(e, now) | {"output": e.output} for e in db.select(Entry, "task = ? ORDER BY id", uid)],
        "comments": [dict(row) for row in db.rows("SELECT * FROM comments WHERE task = ? ORDER BY id", uid)],
        "removals": [dict(row) for row in _removals(db, uid)],
    }


def report_of(t: Task) -> Json | None:
    """Path and text of the report file, cut at REPORT_LIMIT bytes; the text is null when the file is gone."""
    if t.report is None:
        return None
    try:
        # its agent could have made it a link or a pipe
        fd = os.open(t.report, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            data = file.read(REPORT_LIMIT + 1)
    except OSError:
        return {"path": t.report, "text": None}
    return {"path": t.report, "text": data[:REPORT_LIMIT].decode("utf-8", "replace"), "cut": len(data) > REPORT_LIMIT}


def _item(i: Item, title: str, now: float) -> Json:
    return {
        **item_json(i, title, now),
        "answer": i.answer,
        "answered_at": iso(i.answered_at),
        "closed_at": iso(i.closed_at),
    }


def _approval(a: Approval) -> Json:
    return {
        "head": a.head,
        "base": a.base,
        "patch": a.patch,
        "by": a.by,
        "at": iso(a.at),
        "revoked_at": iso(a.revoked_at),
    }


def _removals(db: Reader, uid: str) -> list[Any]:
    return db.rows("SELECT id, kind, at, undone_at, purged_at FROM removals WHERE task = ? ORDER BY at", uid)


def path(db: Reader, args: dict[str, Any]) -> Json:
    """Where the files of a task are. Raises StrettoError when it has no worktree."""
    space = find.space_of(db, args)
    if space is not None:
        return {"schema": 1, "task": space.owner, "path": spaces.require_folder(space), "branch": space.branch}
    t = find.task_of(db, args)
    return {"schema": 1, "task": t.uid, "path": require_worktree(t), "branch": t.branch}


def require_worktree(t: Task) -> str:
    """The path of a task's worktree. Raises StrettoError when there is none."""
    if t.workspace is None:
        why = "was not started yet" if t.admitted_at is None else "has no worktree any more"
        if t.admitted_at is not None and t.outcome is None:
            why = "has no worktree yet: it is still being made"
        raise StrettoError(
            f"{t.uid} {why}",
            code="no_worktree",
            object=t.uid,
            hint="stretto undo" if t.cleaned and not in_checkout(t.fields) else f"stretto explain {t.uid}",
        )
    if not os.path.isdir(t.workspace):  # noqa: PTH112
        raise StrettoError(
            f"the worktree {t.workspace} of {t.uid} is gone",
            code="worktree_gone",
            object=t.workspace,
            hint=f"stretto explain {t.uid}",
        )
    return t.workspace


def _numbered(t: Task, sessions: Sequence[Session], number: object) -> Session | None:
    if number is None:
        return sessions[-1] if sessions else None
    found = next((s for s in sessions if s.generation == int(str(number))), None)
    if found is None:
        there = ", ".join(str(s.generation) for s in sessions) or "none"
        raise StrettoError(
            f"{t.uid} has no session {number} (there are: {there})",
            code="no_session",
            object=t.uid,
            hint=f"stretto logs {t.id}",
        )
    return found


def logs(db: Reader, args: dict[str, Any]) -> Json:
    """Where the output of a task's session lies: the folder of the newest one, or of the `number` that is asked for.

    Raises StrettoError (`no_session`) for a number that the task has no session of.
    """
    t = find.task_of(db, args)
    sessions = db.select(Session, "task = ? ORDER BY generation", t.uid)
    last = _numbered(t, sessions, args.get("number"))
    checks = db.select(Check, "task = ? AND output IS NOT NULL ORDER BY id", t.uid)
    return {
        "schema": 1,
        "task": t.uid,
        "session": last.id if last else None,
        "folder": last.folder if last else None,
        "agent": last.agent if last else None,
        "type": last.parser.get("type", last.agent) if last else None,
        "mode": last.mode if last else None,
        "streams": ["out", "err"],
        "over": t.outcome is not None or last is None or last.ended_at is not None,
        "sessions": [
            {
                "id": s.id,
                "generation": s.generation,
                "agent": s.agent,
                "folder": s.folder,
                "started_at": iso(s.started_at),
            }
            for s in sessions
        ],
        "checks": [{**check_json(c), "output": c.output, "files": files_of(c)} for c in checks],
        "setup": set_up(db, t.uid),
    }


def files_of(c: Check) -> list[Json]:
    """What an execution of a check has left besides its output: `{path, bytes}`."""
    from stretto.checks import artifacts

    return artifacts.listed(Path(c.output)) if c.output else []


def set_up(db: Reader, uid: str) -> list[Json]:
    """The commands that made the workspace ready, packages included, in their order: name and file of their output."""
    rows = db.rows("SELECT data FROM events WHERE task = ? AND type = 'setup.started' ORDER BY id", uid)
    return [{key: value for key, value in json.loads(row["data"]).items() if key in ("name", "output")} for row in rows]


def env(db: Reader, args: dict[str, Any]) -> Json:
    """The variables of every process in a task's workspace, and the names of those that the run captured.

    Raises StrettoError for a task that has no workspace (any more).
    """
    space = find.space_of(db, args)
    if space is not None:
        return spaces.env(space)
    t = find.task_of(db, args)
    run = db.one(Run, "id = ?", t.run)
    require_worktree(t)
    return {
        "schema": 1,
        "task": t.uid,
        "env": contract(t, run) if run else {},
        "captured": sorted(run.env) if run else [],
        "secret": sorted(run.config.get("secret_names", ())) if run else [],
    }


def contract(t: Task, run: Run) -> dict[str, str]:
    """What the contract and `[workspace] env` say, as the processes of the workspace get it."""
    from stretto.workspace import environment

    fixed = environment.contract(
        owner=t.uid,
        purpose="task",
        path=Path(str(t.workspace)),
        root=Path(run.root),
        branch=t.branch,
        base=str(t.base),
        tree=str(t.tree or ""),
        slot=int(t.bay or 0),
    )
    fixed.update(t.held)
    return {**environment.fill(variables(run.config, t.fields), fixed), **fixed}
