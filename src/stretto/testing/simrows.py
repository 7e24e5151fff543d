"""The rows of the simulator: what the store would hold of each task, changed by whole transactions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from stretto.core import actions as act
from stretto.core.answers import Consequence, consequence
from stretto.core.facts import Facts, Observed, expand_needs
from stretto.core.inbox import options
from stretto.core.landing import OPEN
from stretto.core.limit_rules import LIMITED, PAUSES
from stretto.core.model import (
    Approval,
    Check,
    CheckResult,
    CheckSpec,
    Delivery,
    Entry,
    Item,
    ItemKind,
    Message,
    MessageKind,
    Origin,
    QueueState,
    Run,
    Session,
    State,
    Task,
    TurnResult,
)

Effect = Generator[None, None, None]
UNDER_WAY = {Delivery.WRITTEN, Delivery.DELIVERED}


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class Shim:
    """The folder of a session, and the agent that its shim owns."""

    session: str
    started: bool = False
    alive: bool = False
    records: list[tuple[int, MessageKind, int]] = field(default_factory=list)
    attempting: int = 0
    delivered: int = 0
    running: int | None = None
    ended: dict[int, tuple[TurnResult, str]] = field(default_factory=dict)
    asked: list[tuple[int, ItemKind, str]] = field(default_factory=list)
    waits: bool = False


@dataclass(slots=True)
class Life:
    """Everything about one task: its rows, then its part of the world."""

    task: Task
    specs: tuple[CheckSpec, ...]
    session: Session | None = None
    messages: dict[int, Message] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    entries: dict[int, Entry] = field(default_factory=dict)
    since: tuple[State, float] = (State.READY, 0.0)
    # the world
    shims: dict[str, Shim] = field(default_factory=dict)
    worktree: bool = False
    work: int = 0
    commits: list[int] = field(default_factory=lambda: [0])
    kept: set[int] = field(default_factory=set)
    received: Counter[int] = field(default_factory=Counter)
    resends: Counter[int] = field(default_factory=Counter)
    #: the turns that agents got, and the role of the session that each was given to
    played: dict[int, str] = field(default_factory=dict)
    #: turns that resolve a conflict, or go on with one that does, where another agent does that
    conflicts: set[int] = field(default_factory=set)
    #: how often it went on by itself after a vendor that takes no more, since anything else happened
    tries: int = 0
    effect: Effect | None = None
    name: str = ""
    begun: int = 0


class Rows:
    """All tasks of one run, and one target: what is known of them, and the actions that only write rows."""

    def __init__(self, rng: random.Random, run: Run, tasks: list[Task], specs: tuple[CheckSpec, ...]) -> None:
        self.rng, self.run = rng, run
        self.now = 0.0
        self.stamp = 0
        self.chaos = True
        self.badness = 1.0
        #: whether the vendor takes next to nothing, and goes on so when all else is healed
        self.scarce = False
        self.lives = {t.uid: Life(t, specs if t.lands else ()) for t in tasks}
        self.target: list[tuple[str, str]] = [("base", "")]
        self.gates: dict[str, CheckResult] = {}
        self.conflicts: dict[tuple[str, str], bool] = {}
        self.appended: set[tuple[str, int]] = set()
        self.numbers = 0

    # ------------------------------------------------------------ small tools

    def next(self) -> int:
        """A number that was not used before."""
        self.numbers += 1
        return self.numbers

    def odds(self, chance: float) -> bool:
        """Whether something bad happens; never once the world is healed."""
        return self.chaos and self.rng.random() < chance * self.badness

    def set_task(self, life: Life, **changes: Any) -> None:
        """Change a task's row."""
        life.task = replace(life.task, **changes)
        self.stamp += 1

    def set_message(self, life: Life, n: int, **changes: Any) -> None:
        """Change a message's row."""
        life.messages[n] = replace(life.messages[n], **changes)
        self.stamp += 1

    def set_entry(self, life: Life, number: int, **changes: Any) -> None:
        """Change a row of the landing queue."""
        life.entries[number] = replace(life.entries[number], **changes)
        self.stamp += 1

    def set_item(self, life: Life, item: str, **changes: Any) -> None:
        """Change a row of the inbox."""
        life.items[item] = replace(life.items[item], **changes)
        self.stamp += 1

    def facts(self, life: Life) -> Facts:
        """What the engine reads of a task."""
        siblings = {other.task.id: other.task for other in self.lives.values()} if life.task.needs else {}
        standing = [a for a in life.approvals if a.revoked_at is None]
        return Facts(
            task=life.task,
            run=self.run,
            needs=expand_needs(life.task, siblings) if life.task.needs else (),
            session=life.session,
            messages=tuple(life.messages.values()),
            items=tuple(life.items.values()),
            checks=tuple(life.checks),
            specs=life.specs,
            approval=standing[-1] if standing else None,
            entry=next(reversed(life.entries.values()), None),
            now=self.now,
            observed=self.observe(life),
        )

    def observe(self, life: Life) -> Observed:
        """A look at the world; now and then it fails."""
        worktree = None if life.task.workspace is None or self.odds(0.03) else life.worktree
        shim = None
        if life.session is not None and life.session.ended_at is None and not self.odds(0.03):
            folder = life.shims[life.session.id]
            shim = folder.alive if folder.started else None
        return Observed(worktree=worktree, shim=shim)

    # ------------------------------------------------------------ actions that only write rows

    def ask(self, life: Life, action: act.Ask) -> None:
        """Open an inbox item, once for each key."""
        extra = action.payload.get("extra", [])
        self.open_item(life, action.kind, action.key, action.payload, options(action.kind, *extra))

    def open_item(self, life: Life, kind: ItemKind, key: str, payload: dict[str, Any], keys: Any = None) -> None:
        """Write an item unless its key is known."""
        if any(i.key == key for i in life.items.values()):
            return
        session = life.session
        item = Item(
            id=f"i{self.next()}",
            task=life.task.uid,
            kind=kind,
            key=key,
            text=key,
            options=options(kind) if keys is None else keys,
            payload=payload,
            opened_at=self.now,
            session=session.id if session else None,
            generation=session.generation if session else 0,
        )
        life.items[item.id] = item
        self.stamp += 1

    def close_items(self, life: Life, keep: tuple[ItemKind, ...] = ()) -> None:
        """Close what is open: something else decided it."""
        for item in list(life.items.values()):
            if item.closed_at is None and item.answered_at is None and item.kind not in keep:
                self.set_item(life, item.id, closed_at=self.now)

    def add_turn(self, life: Life, origin: Origin) -> None:
        """Append a turn."""
        self.add_message(life, MessageKind.TURN, origin, None)

    def add_message(self, life: Life, kind: MessageKind, origin: Origin, session: str | None) -> int:
        """Append a message; its number."""
        n = len(life.messages) + 1
        turns = [m.n for m in life.messages.values() if m.kind is MessageKind.TURN]
        goes_on = origin in {Origin.RESUME, Origin.ANSWER} and turns[-1:] and turns[-1] in life.conflicts
        if kind is MessageKind.TURN and self.run.config.get("roles") and (origin is Origin.CONFLICT or goes_on):
            life.conflicts.add(n)
        life.messages[n] = Message(
            task=life.task.uid,
            n=n,
            kind=kind,
            origin=origin,
            text=f"{origin.value} {n}",
            state=Delivery.QUEUED,
            created_at=self.now,
            session=session,
        )
        self.stamp += 1
        return n

    def compose(self, life: Life, action: act.Compose) -> None:
        """Write the next turn's message; count the round."""
        if action.counter == LIMITED:
            self._tried(life)
        attempts = dict(life.task.attempts)
        if action.counter:
            attempts[action.counter] = attempts.get(action.counter, 0) + 1
        self.set_task(life, attempts=attempts)
        for entry in list(life.entries.values()):
            if entry.state is QueueState.EJECTED and not entry.settled:
                self.set_entry(life, entry.id, settled=True)
        self.add_turn(life, action.origin)

    def _tried(self, life: Life) -> None:
        """It goes on after a vendor that took no more: not before its time, and not for ever."""
        last = list(life.messages.values())[-1]
        life.tries += 1
        if last.until is not None and self.now < last.until:
            raise Broken(f"{life.task.uid} goes on at {self.now}, before {last.until}")
        if life.tries > len(PAUSES):
            raise Broken(f"{life.task.uid} tried {life.tries} times, and nobody was asked")

    def give_approval(self, life: Life, by: str) -> None:
        """Bind consent to the patch of the task's head."""
        t = life.task
        if t.patch is None or t.head is None:
            return
        self.revoke(life)
        life.approvals.append(Approval(t.uid, t.head, "base", t.patch, by, self.now))
        self.stamp += 1

    def revoke(self, life: Life) -> None:
        """Withdraw what was approved."""
        life.approvals = [replace(a, revoked_at=a.revoked_at or self.now) for a in life.approvals]
        self.stamp += 1

    def enqueue(self, life: Life, t: Task) -> None:
        """Take a place in the landing queue, once for each head. `t`: the task as it was when this was begun."""
        if t.head is None or t.patch is None:
            return
        if any(e.head == t.head and e.state in OPEN for e in life.entries.values()):
            return
        for entry in list(life.entries.values()):
            if entry.state is QueueState.EJECTED and not entry.settled:
                self.set_entry(life, entry.id, settled=True)
        number = self.next()
        life.entries[number] = Entry(
            number, t.uid, t.repo, "main", t.head, t.patch, QueueState.WAITING, "", self.now, self.now
        )
        self.stamp += 1

    def end_task(self, life: Life, outcome: State, reason: str) -> None:
        """Write a task's outcome and close what waits for the person."""
        if life.task.outcome is not None:
            raise Broken(f"{life.task.uid} ended twice: {life.task.outcome} and {outcome}")
        self.set_task(life, outcome=outcome, outcome_reason=reason, ended_at=self.now, interrupt=False)
        self.close_items(life)

    def apply(self, life: Life, action: act.Apply) -> None:
        """Let the person's answer take effect."""
        f = self.facts(life)
        item = next((i for i in f.answered_items if i.id == action.item), None)
        if item is None:
            return
        effect = consequence(item, f)
        life.tries = 0
        self.set_item(life, item.id, applied_at=self.now, closed_at=self.now)
        if effect.control and life.session is not None and item.payload.get("source") != "socket":
            self.add_message(life, MessageKind.CONTROL, Origin.ANSWER, life.session.id)
        if effect.turn is not None:
            self.add_turn(life, effect.turn[0])
        self._change(life, effect)

    def _change(self, life: Life, effect: Consequence) -> None:
        if effect.cancel:
            self.cancel(life)
        if effect.finish is not None:
            self.end_task(life, *effect.finish)
        if effect.approve:
            self.give_approval(life, "person")
        if effect.reset:
            self.set_task(life, attempts={k: v for k, v in life.task.attempts.items() if k not in effect.reset})
        if effect.resend is not None:
            life.resends[effect.resend] += 1
            self.set_message(life, effect.resend, state=Delivery.QUEUED, session=None, number=None)
        if effect.resettle is not None:
            self.set_message(life, effect.resettle, settled=False)
        if effect.recheck is not None:
            life.checks = [c for c in life.checks if c.result is not CheckResult.ERROR]
        if effect.requeue:
            for entry in list(life.entries.values()):
                if entry.state is QueueState.EJECTED:
                    self.set_entry(life, entry.id, settled=True)
        if effect.rebuild:
            self.set_task(life, workspace=None, bay=None)

    def cancel(self, life: Life) -> None:
        """The person wants no more of it."""
        self.set_task(life, wanted="cancelled", paused=False)
        self.close_items(life)
        self.withdraw_entries(life)

    def withdraw_entries(self, life: Life) -> None:
        """Take a waiting or testing entry out of the queue; one that is being swapped in stays."""
        for entry in list(life.entries.values()):
            if entry.state in {QueueState.WAITING, QueueState.TESTING}:
                self.set_entry(life, entry.id, state=QueueState.EJECTED, cause="withdrawn", settled=True)
