"""A person at the terminal of a session: where it is, and how a session in stream mode is taken over and handed back.

Specification. A session in a pane is looked at as it is. One in stream mode is taken over between two turns only: it is
ended, and the next generation of the same conversation begins in a pane that is `attended`. While it lives nothing is
sent to it (core/decide.py); what is queued waits. When the person's terminal has gone, however it went, and no turn
runs, the pane's host ends, and with the next message a session in the task's own mode takes the conversation up again.
What the old process still says is not read any more: its session is over. If the person worked there, that counts as a
turn: its work is committed and checked as that of any other, and what was asked or approved before is void.
Nothing happens to the old session before it is known that the new one can begin; a crash in between leaves a task
without a session, which is what it has between any two.
"""

from __future__ import annotations

from pathlib import Path

from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.model import Delivery, ItemKind, Message, Origin, Session, Task, TurnResult
from stretto.core.who import PANE, adapter_of, agent_of
from stretto.engine.acts import lost_values, rows
from stretto.engine.acts.endings import Ending
from stretto.engine.acts.session import GRACE, end_session, lose_turn, new_session, taken_up, workspace_env
from stretto.engine.parts import Parts
from stretto.store.sqlite import Writer

#: seconds that a person has to come to a terminal that was opened for them
PATIENCE = 60.0
#: why a session that was taken over is over, and what its items are told
TAKEN, WORKED = "you took it over in its terminal", "you worked on it in its terminal"


def attach(parts: Parts, f: Facts, *, look: bool) -> Session:
    """The session in a pane that the person can go to; `look`: only one that is there already.

    The caller keeps other effects of the task away. Raises StrettoError: `turn_running`, `no_session`, `no_pane`,
    `agent_missing`, and those of starting a session.
    """
    session = f.session
    if session is not None and session.ended_at is None and session.mode == PANE and _alive(parts, session):
        return session
    if session is None:
        raise _not_begun(f)
    if look:
        raise StrettoError(
            f"{f.task.id} is not in a pane, so there is nothing to look at",
            code="no_session",
            object=f.task.uid,
            hint=f"stretto logs -f {f.task.id}; without --read-only it is taken over",
        )
    spec = agent_of(f)
    if f.task.workspace is None or taken_up(session, spec.name) is None:
        raise StrettoError(
            f"{f.task.id} has no conversation that could be taken over",
            code="no_session",
            object=f.task.uid,
            hint=f"stretto explain {f.task.id}",
        )
    if f.turn_running:
        raise _running(f)
    reason = parts.agent(adapter_of(spec.type, PANE)).probe(spec, workspace_env(parts, f))
    if reason is not None:
        raise StrettoError(reason, code="agent_missing", object=spec.name, hint="stretto doctor")
    lost_values.refuse(parts, f)  # before anything is ended
    if session.ended_at is None:
        parts.shims.end(Path(session.folder), GRACE)
        parts.drain(session.id)
        lose_turn(parts, session, Ending(TAKEN))
        end_session(parts, session, TAKEN)
        with parts.store.read() as db:
            session = db.one(Session, "id = ?", session.id) or session
    return new_session(parts, f, session, attended=PATIENCE)


def _not_begun(f: Facts) -> StrettoError:
    """Why there is no conversation yet, as far as the person is the reason."""
    asked = next(iter(f.open_items), None)
    why = "" if asked is None else f": it waits for your answer: {asked.text.splitlines()[0][:200]}"
    return StrettoError(
        f"the agent of {f.task.id} has not begun{why}",
        code="no_session",
        object=f.task.uid,
        hint=f"stretto explain {f.task.id}" if asked is None else f"stretto answer {asked.id}",
    )


def _running(f: Facts) -> StrettoError:
    """Why nobody can go there yet; a turn that waits for an answer is not waited for."""
    asked = next((i for i in f.open_items if i.kind in (ItemKind.QUESTION, ItemKind.PERMISSION)), None)
    what = (
        "is in the middle of a turn" if asked is None else f"waits for your answer: {asked.text.splitlines()[0][:200]}"
    )
    hint = "wait for its end" if asked is None else f"stretto answer {asked.id}"
    return StrettoError(
        f"{f.task.id} {what}",
        code="turn_running",
        object=f.task.uid,
        hint=f"{hint}, or: stretto attach --interrupt {f.task.id}",
    )


def _alive(parts: Parts, session: Session) -> bool:
    state = parts.shims.state(Path(session.folder))
    return state.alive is True and state.exit is None


#: what is told of a terminal that was opened for a person who has left it
LEFT = "you left its terminal; the next message goes on with its conversation"


def hand_back(tx: Writer, session: Session) -> None:
    """A person has left the terminal of a session that was opened for them."""
    if session.parser.get("worked"):
        take_up(tx, session)


def take_up(tx: Writer, session: Session) -> None:
    """What a person did in the terminal of a session becomes a turn; what was asked or approved before is void."""
    task = tx.one(Task, "uid = ?", session.task)
    if task is None or task.outcome is not None:
        return
    rows.withdraw_entries(tx, task.uid, WORKED)
    rows.close_items(tx, task.uid, WORKED, keep=(ItemKind.QUESTION, ItemKind.PERMISSION))
    n = rows.add_turn(tx, task.uid, Origin.PERSON, "(worked on by the person in the agent's own interface)")
    seconds = round(tx.now - session.started_at, 3)
    done = {"state": Delivery.DONE, "result": TurnResult.OK, "delivered_at": session.started_at, "ended_at": tx.now}
    tx.update(Message, (task.uid, n), session=session.id, **done)
    tx.event("turn.ended", task=task.uid, n=n, result=TurnResult.OK, reason=WORKED, seconds=seconds)
