"""A running plan and its edited text: what joins, what changes, what is gone (CONTRACTS, "Plan file")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from stretto.core.plan import Plan, PlanTask


class Progress(StrEnum):
    """How far a task of the run is, as far as a change of its spec is concerned."""

    UNSTARTED = "unstarted"
    RUNNING = "running"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class TaskChange:
    """A task whose text changed, and the names of what changed in it."""

    before: PlanTask
    after: PlanTask
    what: tuple[str, ...]

    @property
    def spoken(self) -> bool:
        """Whether the change is one of words, which a running agent can be told."""
        return bool({"title", "spec", "accept"} & set(self.what))


@dataclass(frozen=True, slots=True)
class PlanChange:
    """The difference of two texts of one plan. Lists are in the order of the new text, `removed` in that of the old."""

    joined: tuple[PlanTask, ...] = ()
    replaced: tuple[TaskChange, ...] = ()
    told: tuple[TaskChange, ...] = ()
    too_late: tuple[TaskChange, ...] = ()
    removed: tuple[tuple[PlanTask, Progress], ...] = ()
    plan: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether both texts mean the same."""
        return not (self.joined or self.replaced or self.told or self.too_late or self.removed or self.plan)

    @property
    def needs_confirmation(self) -> bool:
        """Whether anything happens to what is already there: new tasks alone ask nothing."""
        return bool(self.replaced or self.told or self.removed or "context" in self.plan)


def compare(before: Plan, after: Plan, progress: Mapping[str, Progress]) -> PlanChange:
    """What the edited plan changes. `progress` tells of each task of the run; one that is not named has not started.

    Neither order nor lines of tasks count. Both plans must be free of errors.
    """
    old = {task.id: task for task in before.tasks}
    new = {task.id: task for task in after.tasks}
    changes: dict[Progress, list[TaskChange]] = {stage: [] for stage in Progress}
    for id, task in new.items():
        if id in old and task != old[id]:
            change = TaskChange(old[id], task, _differing(old[id], task))
            changes[progress.get(id, Progress.UNSTARTED)].append(change)
    return PlanChange(
        tuple(task for id, task in new.items() if id not in old),
        tuple(changes[Progress.UNSTARTED]),
        tuple(changes[Progress.RUNNING]),
        tuple(changes[Progress.OVER]),
        tuple((task, progress.get(id, Progress.UNSTARTED)) for id, task in old.items() if id not in new),
        tuple(name for name in _differing(before, after) if name != "tasks"),
    )


def _differing(one: Plan | PlanTask, other: Plan | PlanTask) -> tuple[str, ...]:
    names = (field.name for field in fields(one) if field.compare)
    return tuple(name for name in names if getattr(one, name) != getattr(other, name))


def describe(change: PlanChange) -> str:
    """The change for a person, one line for each thing that would happen."""
    lines = [f"+ {task.id}: joins the run ({task.title})" for task in change.joined]
    lines += [f"~ {one.after.id}: takes its new {_and(one.what)}; it has not started" for one in change.replaced]
    lines += [f"~ {one.after.id}: {_told(one)}" for one in change.told]
    lines += [f"  {one.after.id}: keeps its old {_and(one.what)}; it is over" for one in change.too_late]
    lines += [f"- {task.id}: {_REMOVED[progress]}" for task, progress in change.removed]
    if "context" in change.plan:
        lines.append("~ the plan: its new context is told to tasks from now on")
    if frozen := tuple(name for name in change.plan if name != "context"):
        lines.append(f"  the plan: the run keeps its old {_and(frozen)}; a new run takes the new")
    return "\n".join(lines) or "nothing changes"


_REMOVED = {
    Progress.UNSTARTED: "is gone from the plan; it stays in the run until you cancel it",
    Progress.RUNNING: "is gone from the plan but running; it goes on until you cancel it",
    Progress.OVER: "is gone from the plan; it is over and stays",
}


def _told(change: TaskChange) -> str:
    if change.spoken:
        return f"is running; its agent is told the new {_and(change.what)} in its next turn"
    return f"is running; the new {_and(change.what)} counts from its next step on"


def _and(words: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def as_json(change: PlanChange) -> dict[str, Any]:
    """The change for programs (`details.change` of the refusal `confirm`)."""

    def changed(many: tuple[TaskChange, ...]) -> list[dict[str, Any]]:
        return [{"id": one.after.id, "changed": list(one.what)} for one in many]

    return {
        "joined": [task.id for task in change.joined],
        "replaced": changed(change.replaced),
        "told": changed(change.told),
        "too_late": changed(change.too_late),
        "removed": [{"id": task.id, "progress": str(progress)} for task, progress in change.removed],
        "plan": list(change.plan),
    }
