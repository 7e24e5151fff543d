import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.core.answers import ROUNDS, Consequence, consequence
from stretto.core.inbox import options
from stretto.core.model import Delivery, ItemKind, Origin, State
from tests.core.scenarios import facts, running
from tests.support import rows

RESUME = Consequence(turn=(Origin.RESUME, ""))
AGAIN = Consequence(turn=(Origin.RESUME, ""), reset=ROUNDS)


def answered(kind, key="k", reply="x", text="", **changes):
    return rows.item(kind, key, answer={"key": reply, "text": text}, answered_at=180.0, **changes)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (answered(ItemKind.REVIEW, reply="approve", payload={"patch": rows.PATCH}), Consequence(approve=True)),
        (answered(ItemKind.REVIEW, reply="approve", payload={"patch": "another"}), Consequence()),
        (
            answered(ItemKind.REVIEW, reply="accept", payload={"report": True}),
            Consequence(finish=(State.FINISHED, "report accepted")),
        ),
        (
            answered(ItemKind.REVIEW, reply="approve", payload={"report": True}),
            Consequence(finish=(State.FINISHED, "report accepted")),
        ),
        (
            answered(ItemKind.NOCHANGE, reply="accept"),
            Consequence(finish=(State.FINISHED, "accepted without a change")),
        ),
        (answered(ItemKind.INTERRUPTED, reply="continue"), RESUME),
        (answered(ItemKind.UNDELIVERED, reply="retry", payload={"n": 4}), Consequence(resend=4)),
        (answered(ItemKind.SETUP, reply="retry"), Consequence(rebuild=True)),
        (answered(ItemKind.CONFLICT, reply="retry"), Consequence(reset=ROUNDS)),
        (answered(ItemKind.FAILURE, "failure:2", "continue", payload={"n": 2}), Consequence(resettle=2)),
        (answered(ItemKind.FAILURE, "failure:2", "retry"), AGAIN),
        (answered(ItemKind.FAILURE, "check-error:7", "retry", payload={"check": "unit"}), Consequence(recheck="unit")),
        (answered(ItemKind.FAILURE, "landing:7", "retry"), Consequence(requeue=True)),
        (answered(ItemKind.FAILURE, "rounds:3:3", "retry"), Consequence(reset=ROUNDS)),
        (answered(ItemKind.FAILURE, "frozen:0", "retry"), Consequence()),
        (answered(ItemKind.STALL, reply="continue"), Consequence()),
        (
            answered(ItemKind.REVIEW, reply="send-back", text="use a set"),
            Consequence(turn=(Origin.PERSON, "use a set"), reset=ROUNDS),
        ),
    ],
    ids=lambda v: f"{v.kind}-{v.key}-{v.answer['key']}" if hasattr(v, "kind") else "",
)
def test_each_answer_has_its_consequence(item, expected):
    assert consequence(item, facts()) == expected


@pytest.mark.parametrize("kind", [k for k in ItemKind if "cancel" in dict(options(k))])
def test_cancel_means_the_same_everywhere(kind):
    assert consequence(answered(kind, reply="cancel"), facts()) == Consequence(cancel=True)


def test_sending_back_without_words_repeats_what_was_asked():
    origin, words = consequence(answered(ItemKind.NOCHANGE, reply="send-back"), facts()).turn or ("", "")
    assert origin is Origin.PERSON
    assert "which one?" in words


QUESTION = answered(ItemKind.QUESTION, reply="1", text="Use SQLite", payload={"turn": 1}, generation=1)


def test_a_question_is_answered_inside_its_turn():
    assert consequence(QUESTION, running()) == Consequence(control=True)


def test_what_a_pane_asks_outside_of_our_turns_is_answered_there_while_it_stands():
    item = answered(
        ItemKind.QUESTION, reply=None, text="in words", payload={"turn": None, "request": "1-a"}, generation=1
    )
    assert consequence(item, facts(session=rows.session(mode="pane"))) == Consequence(control=True)
    assert consequence(item, facts(session=rows.session(mode="pane", generation=2))).turn is not None
    assert consequence(item, facts(session=rows.session())).turn is not None


@pytest.mark.parametrize(
    "late",
    [
        facts(),
        running(session=rows.session(generation=2)),
        running(session=rows.session(ended_at=175.0)),
        running(session=None),
        running(messages=(rows.turn(), rows.turn(2, Delivery.DELIVERED, None))),
    ],
    ids=["turn over", "another session", "session over", "no session", "another turn"],
)
def test_a_late_answer_starts_a_turn_and_a_late_permission_is_void(late):
    turn = consequence(QUESTION, late).turn
    assert turn is not None
    assert turn[0] is Origin.ANSWER
    assert "Use SQLite" in turn[1]
    late_leave = answered(ItemKind.PERMISSION, reply="allow", payload={"turn": 1}, generation=1)
    assert consequence(late_leave, late) == Consequence()


@given(
    st.sampled_from(ItemKind),
    st.sampled_from(["failure:1", "landing:1", "rounds:1:3", "check-error:1", "frozen:0", "review:p:0", "k"]),
    st.data(),
)
def test_every_offered_answer_has_an_effect_or_is_a_plain_go_on(kind, key, data):
    """Total over everything that `_ask` and the agents can offer; payloads as `decide` writes them."""
    keys = [k for k, _ in options(kind)] or ["1"]
    payload = {"n": 1, "turn": 1, "patch": rows.PATCH, "check": "unit"}
    found = consequence(answered(kind, key, data.draw(st.sampled_from(keys)), payload=payload), running())
    assert isinstance(found, Consequence)
