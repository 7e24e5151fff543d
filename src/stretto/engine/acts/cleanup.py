"""After a landing: the session ends, the state is kept, the bay is freed, the branch goes after a kept ref."""

from __future__ import annotations

import logging
from pathlib import Path

from stretto.checks import servers
from stretto.core import names
from stretto.core.actions import CleanUp, Stop
from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.model import Task
from stretto.core.who import in_checkout
from stretto.engine import sandboxing
from stretto.engine.acts import shared
from stretto.engine.acts.session import stop
from stretto.engine.parts import Parts
from stretto.interfaces import Git, Removal
from stretto.store.sqlite import Writer
from stretto.workspace import browser

_log = logging.getLogger(__name__)


def clean_up(parts: Parts, f: Facts, action: CleanUp) -> None:
    """Free what a landed task holds. What refuses to go (someone is inside) is tried again by the next pass."""
    stop(parts, f, Stop(reason=f.task.outcome.value if f.task.outcome else "over"))
    if in_checkout(f.task.fields):
        shared.clean_up(parts, f)
        return
    if f.run.config.get("keep_landed"):
        with parts.store.write() as tx:
            tx.update(Task, f.task.uid, cleaned=True)
        return
    remove(parts, f, "landed")
    with parts.store.write() as tx:
        tx.update(Task, f.task.uid, cleaned=True)


def remove(parts: Parts, f: Facts, reason: str) -> Removal | None:
    """Keep, then remove: worktree into quarantine, branch behind a kept ref. None if there was no worktree of its own.

    Raises StrettoError when it refuses: someone is inside, a rebase is paused, the path is not ours.
    """
    t = f.task
    if in_checkout(t.fields):
        shared.remove(parts, f)
        return None
    git = parts.repositories.git(f.run.root)
    kept = _kept_ref(t)
    if t.branch is not None and (tip := _last_commit(git, t)) is not None:
        git.update_ref(kept, tip, git.read_ref(kept), f"stretto: {reason}")
    removal = None
    if t.workspace is not None:
        servers.end(Path(t.workspace))
        browser.end(t.held.get(browser.PROFILE))
        workspaces = parts.repositories.of(f.run).workspaces
        removal = workspaces.remove(t.uid, Path(t.workspace), t.branch, reason)
    if t.branch is not None and (tip := git.read_ref(f"refs/heads/{t.branch}")) is not None:
        git.delete_ref(f"refs/heads/{t.branch}", tip)
    if t.branch is not None:
        sandboxing.release(parts, f.run, t.branch)
    write_removal(parts, f, removal, reason)
    return removal


def _last_commit(git: Git, task: Task) -> str | None:
    """Where the branch is, or was when it was seen last, if somebody has deleted it."""
    tip = git.read_ref(f"refs/heads/{task.branch}")
    return tip or (git.resolve(task.head) if task.head is not None else None)


def write_removal(parts: Parts, f: Facts, removal: Removal | None, reason: str) -> None:
    """Write that a task's workspace is gone, and how it comes back. `removal` None: there was no worktree."""
    git = parts.repositories.git(f.run.root)
    kept = _kept_ref(f.task)
    held = kept if git.read_ref(kept) else None
    with parts.store.write() as tx:
        tx.update(Task, f.task.uid, workspace=None, bay=None, held={}, branch=None, kept=held)
        if removal is not None:
            insert_removal(tx, f, removal, reason)


def insert_removal(tx: Writer, f: Facts, removal: Removal, reason: str) -> None:
    """Write how a removed workspace comes back."""
    t = f.task
    branch = t.branch or names.branch_name(t.uid, str(f.run.config.get("branch_prefix") or names.DEFAULT_PREFIX))
    tx.execute(
        "INSERT OR IGNORE INTO removals (id, task, repo, kind, data, at) VALUES (?, ?, ?, 'workspace', ?, ?)",
        removal.id,
        t.uid,
        t.repo,
        {"path": str(removal.path), "branch": branch, "root": f.run.root, "run": t.run, "kept": _kept_ref(t)},
        tx.now,
    )
    tx.event("workspace.removed", task=t.uid, undo=removal.id, reason=reason)


def _kept_ref(task: Task) -> str:
    return names.ref_name("landed" if task.landed else "keep", task.uid, "head")


def try_clean_up(parts: Parts, f: Facts, action: CleanUp) -> None:
    """Clean up; a refusal is logged and comes again."""
    try:
        clean_up(parts, f, action)
    except StrettoError as error:
        _log.info("clean-up of %s is put off: %s", f.task.uid, error.message)
        raise
