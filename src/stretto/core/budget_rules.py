"""Budgets in the brain: no turn begins, and none goes on, beyond what the person allows.

Specification. A budget never ends a task: it interrupts the running turn once and asks before the next. What the
person should know of a budget (80 % used, a cost that nobody can tell) is told once, before anything else is done.
"""

from __future__ import annotations

from stretto.core.actions import Action, Ask, Compose, Deliver, FallBack, Interrupt, Warn
from stretto.core.decision import Decision, ask, listed, shim_dead
from stretto.core.facts import Facts, Limits
from stretto.core.model import Delivery, ItemKind, MessageKind, Stage, State
from stretto.core.usage import due, exceeded


def within_budget(f: Facts, decision: Decision) -> Decision:
    """The decision, if it begins no turn that a budget forbids; what the person should be told of one comes first."""
    if f.task.outcome is not None or f.task.admitted_at is None:
        return decision
    level = exceeded(f.spent, f.items)
    if level is None or not _begins_turn(f, decision.action):
        return _told(f, decision)
    text = f"the budget is used up: {level.text}"
    return ask(f, decision.stage or Stage.IMPLEMENT, ItemKind.BUDGET, f"budget:{level.key}", text, used=level.used)


def _begins_turn(f: Facts, action: Action) -> bool:
    """Whether an action leads to the next turn, or asks about one that a budget cut short."""
    if isinstance(action, Compose | FallBack):
        return True
    if isinstance(action, Deliver):
        turn = f.turn
        return turn is not None and turn.n == action.n and turn.state is Delivery.QUEUED
    return isinstance(action, Ask) and action.kind is ItemKind.INTERRUPTED


def _told(f: Facts, decision: Decision) -> Decision:
    """The same decision, but first the person is told that a budget is nearly used, or cannot be counted."""
    note = due(f.spent)
    if note is None:
        return decision
    level, key = note
    text = f"{level.share:.0%} of a budget is used: {level.text}"
    if key.endswith(":unknown"):
        text = f"the cost of {listed(list(level.unknown))} is not known: the budget of {level.text} does not count it"
    warn = Warn(key, text, level.scope, level.measure, level.used, level.limit)
    return Decision(decision.stage, decision.state, decision.reason, warn, decision.cause)


def over_budget(f: Facts, limits: Limits) -> Decision | None:
    """A running turn has used a budget up: it is interrupted, once; what it did stays."""
    turn = f.turn
    if turn is None or not f.turn_running or shim_dead(f) or turn.state is not Delivery.DELIVERED:
        return None
    level = exceeded(f.spent, f.items)
    if level is None or any(m.kind is MessageKind.INTERRUPT and m.n > turn.n for m in f.messages):
        return None
    why = f"is being interrupted: the budget is used up: {level.text}"
    return Decision(Stage.IMPLEMENT, State.ACTIVE, why, Interrupt(), "over budget")
