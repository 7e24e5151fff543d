"""Taking workspaces away and bringing them back: remove, undo, purge, snapshots to restore from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stretto.checks import artifacts
from stretto.core.actions import Stop
from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.model import QueueState, Run, Space, State, Task
from stretto.core.who import in_checkout
from stretto.engine import environment, sandboxing
from stretto.engine.acts import cleanup, rows, session
from stretto.engine.engine import Engine
from stretto.engine.operations import byhand, common, databases
from stretto.interfaces import Git, Removal, Snapshot, Workspaces
from stretto.reads import find

#: kind of the removals of workspaces without a task
SPACE = "space"


def remove(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Take a task's workspace away: kept, then renamed into quarantine. `undo` brings it back."""
    task = common.task_of(engine, args)
    f = common.facts_of(engine, task)
    if f.entry is not None and f.entry.state is QueueState.LANDING:
        raise StrettoError(f"{task.id} is being landed", code="landing", object=task.uid, hint="try again in a moment")
    if task.workspace is None and task.outcome is not None and not _left_in_checkout(task):
        raise StrettoError(
            f"{task.id} has no workspace", code="no_workspace", object=task.uid, hint="stretto undo, or stretto purge"
        )
    if task.outcome is None:
        with engine.store.write() as tx:
            rows.cancel(tx, task)
    with (
        engine.reconciler.claim(task.uid, "remove"),  # it may be ending the session, or keeping its work
        _cancelled_all_the_same(task),
    ):
        session.stop(engine.parts, common.facts_of(engine, task), Stop(reason="removed"))
        removal = cleanup.remove(engine.parts, common.facts_of(engine, task), "removed")
        with engine.store.write() as tx:
            fresh = tx.one(Task, "uid = ?", task.uid) or task
            if fresh.outcome is None:
                rows.end_task(tx, fresh, State.CANCELLED, "removed by you")
        undo = removal.id if removal is not None and removal.whole else None
        kept = None if undo is not None else fresh.kept
    engine.reconciler.nudge(None)
    return {
        "task": task.uid,
        "undo": undo,
        "kept": kept,
        "branch": task.branch,
        "cancelled": task.outcome is None,
    }


@contextmanager
def _cancelled_all_the_same(task: Task) -> Iterator[None]:
    """A removal that is refused (somebody is inside) has ended the task before: say so."""
    try:
        yield
    except StrettoError as error:
        if task.outcome is not None:
            raise
        raise StrettoError(
            f"{task.id} is cancelled, but its workspace could not be removed: {error.message}",
            code=error.code,
            object=error.object,
            hint=error.hint or f"stretto remove {task.id}",
            details=error.details,
        ) from error


def _left_in_checkout(task: Task) -> bool:
    """Whether a task that worked in the main checkout has given that back, and left its branch."""
    return in_checkout(task.fields) and task.branch is not None


def undo(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Bring a removed workspace back, byte for byte; without an id the newest that the person took away here."""
    row = _removal_row(engine, args)
    if row["kind"] == databases.DATABASE:
        return databases.undo(engine, row)
    data = row["data"]
    workspaces = _workspaces(engine, row)
    path = _brought_back(workspaces, row)
    space = workspaces.find(str(row["task"]), "task", {})
    held = space.held if space is not None else {}
    with engine.store.write() as tx:
        tx.execute("UPDATE removals SET undone_at = ? WHERE id = ?", tx.now, row["id"])
        if row["kind"] == SPACE:
            byhand.brought_back(tx, data, space)
            tx.event("workspace.undone", repo=str(row["repo"]), undo=row["id"], path=path)
        else:
            tx.update(Task, str(row["task"]), workspace=path, branch=data.get("branch"), held=held, cleaned=True)
            tx.event("workspace.undone", task=str(row["task"]), undo=row["id"], path=path)
    engine.reconciler.nudge(None)
    with engine.store.read() as db:
        task = db.one(Task, "uid = ?", str(row["task"]))
    return {
        "task": row["task"],
        "undo": row["id"],
        "path": path,
        "branch": data.get("branch"),
        "retry": task is not None and task.outcome in {State.CANCELLED, State.FAILED},
    }


def _adopt(engine: Engine, repo: str) -> None:
    """Write the rows of removals that were carried out by a daemon that died before it could write them."""
    with engine.store.read() as db:
        known = {row["id"] for row in db.rows("SELECT id FROM removals WHERE repo = ?", repo)}
        runs = db.select(Run, "repo = ? ORDER BY created_at DESC", repo)
        spaces = db.select(Space, "repo = ? ORDER BY created_at DESC", repo)
    said = [*((run.root, run.config) for run in runs), *((space.root, space.config) for space in spaces)]
    places = {(root, str(config.get("worktrees") or "")): config for root, config in said}
    for (root, _), config in places.items():
        for removal in engine.parts.repositories.workspaces(root, config).removals():
            if removal.id not in known:
                _adopt_one(engine, repo, removal)


def _workspaces(engine: Engine, row: Mapping[str, Any]) -> Workspaces:
    """The bays that a removed workspace belongs to."""
    if row["kind"] == SPACE:
        data = row["data"] if isinstance(row["data"], dict) else json.loads(row["data"])
        return engine.parts.repositories.workspaces(str(data["root"]), data["space"]["config"])
    return engine.parts.repositories.of(_run(engine, str(row["task"]))).workspaces


def _adopt_one(engine: Engine, repo: str, removal: Removal) -> None:
    with engine.store.read() as db:
        task = db.one(Task, "uid = ?", removal.owner)
        space = None if task is not None else find.find_space(db, removal.owner, repo)
    if space is not None and space.path == str(removal.path):
        with engine.store.write() as tx:
            tx.execute("DELETE FROM spaces WHERE repo = ? AND name = ?", repo, space.name)
            byhand.record_removal(tx, space, removal)
    if task is None:
        return
    f, reason = common.facts_of(engine, task), "found after a crash"
    if task.workspace == str(removal.path) and not removal.path.exists():
        cleanup.write_removal(engine.parts, f, removal, reason)
        return
    with engine.store.write() as tx:
        cleanup.insert_removal(tx, f, removal, reason)


def _brought_back(workspaces: Workspaces, row: Mapping[str, Any]) -> str:
    """Bring the workspace back; one that an earlier try has brought back, before it could say so, is a success."""
    try:
        return str(workspaces.undo(str(row["id"])).path)
    except StrettoError as error:
        there = workspaces.find(str(row["task"]), "task", {}) if error.code == "unknown_removal" else None
        if there is None or str(there.path) != row["data"].get("path"):
            raise
        return str(there.path)


def purge(engine: Engine, args: common.Args) -> dict[str, Any]:
    """List what removals keep; delete for good only what is named (`ids`), or all with `all`."""
    found = _quarantined(engine, args)
    wanted = set(args.get("ids") or ([r["id"] for r in found] if args.get("all") else []))
    unknown = wanted - {r["id"] for r in found}
    if unknown:
        raise StrettoError(
            f"nothing is kept under {sorted(unknown)[0]}",
            code="no_removal",
            object=sorted(unknown)[0],
            hint="stretto purge --list",
        )
    for entry in found:
        if entry["id"] in wanted:
            _purge_one(engine, entry)
    return {"removals": found, "purged": sorted(wanted)}


def _purge_one(engine: Engine, entry: Mapping[str, Any]) -> None:
    with engine.store.read() as db:
        row = dict(db.rows("SELECT id, task, repo, kind, data FROM removals WHERE id = ?", entry["id"])[0])
    if row["kind"] == databases.DATABASE:
        kept = row | {"data": json.loads(row["data"])}
        databases.workspaces_of(engine, kept).forget_database(str(row["task"]), str(row["id"]))
        with engine.store.write() as tx:
            tx.execute("UPDATE removals SET purged_at = ? WHERE id = ?", tx.now, row["id"])
        return
    try:
        _workspaces(engine, row).purge([str(entry["id"])])
    except StrettoError as error:
        if error.code != "unknown_removal":  # an earlier try has deleted it, and could not say so
            raise
    with engine.store.read() as db:
        gone = db.value("SELECT workspace IS NULL FROM tasks WHERE uid = ?", entry["task"])
    if gone:
        sandboxing.forget(engine.parts, str(entry["task"]))
        artifacts.forget(environment.check_folder(engine.parts, str(entry["task"])))
    with engine.store.write() as tx:
        tx.execute("UPDATE removals SET purged_at = ? WHERE id = ?", tx.now, entry["id"])
        about: dict[str, Any] = {"repo": row["repo"]} if row["kind"] == SPACE else {"task": str(entry["task"])}
        tx.event("workspace.purged", **about, undo=entry["id"])


def _quarantined(engine: Engine, args: common.Args) -> list[dict[str, Any]]:
    repo = None if args.get("everywhere") else common.key_of(common.repository(engine, args))
    if repo is not None:
        _adopt(engine, repo)
    with engine.store.read() as db:
        rows_found = db.rows(
            "SELECT id, task, repo, data, at FROM removals WHERE undone_at IS NULL AND purged_at IS NULL"
            " AND (? IS NULL OR repo = ?) ORDER BY at",
            repo,
            repo,
        )
    return [_entry(dict(row)) for row in rows_found]


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    data = json.loads(row["data"])
    return {
        "id": row["id"],
        "task": row["task"],
        "at": row["at"],
        # the files of an adopted worktree are somebody else's, and never deleted
        "path": None if data.get("space", {}).get("adopted") else data.get("path"),
        "branch": data.get("branch"),
    }


def _removal_row(engine: Engine, args: common.Args) -> dict[str, Any]:
    wanted = args.get("id")
    repo = None if wanted else common.key_of(common.repository(engine, args))
    if repo is not None:
        _adopt(engine, repo)
    with engine.store.read() as db:
        found = db.rows(
            "SELECT id, task, repo, kind, data, undone_at, purged_at FROM removals WHERE (? IS NOT NULL AND id = ?)"
            " OR (? IS NULL AND repo = ? AND undone_at IS NULL AND purged_at IS NULL AND"
            # what a landing cleared away was not taken away by the person: it comes back by its id only
            " COALESCE(json_extract(data, '$.kept'), '') NOT LIKE 'refs/stretto/landed/%') ORDER BY at DESC LIMIT 1",
            wanted,
            wanted,
            wanted,
            repo,
        )
    if not found:
        raise StrettoError(
            f"there is no removal {wanted}" if wanted else "nothing was removed here",
            code="no_removal",
            object=str(wanted or repo),
            hint="stretto purge --list",
        )
    row = dict(found[0])
    if row["purged_at"] is not None or row["undone_at"] is not None:
        word = "purged" if row["purged_at"] is not None else "undone"
        raise StrettoError(
            f"{row['id']} was {word} already", code="already_over", object=row["id"], hint="stretto purge --list"
        )
    return row | {"data": json.loads(row["data"])}


def _run(engine: Engine, uid: str) -> Run:
    with engine.store.read() as db:
        run = db.one(Run, "id = (SELECT run FROM tasks WHERE uid = ?)", uid)
    if run is None:
        raise StrettoError(f"the run of {uid} is unknown", code="no_run", object=uid)
    return run


def restore(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Bring a snapshot back into the task's workspace (its present state is kept first), or lay it out in `to`."""
    task = common.task_of(engine, args)
    with engine.reconciler.claim(task.uid, "restore"):
        return _restore(engine, common.facts_of(engine, task), args)


def _restore(engine: Engine, f: Facts, args: common.Args) -> dict[str, Any]:
    task, git = f.task, engine.parts.repositories.git(f.run.root)
    snapshot = _snapshot(git, task, str(args.get("ref") or "latest"))
    if args.get("to"):
        place = Path(str(args["to"]))
        git.export(snapshot.commit, place)
        return {"task": task.uid, "ref": snapshot.ref, "path": str(place), "kept": None}
    if task.workspace is None or in_checkout(task.fields):
        why = "has no workspace" if task.workspace is None else "works in your own checkout, which is not a place"
        raise StrettoError(
            f"{task.id} {why} to restore into",
            code="no_workspace",
            object=task.uid,
            hint=f"stretto restore {task.id} {snapshot.ref.rpartition('/')[2]} --to FOLDER",
        )
    if f.turn_running:
        raise StrettoError(
            f"{task.id} is being worked on; its files cannot be changed under its agent",
            code="turn_running",
            object=task.uid,
            hint=f"stretto interrupt {task.id}, or restore with --to FOLDER",
        )
    path = Path(task.workspace)
    kept = git.snapshot(path, task.uid, f"before restoring {snapshot.ref.rpartition('/')[2]}")
    git.restore(path, snapshot.commit)
    with engine.store.write() as tx:
        tx.event("workspace.restored", task=task.uid, ref=snapshot.ref, kept=kept.ref if kept else None)
    engine.reconciler.nudge(task.uid)
    return {"task": task.uid, "ref": snapshot.ref, "path": str(path), "kept": kept.ref if kept else None}


def _snapshot(git: Git, task: Task, wanted: str) -> Snapshot:
    found = git.snapshots(task.uid)
    if wanted == "latest" and found:
        return found[-1]
    for one in found:
        if wanted in {one.ref, one.ref.rpartition("/")[2], one.commit}:
            return one
    raise StrettoError(
        f"{task.id} has no snapshot {wanted}",
        code="no_snapshot",
        object=wanted,
        hint=f"stretto snapshots {task.id}",
    )
