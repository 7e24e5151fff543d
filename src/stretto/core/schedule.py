"""How long a plan would take with N tasks open: a simulation with fixed times, an estimate and not a promise.

An open task holds its place from its start until it has landed, its review included; one person reviews, one task at
a time. Tasks that land nothing (research) use a background place outside of the limit.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stretto.core import graph
from stretto.core.model import Kind
from stretto.core.plan import Plan

#: minutes of agent and checks until a task is ready for review, before a repository has figures of its own
MINUTES: Mapping[Kind, float] = {
    Kind.FEATURE: 20.0,
    Kind.BUG: 15.0,
    Kind.REFACTOR: 20.0,
    Kind.TEST: 12.0,
    Kind.DOCS: 8.0,
    Kind.RESEARCH: 15.0,
    Kind.ARCHITECTURE: 30.0,
}
REVIEW_MINUTES = 5.0


@dataclass(frozen=True, slots=True)
class Slot:
    """When a task starts, is ready for review, and is over; minutes from the start of the run."""

    task: str
    start: float
    ready: float
    end: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """A simulated run. `serial` is the same work one task after the other."""

    open: int
    slots: tuple[Slot, ...]
    serial: float

    @property
    def makespan(self) -> float:
        """Minutes from the first start to the last end."""
        return max((slot.end for slot in self.slots), default=0.0)


@dataclass(frozen=True, slots=True)
class Job:
    """What the simulation needs of a task."""

    id: str
    minutes: float
    priority: int = 0
    background: bool = False


def jobs_of(plan: Plan, minutes: Mapping[Kind, float] = MINUTES) -> list[Job]:
    """The tasks of a plan with the minutes of their kind."""
    return [Job(task.id, minutes[task.kind], task.priority, not task.lands) for task in plan.tasks]


def simulate(jobs: Sequence[Job], needs: graph.Needs, open_limit: int, review: float = REVIEW_MINUTES) -> Schedule:
    """Run the jobs: the ready one with the highest priority starts first, then the one that stands first.

    Raises ValueError if the tasks wait for each other.
    """
    graph.order(needs)
    run = _Simulation(jobs, needs, open_limit)
    run.start_ready(0.0)
    person_free = 0.0
    while run.running:
        now, at, reviewed = heapq.heappop(run.running)
        if reviewed:
            run.finish(at, now)
        else:  # its work is done: now the person, who takes one after the other
            person_free = max(person_free, now) + review
            heapq.heappush(run.running, (person_free, at, True))
        run.start_ready(now)
    return Schedule(open_limit, tuple(run.slots), sum(job.minutes + review for job in jobs))


class _Simulation:
    """What is ready, running and over. `running` holds (minute, number of the slot, whether it was reviewed)."""

    def __init__(self, jobs: Sequence[Job], needs: graph.Needs, open_limit: int) -> None:
        self.slots: list[Slot] = []
        self.running: list[tuple[float, int, bool]] = []
        self._jobs = {job.id: (-job.priority, n, job) for n, job in enumerate(jobs)}
        self._places = open_limit
        self._dependents = graph.dependents(needs)
        self._unmet = {task: len({need for need in given if need in self._jobs}) for task, given in needs.items()}
        self._ready: list[tuple[int, int, Job]] = []
        self._background: list[tuple[int, int, Job]] = []
        for job in jobs:
            self._make_ready(job.id)

    def _make_ready(self, task: str) -> None:
        if self._unmet[task] == 0:
            entry = self._jobs[task]
            heapq.heappush(self._background if entry[2].background else self._ready, entry)

    def start_ready(self, now: float) -> None:
        """Start what is ready, as far as there are places."""
        while self._background:
            self._start(heapq.heappop(self._background)[2], now)
        while self._ready and self._places > 0:
            self._places -= 1
            self._start(heapq.heappop(self._ready)[2], now)

    def _start(self, job: Job, now: float) -> None:
        self.slots.append(Slot(job.id, now, now + job.minutes, 0.0))
        heapq.heappush(self.running, (now + job.minutes, len(self.slots) - 1, False))

    def finish(self, at: int, now: float) -> None:
        """A task is over: its place is free, and what needed it may be ready."""
        slot = self.slots[at] = replace(self.slots[at], end=now)
        self._places += not self._jobs[slot.task][2].background
        for dependent in self._dependents[slot.task]:
            self._unmet[dependent] -= 1
            self._make_ready(dependent)


def best_open(jobs: Sequence[Job], needs: graph.Needs, most: int, review: float = REVIEW_MINUTES) -> int:
    """The smallest number of open tasks that no larger one up to `most` beats by more than 5 %."""
    spans = [simulate(jobs, needs, n, review).makespan for n in range(1, most + 1)]
    best = min(spans, default=0.0)
    return next((n for n, span in enumerate(spans, 1) if span <= best * 1.05), 1)
