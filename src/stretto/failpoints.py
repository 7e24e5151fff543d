"""Named points at which a test can make a process die, fail or wait.

Specification. A point stands at every durable step: store commit, ref update, rename, spawn, sync. Its name carries
the process that dies (`daemon.`, `shim.`, `cli.`). Points do nothing unless `STRETTO_TESTING=1` and `STRETTO_FAILPOINT`
(`name[@n]=kill|error|sleep:S`, several separated by commas) name them when the process starts. `@n` means the n-th
passage (from 1). `POINTS` is the registry: passing a name that is not in it is an error even in production, so that a
test can loop over all of them. The shim imports nothing of stretto and carries a copy; a test compares the two.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from stretto.core.errors import StrettoError

#: every point, in the order of the way of the data
POINTS: tuple[str, ...] = (
    "cli.daemon.spawn.before",
    "cli.daemon.spawn.after",
    "daemon.store.migrate.before",
    "daemon.store.migrate.after",
    "daemon.store.commit.before",
    "daemon.store.commit.after",
    "daemon.git.update_ref.before",
    "daemon.git.update_ref.after",
    "daemon.git.delete_ref.before",
    "daemon.git.delete_ref.after",
    "daemon.git.index.locked",
    "daemon.git.commit_all.before",
    "daemon.git.commit_all.after",
    "daemon.git.snapshot.before",
    "daemon.git.snapshot.after",
    "daemon.git.worktree_add.before",
    "daemon.git.worktree_add.registered",
    "daemon.git.worktree_add.after",
    "daemon.git.worktree_switch.before",
    "daemon.git.worktree_switch.detached",
    "daemon.git.worktree_switch.after",
    "daemon.git.worktree_forget.before",
    "daemon.git.worktree_forget.after",
    "daemon.git.checkout.before",
    "daemon.git.checkout.written",
    "daemon.git.checkout.after",
    "daemon.git.checkout_switch.before",
    "daemon.git.checkout_switch.written",
    "daemon.git.checkout_switch.turned",
    "daemon.git.checkout_switch.after",
    "daemon.git.restore.before",
    "daemon.git.restore.after",
    "daemon.git.clone.fetch.before",
    "daemon.git.clone.fetch.after",
    "daemon.git.clone.synced",
    "daemon.git.fetch.before",
    "daemon.git.fetch.after",
    "daemon.git.push.before",
    "daemon.git.push.after",
    "daemon.files.replace.before",
    "daemon.files.replace.after",
    "daemon.files.rename.before",
    "daemon.files.rename.after",
    "daemon.files.move_over.before",
    "daemon.files.move_over.after",
    "daemon.workspace.reserved",
    "daemon.workspace.made",
    "daemon.workspace.layer.take.before",
    "daemon.workspace.layer.take.after",
    "daemon.workspace.layer.give.before",
    "daemon.workspace.layer.give.after",
    "daemon.workspace.layer.back.before",
    "daemon.workspace.layer.back.after",
    "daemon.workspace.layer.purge.before",
    "daemon.workspace.layer.purge.after",
    "daemon.ports.commit.before",
    "daemon.ports.commit.after",
    "daemon.workspace.drop.before",
    "daemon.workspace.drop.after",
    "daemon.workspace.remove.before",
    "daemon.workspace.remove.renamed",
    "daemon.workspace.remove.after",
    "daemon.workspace.undo.before",
    "daemon.workspace.undo.renamed",
    "daemon.workspace.undo.after",
    "daemon.workspace.purge.before",
    "daemon.workspace.purge.deleted",
    "daemon.workspace.purge.after",
    "daemon.pool.taken",
    "daemon.git.worktree_turn.attached",
    "daemon.git.worktree_turn.after",
    "daemon.pool.recycling",
    "daemon.pool.stocked",
    "daemon.dependencies.copy",
    "daemon.golden.built",
    "daemon.dependencies.copied",
    "daemon.database.psql.before",
    "daemon.database.psql.after",
    "daemon.database.create.before",
    "daemon.database.create.after",
    "daemon.database.copy",
    "daemon.database.freeze.before",
    "daemon.database.freeze.after",
    "daemon.database.aside",
    "daemon.database.back",
    "daemon.database.drop",
    "daemon.database.command.before",
    "daemon.database.command.after",
    "daemon.database.spawn.before",
    "daemon.database.spawn.after",
    "daemon.database.stop",
    "daemon.shim.spawn.before",
    "daemon.shim.spawn.after",
    "daemon.shim.append.before",
    "daemon.shim.append.after",
    "daemon.serve.spawn.before",
    "daemon.serve.spawn.after",
    "daemon.check.spawn.before",
    "daemon.check.spawn.after",
    "daemon.landing.merged",
    "daemon.landing.gated",
    "daemon.landing.swap.before",
    "daemon.landing.swap.after",
    "shim.ready",
    "shim.prompt.written",
    "shim.attempting",
    "shim.spawn.before",
    "shim.spawn.after",
    "shim.delivered",
    "shim.agent.recorded",
    "shim.turn.recorded",
    "shim.segment.rotated",
    "shim.exit.before",
    "shim.exit.after",
)


class InjectedFailure(StrettoError):
    """Raised by a point that a test told to fail."""

    default_code = "injected"


_lock = threading.Lock()
_passed: dict[str, int] = {}


def _plan() -> dict[str, tuple[int, str]]:
    if os.environ.get("STRETTO_TESTING") != "1":
        return {}
    plan: dict[str, tuple[int, str]] = {}
    for part in filter(None, os.environ.get("STRETTO_FAILPOINT", "").split(",")):
        name, _, act = part.partition("=")
        name, _, nth = name.partition("@")
        plan[name] = (int(nth or "1"), act or "kill")
    return plan


_active = _plan()


def failpoint(name: str) -> None:
    """Die, fail or wait here if a test asked for it.

    Raises InjectedFailure for `error`; KeyError for a name that is not registered.
    """
    if name not in _KNOWN:
        raise KeyError(name)
    if name not in _active:
        return
    nth, act = _active[name]
    with _lock:
        _passed[name] = count = _passed.get(name, 0) + 1
    if count != nth:
        return
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "error":
        os.write(2, f"{name} raises\n".encode())
        raise InjectedFailure(f"fail point {name}", object=name)
    elif act.startswith("sleep:"):
        time.sleep(float(act.removeprefix("sleep:")))


_KNOWN = frozenset(POINTS)
