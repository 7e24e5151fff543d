"""The person's own checkout of the target (DECISIONS 25): what a landing does to it is their choice."""

from __future__ import annotations

from typing import Any

from stretto.core.errors import StrettoError, UsageError
from stretto.core.model import Run
from stretto.engine import aftermath
from stretto.engine.engine import Engine
from stretto.engine.operations import common
from stretto.git.repository import Repository
from stretto.landing import checkout


def require_branch(git: Repository) -> str:
    """The branch of the main checkout. Raises StrettoError for a detached one."""
    branch = git.current_branch()
    if branch is None:
        raise StrettoError(
            "the main checkout is on no branch", code="detached", object=str(git.root), hint="git switch BRANCH"
        )
    return branch


CHOICES = ("update", "leave")


def choose(git: Repository, target: str, wanted: object) -> str:
    """`update`, `leave`, or `free` when the target is not checked out. Raises `checkout_choice` without a choice."""
    if git.current_branch() != target:
        return "free"
    if wanted is None:
        raise StrettoError(
            f"your checkout {git.root} is on {target}, which landings will move",
            code="checkout_choice",
            object=target,
            hint="add --update-checkout (fast-forward it while it is clean) or --leave-checkout",
            details={"branch": target, "path": str(git.root)},
        )
    if wanted not in CHOICES:
        raise UsageError(f"checkout is one of {', '.join(CHOICES)}", object=str(wanted))
    return str(wanted)


def notices(git: Repository, run: Run) -> list[str]:
    """What the choice means."""
    if run.checkout == "leave":
        return [
            f"your checkout of {run.target} stays where it is; before you commit there after a landing,"
            " bring it up to date: stretto update-checkout"
        ]
    return []


def update(engine: Engine, args: common.Args) -> dict[str, Any]:
    """`stretto update-checkout`: fast-forward the person's clean checkout to the target."""
    git = common.repository(engine, args)
    branch = require_branch(git)
    was = checkout.update(git, branch)
    found = checkout.look(git, branch)
    with engine.store.write() as tx:
        aftermath.note_checkout(tx, common.key_of(git), found)
    engine.reconciler.nudge(None)
    return {"path": str(git.root), "branch": branch, "commits": was.behind}
