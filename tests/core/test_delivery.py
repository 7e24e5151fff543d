"""A message on its way into a terminal: tables, and every schedule that Hypothesis finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.core import delivery
from stretto.core.delivery import BEGIN_S, ENTERS, READY_S, SETTLE_S, SHOWN_S, STEADY_S, Act, Holds, Look, Step, Way

EMPTY, OURS, OTHER, UNSEEN = Holds.NOTHING, Holds.OURS, Holds.OTHER, Holds.UNSEEN


def play(*looks: Look) -> list[Step]:
    way, steps = Way(0.0), []
    for look in looks:
        found = delivery.step(way, look)
        way = found.way
        steps.append(found)
        if found.act in (Act.BEGAN, Act.GIVE_UP):
            break
    return steps


def acts(*looks: Look) -> list[str]:
    return [step.act.value for step in play(*looks) if step.act is not Act.WAIT]


PASTED = (Look(0, holds=EMPTY), Look(STEADY_S, holds=EMPTY))
ENTERED = (*PASTED, Look(STEADY_S + SETTLE_S, holds=OURS))
LATER = STEADY_S + SETTLE_S + BEGIN_S


def test_paste_enter_evidence() -> None:
    steps = play(*ENTERED, Look(1, holds=EMPTY, began="hook UserPromptSubmit"))
    assert [step.act for step in steps if step.act is not Act.WAIT] == [Act.PASTE, Act.ENTER, Act.BEGAN]
    assert steps[-1].why == "hook UserPromptSubmit"


def test_a_swallowed_enter_is_pressed_again_and_the_text_never_pasted_again() -> None:
    again = [Look(LATER + at * BEGIN_S, holds=OURS) for at in range(ENTERS + 2)]
    assert acts(*ENTERED, *again) == ["paste", *["enter"] * ENTERS, "give up"]
    assert "took none of" in play(*ENTERED, *again)[-1].why


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (Look(0, holds=OTHER), "a draft stands"),
        (Look(0, holds=EMPTY, dialog=True), "a dialog is open"),
        (Look(0), "shows no place"),
    ],
)
def test_nothing_is_pasted_into_a_draft_or_under_a_dialog(look: Look, why: str) -> None:
    steps = play(*(replace(look, now=at) for at in (0, 1, READY_S - 1, READY_S)))
    assert [step.act for step in steps] == [*[Act.WAIT] * 3, Act.GIVE_UP]
    assert why in steps[-1].why
    assert not steps[-1].way.touched


def test_a_turn_of_the_person_is_waited_for_however_long() -> None:
    assert acts(*(Look(at, holds=EMPTY, working=True) for at in range(0, 1000, 30))) == []
    assert acts(Look(999, working=True), Look(1000, holds=EMPTY), Look(1001, holds=EMPTY)) == ["paste"]


def test_a_composer_must_be_seen_empty_twice() -> None:
    assert acts(Look(0, holds=EMPTY), Look(0.1, holds=OTHER), Look(0.2, holds=EMPTY), Look(0.3, holds=EMPTY)) == []


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (Look(1 + SHOWN_S, holds=OTHER), "beside it"),
        (Look(1 + SHOWN_S, holds=OURS, dialog=True), "a dialog opened"),
        (Look(1 + SHOWN_S, holds=EMPTY), "did not appear"),
        (Look(1, alive=False), "is gone"),
    ],
)
def test_enter_is_pressed_on_nothing_but_the_message(look: Look, why: str) -> None:
    steps = play(*PASTED, look)
    assert steps[-1].act is Act.GIVE_UP
    assert why in steps[-1].why
    assert steps[-1].way.touched


def test_after_enter_the_screen_is_believed_last() -> None:
    assert acts(*ENTERED, Look(1, holds=EMPTY, working=True)) == ["paste", "enter"]
    assert acts(*ENTERED, Look(LATER, holds=EMPTY, working=True)) == ["paste", "enter", "began"]
    assert play(*ENTERED, Look(LATER, holds=EMPTY))[-1].why == "nothing says that the turn began"
    assert acts(*ENTERED, Look(LATER, holds=OURS, dialog=True)) == ["paste", "enter", "give up"]


LOOKS = st.builds(
    Look,
    now=st.just(0.0),
    alive=st.sampled_from([True] * 9 + [False]),
    holds=st.sampled_from(Holds),
    dialog=st.sampled_from([False] * 3 + [True]),
    working=st.sampled_from([False] * 3 + [True]),
    began=st.sampled_from([None] * 5 + ["hook"]),
)


@given(st.lists(st.tuples(LOOKS, st.floats(0.05, 20)), max_size=60))
def test_whatever_is_seen_it_is_pasted_once_and_sent_on_its_own(seen: list[tuple[Look, float]]) -> None:
    looks, now = [], 0.0
    for look, passed in seen:
        now += passed
        looks.append(replace(look, now=now))
    steps = play(*looks)
    done = [step.act for step in steps]
    assert done.count(Act.PASTE) <= 1
    assert done.count(Act.ENTER) <= ENTERS
    for look, step in zip(looks, steps, strict=False):
        if step.act is Act.PASTE:
            assert look.holds is EMPTY
            assert not look.dialog
            assert not look.working
        if step.act is Act.ENTER:
            assert look.holds is OURS
            assert not look.dialog
            assert Act.PASTE in done[: steps.index(step)]
        if step.act is Act.BEGAN:
            assert Act.PASTE in done


# ---------------------------------------------------------------- text


@given(st.text())
def test_no_text_can_end_its_paste_or_press_a_key(text: str) -> None:
    cleaned = delivery.clean(text)
    assert not [char for char in cleaned if (ord(char) < 32 and char not in "\t\n") or 127 <= ord(char) < 160]
    assert delivery.clean(cleaned) == cleaned
    assert [char for char in cleaned if char.isalnum()] == [char for char in text if char.isalnum()]


def test_the_end_of_a_paste_in_a_message_is_only_text() -> None:
    assert delivery.clean("a\x1b[201~\rrm -rf /\r\nb\x00") == "a[201~\nrm -rf /\nb"


@pytest.mark.parametrize(
    ("shown", "folded", "found"),
    [
        (None, False, UNSEEN),
        ("  \n ", False, EMPTY),
        ("- a long line\n  of  text", False, OURS),
        ("long line of", False, OURS),
        ("- a long line of text and mine", False, OTHER),
        ("[Pasted text #1 +3 lines]", True, OURS),
        ("[Pasted text #1 +3 lines]", False, OTHER),
    ],
)
def test_what_a_composer_holds(shown: str | None, folded: bool, found: Holds) -> None:
    assert delivery.holds(shown, "- a long line of text\x1b\n", folded=folded) is found


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("a family: \U0001f469\u200d\U0001f469\u200d\U0001f467\u200d!", "a family: \U0001f469\u200d\U0001f467!"),
        ("thumbs \U0001f44d up", "thumbs \U0001f44d\U0001f3fd up"),
        ("e\u0301 and \u0e4d\u0e32", "\u00e9 and \u0e33"),
        ("\u00e9", "e\u0301"),
    ],
)
def test_what_a_terminal_shows_otherwise_is_still_ours(shown: str, text: str) -> None:
    assert delivery.holds(shown, text) is Holds.OURS
    assert delivery.holds(f"{shown} mine", text) is Holds.OTHER
    assert delivery.holds("\U0001f469", text) is Holds.OTHER or "\U0001f469" in text, "a picture alone says nothing"


def test_a_text_that_every_terminal_shows_is_compared_whole() -> None:
    assert delivery.holds("plain words \U0001f44d", "plain words") is Holds.OTHER
    assert delivery.holds("plain", "plain words") is Holds.OURS
