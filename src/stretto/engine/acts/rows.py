"""Actions that only write rows: each is one transaction, carried out in the reconciler's own thread."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stretto.core import inbox
from stretto.core.actions import Action, Apply, Approve, Ask, Compose, FallBack, Finish, Warn
from stretto.core.answers import Consequence, consequence
from stretto.core.facts import Facts
from stretto.core.limited import TurnedAway
from stretto.core.model import (
    Approval,
    Delivery,
    Entry,
    Item,
    ItemKind,
    Message,
    MessageKind,
    Origin,
    QueueState,
    Session,
    State,
    Task,
)
from stretto.core.who import agent_of, fallback_of
from stretto.engine import environment, messages
from stretto.engine.parts import Parts
from stretto.store.sqlite import Reader, Writer

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


def short_id(length: int = 5) -> str:
    """A short random id without letters that look alike."""
    return "".join(random.choice(_LETTERS) for _ in range(length))


def ask(parts: Parts, f: Facts, action: Ask) -> None:
    """Open an inbox item, once for each key."""
    with parts.store.write() as tx:
        extra = action.payload.get("extra", [])
        payload = {k: v for k, v in action.payload.items() if k != "extra"}
        item = Item(
            id=short_id(),
            task=f.task.uid,
            kind=action.kind,
            key=action.key,
            text=action.text,
            options=inbox.options(action.kind, *extra),
            payload=payload,
            opened_at=tx.now,
            session=f.session.id if f.session else None,
            generation=f.session.generation if f.session else 0,
        )
        if payload.get("report"):
            item = replace(item, options=(("accept", "take the report"), *item.options[1:]))
        open_item(tx, item)


def warn(parts: Parts, f: Facts, action: Warn) -> None:
    """Tell of a budget, once for its scope: in the inbox of this task, and as an event."""
    key = f"budget-note:{action.key}"
    same = {"task": "uid = ?", "run": "run = ?"}.get(action.scope, "repo = ?")
    of = {"task": f.task.uid, "run": f.task.run}.get(action.scope, f.task.repo)
    with parts.store.write() as tx:
        where = f"SELECT COUNT(*) FROM items WHERE key = ? AND task IN (SELECT uid FROM tasks WHERE {same})"  # noqa: S608
        if tx.value(where, key, of):
            return
        note = Item(
            id=short_id(),
            task=f.task.uid,
            kind=ItemKind.BUDGET,
            key=key,
            text=action.text,
            options=(("continue", "I know"), ("cancel", "cancel the task, keeping its work")),
            payload={"note": True},
            opened_at=tx.now,
        )
        open_item(tx, note)
        tx.event(
            "budget.warned",
            task=f.task.uid,
            scope=action.scope,
            measure=action.measure,
            used=action.used,
            limit=action.limit,
            text=action.text,
        )


def open_item(tx: Writer, item: Item) -> None:
    """Write an item unless its key is known. The question about a budget takes the place of notes about one."""
    if not tx.insert(item, ignore=True):
        return
    tx.event("item.opened", task=item.task, item=item.id, kind=item.kind, text=item.text)
    if item.kind is ItemKind.BUDGET and "note" not in item.payload:
        for note in tx.select(Item, "task = ? AND kind = 'budget' AND closed_at IS NULL", item.task):
            if "note" in note.payload:
                tx.update(Item, note.id, closed_at=tx.now)
                tx.event("item.closed", task=note.task, item=note.id, reason="the budget is used up")


def close_items(tx: Writer, task: str, why: str, *, keep: tuple[ItemKind, ...] = ()) -> None:
    """Close what is open: something else decided it. What froze the queue concerns more than its task, and stays."""
    for item in tx.select(Item, "task = ? AND closed_at IS NULL AND answered_at IS NULL", task):
        if item.kind not in keep and "frozen" not in item.payload:
            tx.update(Item, item.id, closed_at=tx.now)
            tx.event("item.closed", task=task, item=item.id, reason=why)


def close_permissions(tx: Writer, session: Session, why: str) -> None:
    """Close what an agent asked to be allowed and can no longer be told. Questions stay: an answer starts a turn."""
    where = "task = ? AND session = ? AND kind = 'permission' AND closed_at IS NULL AND answered_at IS NULL"
    for item in tx.select(Item, where, session.task, session.id):
        tx.update(Item, item.id, closed_at=tx.now)
        tx.event("item.closed", task=session.task, item=item.id, reason=why)


def compose(parts: Parts, f: Facts, action: Compose) -> None:
    """Write the next turn's message; count the round."""
    env = environment.of_workspace(parts, f) if action.origin is Origin.START else None
    text = messages.text_for(parts, f, action.origin, env=env)
    with parts.store.write() as tx:
        if action.after is not None and action.after != last_turn(tx, f.task.uid):
            return  # somebody has said something meanwhile
        _recount(tx, f.task, action.counter)
        if f.entry is not None and f.entry.state is QueueState.EJECTED:
            tx.update(Entry, f.entry.id, settled=True)
        words = take_up(tx, f.task.uid) if action.origin is Origin.START else ""
        add_turn(tx, f.task.uid, action.origin, text + words)


#: why a message of the person is withdrawn that the next first message will say
_TAKEN_UP = "said again with the first message"


def set_aside(tx: Writer, task: str) -> int:
    """Before a task begins anew: keep what the person wrote to it and its agent never got; how many messages."""
    where = "task = ? AND kind = 'turn' AND origin IN ('person', 'comments', 'answer') AND delivered_at IS NULL"
    waiting = tx.select(Message, f"{where} AND state != 'withdrawn'", task)
    for message in waiting:
        tx.update(Message, (task, message.n), state=Delivery.WITHDRAWN, reason=_TAKEN_UP)
    return len(waiting)


def take_up(tx: Writer, task: str) -> str:
    """What was set aside for the first message of a task, to be put behind it; once."""
    kept = tx.select(Message, "task = ? AND state = 'withdrawn' AND reason = ? ORDER BY n", task, _TAKEN_UP)
    for message in kept:
        tx.update(Message, (task, message.n), reason="")
    said = "".join("\n" + message.text.partition("\n\n")[2] for message in kept)
    return f"\n## What the person wrote meanwhile\n{said}" if said else ""


def fall_back(parts: Parts, f: Facts, action: FallBack) -> None:
    """Hand the task to the next agent of its role: a turn that takes up the work, in a conversation of its own."""
    text = messages.text_for(parts, f, Origin.RESUME)
    turn = f.turn
    with parts.store.write() as tx:
        now = tx.one(Task, "uid = ?", f.task.uid)
        if now is None or now.attempts != f.task.attempts:
            return
        count_fall(tx, f, [TurnedAway(agent_of(f).name, action.reason)])
        if turn is not None:
            add_turn(tx, f.task.uid, Origin.RESUME, text)


def count_fall(tx: Writer, f: Facts, passed: Sequence[TurnedAway]) -> Facts:
    """Note which agents of a task, from the present one on, would not do; the facts with the one that is left."""
    before, counter = agent_of(f), fallback_of(f)
    attempts = {**f.task.attempts, counter: f.task.attempts.get(counter, 0) + len(passed)}
    changed = replace(f, task=replace(f.task, attempts=attempts))
    tx.update(Task, f.task.uid, attempts=changed.task.attempts)
    tx.event(
        "agent.replaced",
        task=f.task.uid,
        agent=agent_of(changed).name,
        instead_of=before.name,
        reason="; ".join(one.why for one in passed),
        passed=[{"agent": one.agent, "reason": one.why, "limited": one.limited} for one in passed],
    )
    return changed


def last_turn(tx: Reader, task: str) -> int:
    """The number of a task's last turn; 0 if it has none."""
    return int(tx.value("SELECT COALESCE(MAX(n), 0) FROM messages WHERE task = ? AND kind = 'turn'", task))


def add_turn(tx: Writer, task: str, origin: Origin, text: str) -> int:
    """Append a turn to a task's messages; its number."""
    n = int(tx.value("SELECT COALESCE(MAX(n), 0) + 1 FROM messages WHERE task = ?", task))
    tx.insert(
        Message(
            task=task,
            n=n,
            kind=MessageKind.TURN,
            origin=origin,
            text=text,
            state=Delivery.QUEUED,
            created_at=tx.now,
        )
    )
    tx.event("message.composed", task=task, n=n, kind="turn", origin=origin)
    return n


def add_control(tx: Writer, task: str, session: str, kind: MessageKind, origin: Origin, data: str) -> int:
    """Append a record of the session's protocol (an answer, an interrupt); its number."""
    n = int(tx.value("SELECT COALESCE(MAX(n), 0) + 1 FROM messages WHERE task = ?", task))
    tx.insert(
        Message(
            task=task,
            n=n,
            kind=kind,
            origin=origin,
            text="",
            state=Delivery.QUEUED,
            created_at=tx.now,
            session=session,
            data=data,
        )
    )
    return n


def _recount(tx: Writer, task: Task, counter: str | None) -> None:
    attempts = dict(task.attempts)
    for name in ("implement", counter):
        if name:
            attempts[name] = attempts.get(name, 0) + 1
    tx.update(Task, task.uid, attempts=attempts)


def approve(parts: Parts, f: Facts, action: Approve) -> None:
    """Record the policy's consent to this patch."""
    with parts.store.write() as tx:
        give_approval(tx, f.task, "auto")


def give_approval(tx: Writer, task: Task, by: str) -> None:
    """Bind consent to the patch of the task's head."""
    if task.patch is None or task.head is None:
        return
    base = str(task.diff.get("base") or task.base or "")
    tx.execute("UPDATE approvals SET revoked_at = ? WHERE task = ? AND revoked_at IS NULL", tx.now, task.uid)
    tx.insert(Approval(task=task.uid, head=task.head, base=base, patch=task.patch, by=by, at=tx.now))
    tx.event("approval.given", task=task.uid, patch=task.patch, head=task.head, by=by)


def finish(parts: Parts, f: Facts, action: Finish) -> None:
    """The task is over."""
    with parts.store.write() as tx:
        end_task(tx, f.task, action.outcome, action.reason)


def end_task(tx: Writer, task: Task, outcome: State, reason: str) -> None:
    """Write a task's outcome and close what waits for the person."""
    tx.update(Task, task.uid, outcome=outcome, outcome_reason=reason, ended_at=tx.now, interrupt=False)
    close_items(tx, task.uid, outcome.value)
    tx.event("task.finished", task=task.uid, outcome=outcome, reason=reason)


def apply(parts: Parts, f: Facts, action: Apply) -> None:
    """Let the person's answer take effect, exactly once: in the transaction that marks it applied."""
    item = next((i for i in f.answered_items if i.id == action.item), None)
    if item is None:
        return
    effect = consequence(item, f)
    text = _turn_text(parts, f, item, effect)
    with parts.store.write() as tx:
        tx.update(Item, item.id, applied_at=tx.now, closed_at=tx.now)
        if effect.control:
            _to_session(parts, tx, f, item)
        if effect.turn is not None:
            add_turn(tx, f.task.uid, effect.turn[0], text)
        _change(tx, f, effect)


def _turn_text(parts: Parts, f: Facts, item: Item, effect: Consequence) -> str:
    if effect.turn is None:
        return ""
    origin, words = effect.turn
    return messages.text_for(parts, f, origin, words, question=item.text)


def _to_session(parts: Parts, tx: Writer, f: Facts, item: Item) -> None:
    """Write the answer as a record of the agent's own protocol. Answers to the agent API are read by its client."""
    if f.session is None or item.payload.get("source") == "socket":
        return
    data = parts.agent(str(f.session.parser.get("type") or agent_of(f).type)).answer(item.payload, item.answer or {})
    if data is not None:
        add_control(tx, f.task.uid, f.session.id, MessageKind.CONTROL, Origin.ANSWER, data)


def _change(tx: Writer, f: Facts, effect: Consequence) -> None:
    t = f.task
    if effect.cancel:
        cancel(tx, t)
    if effect.finish is not None:
        end_task(tx, t, *effect.finish)
    if effect.approve:
        give_approval(tx, t, "person")
    if effect.reset:
        tx.update(Task, t.uid, attempts={k: v for k, v in t.attempts.items() if k not in effect.reset})
    if effect.resend is not None:
        tx.execute(
            "UPDATE messages SET state = 'queued', session = NULL, number = NULL WHERE task = ? AND n = ?",
            t.uid,
            effect.resend,
        )
    if effect.resettle is not None:
        tx.update(Message, (t.uid, effect.resettle), settled=False)
    if effect.recheck is not None:
        tx.execute("DELETE FROM checks WHERE task = ? AND result = 'error'", t.uid)
    if effect.requeue:
        tx.execute("UPDATE queue SET settled = 1 WHERE task = ? AND settled = 0 AND state = 'ejected'", t.uid)
    if effect.rebuild:
        tx.update(Task, t.uid, workspace=None, bay=None, held={})


def cancel(tx: Writer, task: Task) -> None:
    """The person wants no more of it; what is in the queue leaves it."""
    tx.update(Task, task.uid, wanted="cancelled", paused=False)
    close_items(tx, task.uid, "cancelled")
    withdraw_entries(tx, task.uid, "cancelled")


def withdraw_entries(tx: Writer, task: str, why: str) -> None:
    """Take a task's waiting or testing entry out of the queue; one that is being swapped in stays."""
    rows = tx.select(Entry, "task = ? AND state IN ('waiting', 'testing')", task)
    for entry in rows:
        tx.update(
            Entry, entry.id, state=QueueState.EJECTED, cause="withdrawn", reason=why, settled=True, updated_at=tx.now
        )
        tx.event("queue.ejected", task=task, cause="withdrawn", files=[], reason=why)


ROW_ACTS: dict[type[Action], Callable[[Parts, Facts, Any], None]] = {
    Ask: ask,
    Compose: compose,
    FallBack: fall_back,
    Warn: warn,
    Approve: approve,
    Finish: finish,
    Apply: apply,
}
