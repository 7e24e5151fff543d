"""Who may start: at most N open tasks of a run, research outside the limit, the important and the early first.

A place is held by every started task that lands something, is not over and has not waited for the person for long
(DECISIONS 8). A task that returns from a long wait is never stopped: then more than N are open for a while.
"""

from __future__ import annotations

from collections.abc import Sequence

from stretto.core.facts import Limits
from stretto.core.model import TERMINAL, State
from stretto.core.quick import dataclass

#: seconds for which nothing new is given to an agent whose vendor took no more and did not say for how long
LIMITED_FOR = 300.0
#: seconds after which an agent is tried again although its vendor's window has not begun anew yet
EXHAUSTED_FOR = 3600.0
#: research tasks that may run at once, outside the open limit
BACKGROUND = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """What admission needs to know of a task.

    `since`: when it entered its state. `resting`: it stands still, as it is paused (one whose turn runs on does not),
    or until its vendor takes more. `limited`: why none of its agents takes anything new now; empty if one does.
    """

    uid: str
    run: str
    state: State
    wants: bool
    started: bool
    lands: bool
    priority: int
    order: tuple[float, int]
    since: float
    resting: bool = False
    limited: str = ""


@dataclass(frozen=True, slots=True)
class Admission:
    """Who starts now, and for the others why not yet (uid -> sentence); who of them waits for a vendor, not a place."""

    admitted: tuple[str, ...]
    reasons: dict[str, str]
    open: int
    limited: frozenset[str] = frozenset()


def holds_place(c: Candidate, now: float, limits: Limits) -> bool:
    """Whether a task takes one of the N places."""
    if not c.started or c.state in TERMINAL:
        return False
    waits = c.state is State.WAITING or c.resting
    return not (waits and now - c.since > limits.long_wait)


def admit(candidates: Sequence[Candidate], limit: int, now: float, limits: Limits) -> Admission:
    """Decide for the tasks of one run; `limit` is its number of open tasks."""
    holders = [c for c in candidates if c.lands and holds_place(c, now, limits)]
    background = [c for c in candidates if not c.lands and holds_place(c, now, limits)]
    free = max(0, limit - len(holders))
    free_background = max(0, BACKGROUND - len(background))
    admitted: list[str] = []
    reasons: dict[str, str] = {}
    limited = {c.uid: c.limited for c in candidates if c.wants and c.limited}
    reasons.update(limited)
    ready = sorted((c for c in candidates if c.wants and not c.limited), key=lambda c: (-c.priority, c.order))
    for place, c in enumerate(ready, 1):
        if c.lands and free > 0:
            free -= 1
            admitted.append(c.uid)
        elif not c.lands and free_background > 0:
            free_background -= 1
            admitted.append(c.uid)
        elif c.lands:
            open_ids = ", ".join(h.uid.rsplit("/", 1)[-1] for h in holders[:4])
            reasons[c.uid] = f"number {place} in line: {len(holders)} of {limit} places are taken by {open_ids}"
        else:
            reasons[c.uid] = f"number {place} in line: {BACKGROUND} research tasks are running"
    return Admission(tuple(admitted), reasons, len(holders), frozenset(limited))
