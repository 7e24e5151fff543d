"""What plan and configuration can say already and nothing acts on yet.

Where doing something else than what was said would be unsafe or untrue, the run is refused; where a thing is only
missing, the person is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stretto.config.read import DEFAULT_STAGES
from stretto.core.errors import StrettoError
from stretto.core.plan import Plan
from stretto.core.who import unused_roles


def refuse(config: Mapping[str, Any], plan: Plan) -> None:
    """Raise StrettoError (`not_built`) for the first thing that would be done otherwise than it says."""
    for what, said, instead in _promises(config, plan):
        raise StrettoError(
            f"{what} says `{said}`, which stretto cannot do yet", code="not_built", object=what, hint=instead
        )


def _promises(config: Mapping[str, Any], plan: Plan) -> Iterator[tuple[str, str, str]]:
    """(where, what it says, what to do instead)."""
    if tuple(config.get("stages") or DEFAULT_STAGES) != DEFAULT_STAGES:
        yield "[pipeline] stages", ", ".join(config["stages"]), "take it out: the stages are those of its default"


def notices(config: Mapping[str, Any], plan: Plan) -> list[str]:
    """One line for what is there and not used."""
    unused = [f"[roles.{role}]" for role in unused_roles(config, (task.role for task in plan.tasks))]
    unused += [f"branch of task {task.id}" for task in plan.tasks if task.branch]
    return [f"not used yet: {', '.join(unused)}"] if unused else []
