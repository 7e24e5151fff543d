"""One named situation for each thing that `decide` can say: facts, and what must come of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stretto.core import actions as act
from stretto.core.facts import Facts, Need, Observed
from stretto.core.model import (
    CheckResult,
    CheckSpec,
    Delivery,
    ItemKind,
    MessageKind,
    Origin,
    QueueState,
    Stage,
    State,
    TurnResult,
)
from stretto.core.usage import Level, Spent
from tests.support import rows

UNIT = CheckSpec("unit", "true")
P, S = Stage, State


def facts(task: Any = None, **changes: Any) -> Facts:
    """A started task whose first turn ended well and is committed; a test changes what matters to it."""
    values: dict[str, Any] = {
        "task": rows.started() if task is None else task,
        "run": rows.run(),
        "session": rows.session(),
        "messages": (rows.turn(),),
        "specs": (UNIT,),
        "observed": Observed(worktree=True, shim=True),
    }
    return Facts(**{**values, **changes})


def passed(**changes: Any) -> Facts:
    return facts(**{"checks": (rows.check(),), **changes})


def approved(**changes: Any) -> Facts:
    return passed(**{"approval": rows.approval(), **changes})


def unstarted(**changes: Any) -> Facts:
    values = {"session": None, "messages": (), "task": rows.task()}
    return facts(**{**values, **changes})


def running(state: Delivery = Delivery.DELIVERED, **changes: Any) -> Facts:
    return facts(**{"messages": (rows.turn(state=state, result=None),), **changes})


def with_item(kind: ItemKind, key: str = "k", **changes: Any) -> Facts:
    return passed(**{"items": (rows.item(kind, key),), **changes})


def ejected(cause: str, **changes: Any) -> Facts:
    return approved(entry=rows.entry(QueueState.EJECTED, cause=cause, reason=cause, files=("a.py",)), **changes)


OVER: dict[str, Any] = {
    "outcome": State.LANDED,
    "outcome_reason": "landed on main",
    "ended_at": 200.0,
    "landed": {"commit": "c"},
}
AUTO = rows.run(approve="auto")
SHARED = {"workspace": "shared"}
IN_CHECKOUT = rows.started(fields=SHARED, files=("src/**",))
IN_CHECKOUT_OVER = rows.started(fields=SHARED, outcome=State.FAILED, outcome_reason="gave up", ended_at=200.0)
ELSEWHERE = Observed(worktree=True, checkout=False, shim=True)
HELD: dict[str, Any] = {"run": rows.run(paused=True)}
GONE = Observed(worktree=False, shim=True)
DEAD = Observed(worktree=True, shim=False)
CANCELLED = rows.started(wanted="cancelled")
CONTROL = rows.turn(2, Delivery.QUEUED, None, kind=MessageKind.CONTROL, origin=Origin.ANSWER, session="s1")
ENDED = rows.session(ended_at=190.0)
UNSETTLED = rows.turn(settled=False)
FAILED = rows.turn(result=TurnResult.FAILED, reason="exit 1")
INTERRUPTED = rows.turn(result=TurnResult.INTERRUPTED)
LIMITED = rows.turn(result=TurnResult.LIMITED, reason="limited: 429")
REFUSED = tuple(rows.turn(n, result=TurnResult.LIMITED, reason="limited: 429") for n in range(1, 7))
SPARED = rows.run(agent="", config={"roles": {"implementer": {"agent": "a", "fallback": ["b"]}}})
RESOLVED = rows.run(
    agent="", config={"roles": {"implementer": {"agent": "a"}, "resolver": {"agent": "b", "said": ["agent"]}}}
)
CONFLICTED = (rows.turn(session="s1"), rows.turn(2, Delivery.QUEUED, None, origin=Origin.CONFLICT))
RESOLVER = rows.session(id="s2", role="resolver", agent="b", generation=2)
REPAIR = (
    *(rows.turn(session="s1"), rows.turn(2, origin=Origin.CONFLICT, session="s2")),
    rows.turn(3, Delivery.QUEUED, None, origin=Origin.CHECK),
)
WORKS = rows.turn(state=Delivery.DELIVERED, result=None)
SPENT = Spent((Level("run", "tokens", 1000, 1000, "run:tokens"),), frozenset({"run:tokens"}))
NEARLY = Spent((Level("run", "tokens", 800, 1000, "run:tokens"),))
CUT = rows.turn(2, Delivery.DONE, TurnResult.OK, kind=MessageKind.INTERRUPT, origin=Origin.PERSON, session="s1")
GRANTED = rows.item(
    ItemKind.BUDGET, "budget:run:tokens", payload={"used": 1000.0}, answer={"key": "continue"}, closed_at=185.0
)
FAILURES = (rows.check(CheckResult.FAILED),)
TIRED = rows.started(attempts={"repair": 3})


@dataclass(frozen=True)
class Case:
    """A situation and its decision."""

    name: str
    facts: Facts
    stage: Stage | None
    state: State
    cause: str
    action: type[act.Action] = act.Nothing


CASES = [
    # the end, and the way there
    Case("landed", facts(rows.started(**OVER)), P.LAND, S.LANDED, "landed", act.CleanUp),
    Case("over with a session", facts(rows.started(**OVER, cleaned=True)), P.LAND, S.LANDED, "over", act.Stop),
    Case("over", facts(rows.started(**OVER, cleaned=True), session=ENDED), P.LAND, S.LANDED, "over"),
    Case(
        "over in the checkout",
        facts(IN_CHECKOUT_OVER, session=ENDED, messages=(FAILED,)),
        P.IMPLEMENT,
        S.FAILED,
        "over",
        act.CleanUp,
    ),
    Case("is being landed", approved(entry=rows.entry(QueueState.LANDING)), P.LAND, S.QUEUED, "landing"),
    Case("too late", approved(task=CANCELLED, entry=rows.entry(QueueState.LANDING)), P.LAND, S.QUEUED, "landing"),
    Case("leaves the queue", approved(task=CANCELLED, entry=rows.entry()), P.LAND, S.QUEUED, "leaving"),
    Case("cancelled in a session", passed(task=CANCELLED), P.APPROVE, S.ACTIVE, "cancelling", act.Stop),
    Case(
        "cancelled, work not kept",
        facts(CANCELLED, session=ENDED, messages=(UNSETTLED,)),
        P.IMPLEMENT,
        S.ACTIVE,
        "cancelling",
        act.Settle,
    ),
    Case("cancelled", passed(task=CANCELLED, session=ENDED), P.APPROVE, S.CANCELLED, "cancelled", act.Finish),
    Case(
        "cancelled, worktree gone",
        facts(CANCELLED, session=ENDED, messages=(UNSETTLED,), observed=GONE),
        P.IMPLEMENT,
        S.CANCELLED,
        "cancelled",
        act.Finish,
    ),
    Case(
        "cancelled before it began",
        unstarted(task=rows.task(wanted="cancelled")),
        None,
        S.CANCELLED,
        "cancelled",
        act.Finish,
    ),
    # before the start
    Case("the checkout is taken", unstarted(task=rows.task(fields=SHARED), ahead="other"), None, S.READY, "checkout"),
    Case("needs something", unstarted(needs=(Need("r/b", "b", None),)), None, S.BLOCKED, "needs"),
    Case("needs what failed", unstarted(needs=(Need("r/b", "b", S.FAILED),)), None, S.BLOCKED, "need broken"),
    Case(
        "needs all, one failed",
        unstarted(needs=(Need("r/b", "b", S.FAILED, True), Need("r/c", "c", None, True))),
        None,
        S.BLOCKED,
        "needs",
    ),
    Case(
        "needs all, one failed, all over",
        unstarted(needs=(Need("r/b", "b", S.FAILED, True), Need("r/c", "c", S.LANDED, True))),
        None,
        S.BLOCKED,
        "need broken",
    ),
    Case("paused before the start", unstarted(**HELD), None, S.READY, "paused"),
    Case("ready", unstarted(needs=(Need("r/b", "b", S.FINISHED),)), None, S.READY, "ready", act.Admit),
    # what the person said
    Case(
        "interrupts", running(task=rows.started(interrupt=True)), P.IMPLEMENT, S.ACTIVE, "interrupting", act.Interrupt
    ),
    Case("interrupts nothing", passed(task=rows.started(interrupt=True)), P.APPROVE, S.WAITING, "review", act.Ask),
    Case(
        "answered",
        passed(items=(rows.item(answer={"key": "1"}, answered_at=180.0),)),
        P.APPROVE,
        S.ACTIVE,
        "answer",
        act.Apply,
    ),
    Case(
        "answer on its way",
        running(messages=(rows.turn(state=Delivery.DELIVERED, result=None), CONTROL)),
        P.IMPLEMENT,
        S.ACTIVE,
        "deliver",
        act.Deliver,
    ),
    Case("asks", running(items=(rows.item(),)), P.IMPLEMENT, S.WAITING, "question"),
    Case("asks for leave", running(items=(rows.item(ItemKind.PERMISSION),)), P.IMPLEMENT, S.WAITING, "permission"),
    Case(
        "asks and dies", running(items=(rows.item(),), observed=DEAD), P.IMPLEMENT, S.WAITING, "question", act.Recover
    ),
    Case(
        "asks for leave and dies",
        running(items=(rows.item(ItemKind.PERMISSION, session="s1"),), observed=DEAD),
        P.IMPLEMENT,
        S.ACTIVE,
        "recover",
        act.Recover,
    ),
    Case(
        "asks for leave before another that dies",
        running(items=(rows.item(ItemKind.PERMISSION, session="s0"),), observed=DEAD),
        P.IMPLEMENT,
        S.WAITING,
        "permission",
        act.Recover,
    ),
    Case(
        "asks, then ends",
        facts(messages=(UNSETTLED,), items=(rows.item(),)),
        P.IMPLEMENT,
        S.WAITING,
        "question",
        act.Settle,
    ),
    Case(
        "asks before the record is known to be written",
        running(Delivery.WRITTEN, items=(rows.item(),)),
        P.IMPLEMENT,
        S.WAITING,
        "question",
        act.Deliver,
    ),
    Case("waits for a review", with_item(ItemKind.REVIEW), P.APPROVE, S.WAITING, "review"),
    Case("waits with a plan", with_item(ItemKind.PLAN), P.APPROVE, S.WAITING, "plan"),
    Case("waits at a checkpoint", with_item(ItemKind.CHECKPOINT), P.APPROVE, S.WAITING, "checkpoint"),
    Case("waits over budget", with_item(ItemKind.BUDGET), P.APPROVE, S.WAITING, "budget"),
    Case("waits stalled", running(items=(rows.item(ItemKind.STALL),)), P.IMPLEMENT, S.WAITING, "stall"),
    Case(
        "waits in the queue", ejected("conflict", items=(rows.item(ItemKind.CONFLICT),)), P.LAND, S.WAITING, "conflict"
    ),
    Case(
        "waits for set-up",
        facts(rows.started(workspace=None), messages=(), items=(rows.item(ItemKind.SETUP),)),
        P.PREPARE,
        S.WAITING,
        "setup",
    ),
    Case(
        "waits with a red check",
        facts(checks=FAILURES, items=(rows.item(ItemKind.FAILURE),)),
        P.CHECK,
        S.WAITING,
        "failure",
    ),
    Case(
        "outside of its files",
        facts(rows.started(fields=SHARED, files=("src/**",), diff={"files": 1, "paths": ["README.md"]})),
        P.CHECK,
        S.ACTIVE,
        "repair",
        act.Compose,
    ),
    # prepare
    Case("has a place", facts(rows.started(workspace=None), messages=()), P.PREPARE, S.ACTIVE, "prepare", act.Prepare),
    Case("paused in prepare", facts(rows.started(workspace=None), **HELD), P.PREPARE, S.ACTIVE, "paused"),
    Case(
        "waits for the checkout",
        facts(rows.started(workspace=None, fields=SHARED), messages=(), ahead="other"),
        P.PREPARE,
        S.ACTIVE,
        "checkout",
    ),
    Case(
        "checkout on another branch",
        passed(task=IN_CHECKOUT, observed=ELSEWHERE),
        P.PREPARE,
        S.WAITING,
        "setup",
        act.Ask,
    ),
    Case("worktree gone", passed(observed=GONE), P.PREPARE, S.WAITING, "setup", act.Ask),
    Case("worktree gone, auto", passed(observed=GONE, run=AUTO), P.PREPARE, S.ACTIVE, "failed", act.Finish),
    Case("worktree gone while queued", approved(observed=GONE, entry=rows.entry()), P.LAND, S.QUEUED, "queued"),
    Case("worktree gone in a turn", running(observed=GONE), P.IMPLEMENT, S.ACTIVE, "working"),
    Case("nobody can tell", passed(observed=Observed()), P.APPROVE, S.WAITING, "review", act.Ask),
    # implement
    Case("begins", facts(messages=(), session=None), P.IMPLEMENT, S.ACTIVE, "start", act.Compose),
    Case("paused before its first turn", facts(messages=(), **HELD), P.IMPLEMENT, S.ACTIVE, "paused"),
    Case("to deliver", running(Delivery.QUEUED), P.IMPLEMENT, S.ACTIVE, "deliver", act.Deliver),
    Case("paused before delivery", running(Delivery.QUEUED, **HELD), P.IMPLEMENT, S.ACTIVE, "paused"),
    Case("written", running(Delivery.WRITTEN), P.IMPLEMENT, S.ACTIVE, "deliver", act.Deliver),
    Case("works", running(), P.IMPLEMENT, S.ACTIVE, "working"),
    Case("works, shim unknown", running(observed=Observed(worktree=True)), P.IMPLEMENT, S.ACTIVE, "working"),
    Case("works though paused", running(**HELD), P.IMPLEMENT, S.ACTIVE, "working"),
    Case("session died", running(observed=DEAD), P.IMPLEMENT, S.ACTIVE, "recover", act.Recover),
    Case("session ended", running(session=ENDED), P.IMPLEMENT, S.ACTIVE, "recover", act.Recover),
    Case("lost on the way", running(Delivery.UNDELIVERED), P.IMPLEMENT, S.WAITING, "undelivered", act.Ask),
    Case("lost on the way, auto", running(Delivery.UNDELIVERED, run=AUTO), P.IMPLEMENT, S.ACTIVE, "failed", act.Finish),
    Case("turn over", facts(messages=(UNSETTLED,)), P.IMPLEMENT, S.ACTIVE, "settle", act.Settle),
    Case("turn interrupted", facts(messages=(INTERRUPTED,)), P.IMPLEMENT, S.WAITING, "interrupted", act.Ask),
    Case("turn failed", facts(messages=(FAILED,)), P.IMPLEMENT, S.WAITING, "failure", act.Ask),
    Case("turn failed, auto", facts(messages=(FAILED,), run=AUTO), P.IMPLEMENT, S.ACTIVE, "failed", act.Finish),
    Case("vendor limits", facts(messages=(LIMITED,)), P.IMPLEMENT, S.ACTIVE, "limited"),
    Case(
        "a conflict for its resolver",
        facts(messages=CONFLICTED, run=RESOLVED),
        P.IMPLEMENT,
        S.ACTIVE,
        "handover",
        act.Stop,
    ),
    Case(
        "its resolver begins",
        facts(messages=CONFLICTED, run=RESOLVED, session=ENDED),
        P.IMPLEMENT,
        S.ACTIVE,
        "deliver",
        act.Deliver,
    ),
    Case("a conflict without one", facts(messages=CONFLICTED), P.IMPLEMENT, S.ACTIVE, "deliver", act.Deliver),
    Case(
        "back to its own agent",
        facts(messages=REPAIR, run=RESOLVED, session=RESOLVER),
        P.IMPLEMENT,
        S.ACTIVE,
        "handover",
        act.Stop,
    ),
    Case(
        "vendor limits, spare agent",
        facts(messages=(LIMITED,), run=SPARED),
        P.IMPLEMENT,
        S.ACTIVE,
        "fallback",
        act.Stop,
    ),
    Case(
        "the spare agent begins",
        facts(messages=(LIMITED,), run=SPARED, session=ENDED),
        P.IMPLEMENT,
        S.ACTIVE,
        "fallback",
        act.FallBack,
    ),
    Case(
        "the spare agent is limited, too",
        facts(rows.started(attempts={"fallback": 1}), messages=(LIMITED,), run=SPARED),
        P.IMPLEMENT,
        S.ACTIVE,
        "limited",
    ),
    Case(
        "the time of its vendor has come",
        facts(messages=(LIMITED,), now=500.0),
        P.IMPLEMENT,
        S.ACTIVE,
        "again",
        act.Compose,
    ),
    Case("the same, paused", facts(messages=(LIMITED,), now=500.0, **HELD), P.IMPLEMENT, S.ACTIVE, "paused"),
    Case(
        "its vendor never takes more",
        facts(rows.started(attempts={"limited": 5}), messages=REFUSED),
        P.IMPLEMENT,
        S.WAITING,
        "failure",
        act.Ask,
    ),
    Case("nearly spent", passed(spent=NEARLY), P.APPROVE, S.WAITING, "review", act.Warn),
    Case("spent before the first turn", facts(messages=(), spent=SPENT), P.IMPLEMENT, S.WAITING, "budget", act.Ask),
    Case("spent, auto", facts(messages=(), spent=SPENT, run=AUTO), P.IMPLEMENT, S.ACTIVE, "failed", act.Finish),
    Case("spent in a turn", running(spent=SPENT), P.IMPLEMENT, S.ACTIVE, "over budget", act.Interrupt),
    Case("told to stop", running(spent=SPENT, messages=(WORKS, CUT)), P.IMPLEMENT, S.ACTIVE, "working"),
    Case("stopped", facts(messages=(INTERRUPTED,), spent=SPENT), P.IMPLEMENT, S.WAITING, "budget", act.Ask),
    Case("spent, red check", facts(checks=FAILURES, spent=SPENT), P.CHECK, S.WAITING, "budget", act.Ask),
    Case("spent, conflict", ejected("conflict", spent=SPENT), P.LAND, S.WAITING, "budget", act.Ask),
    Case("spent, but done", approved(spent=SPENT), P.LAND, S.QUEUED, "enqueue", act.Enqueue),
    Case(
        "as much again was granted",
        facts(messages=(), spent=SPENT, items=(GRANTED,)),
        P.IMPLEMENT,
        S.ACTIVE,
        "start",
        act.Compose,
    ),
    Case(
        "turn failed, taken as it is",
        facts(
            messages=(rows.turn(result=TurnResult.FAILED, head=rows.HEAD),),
            items=(rows.item(ItemKind.FAILURE, "failure:1", answer={"key": "continue"}, closed_at=185.0),),
        ),
        P.CHECK,
        S.ACTIVE,
        "checking",
        act.RunChecks,
    ),
    Case(
        "turn failed, taken, but nothing could be committed",
        facts(
            messages=(FAILED,),
            items=(rows.item(ItemKind.FAILURE, "failure:1", answer={"key": "continue"}, closed_at=185.0),),
        ),
        P.IMPLEMENT,
        S.WAITING,
        "failure",
        act.Ask,
    ),
    Case(
        "nothing changed",
        facts(rows.started(diff={"files": 0})),
        P.IMPLEMENT,
        S.WAITING,
        "nochange",
        act.Ask,
    ),
    Case("nothing changed, auto", facts(rows.started(diff={}), run=AUTO), P.IMPLEMENT, S.ACTIVE, "failed", act.Finish),
    Case(
        "waits with no change",
        facts(rows.started(diff={}), items=(rows.item(ItemKind.NOCHANGE, "nochange:1"),)),
        P.IMPLEMENT,
        S.WAITING,
        "nochange",
    ),
    Case(
        "waits interrupted",
        facts(messages=(INTERRUPTED,), items=(rows.item(ItemKind.INTERRUPTED),)),
        P.IMPLEMENT,
        S.WAITING,
        "interrupted",
    ),
    Case(
        "waits undelivered",
        running(Delivery.UNDELIVERED, items=(rows.item(ItemKind.UNDELIVERED),)),
        P.IMPLEMENT,
        S.WAITING,
        "undelivered",
    ),
    Case(
        "waits failed",
        facts(messages=(FAILED,), items=(rows.item(ItemKind.FAILURE, "failure:1"),)),
        P.IMPLEMENT,
        S.WAITING,
        "failure",
    ),
    # a task that lands nothing
    Case("report ready", facts(rows.started(lands=False), specs=()), P.APPROVE, S.WAITING, "review", act.Ask),
    Case(
        "report accepted by policy",
        facts(rows.started(lands=False), specs=(), run=AUTO),
        P.APPROVE,
        S.ACTIVE,
        "finished",
        act.Finish,
    ),
    # check
    Case("to check", facts(), P.CHECK, S.ACTIVE, "checking", act.RunChecks),
    Case("checked another tree", facts(checks=(rows.check(tree="x"),)), P.CHECK, S.ACTIVE, "checking", act.RunChecks),
    Case("paused before checks", facts(**HELD), P.CHECK, S.ACTIVE, "paused"),
    Case("check failed", facts(checks=FAILURES), P.CHECK, S.ACTIVE, "repair", act.Compose),
    Case("rounds used up", facts(TIRED, checks=FAILURES), P.CHECK, S.WAITING, "failure", act.Ask),
    Case("rounds used up, auto", facts(TIRED, checks=FAILURES, run=AUTO), P.CHECK, S.ACTIVE, "failed", act.Finish),
    Case("cannot check", facts(checks=(rows.check(CheckResult.ERROR),)), P.CHECK, S.WAITING, "failure", act.Ask),
    # approve
    Case("to approve", passed(), P.APPROVE, S.WAITING, "review", act.Ask),
    Case("approved before", passed(approval=rows.approval(patch="old")), P.APPROVE, S.WAITING, "review", act.Ask),
    Case("approved by policy", passed(run=AUTO), P.APPROVE, S.ACTIVE, "approve", act.Approve),
    # land
    Case("to queue", approved(), P.LAND, S.QUEUED, "enqueue", act.Enqueue),
    Case("paused before the queue", approved(**HELD), P.LAND, S.ACTIVE, "paused"),
    Case("queued", approved(entry=rows.entry()), P.LAND, S.QUEUED, "queued"),
    Case("tested", approved(entry=rows.entry(QueueState.TESTING)), P.LAND, S.QUEUED, "queued"),
    Case("an earlier state queued", approved(entry=rows.entry(head="old")), P.LAND, S.QUEUED, "leaving"),
    Case(
        "thrown out and settled",
        approved(entry=rows.entry(QueueState.EJECTED, cause="gate", settled=True)),
        P.LAND,
        S.QUEUED,
        "enqueue",
        act.Enqueue,
    ),
    Case("in conflict", ejected("conflict"), P.LAND, S.ACTIVE, "conflict", act.Compose),
    Case(
        "in conflict again and again",
        ejected("conflict", task=rows.started(attempts={"resolve": 2})),
        P.LAND,
        S.WAITING,
        "conflict",
        act.Ask,
    ),
    Case("gate red", ejected("gate"), P.LAND, S.ACTIVE, "repair", act.Compose),
    Case("gate red for good", ejected("gate", task=TIRED), P.LAND, S.WAITING, "failure", act.Ask),
    Case("gate red for good, auto", ejected("gate", task=TIRED, run=AUTO), P.LAND, S.ACTIVE, "failed", act.Finish),
    Case("gate cannot run", ejected("gate-error"), P.LAND, S.WAITING, "failure", act.Ask),
]
