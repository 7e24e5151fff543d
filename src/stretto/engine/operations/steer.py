"""Verbs that steer: each changes rows in one transaction and nudges the task; the reconciler does the rest."""

from __future__ import annotations

from typing import Any

from stretto.core import inbox
from stretto.core.answers import ROUNDS
from stretto.core.approval import holds
from stretto.core.decide import decide
from stretto.core.driver import by_driver
from stretto.core.errors import StrettoError, UsageError
from stretto.core.facts import limits_of
from stretto.core.limit_rules import LIMITED
from stretto.core.model import (
    Delivery,
    Item,
    ItemKind,
    Message,
    Origin,
    Run,
    State,
    Task,
)
from stretto.engine import messages
from stretto.engine.acts import panes, rows, takeover, work
from stretto.engine.acts.cleanup import remove as remove_workspace
from stretto.engine.acts.session import agent_socket
from stretto.engine.engine import Engine
from stretto.engine.operations import common, serving
from stretto.engine.operations.captures import secrets_of
from stretto.prompts import messages as prompts
from stretto.prompts.messages import Comment


def answer(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Answer an inbox item by the key of an option or in words."""
    wanted = common.words(args, "item")
    with engine.store.write() as tx:
        item = tx.one(Item, "id = ?", wanted)
        if item is None:
            raise StrettoError(f"there is no inbox item {wanted}", code="no_item", object=wanted, hint="stretto inbox")
        if item.closed_at is not None or item.answered_at is not None:
            raise StrettoError(
                f"item {wanted} is answered or closed already", code="item_closed", object=wanted, hint="stretto inbox"
            )
        reply = inbox.understand(item, common.words(args, "answer"))
        tx.update(Item, item.id, answer={"key": reply.key, "text": reply.text, "by": "person"}, answered_at=tx.now)
        tx.event(
            "item.answered", task=item.task, item=item.id, kind=item.kind, seconds=round(tx.now - item.opened_at, 3)
        )
        if "frozen" in item.payload:
            tx.update(Item, item.id, applied_at=tx.now, closed_at=tx.now)
            if reply.key == "retry":
                tx.execute("UPDATE repos SET frozen = NULL WHERE key = ?", item.payload["frozen"])
    engine.reconciler.nudge(None)
    return {"item": item.id, "task": item.task, "answer": {"key": reply.key, "text": reply.text}}


def send(engine: Engine, args: common.Args) -> dict[str, Any]:
    """The person's own words, or those of their driver, become the agent's next turn."""
    text = common.words(args, "text")
    if by_driver(args):
        _require_no_decision(engine, common.task_of(engine, args))
        text = prompts.driver_says(text, _templates(engine, args))
    return _say(engine, args, Origin.PERSON, text)


def _templates(engine: Engine, args: common.Args) -> dict[str, str]:
    """The project's own prompts, as they were when the task's run was made."""
    return common.facts_of(engine, common.task_of(engine, args)).run.config.get("prompts") or {}


def _require_no_decision(engine: Engine, task: Task) -> None:
    """A driver's words may not take the place of what the person was asked."""
    open_items = [item for item in common.facts_of(engine, task).open_items if item.kind is not ItemKind.REVIEW]
    if open_items:
        raise StrettoError(
            f"{task.id} waits for the person ({open_items[0].kind.value}), so nothing is sent to it now",
            code="agent_refused",
            object=task.uid,
            hint="tell the person what you would answer; they see it in: stretto inbox",
        )


def request_changes(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Send the work back, with the comments that were not sent yet; the approval is void."""
    task = common.task_of(engine, args)
    text = str(args.get("text") or "").replace("\0", "")
    with engine.store.read() as db:
        comments = db.rows("SELECT id, path, line, text FROM comments WHERE task = ? AND sent_at IS NULL", task.uid)
    if not text.strip() and not comments:
        raise StrettoError(
            "there is nothing to say: give a text, or comment first",
            code="empty",
            object=task.uid,
            hint=f'stretto request-changes {task.id} "…"',
        )
    listed = [Comment(id=f"c{c['id']}", text=c["text"], path=c["path"], line=c["line"]) for c in comments]
    told = prompts.comments(task, listed, text, _templates(engine, args))
    done = _say(engine, args, Origin.COMMENTS, told, revoke=True)
    with engine.store.write() as tx:
        for c in comments:
            tx.execute("UPDATE comments SET sent_at = ? WHERE id = ?", tx.now, c["id"])
    return done | {"comments": len(listed)}


def _say(engine: Engine, args: common.Args, origin: Origin, text: str, *, revoke: bool = False) -> dict[str, Any]:
    task = common.task_of(engine, args)
    common.require_open(task)
    if task.admitted_at is None:
        raise StrettoError(
            f"{task.id} has not started yet; change its spec in the plan instead",
            code="not_started",
            object=task.uid,
            hint=f"stretto explain {task.id}",
        )
    f = common.facts_of(engine, task)
    words = text if origin is Origin.COMMENTS else messages.text_for(engine.parts, f, origin, text)
    with engine.store.write() as tx:
        rows.withdraw_entries(tx, task.uid, "you sent it back")
        rows.close_items(tx, task.uid, "you wrote to the agent", keep=common.KEPT)
        if revoke:
            tx.execute("UPDATE approvals SET revoked_at = ? WHERE task = ? AND revoked_at IS NULL", tx.now, task.uid)
            tx.event("approval.void", task=task.uid, reason="changes were requested")
        attempts = {k: v for k, v in task.attempts.items() if k not in ROUNDS}
        tx.update(Task, task.uid, attempts=attempts)
        _withdraw_undelivered(tx.select(Message, "task = ? AND state = 'undelivered'", task.uid), tx)
        n = rows.add_turn(tx, task.uid, origin, words)
    engine.reconciler.nudge(task.uid)
    return {"task": task.uid, "n": n, "waits": f.turn_running}


def _withdraw_undelivered(found: list[Message], tx: Any) -> None:
    for message in found:
        tx.update(Message, (message.task, message.n), state=Delivery.WITHDRAWN)


def comment(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Keep a comment until changes are requested."""
    task = common.task_of(engine, args)
    common.require_open(task)
    line = args.get("line")
    if args.get("path"):
        _require_place(engine, task, str(args["path"]), line)
    with engine.store.write() as tx:
        tx.execute(
            "INSERT INTO comments (task, head, path, line, text, at) VALUES (?, ?, ?, ?, ?, ?)",
            task.uid,
            task.head,
            args.get("path"),
            int(line) if line is not None else None,
            common.words(args, "text"),
            tx.now,
        )
        number = int(tx.value("SELECT last_insert_rowid()"))
        tx.event("comment.added", task=task.uid, id=f"c{number}", path=args.get("path"), line=line)
    return {"task": task.uid, "comment": f"c{number}"}


def _require_place(engine: Engine, task: Task, path: str, line: Any) -> None:
    """Refuse a comment on a place that the agent will not find."""
    if task.head is None:
        return
    content = engine.parts.repositories.git(common.facts_of(engine, task).run.root).show(task.head, path)
    if content is None and path not in task.diff.get("paths", ()):
        raise UsageError(
            f"there is no file {path} in the work of {task.id}",
            code="no_place",
            object=path,
            hint=f'on the change as a whole: stretto comment {task.id} - "…"',
        )
    if content is not None and line is not None and int(line) > len(content.splitlines()):
        raise UsageError(f"{path} has no line {line}", code="no_place", object=path, hint=f"stretto diff {task.id}")


def approve(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Consent to exactly the patch that the task has now."""
    task = common.task_of(engine, args)
    common.require_open(task)
    f = common.facts_of(engine, task)
    if not task.lands:
        raise StrettoError(
            f"{task.id} lands nothing; accept its report instead",
            code="nothing_to_land",
            object=task.uid,
            hint="stretto inbox",
        )
    if task.patch is None or f.turn_running:
        words = "has not started yet" if task.admitted_at is None else "is still being worked on"
        raise StrettoError(f"{task.id} {words}", code="not_ready", object=task.uid, hint=f"stretto explain {task.id}")
    other = next((i for i in f.open_items if i.kind is not ItemKind.REVIEW), None)
    if other is not None and other.kind is ItemKind.NOCHANGE:
        raise StrettoError(
            f"{task.id} changed nothing, so there is nothing to approve",
            code="nothing_to_land",
            object=task.uid,
            hint=f"stretto answer {other.id} accept",
        )
    work.refresh(engine.parts, f)
    _require_shown(engine, task, args)
    with engine.store.write() as tx:
        fresh = tx.one(Task, "uid = ?", task.uid) or task
        rows.give_approval(tx, fresh, "person")
        for item in tx.select(Item, "task = ? AND kind = 'review' AND closed_at IS NULL", task.uid):
            tx.update(
                Item,
                item.id,
                answer={"key": "approve", "text": ""},
                answered_at=tx.now,
                applied_at=tx.now,
                closed_at=tx.now,
            )
            tx.event(
                "item.answered", task=task.uid, item=item.id, kind=item.kind, seconds=round(tx.now - item.opened_at, 3)
            )
        unsent = int(tx.value("SELECT COUNT(*) FROM comments WHERE task = ? AND sent_at IS NULL", task.uid))
    engine.reconciler.nudge(task.uid)
    notices = [f"{unsent} of your comments were not sent to its agent"] if unsent else []
    if other is not None:
        notices.append(f"before it can land it waits for something else of you ({other.kind.value}): stretto inbox")
    return {"task": task.uid, "patch": fresh.patch, "head": fresh.head, "notices": notices}


def _require_shown(engine: Engine, task: Task, args: common.Args) -> None:
    """Refuse consent to a patch that came after the one which was put before the person; that one is asked about anew.

    An edit by hand, or a process that the agent left behind, may change the worktree while a review is open.
    """
    with engine.store.write() as tx:
        fresh = tx.one(Task, "uid = ?", task.uid) or task
        shown = tx.select(Item, "task = ? AND kind = 'review' AND closed_at IS NULL", task.uid)
        stale = [item for item in shown if item.payload.get("patch") not in (None, fresh.patch)]
        for item in stale:
            tx.update(Item, item.id, closed_at=tx.now)
            tx.event("item.closed", task=task.uid, item=item.id, reason="its change is another now")
    if not stale and args.get("patch") in (None, fresh.patch):
        return
    engine.reconciler.nudge(task.uid)
    raise StrettoError(
        f"{task.id} changed since you were asked; look at it as it is now and approve again",
        code="changed",
        object=task.uid,
        hint=f"stretto diff {task.id}",
    )


def land(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Let an approved task land that left the queue; a task that is on its way is hurried by nothing.

    Raises StrettoError (`not_approved`) for one whose change nobody approved: `land` is no consent.
    """
    task = common.task_of(engine, args)
    common.require_open(task)
    f = common.facts_of(engine, task)
    if not f.auto and not holds(f.approval, str(task.patch or "")):
        raise StrettoError(
            f"{task.id} is not approved",
            code="not_approved",
            object=task.uid,
            hint=f"look at it (stretto diff {task.id}), then: stretto approve {task.id}",
        )
    return approve(engine, args)


def interrupt(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Interrupt the running turn."""
    task = common.task_of(engine, args)
    common.require_open(task)
    if not common.facts_of(engine, task).turn_running:
        raise StrettoError(
            f"{task.id} has no running turn", code="not_running", object=task.uid, hint=f"stretto explain {task.id}"
        )
    with engine.store.write() as tx:
        tx.update(Task, task.uid, interrupt=True)
    engine.reconciler.nudge(task.uid)
    return {"task": task.uid}


def attach(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Where the terminal of a task's session is; a session in stream mode is taken over for it."""
    task = common.task_of(engine, args)
    common.require_open(task)
    with engine.reconciler.claim(task.uid, "attach"):
        f = common.facts_of(engine, task)
        session = takeover.attach(engine.parts, f, look=bool(args.get("read_only")))
    place = panes.socket(session, agent_socket(engine.parts, session))
    return {"task": task.uid, "session": session.id, "socket": str(place), "name": panes.NAME}


def pause(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Start nothing new; a running turn goes on to its end."""
    return _hold(engine, args, True)


def resume(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Go on."""
    return _hold(engine, args, False)


def _hold(engine: Engine, args: common.Args, paused: bool) -> dict[str, Any]:
    if args.get("task"):
        task = common.task_of(engine, args)
        common.require_open(task)
        with engine.store.write() as tx:
            tx.update(Task, task.uid, paused=paused)
            tx.event("task.paused" if paused else "task.resumed", task=task.uid)
        if paused:
            serving.rest(engine, [task])
        engine.reconciler.nudge(task.uid)
        return {"task": task.uid, "paused": paused}
    run = common.run_of(engine, args)
    with engine.store.write() as tx:
        tx.update(Run, run.id, paused=paused)
        tx.event("run.paused" if paused else "run.resumed", repo=run.repo, run=run.id)
        held = tx.select(Task, "run = ? AND workspace IS NOT NULL", run.id)
    serving.rest(engine, held if paused else ())
    engine.reconciler.nudge(None)
    return {"run": run.id, "paused": paused}


def cancel(engine: Engine, args: common.Args) -> dict[str, Any]:
    """End tasks; their workspaces and branches stay (DECISIONS 14)."""
    tasks = common.tasks_of(engine, args)
    if args.get("task"):
        common.require_open(tasks[0])
    with engine.store.write() as tx:
        for task in tasks:
            rows.cancel(tx, task)
            tx.event("task.cancelling", task=task.uid)
    serving.rest(engine, tasks)
    engine.reconciler.nudge(None)
    return {"tasks": [t.uid for t in tasks]}


def retry(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Take failed or cancelled tasks up again, where they are, or `fresh` from the target.

    A task that failed for want of a secret value goes on with the values of the caller; one that waits for its vendor
    does so no longer.
    """
    if args.get("task") and (waiting := _secrets_back(engine, common.task_of(engine, args), args)):
        return {"tasks": [waiting.uid]}
    if args.get("task") and not args.get("fresh") and (limited := _waits_no_more(engine, args)):
        return {"tasks": [limited.uid]}
    tasks = _retriable(engine, args)
    for task in tasks:
        with engine.reconciler.claim(task.uid, "retry"):
            if args.get("fresh"):
                remove_workspace(engine.parts, common.facts_of(engine, task), "retry --fresh")
            _restart(engine, task, bool(args.get("fresh")))
    for run in {t.run for t in tasks}:
        with engine.store.read() as db:
            row = db.one(Run, "id = ?", run)
        if row is not None:
            engine.parts.secrets.keep(run, secrets_of(row, args))
    engine.reconciler.nudge(None)
    return {"tasks": [t.uid for t in tasks]}


def _secrets_back(engine: Engine, task: Task, args: common.Args) -> Task | None:
    """Take the secret values that a restart lost from the caller; the task if it waited for them."""
    with engine.store.read() as db:
        run = db.one(Run, "id = ?", task.run)
    if run is None or task.outcome is not None or not engine.parts.secrets.missing(run):
        return None
    engine.parts.secrets.keep(run.id, secrets_of(run, args))
    if missing := engine.parts.secrets.missing(run):
        raise StrettoError(
            f"{', '.join(missing)} must be set where this is called",
            code="secrets_lost",
            object=task.uid,
            hint=f"export {missing[0]}=…; stretto retry {task.id}",
        )
    with engine.store.write() as tx:
        where = "task = ? AND (kind = 'failure' OR key LIKE ? OR key LIKE 'prepare:%')"
        where += " AND answered_at IS NULL AND closed_at IS NULL"
        for item in tx.select(Item, where, task.uid, f"{inbox.SECRETS}%"):
            tx.update(Item, item.id, answer={"key": "retry", "text": "", "by": "person"}, answered_at=tx.now)
            seconds = round(tx.now - item.opened_at, 3)
            tx.event("item.answered", task=item.task, item=item.id, kind=item.kind, seconds=seconds)
    engine.reconciler.nudge(task.uid)
    return task


def _waits_no_more(engine: Engine, args: common.Args) -> Task | None:
    """Let a task go on at once that waits until its vendor takes more; None if it does not wait for that."""
    task = common.task_of(engine, args)
    with engine.reconciler.claim(task.uid, "retry"):
        f = common.facts_of(engine, task)
        if f.turn is None or decide(f, limits_of(f.run, f.task)).cause != LIMITED:
            return None
        text = messages.text_for(engine.parts, f, Origin.RESUME)
        with engine.store.write() as tx:
            if rows.last_turn(tx, task.uid) == f.turn.n:
                rows.add_turn(tx, task.uid, Origin.RESUME, text)
                tx.event("task.retried", task=task.uid, fresh=False)
    engine.reconciler.nudge(task.uid)
    return task


def _retriable(engine: Engine, args: common.Args) -> list[Task]:
    ended = {State.FAILED, State.CANCELLED}
    if args.get("task"):
        task = common.task_of(engine, args)
        if task.outcome not in ended:
            raise StrettoError(
                f"{task.id} is {task.outcome.value if task.outcome else 'not over'}; only failed or cancelled tasks "
                "are taken up again",
                code="not_over",
                object=task.uid,
                hint=f"stretto explain {task.id}",
            )
        return [task]
    run = common.run_of(engine, args)
    with engine.store.read() as db:
        return db.select(Task, "run = ? AND outcome IN ('failed', 'cancelled') ORDER BY position", run.id)


def _restart(engine: Engine, task: Task, fresh: bool) -> None:
    with engine.store.write() as tx:
        changes: dict[str, Any] = {
            "outcome": None,
            "outcome_reason": "",
            "ended_at": None,
            "wanted": "run",
            "paused": False,
            "interrupt": False,
            "attempts": {},
            "cleaned": False,
        }
        rows.close_items(tx, task.uid, "taken up again")
        tx.execute("UPDATE items SET key = key || ':' || id WHERE task = ?", task.uid)
        tx.execute("UPDATE queue SET settled = 1 WHERE task = ?", task.uid)
        tx.execute("DELETE FROM checks WHERE task = ? AND purpose = 'task' AND result != 'passed'", task.uid)
        if fresh:
            changes |= {"base": None, "branch": None, "head": None, "tree": None, "patch": None, "diff": {}, "note": ""}
            rows.set_aside(tx, task.uid)
            tx.execute("UPDATE messages SET state = 'withdrawn' WHERE task = ?", task.uid)
            tx.execute("UPDATE sessions SET end_reason = 'fresh' WHERE task = ?", task.uid)
        elif _has_turns(tx, task):
            text = messages.text_for(engine.parts, common.facts_of(engine, task), Origin.RESUME)
            text += _unsent(tx, task)
            tx.execute(
                "UPDATE messages SET state = 'withdrawn' WHERE task = ? AND result IS NULL AND kind = 'turn'", task.uid
            )
            rows.add_turn(tx, task.uid, Origin.RESUME, text)
        tx.update(Task, task.uid, **changes)
        tx.event("task.retried", task=task.uid, fresh=fresh)


def _unsent(tx: Any, task: Task) -> str:
    """What the person wrote (a changed spec, too) and the agent never got: it goes with the next turn."""
    found: list[Message] = tx.select(
        Message,
        "task = ? AND kind = 'turn' AND state = 'queued'"
        " AND origin IN ('person', 'comments', 'answer', 'spec') ORDER BY n",
        task.uid,
    )
    return "".join("\n" + message.text.partition("\n\n")[2] for message in found)


def _has_turns(tx: Any, task: Task) -> bool:
    return bool(
        tx.value(
            "SELECT COUNT(*) FROM messages WHERE task = ? AND kind = 'turn' AND delivered_at IS NOT NULL", task.uid
        )
    )
