"""Databases of workspaces made anew, and brought back.

Specification. `reset` writes the row of the removal before it puts anything aside, so that what is kept is always known
by an id that `undo` takes; `undo` of it swaps, and keeps what was there under another id. `migrate` and `seed` are the
trusted commands of the workspace's frozen configuration, run as they were when it was made. A reset is refused while a
turn runs: its agent would lose its ground.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.model import BY_HAND, CheckResult, Run, Space, Task
from stretto.core.workspace_commands import due_specs
from stretto.engine import environment, sandboxing
from stretto.engine.engine import Engine
from stretto.engine.operations import common
from stretto.interfaces import Confinement, Workspace, Workspaces
from stretto.reads import find

#: kind of the removals that hold a database and nothing else
DATABASE = "database"


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose database: a task's (`facts`), or that of a workspace by name."""

    owner: str
    repo: str
    workspaces: Workspaces
    config: Mapping[str, Any]
    env: Mapping[str, str]
    facts: Facts | None = None


def reset(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Begin the database of a workspace again, with the golden template. What was there comes back by `undo`."""
    with engine.store.read() as db:
        space = find.space_of(db, dict(args))
        task = None if space is not None else find.task_of(db, dict(args))
    owner = space.owner if space is not None else task.uid if task is not None else ""
    with engine.reconciler.claim(owner, "db reset"):
        held = _owner(engine, owner)
        if held.facts is not None and held.facts.turn_running:
            raise StrettoError(
                f"{owner} is being worked on; its database cannot be taken from under its agent",
                code="turn_running",
                object=owner,
                hint=f"stretto interrupt {owner}",
            )
        identity, made = _renewed(engine, held, None)
        _fill(engine, held, made, identity)
    return {"task": owner, "undo": identity}


def undo(engine: Engine, row: Mapping[str, Any]) -> dict[str, Any]:
    """Bring back the database that a reset has put aside; what is there now is kept under another id."""
    owner = str(row["task"])
    with engine.reconciler.claim(owner, "undo"):
        identity, made = _renewed(engine, _owner(engine, owner), str(row["id"]))
        with engine.store.write() as tx:
            tx.execute("UPDATE removals SET undone_at = ? WHERE id = ?", tx.now, row["id"])
            tx.event("database.undone", **_about(owner, str(row["repo"])), undo=row["id"], kept=identity)
    undone = {"task": owner, "undo": identity, "path": str(made.path), "branch": made.branch, "retry": False}
    return {**undone, "database": True}


def workspaces_of(engine: Engine, row: Mapping[str, Any]) -> Workspaces:
    """The bays of the workspace whose database a removal holds, which may be gone."""
    data = row["data"]
    return engine.parts.repositories.workspaces(str(data["root"]), data["config"])


def _owner(engine: Engine, owner: str) -> _Owner:
    with engine.store.read() as db:
        task = db.one(Task, "uid = ?", owner)
        run = None if task is None else db.one(Run, "id = ?", task.run)
        space = None if task is not None else next((s for s in db.select(Space, "1") if s.owner == owner), None)
    parts = engine.parts
    if task is not None and run is not None and task.workspace is not None:
        facts = common.facts_of(engine, task)
        env = environment.captured(parts, run)
        return _Owner(owner, task.repo, parts.repositories.of(run).workspaces, run.config, env, facts)
    if space is not None and space.path is not None:
        bays = parts.repositories.workspaces(space.root, space.config)
        return _Owner(owner, space.repo, bays, space.config, space.env)
    raise StrettoError(
        f"{owner} has no workspace whose database could be changed",
        code="no_workspace",
        object=owner,
        hint="stretto db list",
    )


def _renewed(engine: Engine, held: _Owner, back: str | None) -> tuple[str, Workspace]:
    identity = "d" + secrets.token_hex(3)
    root = held.facts.run.root if held.facts is not None else _root(engine, held.owner)
    data = {"path": "a database", "branch": None, "root": root, "config": dict(held.config)}
    with engine.store.write() as tx:
        tx.execute(
            "INSERT INTO removals (id, task, repo, kind, data, at) VALUES (?, ?, ?, ?, ?, ?)",
            identity,
            held.owner,
            held.repo,
            DATABASE,
            data,
            tx.now,
        )
    try:
        made = held.workspaces.renew_database(held.owner, identity, held.env, back)
    except StrettoError:
        with engine.store.write() as tx:
            tx.execute("DELETE FROM removals WHERE id = ?", identity)
        raise
    if back is None:
        with engine.store.write() as tx:
            tx.event("database.reset", **_about(held.owner, held.repo), undo=identity)
    return identity, made


def _root(engine: Engine, owner: str) -> str:
    with engine.store.read() as db:
        return next(space.root for space in db.select(Space, "1") if space.owner == owner)


def _about(owner: str, repo: str) -> dict[str, Any]:
    """Of what an event tells: a task, or the repository of a workspace by name."""
    return {"repo": repo} if owner.startswith(f"{BY_HAND}/") else {"task": owner}


def _fill(engine: Engine, held: _Owner, made: Workspace, identity: str) -> None:
    """Run what fills the new database. Raises StrettoError (`setup_failed`); the old one comes back by `undo`."""
    parts, f = engine.parts, held.facts
    env = {**held.env, **made.env}
    words: Sequence[str] = ()
    if f is not None:
        env = environment.for_task(parts, f, made.env, purpose="task", tree=None)
        confined = sandboxing.of_command(parts, f, made.path, env) if f.session else Confinement((), env)
        env, words = confined.env, confined.words
    for spec in due_specs(held.config, made.due):
        output = environment.output_path(parts, held.owner, spec.name)
        outcome = parts.checks.run(spec, made.path, env, output, lambda: False, words)
        if outcome.result is not CheckResult.PASSED:
            raise StrettoError(
                f"database command {spec.run!r} {outcome.result.value}: {outcome.reason}",
                code="setup_failed",
                object=held.owner,
                hint=f"its output: {output}; what was there comes back with: stretto undo {identity}",
            )
