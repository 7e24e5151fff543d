"""Sessions: bring one up, hand it messages, interrupt it, end it, and what to do when its shim died.

Specification. A message gets its number in the session's `in.jsonl` in a committed row before the record is appended,
and appending a number that is there already does nothing: so a crash at any point leads to exactly one record. A
session row is written before its shim is started; starting is repeated until the folder holds a `shim.json`, and the
folder's lock lets one shim live. A session whose shim died is never revived: the next one has a generation of its own
and takes up the conversation by its id. What is not known to have reached the agent is `undelivered` and is not sent
again.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto import files
from stretto.agentapi.protocol import MAX_SOCKET_PATH, SOCKET, socket_path
from stretto.core.actions import Deliver, Interrupt, Recover, Stop
from stretto.core.errors import StrettoError
from stretto.core.evidence import What
from stretto.core.facts import Facts
from stretto.core.limited import TurnedAway
from stretto.core.model import (
    AgentSpec,
    Delivery,
    Message,
    MessageKind,
    Origin,
    Session,
    SessionStatus,
    Task,
    TurnResult,
)
from stretto.core.who import (
    NO_SANDBOX,
    PANE,
    RESOLVER,
    adapter_of,
    agent_of,
    choices_of,
    fallback_of,
    mode_of,
    resolving,
    role_of,
    sandbox,
)
from stretto.engine import believing, environment, messages, sandboxing
from stretto.engine.acts import endings, lost_values, panes, shared
from stretto.engine.acts.endings import Ending
from stretto.engine.acts.rows import add_control, close_permissions, count_fall, short_id
from stretto.engine.parts import Parts
from stretto.home import runtime_folder
from stretto.interfaces import Launch, SessionContext
from stretto.store.facts import limited
from stretto.store.sqlite import Writer
from stretto.workspace.sandbox import LAUNCH

#: seconds that an agent has to go by itself
GRACE = 5.0
#: what agents that refuse to skip permissions elsewhere want to be told
IN_SANDBOX = {"IS_SANDBOX": "1"}
#: the agent would not begin a conversation because one of this id is there
IN_USE = "conversation_in_use"


def deliver(parts: Parts, f: Facts, action: Deliver) -> None:
    """Bring the session up and append the record of message `n`. What cannot start fails the turn."""
    message = next((m for m in f.messages if m.n == action.n), None)
    if message is None or message.state not in {Delivery.QUEUED, Delivery.WRITTEN}:
        return
    if _died(parts, f.session) or _refused(f.session):
        recover(parts, f, Recover())  # what it had may have reached the agent: that is decided before anything is sent
        return
    if message.kind is not MessageKind.TURN:
        if f.session is not None and f.session.ended_at is None:
            _append(parts, _started(parts, f, f.session), message)
        return
    try:
        environment.wake(parts, f)
        shared.before_turn(parts, f, message)
        session = _live_session(parts, f)
    except StrettoError as error:
        if files.is_full(error):
            raise
        if error.code == lost_values.LOST and not f.auto:
            lost_values.ask(parts, f, error)
        else:
            _fail_turn(parts, f.task, message, error)
        return
    _append(parts, session, message)


def _died(parts: Parts, session: Session | None) -> bool:
    """Whether the shim of a session that is not over was there and is gone."""
    if session is None or session.ended_at is not None:
        return False
    state = parts.shims.state(Path(session.folder))
    return state.begun and (state.alive is False or state.exit is not None)


def _refused(session: Session | None) -> bool:
    """Whether the agent of a session that is not over would not have its conversation, or cannot begin."""
    return session is not None and session.ended_at is None and not {"refused", "unfit"}.isdisjoint(session.parser)


def _append(parts: Parts, session: Session | None, message: Message) -> None:
    """Append the record, and before it what a crash left numbered but not appended: records stand in their order."""
    if session is None:
        return
    with parts.store.read() as db:
        session = db.one(Session, "id = ?", session.id) or session
    if message.kind is MessageKind.TURN and session.parser.get("handshake"):
        return
    number = _numbered(parts, session, message)
    if number is None:
        return
    with parts.store.read() as db:
        where = "session = ? AND state = 'written' AND number <= ? ORDER BY number"
        due = db.select(Message, where, session.id, number)
    agent = parts.agent(_agent_type(parts, session))
    for m in due:
        data = m.data if m.data is not None else agent.turn(m.text, session.parser)
        parts.shims.append(Path(session.folder), m.kind.value, data, int(m.number or 0))
        parts.appended.add((session.id, int(m.number or 0)))


def _numbered(parts: Parts, session: Session, message: Message) -> int | None:
    """Give the message its place in the session, committed before anything is written to the shim.

    None: it is not to be sent (any more). The caller's facts may be older than what another pass has done meanwhile:
    only the row decides, or a message would get a second place.
    """
    if message.number is not None and message.session == session.id:
        return message.number
    with parts.store.write() as tx:
        now = tx.one(Message, "task = ? AND n = ?", message.task, message.n)
        if now is None or now.number is not None or now.state is not Delivery.QUEUED:
            return now.number if now is not None and now.session == session.id else None
        number = _next_number(tx, session.id)
        key = (message.task, message.n)
        keeps = getattr(parts.agent(_agent_type(parts, session)), "conversational", True)
        text = messages.whole(tx, session, message, keeps=keeps)
        tx.update(Message, key, session=session.id, number=number, state=Delivery.WRITTEN, text=text)
    return number


def _next_number(tx: Writer, session: str) -> int:
    """After all that were given; `used` is that of a message which did not arrive, and may be sent again."""
    given = int(tx.value("SELECT COALESCE(MAX(number), 0) FROM messages WHERE session = ?", session))
    row = tx.one(Session, "id = ?", session)
    return max(given, int(row.parser.get("used", 0)) if row is not None else 0) + 1


def _agent_type(parts: Parts, session: Session) -> str:
    return str(session.parser.get("type") or session.agent)


def _live_session(parts: Parts, f: Facts) -> Session:
    """The session that can take a message now. Raises StrettoError when its agent cannot be started."""
    session = f.session
    if session is not None and session.ended_at is None:
        return _started(parts, f, session)
    return new_session(parts, f, session)


def _started(parts: Parts, f: Facts, session: Session) -> Session:
    """The session, started now if a crash came between its row and its shim."""
    state = parts.shims.state(Path(session.folder))
    if state.alive is False and not state.begun:
        _start(parts, f, session)
    return session


def new_session(parts: Parts, f: Facts, old: Session | None, *, attended: float | None = None) -> Session:
    """The next session of a task, started. `attended`: in a pane, for a person who has so many seconds to come.

    Raises StrettoError when its agent cannot be started.
    """
    f = f if attended else _with_agent(parts, f)
    spec = agent_of(f)
    lost_values.refuse(parts, f)
    mode = PANE if attended else _mode(f)
    mine = _of_role(parts, f, old)
    conversation, type = taken_up(mine, spec.name), adapter_of(spec.type, mode)
    identity = short_id(12)
    session = Session(
        id=identity,
        task=f.task.uid,
        role=role_of(f),
        agent=spec.name,
        model=spec.model,
        mode=mode,
        conversation=conversation or str(uuid.uuid4()),
        generation=old.generation + 1 if old is not None else 1,
        folder=str(parts.home.sessions / identity),
        started_at=parts.clock.now(),
        status_at=parts.clock.now(),
        parser={
            "type": type,
            "resume": conversation is not None,
            **({"attended": attended} if attended else {}),
            **_kept(mine, conversation),
        },
    )
    with parts.store.write() as tx:
        tx.insert(session)
        tx.event(
            "session.started",
            task=f.task.uid,
            session=session.id,
            role=session.role,
            agent=spec.name,
            generation=session.generation,
        )
    _start(parts, f, session)
    return session


def _of_role(parts: Parts, f: Facts, last: Session | None) -> Session | None:
    """The last session of the role that has the present turn: its conversation goes on, whoever was there meanwhile."""
    if last is None or (last.role == RESOLVER) == (role_of(f) == RESOLVER):
        return last
    with parts.store.read() as db:
        return db.one(
            Session, "task = ? AND (role = ?) = ? ORDER BY generation DESC", f.task.uid, RESOLVER, resolving(f)
        )


def _with_agent(parts: Parts, f: Facts) -> Facts:
    """The facts with the first agent of the task that takes work now. Raises StrettoError when none can be started.

    One whose vendor took no more a moment ago is passed over only for another that can be started.
    """
    env = {**environment.captured(parts, f.run), "STRETTO_ROOT": f.run.root}
    env |= {} if sandbox(f) == NO_SANDBOX else IN_SANDBOX
    passed: list[TurnedAway] = []
    with parts.store.read() as db:
        limits = limited(db, parts.clock.now())
    first = None
    counter = fallback_of(f)
    start = f.task.attempts.get(counter, 0)
    for fallen, name in list(enumerate(choices_of(f)))[start:]:
        spec = agent_of(replace(f, task=replace(f.task, attempts={**f.task.attempts, counter: fallen})))
        reason = _probe(parts, f, spec, env)
        if reason is None and name not in limits:
            return _fall(parts, f, passed)
        if reason is None and first is None:
            first = fallen - start
        passed.append(TurnedAway(name, reason or f"{name} is limited by its vendor", limited=reason is None))
    if first is not None:
        return _fall(parts, f, passed[:first])
    reasons = [*(f"{name} would not do before" for name in choices_of(f)[:start]), *(one.why for one in passed)]
    raise StrettoError("; ".join(reasons), code="agent_missing", object=agent_of(f).name, hint="stretto doctor")


def _mode(f: Facts) -> str:
    if resolving(f):
        return mode_of(f.run.config, RESOLVER, None)
    return mode_of(f.run.config, f.task.role, f.task.fields.get("mode"))


def _probe(parts: Parts, f: Facts, spec: AgentSpec, env: dict[str, str]) -> str | None:
    try:
        return parts.agent(adapter_of(spec.type, _mode(f))).probe(spec, env)
    except StrettoError as error:
        return error.message


def _fall(parts: Parts, f: Facts, passed: list[TurnedAway]) -> Facts:
    if not passed:
        return f
    with parts.store.write() as tx:
        return count_fall(tx, f, passed)


def taken_up(old: Session | None, agent: str) -> str | None:
    """The conversation that the next session resumes: one that the agent knows by its id; None for a new one."""
    if old is None or old.end_reason == "fresh" or old.agent != agent:
        return None
    refused = old.parser.get("refused")
    known = refused == IN_USE or (refused is None and (old.parser.get("began") or old.parser.get("resume")))
    return old.conversation if known else None


def _kept(old: Session | None, conversation: str | None) -> dict[str, Any]:
    """What the adapter keeps for the next session of a conversation that is taken up."""
    return {"kept": old.parser["kept"]} if old is not None and conversation and "kept" in old.parser else {}


def _start(parts: Parts, f: Facts, session: Session) -> None:
    """Start the shim of a session row; may be repeated."""
    folder = Path(session.folder)
    launch = parts.agent(_agent_type(parts, session)).launch(agent_of(f), _context(parts, f, session))
    spec = _shim_spec(parts, f, session, launch)
    secrets = {**parts.secrets.of(f.run), "STRETTO_AGENT_TOKEN": parts.agent_token(session.id)}
    _write_first(parts, f.task.uid, session, launch)
    messages.report_file(parts, f.task).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    parts.shims.start(folder, spec, secrets)
    for message in _first_messages(parts, session):
        _append(parts, session, message)


def _write_first(parts: Parts, uid: str, session: Session, launch: Launch) -> None:
    """The handshake of the agent's protocol becomes the first messages of the session, once."""
    if not launch.first or _first_messages(parts, session):
        return
    with parts.store.write() as tx:
        for kind, data in launch.first:
            add_control(tx, uid, session.id, MessageKind(kind), Origin.START, data)
        if launch.state:
            tx.update(Session, session.id, parser={**launch.state, **session.parser})


def _first_messages(parts: Parts, session: Session) -> list[Message]:
    with parts.store.read() as db:
        return db.select(Message, "session = ? AND origin = 'start' AND kind != 'turn' ORDER BY n", session.id)


def _context(parts: Parts, f: Facts, session: Session) -> SessionContext:
    env = workspace_env(parts, f)
    return SessionContext(
        session=session.id,
        task=f.task.uid,
        workspace=Path(str(f.task.workspace)),
        folder=Path(session.folder),
        env=env,
        conversation=session.conversation,
        resume=bool(session.parser.get("resume")),
        model=session.model,
        permissions=agent_of(f).permissions,
        report_file=env["STRETTO_REPORT_FILE"],
        generation=session.generation,
        spool=panes.spool(agent_socket(parts, session)),
    )


def workspace_env(parts: Parts, f: Facts) -> dict[str, str]:
    """The agent's environment without secret values."""
    env = environment.of_workspace(parts, f)
    env["STRETTO_REPORT_FILE"] = str(messages.report_file(parts, f.task))
    env["PATH"] = environment.agent_path(parts, env.get("PATH", ""))
    return env


def _shim_spec(parts: Parts, f: Facts, session: Session, launch: Launch) -> dict[str, Any]:
    with parts.store.read() as db:
        delivered = db.value(
            "SELECT COUNT(*) FROM messages WHERE task = ? AND kind = 'turn' AND delivered_at IS NOT NULL", f.task.uid
        )
    env = {**launch.env, "STRETTO_AGENT_SOCKET": str(agent_socket(parts, session)), "STRETTO_SESSION": session.id}
    confined = sandboxing.of_session(parts, f, session, replace(launch, env=env))
    if launch.style == PANE:
        house = None if sandbox(f) == NO_SANDBOX else sandboxing.house_of(parts, f.task)
        cwd = Path(str(f.task.workspace))
        own = panes.prepare(session, launch, confined, cwd, agent_socket(parts, session), house, int(delivered or 0))
    else:
        own = {"argv": list(launch.argv), "wrapper": list(confined.words), "env": confined.env, "style": launch.style}
        own |= {"launcher": str(LAUNCH), "cwd": str(f.task.workspace)}
    return {
        "schema": 1,
        "session": session.id,
        **own,
        "marker": f"STRETTO_SESSION={session.id}",
        "nudge": str(parts.home.nudge),
        "turn_offset": int(delivered or 0),
        "stop_seconds": GRACE,
    }


def agent_socket(parts: Parts, session: Session) -> Path:
    """Where the agent API of this session listens."""
    short = Path(session.folder) / SOCKET
    return short if len(bytes(short)) <= MAX_SOCKET_PATH else socket_path(Path(session.folder), runtime_folder())


def _fail_turn(parts: Parts, task: Task, message: Message, error: StrettoError) -> None:
    reason = error.message if error.hint is None else f"{error.message} ({error.hint})"
    with parts.store.write() as tx:
        tx.update(
            Message,
            (message.task, message.n),
            state=Delivery.DONE,
            result=TurnResult.FAILED,
            reason=reason,
            ended_at=tx.now,
        )
        tx.event("turn.ended", task=task.uid, n=message.n, result=TurnResult.FAILED, reason=reason, seconds=0.0)


def interrupt(parts: Parts, f: Facts, action: Interrupt) -> None:
    """Pass the person's interrupt on to the running turn, once."""
    turn, session = f.turn, f.session
    if turn is None or session is None or turn.number is None:
        return
    with parts.store.write() as tx:
        session = tx.one(Session, "id = ?", session.id) or session
        kind, data = parts.agent(_agent_type(parts, session)).interrupt(turn.number, session.parser)
        tx.update(Task, f.task.uid, interrupt=False)
        n = add_control(tx, f.task.uid, session.id, MessageKind(kind), Origin.PERSON, data)
        message = tx.one(Message, "task = ? AND n = ?", f.task.uid, n)
        endings.take_back(tx, parts.agent(_agent_type(parts, session)), session)
    if message is not None:
        _append(parts, session, message)


def stop(parts: Parts, f: Facts, action: Stop) -> None:
    """End the session: its agent and all that it started."""
    if f.session is None or f.session.ended_at is not None:
        return
    parts.shims.end(Path(f.session.folder), GRACE)
    parts.drain(f.session.id)
    lose_turn(parts, f.session, Ending(action.reason or "stopped"))
    environment.rest(parts, f)
    end_session(parts, f.session, action.reason or "stopped")


def recover(parts: Parts, f: Facts, action: Recover) -> None:
    """The shim died: take over what it still wrote, end what is left of its agent, keep the work, mark the turn.

    First it is told that the session is over, and nobody is asked any more for what its agent wanted to be allowed:
    the rest may take a while.
    """
    session = f.session
    if session is None:
        return
    parts.drain(session.id)
    with parts.store.write() as tx:
        close_permissions(tx, session, "its session is over")
        if (now := tx.one(Session, "id = ?", session.id)) is not None and now.status is not SessionStatus.EXITED:
            believing.note(tx, session.id, (What.FELL, "its shim died"), now=SessionStatus.EXITED)
    parts.shims.end(Path(session.folder), GRACE)
    parts.drain(session.id)
    if f.task.workspace is not None and Path(f.task.workspace).exists():
        git = parts.repositories.git(f.run.root)
        git.snapshot(Path(f.task.workspace), f.task.uid, "its session died")
    with parts.store.read() as db:
        session = db.one(Session, "id = ?", session.id) or session
    ending = endings.look(parts, session)
    lose_turn(parts, session, ending)
    end_session(parts, session, ending.why)


def lose_turn(parts: Parts, session: Session, ending: Ending) -> None:
    """Mark the messages of a session that is over by what the shim's folder says of each."""
    state = parts.shims.state(Path(session.folder))
    with parts.store.write() as tx:
        tx.execute(
            "UPDATE messages SET state = 'withdrawn' WHERE session = ? AND kind != 'turn' AND state = 'queued'",
            session.id,
        )
        tx.update(Task, session.task, interrupt=False)
        if ending.refused is not None:
            tx.update(Session, session.id, parser={**session.parser, "refused": ending.refused})
            tx.event("conversation.refused", task=session.task, session=session.id, reason=ending.refused)
        close_permissions(tx, session, "its session is over")
        reached = "session = ? AND kind = 'turn' AND number IS NOT NULL AND result IS NOT NULL"
        first = tx.one(Message, reached, session.id) is None
        if ending.own and session.parser.get("handshake"):
            endings.fail_waiting(tx, session.task, ending.why)
        for message in tx.select(
            Message, "session = ? AND state IN ('written', 'delivered') AND result IS NULL", session.id
        ):
            changes = endings.fate(message, endings.reached(session, message, state), ending, first=first)
            if changes.get("result") is not None:
                changes |= {"reason": ending.why, "ended_at": tx.now}
                tx.event("turn.ended", task=message.task, n=message.n, result=changes["result"], reason=ending.why)
            tx.update(Message, (message.task, message.n), **changes)


def end_session(parts: Parts, session: Session, why: str) -> None:
    """Write that a session is over."""
    state = parts.shims.state(Path(session.folder))
    code = (state.exit or {}).get("code")
    with parts.store.write() as tx:
        if tx.value("SELECT ended_at FROM sessions WHERE id = ?", session.id) is not None:
            return
        sign = believing.of_exit(state.exit) if state.exit else (What.FELL, f"no record of its end: {why}")
        believing.note(tx, session.id, sign, now=SessionStatus.EXITED)
        tx.update(Session, session.id, ended_at=tx.now, end_reason=why, exit_code=code, status_at=tx.now)
        tx.event("session.ended", task=session.task, session=session.id, reason=why, code=code)
