"""A vendor that takes no more: for how long a task waits, when it goes on, and when the person is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stretto.core.actions import Ask, Compose, Nothing
from stretto.core.answers import consequence
from stretto.core.decide import decide
from stretto.core.facts import Facts, Limits
from stretto.core.limit_rules import LIMITED, PAUSES
from stretto.core.limited import moment
from stretto.core.model import ItemKind, Message, Origin, TurnResult
from tests.core.scenarios import facts
from tests.support import rows

LIMITS = Limits()
#: Sunday, 22 November 2026, 05:10:00 UTC
MORNING = 1795324200.0


def limited(n: int, ended_at: float, until: float | None = None) -> Message:
    return rows.turn(n, result=TurnResult.LIMITED, reason="429: not now", ended_at=ended_at, until=until)


def waited(tries: int, *turns: Message, now: float = 0.0, **changes: Any) -> Facts:
    return facts(rows.started(attempts={LIMITED: tries}), messages=turns, now=now, **changes)


def cause(f: Facts) -> str:
    return decide(f, LIMITS).cause


def test_a_clock_that_was_set_back_makes_nobody_wait() -> None:
    """The turn was dated three years from now; its times mean nothing."""
    f = waited(0, limited(1, MORNING + 9e7, MORNING + 9e7 + 900), now=MORNING)
    assert isinstance(decide(f, LIMITS).action, Compose)


def test_no_instant_is_too_far_to_be_told() -> None:
    assert moment(9e11) == "a day that no calendar has"
    assert moment(MORNING) == "2026-11-22 05:10 UTC"


def test_it_waits_for_the_time_that_was_told_and_goes_on_then() -> None:
    f = waited(0, limited(1, MORNING - 900, MORNING))
    for now in (MORNING - 900, MORNING - 0.1):
        found = decide(replace(f, now=now), LIMITS)
        assert found.action == Nothing()
        assert found.reason == "limited until 05:10 UTC, then scripted goes on: 429: not now"
    found = decide(replace(f, now=MORNING), LIMITS)
    assert found.action == Compose(Origin.RESUME, LIMITED, after=1)


@pytest.mark.parametrize(("tries", "pause"), list(enumerate(PAUSES)))
def test_without_a_time_the_pauses_grow(tries: int, pause: float) -> None:
    turns = [limited(n, 1000.0 + n) for n in range(1, tries + 2)]
    at = 1000.0 + len(turns) + pause
    assert cause(waited(tries, *turns, now=at - 0.1)) == "limited"
    assert cause(waited(tries, *turns, now=at)) == "again"


def test_after_all_pauses_the_person_is_asked_whether_a_time_was_told_or_not() -> None:
    for until in (None, 5000.0):
        turns = [limited(n, 1000.0 + n, until) for n in range(1, len(PAUSES) + 2)]
        found = decide(waited(len(PAUSES), *turns, now=2000.0), LIMITS)
        assert isinstance(found.action, Ask)
        assert found.action.kind is ItemKind.FAILURE


def test_a_time_that_was_wrong_is_not_believed_for_ever() -> None:
    """A vendor that says "in a second" each time is not asked each second."""
    turns = [limited(1, 1000.0, 1001.0), limited(2, 1002.0, 1003.0), limited(3, 1300.0, 1301.0)]
    assert cause(waited(0, turns[0], now=1001.0)) == "again"
    assert cause(waited(1, *turns[:2], now=1003.0)) == "limited"
    assert cause(waited(1, *turns[:2], now=1002.0 + PAUSES[0])) == "again"
    assert cause(waited(2, *turns, now=1300.0 + PAUSES[0])) == "limited"
    assert cause(waited(2, *turns, now=1300.0 + PAUSES[1])) == "again"


def test_a_turn_that_went_well_starts_the_count_afresh() -> None:
    turns = (limited(1, 900.0), rows.turn(2, ended_at=950.0), limited(3, 1000.0))
    assert cause(waited(5, *turns, now=1000.0 + PAUSES[0])) == "again"


def test_a_word_of_the_person_starts_the_count_afresh() -> None:
    turns = [limited(n, 1000.0 + n) for n in range(1, 7)]
    item = rows.item(ItemKind.FAILURE, "failure:6", answer={"key": "retry"}, answered_at=2000.0)
    f = waited(5, *turns, now=2000.0, items=(item,))
    assert LIMITED in consequence(item, f).reset
    closed = replace(item, closed_at=2001.0, applied_at=2001.0)
    assert cause(replace(f, items=(closed,))) == "failure", "what was put before the person is not waited for"
    assert cause(waited(0, *turns, limited(7, 3000.0), now=3001.0, items=(closed,))) == "limited"


def test_with_nobody_there_it_waits_as_well_and_fails_at_last() -> None:
    auto = rows.run(approve="auto")
    assert cause(waited(0, limited(1, 1000.0), now=1001.0, run=auto)) == "limited"
    turns = [limited(n, 1000.0 + n) for n in range(1, 7)]
    assert cause(waited(5, *turns, now=9999.0, run=auto)) == "failed"


@pytest.mark.parametrize(
    ("at", "since", "said"),
    [
        (MORNING, MORNING - 60, "05:10 UTC"),
        (MORNING + 0.5, MORNING, "05:11 UTC"),
        (MORNING + 20 * 3600, MORNING, "2026-11-23 01:10 UTC"),
        (MORNING + 7 * 86400, MORNING, "2026-11-29 05:10 UTC"),
    ],
)
def test_the_moment_in_words(at: float, since: float, said: str) -> None:
    assert moment(at, since) == said
