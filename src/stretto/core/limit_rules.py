"""Vendors that take no more in the brain: another agent takes over, or the task waits until its own is taken again.

Specification. A turn that ended as `limited` goes to the next agent of its role. Where none is left nobody is asked at
first: the task waits until the moment that its agent told (`Message.until`), and where it told none, or was wrong, for
a pause that grows from try to try. Then it goes on in the same conversation, with a turn of its own. After as many
tries as there are pauses the person decides. What counts as a try follows from rows: a turn that went otherwise, and a
word of the person, start it afresh.
"""

from __future__ import annotations

from stretto.core.actions import Action, Compose, FallBack, Stop
from stretto.core.decision import Decision, first_line
from stretto.core.facts import Facts
from stretto.core.limited import SLACK, moment, nobody_left
from stretto.core.model import Message, Origin, Stage, State, TurnResult
from stretto.core.who import agent_of, next_agent

#: seconds until each try where nobody knows when the vendor takes more; after the last one the person decides
PAUSES = (60.0, 300.0, 900.0, 1800.0, 3600.0)
#: the counter among a task's attempts, and the cause of one that waits
LIMITED = "limited"
#: the causes of tasks that stand still although nobody was asked anything
RESTING = ("paused", LIMITED)
#: how the reason of a task begins that stands still until its vendor takes more
UNTIL = "limited until "


def another_agent(f: Facts, turn: Message) -> Decision | None:
    """The vendor takes no more now, and the role names another agent: first the session ends, then that one begins."""
    other = next_agent(f) if turn.result is TurnResult.LIMITED else None
    if other is None:
        return None
    live = f.session is not None and f.session.ended_at is None
    reason = f"{agent_of(f).name} is limited ({first_line(turn.reason)}); {other} takes over"
    action: Action = Stop(reason="limited") if live else FallBack(reason=turn.reason)
    return Decision(Stage.IMPLEMENT, State.ACTIVE, reason, action, "fallback")


def vendor_rests(f: Facts, turn: Message) -> Decision | None:
    """Nobody else is there: it waits by itself, and goes on when its time has come. None: the person decides."""
    if turn.result is not TurnResult.LIMITED or f.item(f"failure:{turn.n}") is not None:
        return None
    tries = _tries(f)
    if tries >= len(PAUSES):
        return None
    until = _until(turn, tries, f.now)
    if f.now >= until:
        again = Compose(Origin.RESUME, LIMITED, after=turn.n)
        return Decision(Stage.IMPLEMENT, State.ACTIVE, f"tries {agent_of(f).name} again", again, "again")
    why = nobody_left(f.turned_away) if len(f.turned_away) > 1 else turn.reason
    when = f"{UNTIL}{moment(until, turn.ended_at or until)}, then {agent_of(f).name} goes on: {first_line(why)}"
    return Decision(Stage.IMPLEMENT, State.ACTIVE, when, cause=LIMITED)


def _tries(f: Facts) -> int:
    """How often it was tried in vain since it last went otherwise, or since the person last said something."""
    inarow = 0
    for turn in reversed(f.turns):
        if turn.result is not TurnResult.LIMITED:
            break
        inarow += 1
    return min(f.task.attempts.get(LIMITED, 0), inarow - 1)


def _until(turn: Message, tries: int, now: float) -> float:
    """When it is tried again. A vendor that told the time is believed at once; at a next try there is a pause, too.

    A turn that ended in the future was dated by a clock that was set back since: nothing follows from its times.
    """
    ended = turn.ended_at or 0.0
    if ended > now + SLACK:
        return now
    if turn.until is None:
        return ended + PAUSES[tries]
    return turn.until if tries == 0 else max(turn.until, ended + PAUSES[tries - 1])
