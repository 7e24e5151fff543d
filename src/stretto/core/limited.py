"""Agents that take nothing now: who, why, and until when, in the words that a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from stretto.core.quick import dataclass

#: seconds by which the clocks may differ that write an instant and read it
SLACK = 2.0


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """An agent that would not do. `ends`: when its vendor's window begins anew (s since the epoch), if it said so.

    `limited` False: it could not be started. `why`: what it said, or what was said of it.
    """

    agent: str
    why: str = ""
    ends: float | None = None
    limited: bool = True


@dataclass(frozen=True, slots=True)
class Limit:
    """An agent to which nothing new is given before `again`; `ends` as in `TurnedAway`. Seconds since the epoch."""

    again: float
    ends: float | None = None


def moment(at: float, since: float | None = None) -> str:
    """An instant for a sentence, to the minute, never too early; within 20 hours of `since` only the time of day."""
    from datetime import UTC, datetime  # few states name an instant

    near = since is not None and at - since < 20 * 3600
    try:
        return f"{datetime.fromtimestamp(-(-at // 60) * 60, UTC):{'' if near else '%Y-%m-%d '}%H:%M} UTC"
    except (ValueError, OverflowError, OSError):  # beyond the last year of a calendar
        return "a day that no calendar has"


def told(found: Sequence[TurnedAway]) -> str:
    """Who takes nothing, in a line: all names first, for a narrow screen shows its beginning only."""
    groups = [
        ([one.agent for one in found if one.limited], "limited"),
        ([one.agent for one in found if not one.limited], "not to be started"),
    ]
    parts = [f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {what}" for names, what in groups if names]
    alone = len(found) == 1
    ends = [("" if alone else f"{one.agent} ") + f"until {moment(one.ends)}" for one in found if one.ends is not None]
    told = "; ".join(parts)
    return f"{told} {ends[0]}" if alone and ends else told + (f" ({', '.join(ends)})" if ends else "")


def nobody_left(found: Sequence[TurnedAway]) -> str:
    """Why a task has no agent any more: all of them in the first line, then what each said."""
    if len(found) == 1:
        return told(found) + (f": {found[0].why}" if found[0].why else "")
    return told(found) + "".join(f"\n{one.agent}: {one.why}" for one in found if one.why)
