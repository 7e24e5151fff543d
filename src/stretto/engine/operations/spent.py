"""Budgets that are used up before a task begins."""

from __future__ import annotations

from collections.abc import Collection

from stretto.core.model import Run
from stretto.core.usage import exceeded
from stretto.engine.engine import Engine
from stretto.reads.picture import places


def used_up(engine: Engine, run: Run, tasks: Collection[str]) -> list[str]:
    """The budget that forbids the first turns of these tasks (uids) of a run already; only one of the day can."""
    with engine.store.read() as db:
        found = places(db, {run.id}, engine.clock.now()) if tasks else {}
    for f in (place.facts for uid, place in found.items() if uid in tasks):
        level = exceeded(f.spent, f.items)
        if level is not None and level.scope == "day":
            one = "it" if len(tasks) == 1 else "each task"
            ends = "it fails" if len(tasks) == 1 else "its tasks fail"
            then = ends if run.approve == "auto" else f"{one} asks you before it begins (stretto inbox)"
            return [f"the budget is used up: {level.text}; {then}"]
    return []
