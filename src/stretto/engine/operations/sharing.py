"""Tasks that are to work in the person's main checkout: what is refused before their first row is written."""

from __future__ import annotations

from collections.abc import Iterable

from stretto.core.decision import listed
from stretto.core.errors import StrettoError
from stretto.core.plan import PlanTask
from stretto.engine.acts import shared
from stretto.git.repository import Repository


def check(git: Repository, tasks: Iterable[PlanTask]) -> list[str]:
    """What the person should be told of tasks with `workspace: shared`.

    Raises StrettoError (`checkout_dirty`, `busy`) if one would begin at once and could not.
    """
    mine = [task for task in tasks if task.workspace == "shared"]
    if not mine:
        return []
    ids = listed([task.id for task in mine])
    one = len(mine) == 1
    told = (
        f"{ids} {'works' if one else 'work, one at a time,'} in your checkout {git.root}: it is switched to"
        f" {'its' if one else 'their'} branch, and back at the end"
    )
    problem = _problem(git)
    if problem is None:
        return [told]
    if any(not task.needs for task in mine):
        raise problem
    return [told, f"before {'it begins' if one else 'they begin'}: {problem.message} ({problem.hint})"]


def _problem(git: Repository) -> StrettoError | None:
    """Why the checkout could not be switched now."""
    doing = git.worktree_operation(git.root)
    if doing is not None:
        return StrettoError(
            f"your checkout {git.root} is in the middle of a {doing}",
            code="busy",
            object=str(git.root),
            hint=f"finish it, or: git -C {git.root} {doing} {'reset' if doing == 'bisect' else '--abort'}",
        )
    changes = shared.changes(git)
    return git.refuse_dirty(changes) if changes else None
