"""What `wait` waits for, and when waiting has become pointless.

Specification. A task is *stuck* when it can never start as things stand: a need of it failed, was cancelled or is stuck
itself. Waiting is over (`reached`) when the goal holds for every task of the selection, and `impossible` when it does
not hold and every one of them is terminal or stuck, so that nothing can progress (DECISIONS 10). A task with an open
inbox item is neither, so it is still possible. `retry` can revive what is over; that is a new intent, and a new wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from stretto.core.facts import Need
from stretto.core.model import SATISFIES_NEED, TERMINAL, State
from stretto.core.quick import dataclass


class Goal(StrEnum):
    """What `wait --for` can name."""

    LANDED = "landed"
    """Every task landed or finished."""
    TERMINAL = "terminal"
    """Every task is over, well or not."""
    IDLE = "idle"
    """Nothing moves without the person."""
    INBOX = "inbox"
    """Something waits for the person."""


class Verdict(StrEnum):
    """The answer of one look."""

    REACHED = "reached"
    IMPOSSIBLE = "impossible"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Standing:
    """What waiting needs to know of a task. `moves`: it goes on, or will, without the person. `asks`: open items."""

    uid: str
    state: State
    stuck: bool = False
    moves: bool = False
    asks: int = 0


def verdict(goal: Goal, standings: Sequence[Standing]) -> Verdict:
    """Whether the goal holds for these tasks, can still come to hold, or cannot any more."""
    if _holds(goal, standings):
        return Verdict.REACHED
    dead = all(s.state in TERMINAL or s.stuck for s in standings)
    return Verdict.IMPOSSIBLE if dead else Verdict.PENDING


def _holds(goal: Goal, standings: Sequence[Standing]) -> bool:
    match goal:
        case Goal.LANDED:
            return all(s.state in SATISFIES_NEED for s in standings)
        case Goal.TERMINAL:
            return all(s.state in TERMINAL for s in standings)
        case Goal.IDLE:
            return not any(s.moves for s in standings)
        case Goal.INBOX:
            return any(s.asks for s in standings)


def stuck(needs: Mapping[str, Sequence[Need]]) -> frozenset[str]:
    """The unstarted tasks that can never start: `needs` of every task that was not started, by uid.

    A task that needs `*` waits for all others to end; it is stuck once all of them are over or stuck and one of them
    did not end well.
    """
    found: set[str] = set()
    while True:
        more = {uid for uid, wanted in needs.items() if uid not in found and _never(wanted, found)}
        if not more:
            return frozenset(found)
        found |= more


def _never(wanted: Iterable[Need], found: set[str]) -> bool:
    wanted = tuple(wanted)
    lost = [n for n in wanted if n.broken or n.uid in found]
    if not lost:
        return False
    if not any(n.any_end for n in wanted):
        return True
    return all(n.outcome is not None or n.uid in found for n in wanted)
