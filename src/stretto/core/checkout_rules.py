"""What the brain says of tasks that work in the person's main checkout on purpose (`workspace: shared`).

One at a time: who was given a place first comes first, and whoever has the checkout keeps it until it is given back.
What changes there outside the files that a task declared goes back to its agent, as a failed check does.
"""

from __future__ import annotations

from stretto.core.decision import Decision, ask
from stretto.core.facts import Facts, Limits
from stretto.core.model import ItemKind, Stage, State
from stretto.core.who import in_checkout

#: what the reason of a task begins with that waits until another one gives the checkout back
TAKEN = "waits for your checkout"
#: the name under which the agent is told of changes outside its files
FILES = "files"


def taken(f: Facts, stage: Stage | None) -> Decision | None:
    """Another task has the main checkout, or comes first."""
    if f.ahead is None:
        return None
    why = f"{TAKEN}, in which {f.ahead} works"
    return Decision(stage, State.READY if stage is None else State.ACTIVE, why, cause="checkout")


def left_branch(f: Facts, limits: Limits) -> Decision | None:
    """The person has switched the checkout to something else while the task is not over."""
    t = f.task
    if t.workspace is None or f.observed.checkout is not False or f.turn_running or f.queued:
        return None
    key = f"checkout:{len([i for i in f.items if i.key.startswith('checkout:')])}"
    text = f"your checkout {t.workspace} is not on {t.branch} any more; `retry` switches it there again, if it is clean"
    return ask(f, Stage.PREPARE, ItemKind.SETUP, key, text)


def outside(f: Facts) -> tuple[str, ...]:
    """Changed paths that are not among the files which a task in the main checkout declared."""
    t = f.task
    if not in_checkout(t.fields) or not t.files or not t.lands:
        return ()
    from stretto.core.overlap import matches  # `stretto status` is asked without it, too

    return tuple(path for path in t.diff.get("paths", ()) if not any(matches(glob, path) for glob in t.files))
