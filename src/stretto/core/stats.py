"""What a run cost and gained, from its events: minutes per stage, the serial equivalent, tokens per landed task.

Serial equivalent: the minutes that agents, checks and the person spent on tasks that landed or finished, one after the
other; waiting and queueing count nothing. It is an upper estimate of the gain: nobody measured the same work alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stretto.core.model import SATISFIES_NEED, TERMINAL, Event, State

#: stages in their order, and the states in which nothing moves
STAGES = ("prepare", "implement", "check", "approve", "land")


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of one run; all times in seconds. `stages`: task-seconds in each stage; `waiting`: for the person."""

    wall: float
    serial: float
    stages: dict[str, float]
    waiting: float
    agent: float
    checks: float
    human: float
    outcomes: dict[str, int]
    tokens: int
    tokens_per_landed: float | None
    rounds: int
    ejected: int
    per_task: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Serial equivalent to wall time."""
        return self.serial / self.wall if self.wall > 0 else None


@dataclass(slots=True)
class _Task:
    stage: str | None = None
    state: str | None = None
    since: float = 0.0
    outcome: str | None = None
    agent: float = 0.0
    checks: float = 0.0
    human: float = 0.0
    tokens: int = 0


def summarize(events: Iterable[Event]) -> Summary:
    """Fold the events of one run, oldest first."""
    tasks: dict[str, _Task] = defaultdict(_Task)
    stages: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    waiting, rounds, ejected = 0.0, 0, 0
    first: float | None = None
    last = 0.0
    for event in events:
        if event.task is None:
            continue
        task = tasks[event.task]
        match event.type:
            case "task.admitted":
                first = event.at if first is None else first
            case "task.state":
                waiting += _leave(task, event.at, stages)
                task.stage, task.state, task.since = event.data.get("stage"), event.data.get("state"), event.at
                last = event.at if task.state in {s.value for s in TERMINAL} else last
            case "task.finished":
                task.outcome = event.data.get("outcome")
                last = event.at
            case "queue.ejected":
                ejected += 1
            case "message.composed":
                rounds += int(event.data.get("origin") in {"check", "gate", "conflict"})
            case _:
                _add(task, event)
    return _summary(tasks, stages, waiting, rounds, ejected, (last - first) if first is not None else 0.0)


def _leave(task: _Task, at: float, stages: dict[str, float]) -> float:
    """Account for the time in the state that ends at `at`; the seconds that were waiting for the person."""
    spent = max(0.0, at - task.since) if task.state is not None else 0.0
    if task.state == State.WAITING.value:
        return spent
    if task.stage in stages and task.state in {State.ACTIVE.value, State.QUEUED.value}:
        stages[str(task.stage)] += spent
    return 0.0


def _add(task: _Task, event: Event) -> None:
    data: Mapping[str, Any] = event.data
    seconds = float(data.get("seconds") or 0.0)
    if event.type == "turn.ended":
        task.agent += seconds
    elif event.type == "check.finished":
        task.checks += seconds
    elif event.type == "item.answered":
        task.human += seconds
    elif event.type == "usage.reported":
        task.tokens += sum(int(data.get(k) or 0) for k in ("input", "output", "cache_read", "cache_write"))


def _summary(
    tasks: Mapping[str, _Task], stages: dict[str, float], waiting: float, rounds: int, ejected: int, wall: float
) -> Summary:
    good: Sequence[_Task] = [t for t in tasks.values() if t.outcome in {s.value for s in SATISFIES_NEED}]
    outcomes: dict[str, int] = defaultdict(int)
    for t in tasks.values():
        outcomes[t.outcome or "open"] += 1
    tokens = sum(t.tokens for t in tasks.values())
    # the answer to a question is inside of the turn that asked it
    per_task = {uid: max(t.agent, t.human) + t.checks for uid, t in tasks.items() if t in good}
    landed = outcomes.get("landed", 0)
    return Summary(
        wall=wall,
        serial=sum(per_task.values()),
        stages=stages,
        waiting=waiting,
        agent=sum(t.agent for t in tasks.values()),
        checks=sum(t.checks for t in tasks.values()),
        human=sum(t.human for t in tasks.values()),
        outcomes=dict(outcomes),
        tokens=tokens,
        tokens_per_landed=tokens / landed if landed else None,
        rounds=rounds,
        ejected=ejected,
        per_task=per_task,
    )
