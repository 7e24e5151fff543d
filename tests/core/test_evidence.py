"""Signs and the belief they lead to: cases by name, and what must hold for any signs at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stretto.core.evidence import (
    FRESH,
    LEAVING,
    SILENCE,
    SLACK,
    Belief,
    Sign,
    Source,
    Status,
    Watch,
    What,
    believe,
    evidence_of,
    from_plain,
    kept,
    to_plain,
)
from stretto.core.model import SessionStatus

S, W = Source, What
NOW = 10_000.0
GENERATION = 3
CLAIMS = [w for w in What if w not in (W.ALIVE, W.LEFT, W.FELL, W.STOPPED)]
ENDS = [W.LEFT, W.FELL, W.STOPPED]
SAYERS = [s for s in Source if s is not S.PROCESS]
MOVING = {Status.STARTING, Status.WORKING}


def sign(what: What, source: Source, ago: float, text: str = "", until: float | None = None) -> Sign:
    return Sign(what, source, NOW - ago, GENERATION, text, until)


def judged(*signs: Sign, now: float = NOW, **words: object) -> Belief:
    return believe(signs, now, generation=GENERATION, **words)  # type: ignore[arg-type]  # words of the function


# ---------------------------------------------------------------- cases

CASES: dict[str, tuple[list[Sign], Status]] = {
    "nothing was heard": ([], Status.UNKNOWN),
    "only a process": ([sign(W.ALIVE, S.PROCESS, 1)], Status.STARTING),
    "it works": ([sign(W.WORKING, S.HOOK, 60), sign(W.ALIVE, S.PROCESS, 0)], Status.WORKING),
    "the title lags behind a hook": ([sign(W.DONE, S.HOOK, 2), sign(W.WORKING, S.TITLE, 1)], Status.DONE),
    "the title is older than the hook": ([sign(W.DONE, S.HOOK, 50), sign(W.WORKING, S.TITLE, 60)], Status.DONE),
    "escape has no hook, the session file knows": (
        [sign(W.WORKING, S.HOOK, 60), sign(W.DONE, S.FILE, 20)],
        Status.DONE,
    ),
    "a permission that was granted in the agent's own window": (
        [sign(W.PERMISSION, S.HOOK, 90), sign(W.PERMISSION, S.FILE, 90), sign(W.WORKING, S.FILE, 20)],
        Status.WORKING,
    ),
    "the file cannot tell a question from a permission": (
        [sign(W.PERMISSION, S.HOOK, 90), sign(W.ASKING, S.FILE, 80)],
        Status.PERMISSION,
    ),
    "an error is more than an end": ([sign(W.ERROR, S.HOOK, 60), sign(W.DONE, S.FILE, 30)], Status.ERROR),
    "the screen contradicts": ([sign(W.WORKING, S.HOOK, 60), sign(W.DONE, S.SCREEN, 1)], Status.UNKNOWN),
    "the screen contradicted what was said again later": (
        [sign(W.WORKING, S.HOOK, 60), sign(W.DONE, S.SCREEN, 40), sign(W.WORKING, S.HOOK, 20)],
        Status.WORKING,
    ),
    "the screen alone is better than nothing": ([sign(W.WORKING, S.SCREEN, 1)], Status.WORKING),
    "killed in the middle": (
        [sign(W.WORKING, S.PROTOCOL, 5), sign(W.FELL, S.PROCESS, 1, "signal 9")],
        Status.CRASHED,
    ),
    "exit code 0 in the middle is no end of work": (
        [sign(W.WORKING, S.PROTOCOL, 5), sign(W.LEFT, S.PROCESS, 1)],
        Status.CRASHED,
    ),
    "exit code 0 after an error": ([sign(W.ERROR, S.PROTOCOL, 5), sign(W.LEFT, S.PROCESS, 1)], Status.ERROR),
    "exit code 0 after an interrupt": (
        [sign(W.INTERRUPTED, S.PROTOCOL, 5), sign(W.LEFT, S.PROCESS, 1)],
        Status.INTERRUPTED,
    ),
    "a limit ended the turn and the program": (
        [sign(W.LIMITED, S.HOOK, 5), sign(W.QUIT, S.HOOK, 4), sign(W.FELL, S.PROCESS, 1)],
        Status.LIMITED,
    ),
    "killed while it waited for its vendor": (
        [sign(W.LIMITED, S.PROTOCOL, 5, until=NOW + 60), sign(W.FELL, S.PROCESS, 1)],
        Status.CRASHED,
    ),
    "quit by hand": (
        [sign(W.DONE, S.HOOK, 50), sign(W.QUIT, S.HOOK, 2, "prompt_input_exit"), sign(W.LEFT, S.PROCESS, 1)],
        Status.QUIT,
    ),
    "it fell over while idle": ([sign(W.DONE, S.HOOK, 50), sign(W.FELL, S.PROCESS, 1)], Status.CRASHED),
    "we ended it": ([sign(W.WORKING, S.HOOK, 5), sign(W.STOPPED, S.PROCESS, 1)], Status.QUIT),
    "it said goodbye and stayed": (
        [sign(W.QUIT, S.HOOK, LEAVING + 10), sign(W.ALIVE, S.PROCESS, 1)],
        Status.UNKNOWN,
    ),
    "it said goodbye a moment ago": ([sign(W.QUIT, S.HOOK, 2), sign(W.ALIVE, S.PROCESS, 0)], Status.QUIT),
    "a cleared conversation says goodbye and begins anew": (
        [sign(W.QUIT, S.HOOK, 100), sign(W.STARTING, S.HOOK, 99), sign(W.ALIVE, S.PROCESS, 0)],
        Status.STARTING,
    ),
    "words from beyond the end": ([sign(W.FELL, S.PROCESS, 50), sign(W.WORKING, S.HOOK, 10)], Status.UNKNOWN),
    "starting is over with any newer sign": ([sign(W.STARTING, S.HOOK, 4), sign(W.DONE, S.FILE, 3)], Status.DONE),
    "silent in the middle": ([sign(W.WORKING, S.PROTOCOL, SILENCE + 1), sign(W.ALIVE, S.PROCESS, 0)], Status.STALLED),
    "something was said, whatever it was": (
        [sign(W.WORKING, S.PROTOCOL, SILENCE + 1), sign(W.SOUND, S.PROTOCOL, 10)],
        Status.WORKING,
    ),
    "silent after its turn": ([sign(W.DONE, S.PROTOCOL, SILENCE * 9)], Status.DONE),
    "silent because it waits for the person": ([sign(W.PERMISSION, S.PROTOCOL, SILENCE * 9)], Status.PERMISSION),
    "silent because its vendor said when": (
        [sign(W.LIMITED, S.PROTOCOL, SILENCE * 2, until=NOW + 100)],
        Status.LIMITED,
    ),
    "silent long after its vendor's time": (
        [sign(W.LIMITED, S.PROTOCOL, SILENCE * 3, until=NOW - SILENCE - 1)],
        Status.STALLED,
    ),
    "the clock was set back": (
        [Sign(W.WORKING, S.HOOK, NOW + 3600, GENERATION), sign(W.DONE, S.FILE, 10)],
        Status.DONE,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_believed(name: str) -> None:
    signs, status = CASES[name]
    belief = judged(*signs)
    assert belief.status is status, (name, belief)
    assert belief.over == any(s.what in ENDS for s in signs) or belief.status is Status.UNKNOWN


def test_the_evidence_names_each_sign_its_age_and_what_became_of_it() -> None:
    belief = judged(sign(W.WORKING, S.HOOK, 60, "PostToolUse"), sign(W.DONE, S.SCREEN, 1, "prompt"))
    assert evidence_of(belief) == [
        {"signal": "hook", "value": "working: PostToolUse (believed)", "age_s": 60.0},
        {"signal": "screen", "value": "done: prompt (contradicts)", "age_s": 1.0},
    ]
    assert belief.reason == "hook says working: PostToolUse, but screen says done: prompt"


def test_a_limit_tells_until_when() -> None:
    waiting = judged(sign(W.LIMITED, S.PROTOCOL, 5, "429", until=NOW + 60))
    assert (waiting.until, waiting.session) == (NOW + 60, SessionStatus.WORKING)
    ended = judged(sign(W.LIMITED, S.PROTOCOL, 5, "429"))
    assert (ended.until, ended.session) == (None, SessionStatus.IDLE)


def test_a_session_that_never_says_anything_is_stalled_in_the_end() -> None:
    alive = sign(W.ALIVE, S.PROCESS, 0)
    assert judged(alive, began=NOW - SILENCE + 1).status is Status.STARTING
    assert judged(alive, began=NOW - SILENCE - 1).status is Status.STALLED


def test_a_suspended_machine_stalls_nobody() -> None:
    watch = Watch(NOW - 100, NOW - 50, 1000.0)
    working = sign(W.WORKING, S.PROTOCOL, 60)
    asleep = watch.seen(NOW - 50 + 8 * 3600, 1000.0 + 1)  # the lid was closed for a night
    awake = asleep.seen(NOW - 40 + 8 * 3600, 1000.0 + 11)
    morning = NOW - 40 + 8 * 3600
    assert judged(working, now=morning).status is Status.STALLED, "without the watch it would be"
    assert judged(working, now=morning, watch=awake).status is Status.WORKING
    later = awake.seen(morning + SILENCE, 1011.0 + SILENCE)
    assert judged(working, now=morning + SILENCE, watch=later).status is Status.STALLED, "but a real silence counts"


def test_what_nobody_watched_is_no_silence() -> None:
    working = sign(W.WORKING, S.PROTOCOL, SILENCE * 10)
    assert judged(working, watch=Watch(NOW - 60, NOW, 0.0)).status is Status.WORKING


# ---------------------------------------------------------------- any signs at all

AGES = st.floats(0, SILENCE * 3, allow_nan=False)
SIGNS = st.builds(
    Sign,
    st.sampled_from(list(What)),
    st.sampled_from(list(Source)),
    AGES.map(lambda ago: NOW - ago),
    st.sampled_from([GENERATION, GENERATION, GENERATION, GENERATION - 1, GENERATION + 1]),
    st.sampled_from(["", "x"]),
    st.one_of(st.none(), st.floats(NOW - 5000, NOW + 5000)),
)
HISTORIES = st.lists(SIGNS, max_size=12)
MANY = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@MANY
@given(HISTORIES)
def test_what_is_kept_is_all_that_counts(signs: list[Sign]) -> None:
    some = kept(signs, GENERATION)
    assert len(some) <= 3 * len(Source)
    assert judged(*some).status is judged(*signs).status
    assert kept(from_plain(json.loads(json.dumps(to_plain(some)))), GENERATION) == some


@MANY
@given(HISTORIES)
def test_late_signs_of_other_processes_change_nothing(signs: list[Sign]) -> None:
    own = [s for s in signs if s.generation == GENERATION]
    assert judged(*signs).status is judged(*own).status
    assert all(seen.sign.generation == GENERATION for seen in judged(*signs).evidence)


@MANY
@given(HISTORIES, st.floats(0, SILENCE * 20))
def test_time_alone_makes_nothing_done(signs: list[Sign], later: float) -> None:
    before, after = judged(*signs), judged(*signs, now=NOW + later)
    if after.status is not before.status and after.status is Status.DONE:
        assert any(s.what is W.DONE for s in signs), "somebody must have said so"
    if before.status in MOVING and all(s.what in (W.STARTING, W.WORKING, W.ALIVE, W.SOUND) for s in signs):
        assert after.status in MOVING | {Status.STALLED}


@MANY
@given(HISTORIES)
def test_rest_is_never_a_stall(signs: list[Sign]) -> None:
    resting = [s for s in signs if s.what in (W.DONE, W.ERROR, W.OVERFLOW, W.INTERRUPTED, W.ASKING, W.PERMISSION)]
    assume(resting)
    assert judged(*resting, now=NOW + SILENCE * 50).status is not Status.STALLED


@MANY
@given(HISTORIES, st.sampled_from(ENDS))
def test_a_dead_process_never_works(signs: list[Sign], end: What) -> None:
    belief = judged(*[s for s in signs if s.source is not S.PROCESS], sign(end, S.PROCESS, 0))
    assert belief.over
    assert belief.session is SessionStatus.EXITED
    assert belief.status in {
        Status.QUIT,
        Status.CRASHED,
        Status.ERROR,
        Status.OVERFLOW,
        Status.INTERRUPTED,
        Status.LIMITED,
    }


@MANY
@given(HISTORIES, st.sampled_from(CLAIMS), st.sampled_from(SAYERS), st.sampled_from(CLAIMS), st.floats(0, FRESH))
def test_a_weaker_newer_sign_does_not_overrule_a_fresh_stronger_one(
    before: list[Sign], strong: What, source: Source, weak: What, ago: float
) -> None:
    assume(strong not in (W.SOUND, W.QUIT, W.STARTING) and weak is not W.QUIT)
    history = [s for s in before if s.source < source and s.source is not S.PROCESS and s.what is not W.QUIT]
    weaker = [s for s in SAYERS if s < source]
    assume(weaker)
    fresh = [*history, sign(strong, source, ago)]
    assert judged(*fresh, sign(weak, weaker[-1], 0)).status is judged(sign(strong, source, ago)).status


@MANY
@given(HISTORIES)
def test_every_belief_has_a_reason_and_ages(signs: list[Sign]) -> None:
    belief = judged(*signs)
    assert belief.reason
    assert all(seen.age >= 0 for seen in belief.evidence)
    assert len(evidence_of(belief)) == len(belief.evidence) == len(kept(signs, GENERATION))
    if belief.evidence and belief.status is not Status.STARTING:
        assert any(seen.used for seen in belief.evidence)


@MANY
@given(HISTORIES, st.floats(SLACK + 1, 1e6), st.floats(0, 100))
def test_sleep_changes_no_belief_about_work(signs: list[Sign], slept: float, awake: float) -> None:
    """The same moment, with a night in between or without: only ages differ, so nothing is stalled by sleeping."""
    assume(not any(s.what in (*ENDS, W.QUIT) or s.until is not None for s in signs))
    assume(all(s.source is S.PROTOCOL for s in signs if s.source is not S.PROCESS))
    watch = Watch(0.0, NOW, 500.0)
    through = watch.seen(NOW + slept, 500.0).seen(NOW + slept + awake, 500.0 + awake)
    without = watch.seen(NOW + awake, 500.0 + awake)
    assert (
        judged(*signs, now=NOW + slept + awake, watch=through).status
        is judged(*signs, now=NOW + awake, watch=without).status
    )


def test_what_a_later_version_stored_is_left_out() -> None:
    assert from_plain([["telepathy", 9, 1.0, 1, "", None], 7, None, ["working", 6, "x", 1, "", None]]) == ()
