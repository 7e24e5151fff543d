import pytest

from stretto.core.facts import Need
from stretto.core.model import State
from stretto.core.wait import Goal, Standing, Verdict, stuck, verdict

LANDED, FINISHED = Standing("l", State.LANDED), Standing("f", State.FINISHED)
FAILED, CANCELLED = Standing("x", State.FAILED), Standing("c", State.CANCELLED)
ACTIVE = Standing("a", State.ACTIVE, moves=True)
HELD = Standing("h", State.ACTIVE)
WAITING = Standing("w", State.WAITING, asks=1)
BLOCKED, STUCK = Standing("b", State.BLOCKED), Standing("s", State.BLOCKED, stuck=True)
R, X, P = Verdict.REACHED, Verdict.IMPOSSIBLE, Verdict.PENDING


@pytest.mark.parametrize(
    ("tasks", "landed", "terminal", "idle", "inbox"),
    [
        ([LANDED, FINISHED], R, R, R, X),
        ([LANDED, FAILED], X, R, R, X),
        ([CANCELLED], X, R, R, X),
        ([LANDED, STUCK], X, X, R, X),
        ([FAILED, STUCK, WAITING], P, P, R, R),
        ([LANDED, ACTIVE], P, P, P, P),
        ([FAILED, ACTIVE], P, P, P, P),
        ([LANDED, WAITING], P, P, R, R),
        ([LANDED, HELD], P, P, R, P),
        ([BLOCKED, ACTIVE], P, P, P, P),
        ([], R, R, R, X),
    ],
)
def test_each_goal_is_reached_impossible_or_pending(tasks, landed, terminal, idle, inbox):
    said = [verdict(goal, tasks) for goal in (Goal.LANDED, Goal.TERMINAL, Goal.IDLE, Goal.INBOX)]
    assert said == [landed, terminal, idle, inbox]


def need(id, outcome=None, any_end=False):
    return Need(id, id, outcome, any_end)


def test_what_can_never_start_is_stuck_and_so_is_what_needs_it():
    assert stuck({"b": [need("a", State.FAILED)], "c": [need("b")], "d": [need("x")]}) == {"b", "c"}
    assert stuck({"b": [need("a", State.LANDED)], "c": [need("b")]}) == frozenset()


def test_what_needs_all_others_is_stuck_only_when_they_cannot_go_on():
    star = [need("a", State.FAILED, any_end=True), need("b", any_end=True)]
    assert stuck({"end": star}) == frozenset()
    assert stuck({"end": star, "b": [need("a", State.FAILED)]}) == {"b", "end"}
    assert stuck({"end": [need("a", State.FINISHED, any_end=True)]}) == frozenset()


def test_a_cycle_is_not_waited_for_in_vain_by_the_computation():
    assert stuck({"a": [need("b")], "b": [need("a")]}) == frozenset()
