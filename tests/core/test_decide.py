import ast
import inspect
from dataclasses import fields, replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.core import actions as act
from stretto.core import decide as brain
from stretto.core.decide import RULES, decide
from stretto.core.decision import Decision
from stretto.core.facts import Facts, Limits, Need, Observed, expand_needs, limits_of
from stretto.core.inbox import KEYS, options
from stretto.core.model import (
    TERMINAL,
    CheckResult,
    Delivery,
    ItemKind,
    MessageKind,
    Origin,
    QueueState,
    SessionStatus,
    Stage,
    State,
    TurnResult,
)
from tests.core.scenarios import AUTO, CASES, SPENT, UNIT, Case, facts, passed
from tests.support import rows

LIMITS = Limits()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_each_situation_has_its_decision(case: Case):
    found = decide(case.facts, LIMITS)
    assert (found.stage, found.state, found.cause, type(found.action)) == (
        case.stage,
        case.state,
        case.cause,
        case.action,
    )
    assert found.reason
    assert found == decide(case.facts, LIMITS)


def test_each_rule_and_each_action_has_a_situation():
    speaking = {next(r for r in RULES if r(c.facts, LIMITS) is not None) for c in CASES}
    assert speaking == set(RULES)
    known = {k for k in vars(act).values() if isinstance(k, type) and issubclass(k, act.Action) and k is not act.Action}
    assert {type(decide(c.facts, LIMITS).action) for c in CASES} == known


def test_names_of_cases_are_unique():
    assert len({c.name for c in CASES}) == len(CASES)


# ---------------------------------------------------------------- any facts at all


def optional(strategy):
    return st.none() | strategy


MESSAGES = st.builds(
    rows.turn,
    n=st.integers(1, 3),
    state=st.sampled_from(Delivery),
    result=optional(st.sampled_from(TurnResult)),
    kind=st.sampled_from(MessageKind),
    origin=st.sampled_from(Origin),
    settled=st.booleans(),
    head=optional(st.just(rows.HEAD)),
    session=optional(st.just("s1")),
    number=optional(st.integers(1, 3)),
)
ITEMS = st.builds(
    rows.item,
    kind=st.sampled_from(ItemKind),
    key=st.sampled_from(
        ["failure:1", "failure:1+1", "interrupted:1", "report:1", "nochange:1", f"review:{rows.PATCH}:0", "worktree:0"]
    ),
    payload=st.just({"n": 1, "turn": 1}),
    answer=optional(st.sampled_from(["continue", "approve", "retry", "send-back"]).map(lambda k: {"key": k})),
    answered_at=optional(st.just(180.0)),
    applied_at=optional(st.just(181.0)),
    closed_at=optional(st.just(181.0)),
)
TASKS = st.builds(
    rows.started,
    admitted_at=optional(st.just(110.0)),
    workspace=optional(st.just("/bays/1")),
    outcome=optional(st.sampled_from(sorted(TERMINAL))),
    wanted=st.sampled_from(["run", "cancelled"]),
    paused=st.booleans(),
    interrupt=st.booleans(),
    cleaned=st.booleans(),
    lands=st.booleans(),
    head=optional(st.just(rows.HEAD)),
    tree=optional(st.just(rows.TREE)),
    patch=optional(st.just(rows.PATCH)),
    diff=st.sampled_from([{}, {"files": 0}, {"files": 2, "added": 1, "deleted": 0, "scripts": ["run.sh"]}]),
    attempts=st.dictionaries(st.sampled_from(["repair", "resolve"]), st.integers(0, 4)),
)
ANYTHING = st.builds(
    Facts,
    task=TASKS,
    run=st.builds(rows.run, approve=st.sampled_from(["auto", "human"]), paused=st.booleans()),
    needs=st.lists(
        st.builds(Need, st.just("r/b"), st.just("b"), optional(st.sampled_from(sorted(TERMINAL))), st.booleans()),
        max_size=3,
    ).map(tuple),
    session=optional(
        st.builds(
            rows.session,
            ended_at=optional(st.just(190.0)),
            conversation=optional(st.just("c")),
            parser=st.sampled_from([{}, {"began": True}, {"began": True, "volatile": True}]),
        )
    ),
    messages=st.lists(MESSAGES, max_size=4, unique_by=lambda m: m.n).map(
        lambda ms: tuple(sorted(ms, key=lambda m: m.n))
    ),
    items=st.lists(ITEMS, max_size=3, unique_by=lambda i: i.key).map(tuple),
    checks=st.lists(
        st.builds(rows.check, result=optional(st.sampled_from(CheckResult)), tree=st.sampled_from([rows.TREE, "old"])),
        max_size=3,
    ).map(tuple),
    specs=st.sampled_from([(), (UNIT,)]),
    approval=optional(st.builds(rows.approval, patch=st.sampled_from([rows.PATCH, "old"]))),
    entry=optional(
        st.builds(
            rows.entry,
            state=st.sampled_from(QueueState),
            head=st.sampled_from([rows.HEAD, "old"]),
            cause=optional(st.sampled_from(["conflict", "gate", "gate-error", "withdrawn"])),
            settled=st.booleans(),
        )
    ),
    observed=st.builds(
        Observed, worktree=st.sampled_from([None, True, False]), shim=st.sampled_from([None, True, False])
    ),
)


@given(ANYTHING)
@settings(max_examples=150, deadline=None)
def test_it_is_total_deterministic_and_says_why(found):
    decision = decide(found, LIMITS)
    assert decision == decide(replace(found), LIMITS)
    assert decision.reason or found.task.outcome is not None
    assert decision.cause
    assert (decision.stage is None) == (found.task.admitted_at is None) or decision.stage is Stage.LAND
    if found.task.outcome is not None:
        assert decision.state is found.task.outcome


@given(ANYTHING)
@settings(max_examples=150, deadline=None)
def test_a_look_that_failed_never_ends_anything(found):
    blind = decide(replace(found, observed=Observed()), LIMITS)
    clear = decide(replace(found, observed=Observed(worktree=True, shim=True)), LIMITS)
    if isinstance(blind.action, act.Finish | act.Recover | act.Stop):
        assert blind == clear  # it would have been so with everything in place
    assert blind.cause != "setup" or any(i.kind is ItemKind.SETUP for i in found.open_items)


@given(ANYTHING)
@settings(max_examples=150, deadline=None)
def test_a_paused_task_starts_nothing(found):
    held = replace(found, run=replace(found.run, paused=True))
    action = decide(held, LIMITS).action
    assert not isinstance(action, act.Admit | act.Prepare | act.RunChecks | act.Enqueue)
    if isinstance(action, act.Deliver):  # only what is on its way already, and answers
        assert next(m for m in held.messages if m.n == action.n).state is not Delivery.QUEUED or (
            next(m for m in held.messages if m.n == action.n).kind is not MessageKind.TURN
        )


def paused(parser, turn=None, **session):
    found = facts(
        messages=(turn or rows.turn(),), run=rows.run(paused=True), session=rows.session(parser=parser, **session)
    )
    return decide(found, LIMITS).action


def test_a_pause_ends_the_agent_once_it_has_nothing_to_do():
    began = {"began": True}
    assert paused(began, conversation="c") == act.Stop(reason="paused")
    assert paused(began, conversation="c", ended_at=190.0) == act.NOTHING
    assert paused(began, rows.turn(settled=False), conversation="c") != act.Stop(reason="paused")
    assert paused({}, conversation="c") == act.NOTHING, "what it was told would be lost with it"
    assert paused(began) == act.NOTHING
    for word in ("volatile", "attended", "handshake", "refused"):
        assert paused({**began, word: True}, conversation="c") != act.Stop(reason="paused"), word


@given(ANYTHING)
@settings(max_examples=150, deadline=None)
def test_with_nobody_there_nobody_is_asked(found):
    alone = replace(found, run=replace(found.run, approve="auto"), items=())
    assert not isinstance(decide(alone, LIMITS).action, act.Ask)


@given(ANYTHING)
@settings(max_examples=150, deadline=None)
def test_nothing_is_queued_that_is_not_checked_and_approved(found):
    if not isinstance(decide(found, LIMITS).action, act.Enqueue):
        return
    assert found.approval is not None
    assert found.approval.patch == found.task.patch
    assert all((row := found.check(s)) is not None and row.result is CheckResult.PASSED for s in found.specs)
    assert found.entry is None or found.entry.state not in {QueueState.WAITING, QueueState.TESTING, QueueState.LANDING}


# ---------------------------------------------------------------- what is said leads on


def done(f: Facts, action: act.Action) -> Facts:
    """The facts after an action that only writes rows, or after an effect that went well."""
    match action:
        case act.Ask():
            item = rows.item(action.kind, action.key, id=f"new{len(f.items)}", payload=action.payload)
            return replace(f, items=(*f.items, item))
        case act.Compose():
            attempts = {**f.task.attempts}
            if action.counter:
                attempts[action.counter] = attempts.get(action.counter, 0) + 1
            turn = rows.turn(len(f.messages) + 1, Delivery.QUEUED, None, origin=action.origin)
            entry = replace(f.entry, settled=True) if f.entry else None
            return replace(f, messages=(*f.messages, turn), task=replace(f.task, attempts=attempts), entry=entry)
        case act.FallBack():
            turn = rows.turn(len(f.messages) + 1, Delivery.QUEUED, None, origin=Origin.RESUME)
            return replace(f, messages=(*f.messages, turn), task=replace(f.task, attempts={"fallback": 1}))
        case act.Approve():
            return replace(f, approval=rows.approval(patch=f.task.patch))
        case act.Enqueue():
            return replace(f, entry=rows.entry(head=f.task.head))
        case act.Finish():
            return replace(f, task=replace(f.task, outcome=action.outcome, outcome_reason=action.reason))
        case act.Admit():
            return replace(f, task=replace(f.task, admitted_at=110.0))
        case act.Prepare():
            return replace(f, task=replace(f.task, workspace="/bays/1"))
        case act.Apply():
            items = tuple(replace(i, applied_at=190.0, closed_at=190.0) if i.id == action.item else i for i in f.items)
            return replace(f, items=items)
        case act.Deliver():
            return _messages(f, action.n, state=Delivery.DELIVERED)
        case act.Settle():
            return _messages(f, action.n, settled=True, head=rows.HEAD)
        case act.RunChecks():
            return replace(f, checks=(*f.checks, *(rows.check(tree=f.task.tree) for _ in action.names)))
        case act.Interrupt():
            told = rows.turn(len(f.messages) + 1, kind=MessageKind.INTERRUPT, session="s1")
            return replace(f, task=replace(f.task, interrupt=False), messages=(*f.messages, told))
        case act.Warn():
            assert f.spent is not None
            return replace(f, spent=replace(f.spent, noted=f.spent.noted | {action.key}))
        case act.Recover():
            lost = [m for m in f.turns if m.result is None and m.state in {Delivery.WRITTEN, Delivery.DELIVERED}]
            found = f
            for m in lost:
                found = _messages(found, m.n, state=Delivery.INTERRUPTED, result=TurnResult.INTERRUPTED)
            return replace(found, session=rows.session(ended_at=191.0))
        case act.Stop():
            return replace(f, session=rows.session(ended_at=191.0))
        case act.CleanUp():
            task = replace(f.task, cleaned=True, workspace=None)
            return replace(f, task=task, session=rows.session(ended_at=191.0) if f.session else None)
    raise AssertionError(action)


def _messages(f: Facts, n: int, **changes) -> Facts:
    return replace(f, messages=tuple(replace(m, **changes) if m.n == n else m for m in f.messages))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_action_leads_to_another_decision(case: Case):
    f = case.facts
    for _ in range(40):
        before = decide(f, LIMITS)
        if isinstance(before.action, act.Nothing):
            return
        f = done(f, before.action)
        assert decide(f, LIMITS).action != before.action, before
    raise AssertionError("it never comes to rest")


# ---------------------------------------------------------------- single points


def test_check_rounds_are_repair_turns_after_the_first_red_check():
    for done_before, expected in ((0, act.Compose), (1, act.Compose), (2, act.Compose), (3, act.Ask)):
        f = facts(rows.started(attempts={"repair": done_before}), checks=(rows.check(CheckResult.FAILED),))
        assert isinstance(decide(f, LIMITS).action, expected)
    assert isinstance(decide(facts(checks=(rows.check(CheckResult.FAILED),)), Limits(check_rounds=0)).action, act.Ask)


def test_the_latest_execution_of_a_check_counts():
    f = facts(checks=(rows.check(CheckResult.FAILED, id=1), rows.check(CheckResult.PASSED, id=2)))
    assert decide(f, LIMITS).stage is Stage.APPROVE
    other = facts(checks=(rows.check(CheckResult.PASSED, command="another command"),))
    assert isinstance(decide(other, LIMITS).action, act.RunChecks)


@pytest.mark.parametrize(
    ("reason", "said"), [("interrupted", ""), ("by you", ": by you"), ("", ": its process vanished")]
)
def test_an_interrupted_turn_is_told_once(reason: str, said: str):
    turn = rows.turn(result=TurnResult.INTERRUPTED, reason=reason)
    action = decide(facts(messages=(turn,)), LIMITS).action
    assert isinstance(action, act.Ask)
    assert action.text == f"the turn was interrupted{said}"


def test_a_turn_that_a_budget_cut_short_ends_its_task_with_that_reason():
    turn = rows.turn(result=TurnResult.INTERRUPTED, reason="by you")
    action = decide(facts(messages=(turn,), spent=SPENT, run=AUTO), LIMITS).action
    assert isinstance(action, act.Finish)
    assert action.reason == "the budget is used up: 1 000 tokens of 1 000 tokens for the run"


def test_asking_again_gets_a_key_of_its_own():
    answered = rows.item(ItemKind.INTERRUPTED, "interrupted:1", answer={"key": "x"}, closed_at=9.0)
    f = facts(messages=(rows.turn(result=TurnResult.INTERRUPTED),), items=(answered,))
    first = decide(f, LIMITS).action
    assert isinstance(first, act.Ask)
    assert first.key == "interrupted:1+1"
    again = replace(answered, id="i2", key=first.key)
    second = decide(replace(f, items=(answered, again)), LIMITS).action
    assert isinstance(second, act.Ask)
    assert second.key == "interrupted:1+2"


def test_a_second_question_about_a_failed_turn_can_be_answered():
    failed = rows.turn(result=TurnResult.FAILED, head=rows.HEAD)
    closed = rows.item(ItemKind.FAILURE, "failure:1", closed_at=9.0)
    again = rows.item(ItemKind.FAILURE, "failure:1+1", id="i2", answer={"key": "continue"}, closed_at=9.0)
    assert decide(facts(messages=(failed,), items=(closed,)), LIMITS).cause == "failure"
    assert decide(facts(messages=(failed,), items=(closed, again)), LIMITS).cause == "checking"


def test_scripts_that_checks_call_are_named_at_approval():
    f = passed(task=rows.started(diff={"files": 1, "scripts": ["run-tests.sh"]}))
    assert "run-tests.sh" in decide(f, LIMITS).reason


def test_needs_are_expanded_at_each_look():
    siblings = {id: rows.task(id, position=n) for n, id in enumerate(("a", "b", "end"))}
    star = replace(siblings["end"], needs=("*",))
    found = expand_needs(star, siblings)
    assert [(n.id, n.any_end) for n in found] == [("a", True), ("b", True)]
    missing = expand_needs(replace(star, needs=("nobody",)), siblings)
    assert [(n.id, n.outcome) for n in missing] == [("nobody", None)]


def test_limits_come_from_the_task_then_the_run_then_us():
    run = rows.run(config={"check_rounds": 5, "long_wait": 60})
    assert limits_of(run, rows.task()) == Limits(check_rounds=5, long_wait=60.0)
    assert limits_of(run, rows.task(fields={"rounds": 0})).check_rounds == 0
    assert limits_of(rows.run(), rows.task()) == Limits()


def test_extra_answers_are_known_words():
    for case in CASES:
        action = decide(case.facts, LIMITS).action
        if isinstance(action, act.Ask):
            extra = action.payload["extra"]
            assert [k for k, _ in options(action.kind, *extra)] == [*extra, *KEYS[action.kind]]


def test_every_literal_cause_of_the_code_has_a_situation():
    tree = ast.parse(inspect.getsource(brain))
    literal = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Decision":
            given_cause = [k.value for k in node.keywords if k.arg == "cause"] + node.args[4:5]
            literal |= {c.value for c in given_cause if isinstance(c, ast.Constant)}
    assert literal <= {c.cause for c in CASES}
    assert len(literal) > 15


def test_a_decision_is_a_plain_value():
    assert [f.name for f in fields(Decision)] == ["stage", "state", "reason", "action", "cause"]
    for shim, worktree in product((None, True, False), repeat=2):
        assert decide(facts(observed=Observed(worktree, shim)), LIMITS).state in State


@pytest.mark.parametrize(
    ("status", "shim", "action"),
    [
        (SessionStatus.STARTING, True, act.Nothing),  # it runs, and has only not said anything yet
        (SessionStatus.STARTING, None, act.Deliver),  # whether it was started is not known: then it must be
        (SessionStatus.STARTING, False, act.Deliver),
        (SessionStatus.IDLE, None, act.Nothing),
        (SessionStatus.EXITED, True, act.Deliver),
    ],
)
def test_nothing_is_sent_to_a_session_that_the_person_has_in_its_terminal(
    status: SessionStatus, shim: bool | None, action: type[act.Action]
) -> None:
    taken_over = rows.session(status=status, mode="pane", parser={"attended": 60.0})
    observed = Observed(worktree=True, shim=shim)
    queued = (rows.turn(), rows.turn(2, Delivery.QUEUED, None))
    found = decide(facts(session=taken_over, messages=queued, observed=observed), LIMITS)
    assert type(found.action) is action
