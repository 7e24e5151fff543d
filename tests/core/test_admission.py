from hypothesis import given
from hypothesis import strategies as st

from stretto.core.admission import BACKGROUND, Candidate, admit, holds_place
from stretto.core.facts import Limits
from stretto.core.model import TERMINAL, State

LIMITS = Limits()
NOW = 10_000.0


def candidate(uid="a", state=State.READY, **changes) -> Candidate:
    started = state is not State.READY
    values = {
        "uid": f"r/{uid}",
        "run": "r",
        "state": state,
        "wants": not started,
        "started": started,
        "lands": True,
        "priority": 0,
        "order": (1.0, 0),
        "since": NOW,
    }
    return Candidate(**{**values, **changes})


def ids(found):
    return [uid.removeprefix("r/") for uid in found.admitted]


def test_the_important_and_the_early_come_first():
    ready = [
        candidate("late", order=(1.0, 3)),
        candidate("early", order=(1.0, 1)),
        candidate("urgent", priority=1, order=(2.0, 9)),
    ]
    found = admit(ready, 2, NOW, LIMITS)
    assert ids(found) == ["urgent", "early"]
    assert found.reasons["r/late"].startswith("number 3 in line: 0 of 2 places")


def test_those_who_have_no_place_are_told_who_has():
    found = admit([candidate("works", State.ACTIVE), candidate("next")], 1, NOW, LIMITS)
    assert found.open == 1
    assert found.admitted == ()
    assert found.reasons == {"r/next": "number 1 in line: 1 of 1 places are taken by works"}


def test_research_has_places_of_its_own():
    busy = [candidate(f"b{n}", State.ACTIVE) for n in range(3)]
    research = [candidate(f"r{n}", lands=False, order=(1.0, n)) for n in range(BACKGROUND + 1)]
    found = admit([*busy, *research], 3, NOW, LIMITS)
    assert ids(found) == ["r0", "r1"]
    assert "research" in found.reasons["r/r2"]
    assert found.open == 3


def test_a_long_wait_for_the_person_frees_the_place():
    for waiting in ({"state": State.WAITING}, {"state": State.ACTIVE, "resting": True}):
        at_once = candidate("w", **waiting)
        long_ago = candidate("w", **waiting, since=NOW - LIMITS.long_wait - 1)
        assert holds_place(at_once, NOW, LIMITS)
        assert not holds_place(long_ago, NOW, LIMITS)
        assert ids(admit([long_ago, candidate("next")], 1, NOW, LIMITS)) == ["next"]
    assert holds_place(candidate("q", State.QUEUED, since=0.0), NOW, LIMITS)
    assert holds_place(candidate("works", State.ACTIVE, since=0.0), NOW, LIMITS)


def test_who_returns_from_a_long_wait_is_not_stopped_and_nobody_else_starts():
    returned = [candidate("a", State.ACTIVE), candidate("b", State.ACTIVE)]
    found = admit([*returned, candidate("next")], 1, NOW, LIMITS)
    assert (found.open, found.admitted) == (2, ())


CANDIDATES = st.lists(
    st.builds(
        candidate,
        uid=st.uuids().map(str),
        state=st.sampled_from(State),
        lands=st.booleans(),
        priority=st.integers(-1, 2),
        order=st.tuples(st.just(1.0), st.integers(0, 50)),
        since=st.floats(0, NOW),
        resting=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda c: c.uid,
)


@given(CANDIDATES, st.integers(0, 6))
def test_never_more_than_the_limit_and_no_place_stays_empty(found, limit):
    result = admit(found, limit, NOW, LIMITS)
    by_uid = {c.uid: c for c in found}
    assert all(by_uid[uid].wants for uid in result.admitted)
    landing = [uid for uid in result.admitted if by_uid[uid].lands]
    assert len(landing) <= max(0, limit - result.open)
    left = [c for c in found if c.wants and c.lands and c.uid not in result.admitted]
    assert not left or result.open + len(landing) >= limit
    assert set(result.reasons) == {c.uid for c in found if c.wants} - set(result.admitted)
    assert result.open == sum(c.lands and holds_place(c, NOW, LIMITS) for c in found)
    assert not any(holds_place(c, NOW, LIMITS) for c in found if c.state in TERMINAL)


@given(CANDIDATES, st.integers(0, 6), st.randoms())
def test_the_order_of_the_rows_does_not_matter(found, limit, random):
    mixed = list(found)
    random.shuffle(mixed)
    ranks = {c.uid: (-c.priority, c.order) for c in found}
    if len(set(ranks.values())) == len(ranks):
        assert admit(mixed, limit, NOW, LIMITS).admitted == admit(found, limit, NOW, LIMITS).admitted
