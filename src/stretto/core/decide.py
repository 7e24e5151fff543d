"""The brain: from the facts of one task to its stage, its state, the reason, and the one action that is missing.

Specification. `decide` is total and pure: the same facts give the same decision, in the daemon, in `status` without one
and in the simulator. It never remembers: everything that matters is a row or an observation. A decision that names an
action is carried out at most once at a time for each task and leads, when done, to rows that give another decision;
so a task moves on until it is terminal or waits for the person, for another task or for a process. Rules are tried in
the order in which they stand; the first that speaks wins. An observation that failed (None) never ends anything.
"""

from __future__ import annotations

from collections.abc import Callable

from stretto.core import delivery
from stretto.core.actions import (
    NOTHING,
    Action,
    Admit,
    Apply,
    Approve,
    CleanUp,
    Compose,
    Deliver,
    Enqueue,
    Finish,
    Interrupt,
    Prepare,
    Recover,
    RunChecks,
    Settle,
    Stop,
)
from stretto.core.budget_rules import over_budget, within_budget
from stretto.core.checkout_rules import left_branch, outside, taken
from stretto.core.decision import Decision, ask, finish, first_line, listed, shim_dead
from stretto.core.facts import Facts, Limits
from stretto.core.inbox import SECRETS
from stretto.core.limit_rules import another_agent, vendor_rests
from stretto.core.limited import nobody_left
from stretto.core.model import (
    FAILURES,
    CheckResult,
    Delivery,
    Item,
    ItemKind,
    Message,
    Origin,
    QueueState,
    SessionStatus,
    Stage,
    State,
    TurnResult,
)
from stretto.core.rest_rules import at_rest
from stretto.core.telling import for_person
from stretto.core.usage import exceeded
from stretto.core.who import agent_of, in_checkout, must_hand_over, resolving, role_of

#: the reason of a task that stands still because it is paused
PAUSED = "paused"


Rule = Callable[[Facts, Limits], Decision | None]


def decide(facts: Facts, limits: Limits) -> Decision:
    """What the first rule that speaks says (the last one always does), as far as the budgets allow it."""
    for rule in RULES:
        decision = rule(facts, limits)
        if decision is not None:
            return at_rest(facts, decision if facts.spent is None else within_budget(facts, decision))
    raise AssertionError("the last rule always speaks")


# ---------------------------------------------------------------- the end, and the way there


def over(f: Facts, limits: Limits) -> Decision | None:
    """Terminal tasks: only their remains are cleaned up."""
    t = f.task
    if t.outcome is None:
        return None
    stage = _last_stage(f)
    if t.outcome is State.LANDED and not t.cleaned:
        return Decision(stage, t.outcome, t.outcome_reason, CleanUp(), "landed")
    if _session_live(f):
        return Decision(stage, t.outcome, t.outcome_reason, Stop(reason=t.outcome.value), "over")
    if in_checkout(t.fields) and not t.cleaned:
        return Decision(stage, t.outcome, t.outcome_reason, CleanUp(), "over")
    return Decision(stage, t.outcome, t.outcome_reason, cause="over")


def being_landed(f: Facts, limits: Limits) -> Decision | None:
    """The target may contain it already: nothing else happens to it until the queue has recorded or released it."""
    if f.entry is None or f.entry.state is not QueueState.LANDING:
        return None
    late = "; too late to cancel" if f.task.wanted == "cancelled" else ""
    return Decision(Stage.LAND, State.QUEUED, f"is being landed{late}", cause="landing")


def cancelled(f: Facts, limits: Limits) -> Decision | None:
    """The person cancelled: end the session, then the task; workspace and branch stay (DECISIONS 14)."""
    t = f.task
    if t.wanted != "cancelled":
        return None
    if f.queued:
        return Decision(Stage.LAND, State.QUEUED, "leaves the landing queue", cause="leaving")
    if _session_live(f):
        return Decision(_last_stage(f), State.ACTIVE, "ending its session", Stop(reason="cancelled"), "cancelling")
    if f.unsettled is not None:
        return Decision(_last_stage(f), State.ACTIVE, "keeping its work", Settle(n=f.unsettled.n), "cancelling")
    return Decision(
        _last_stage(f),
        State.CANCELLED,
        "cancelled by you",
        Finish(outcome=State.CANCELLED, reason="cancelled by you"),
        "cancelled",
    )


# ---------------------------------------------------------------- before the start


def not_admitted(f: Facts, limits: Limits) -> Decision | None:
    """Blocked by needs, or ready and waiting for a place."""
    if f.task.admitted_at is not None:
        return None
    broken = [n for n in f.needs if n.broken]
    open_needs = [n for n in f.needs if n.outcome is None]
    if broken and not (any(n.any_end for n in broken) and open_needs):
        word = broken[0].outcome.value if broken[0].outcome else "gone"
        return Decision(None, State.BLOCKED, f"needs {broken[0].id}, which is {word}", cause="need broken")
    if open_needs:
        return Decision(None, State.BLOCKED, f"needs {listed([n.id for n in open_needs])}", cause="needs")
    if f.task.paused or f.run.paused:
        return Decision(None, State.READY, PAUSED, cause="paused")
    return taken(f, None) or Decision(None, State.READY, "waits for a free place", Admit(), "ready")


# ---------------------------------------------------------------- what the person said


def answered(f: Facts, limits: Limits) -> Decision | None:
    """An answer that has not taken effect yet."""
    if not f.answered_items:
        return None
    item = f.answered_items[0]
    return Decision(_last_stage(f), State.ACTIVE, f"takes your answer to {item.id}", Apply(item=item.id), "answer")


def interrupted_by_person(f: Facts, limits: Limits) -> Decision | None:
    """`stretto interrupt`: pass it on to the running turn."""
    if not f.task.interrupt or not f.turn_running:
        return None
    return Decision(Stage.IMPLEMENT, State.ACTIVE, "is being interrupted", Interrupt(), "interrupting")


def controls(f: Facts, limits: Limits) -> Decision | None:
    """An answer or an interrupt that the live session has not got yet, or not known to have got."""
    if not f.controls or shim_dead(f):
        return None
    first = f.controls[0]
    why = "its session starts" if first.origin is Origin.START else "your answer is on its way"
    return Decision(Stage.IMPLEMENT, State.ACTIVE, why, Deliver(n=first.n), "deliver")


def waiting_for_person(f: Facts, limits: Limits) -> Decision | None:
    """Something of this task is in the inbox. A running turn is still watched.

    What an agent asked to be allowed ends with its process: nobody waits for that any more, only its work is kept.
    """
    standing = [item for item in f.open_items if not _asked_by_the_dead(f, item)]
    if not standing:
        return None
    item = standing[0]
    reason = f"{item.kind.value}: {first_line(item.text)}"
    action: Action = NOTHING
    if f.turn_running and shim_dead(f):
        action = Recover()
    elif f.turn_running and f.turn is not None and f.turn.state is Delivery.WRITTEN:
        action = Deliver(n=f.turn.n)
    elif f.unsettled is not None and f.observed.checkout is not False:
        action = Settle(n=f.unsettled.n)
    of_workspace = item.kind is ItemKind.SETUP and not item.key.startswith(SECRETS)
    stage = Stage.PREPARE if of_workspace else _last_stage(f)
    return Decision(stage, State.WAITING, reason, action, item.kind.value)


# ---------------------------------------------------------------- prepare


def prepare(f: Facts, limits: Limits) -> Decision | None:
    """No workspace yet, or it vanished behind our back."""
    t = f.task
    if t.workspace is None:
        if _held(f):
            return Decision(Stage.PREPARE, State.ACTIVE, PAUSED, cause="paused")
        made = Decision(Stage.PREPARE, State.ACTIVE, "makes its workspace", Prepare(), "prepare")
        return taken(f, Stage.PREPARE) or made
    if f.observed.worktree is False and not f.turn_running and not f.queued:
        key = f"worktree:{len([i for i in f.items if i.key.startswith('worktree:')])}"
        text = f"the worktree {t.workspace} is gone; retry makes it again with all that was committed on {t.branch}"
        return ask(f, Stage.PREPARE, ItemKind.SETUP, key, text)
    return None


# ---------------------------------------------------------------- implement


def first_turn(f: Facts, limits: Limits) -> Decision | None:
    """The first message of a task."""
    if f.turn is not None:
        return None
    if _held(f):
        return Decision(Stage.IMPLEMENT, State.ACTIVE, PAUSED, cause="paused")
    return Decision(Stage.IMPLEMENT, State.ACTIVE, "is about to start", Compose(Origin.START), "start")


def turn_under_way(f: Facts, limits: Limits) -> Decision | None:
    """A turn that is to be delivered, is with the agent, or was lost."""
    turn = f.turn
    if turn is None or turn.result is not None:
        return None
    if turn.state is Delivery.UNDELIVERED:
        why = f": {turn.reason}" if turn.reason else ""
        text = f"this message is not known to have reached the agent{why}; nothing is sent twice by itself:\n"
        key = f"undelivered:{turn.n}:{turn.session}:{turn.number}"
        shown = delivery.shortened(for_person(turn.text), f"stretto prompt {f.task.id}")
        return ask(f, Stage.IMPLEMENT, ItemKind.UNDELIVERED, key, text + shown, n=turn.n)
    if turn.state is Delivery.QUEUED:
        if _held(f):
            return Decision(Stage.IMPLEMENT, State.ACTIVE, PAUSED, cause="paused")
        if _attended(f):
            why = "it is open for you in its terminal (stretto attach); it gets this when you have left that"
            return Decision(Stage.IMPLEMENT, State.ACTIVE, why, cause="deliver")
        if must_hand_over(f) and not shim_dead(f):
            why = f"{agent_of(f).name} ({role_of(f)}) gets it next; the session before ends"
            return Decision(Stage.IMPLEMENT, State.ACTIVE, why, Stop(reason="handed over"), "handover")
        if f.handshake and not shim_dead(f):
            return Decision(Stage.IMPLEMENT, State.ACTIVE, "its session starts", cause="deliver")
        return Decision(Stage.IMPLEMENT, State.ACTIVE, _why(f, turn), Deliver(n=turn.n), "deliver")
    if shim_dead(f):
        return Decision(Stage.IMPLEMENT, State.ACTIVE, "its session died; keeping its work", Recover(), "recover")
    if turn.state is Delivery.WRITTEN:
        return Decision(Stage.IMPLEMENT, State.ACTIVE, _why(f, turn), Deliver(n=turn.n), "deliver")
    return Decision(Stage.IMPLEMENT, State.ACTIVE, _why(f, turn), cause="working")


def _attended(f: Facts) -> bool:
    """Whether the person has taken the session over in its terminal."""
    session = f.session
    if session is None or session.ended_at is not None:
        return False
    # one that has not said anything may not have been started: then it must be
    begun = session.status is not SessionStatus.STARTING or f.observed.shim is True
    there = begun and session.status is not SessionStatus.EXITED and not shim_dead(f)
    return there and bool(session.parser.get("attended"))


def turn_over(f: Facts, limits: Limits) -> Decision | None:
    """A turn that ended: keep what it left; a failed or interrupted one goes to the person."""
    turn = f.turn
    if turn is None or turn.result is None:
        return None
    if not turn.settled:
        return Decision(Stage.IMPLEMENT, State.ACTIVE, "its work is being committed", Settle(n=turn.n), "settle")
    if turn.result is TurnResult.INTERRUPTED:
        why = turn.reason or "its process vanished"  # some agents only say that they were
        text = "the turn was interrupted" + ("" if why == "interrupted" else f": {why}")
        if (level := exceeded(f.spent, f.items)) is not None:
            text = f"the budget is used up: {level.text}"
        return ask(f, Stage.IMPLEMENT, ItemKind.INTERRUPTED, f"interrupted:{turn.n}", text, n=turn.n)
    if (replaced := another_agent(f, turn)) is not None:
        return replaced
    if _went_well(f):
        return None
    if (resting := vendor_rests(f, turn)) is not None:
        return Decision(Stage.IMPLEMENT, State.ACTIVE, PAUSED, cause="paused") if _held(f) else resting
    text = f"the agent's turn failed: {turn.reason or 'no reason given'}"
    if turn.result is TurnResult.LIMITED and f.turned_away:
        text = nobody_left(f.turned_away)
    return ask(f, Stage.IMPLEMENT, ItemKind.FAILURE, f"failure:{turn.n}", text, "continue", n=turn.n)


def report(f: Facts, limits: Limits) -> Decision | None:
    """A task that lands nothing ends with its report, once the person (or `auto`) accepts it."""
    turn = f.turn
    if f.task.lands or turn is None:
        return None
    if f.auto:
        return finish(Stage.APPROVE, State.FINISHED, "report accepted by policy")
    text = f"the report is ready: {first_line(f.task.note) or 'see stretto logs'}"
    warning = f.task.diff.get("warning")
    return ask(
        f, Stage.APPROVE, ItemKind.REVIEW, f"report:{turn.n}", f"{text} ({warning})" if warning else text, report=True
    )


def no_change(f: Facts, limits: Limits) -> Decision | None:
    """The agent is done and there is nothing to land."""
    t = f.task
    turn = f.turn
    if turn is None or t.patch is None or t.diff.get("files", 0) > 0:
        return None
    if f.auto:
        return finish(Stage.IMPLEMENT, State.FAILED, "no change")
    return ask(f, Stage.IMPLEMENT, ItemKind.NOCHANGE, f"nochange:{turn.n}", "the agent is done and changed nothing")


# ---------------------------------------------------------------- check


def own_files(f: Facts, limits: Limits) -> Decision | None:
    """No task commits an ignored file of the person's; in the main checkout it changes what it declared, no more."""
    if private := f.task.diff.get("private"):
        why = f"committed {listed(private)}, which your repository ignores and your checkout holds"
        return _repair(f, limits, Stage.CHECK, Origin.CHECK, why)
    strange = outside(f)
    if not strange:
        return None
    return _repair(f, limits, Stage.CHECK, Origin.CHECK, f"changed {listed(strange)}, outside of its files")


def checks(f: Facts, limits: Limits) -> Decision | None:
    """All checks must have passed on exactly the committed tree."""
    found = [(spec, f.check(spec)) for spec in f.specs]
    missing = tuple(spec.name for spec, row in found if row is None or row.result is None)
    if missing:
        if _held(f):
            return Decision(Stage.CHECK, State.ACTIVE, PAUSED, cause="paused")
        return Decision(Stage.CHECK, State.ACTIVE, f"runs {listed(missing)}", RunChecks(names=missing), "checking")
    errors = [(s, r) for s, r in found if r is not None and r.result is CheckResult.ERROR]
    if errors:
        spec, row = errors[0]
        text = f"check {spec.name} could not run: {row.reason}"
        return ask(f, Stage.CHECK, ItemKind.FAILURE, f"check-error:{row.id}", text, check=spec.name)
    failed = tuple(s.name for s, r in found if r is not None and r.result is CheckResult.FAILED)
    if not failed:
        return None
    return _repair(f, limits, Stage.CHECK, Origin.CHECK, f"check {listed(failed)} failed")


# ---------------------------------------------------------------- approve


def approval(f: Facts, limits: Limits) -> Decision | None:
    """The person's consent to exactly this patch."""
    t = f.task
    if f.approval is not None and f.approval.patch == t.patch:
        return None
    if f.auto:
        return Decision(Stage.APPROVE, State.ACTIVE, "approved by policy", Approve(), "approve")
    d = t.diff
    count = d.get("files", 0)
    text = f"{count} file{'' if count == 1 else 's'}, +{d.get('added', 0)} -{d.get('deleted', 0)}: {t.title}"
    if d.get("scripts"):
        text += f"; it changes what your checks call: {listed(d['scripts'])}"
    if d.get("left_in_clone"):
        text += f"; not brought over from its clone: {listed(sorted(d['left_in_clone']))}"
    return ask(f, Stage.APPROVE, ItemKind.REVIEW, f"review:{t.patch}:{_asked(f, t.patch)}", text, patch=t.patch)


# ---------------------------------------------------------------- land


def landing(f: Facts, limits: Limits) -> Decision | None:
    """The landing queue, and what it threw out."""
    e = f.entry
    if e is not None and f.queued and e.head != f.task.head:
        return Decision(Stage.LAND, State.QUEUED, "its earlier state leaves the landing queue", cause="leaving")
    if e is None or (e.state is QueueState.EJECTED and e.settled) or e.head != f.task.head:
        if _held(f):
            return Decision(Stage.LAND, State.ACTIVE, PAUSED, cause="paused")
        return Decision(Stage.LAND, State.QUEUED, "enters the landing queue", Enqueue(), "enqueue")
    if e.state is not QueueState.EJECTED:
        return Decision(Stage.LAND, State.QUEUED, e.reason or f"{e.state.value} in the landing queue", cause="queued")
    if e.cause == "conflict":
        if f.task.attempts.get("resolve", 0) < limits.conflict_rounds:
            why = f"conflicts with the target in {listed(e.files)}"
            return Decision(Stage.LAND, State.ACTIVE, why, Compose(Origin.CONFLICT, "resolve"), "conflict")
        text = f"conflicts with the target in {listed(e.files)}; {limits.conflict_rounds} tries did not resolve it"
        return ask(f, Stage.LAND, ItemKind.CONFLICT, f"conflict:{e.id}", text, entry=e.id)
    if e.cause == "gate":
        return _repair(f, limits, Stage.LAND, Origin.GATE, e.reason)
    return ask(f, Stage.LAND, ItemKind.FAILURE, f"landing:{e.id}", e.reason, entry=e.id)


RULES: tuple[Rule, ...] = (
    over,
    being_landed,
    cancelled,
    not_admitted,
    interrupted_by_person,
    over_budget,
    answered,
    controls,
    waiting_for_person,
    prepare,
    left_branch,
    first_turn,
    turn_under_way,
    turn_over,
    report,
    no_change,
    own_files,
    checks,
    approval,
    landing,
)


# ---------------------------------------------------------------- shared by the rules


def _repair(f: Facts, limits: Limits, stage: Stage, origin: Origin, why: str) -> Decision:
    """Back to the same session with the output, a bounded number of times; then the person."""
    done = f.task.attempts.get("repair", 0)
    if done < limits.check_rounds:
        return Decision(stage, State.ACTIVE, f"{why}; back to its agent", Compose(origin, "repair"), "repair")
    turn = f.turn
    key = f"rounds:{turn.n if turn else 0}:{done}"
    return ask(f, stage, ItemKind.FAILURE, key, f"{why} after {done} repair turns")


def _asked(f: Facts, patch: str | None) -> int:
    """How often this patch was put before the person."""
    return sum(1 for i in f.items if i.key.startswith(f"review:{patch}:"))


def _asked_by_the_dead(f: Facts, item: Item) -> bool:
    session = f.session.id if f.session is not None else None
    return item.kind is ItemKind.PERMISSION and item.session == session and f.turn_running and shim_dead(f)


def _session_live(f: Facts) -> bool:
    return f.session is not None and f.session.ended_at is None


def _went_well(f: Facts) -> bool:
    """Whether the last turn ended well, or failed and the person took what it left, which is committed now."""
    turn = f.turn
    if turn is None or turn.result not in FAILURES:
        return turn is not None and turn.result is TurnResult.OK
    return turn.head is not None and f.accepted(f"failure:{turn.n}", "continue")


def _held(f: Facts) -> bool:
    return f.task.paused or f.run.paused


def _last_stage(f: Facts) -> Stage | None:
    """The stage that a task has reached, for states in which the stage does not follow from the rule."""
    t = f.task
    if t.admitted_at is None:
        return None
    if t.outcome is State.LANDED or (f.entry is not None and f.entry.head == t.head and not f.entry.settled):
        return Stage.LAND
    if t.workspace is None and not f.turns:
        return Stage.PREPARE
    turn = f.turn
    if turn is None or not turn.settled or not _went_well(f):
        return Stage.IMPLEMENT
    if not t.lands:
        return Stage.APPROVE
    if t.patch is not None and not t.diff.get("files"):
        return Stage.IMPLEMENT
    if any((row := f.check(s)) is None or row.result is not CheckResult.PASSED for s in f.specs):
        return Stage.CHECK
    return Stage.APPROVE


_ORIGIN_WORDS: dict[Origin, str] = {
    Origin.START: "the agent works on it",
    Origin.CHECK: "the agent repairs what a check found",
    Origin.GATE: "the agent repairs what the gate found",
    Origin.CONFLICT: "the agent resolves a conflict with the target",
    Origin.COMMENTS: "the agent works on your comments",
    Origin.ANSWER: "the agent works on your answer",
    Origin.PERSON: "the agent works on your message",
    Origin.SPEC: "the agent works on the changed spec",
    Origin.RESUME: "the agent takes up its work again",
}


def _why(f: Facts, turn: Message) -> str:
    words = _ORIGIN_WORDS[turn.origin]
    return words.replace("the agent", f"{agent_of(f).name}, its resolver,", 1) if resolving(f) else words
