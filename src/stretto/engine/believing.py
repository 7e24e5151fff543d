"""What is believed of a session: every sign of it is kept with the row, and the belief is judged anew.

Specification. Whoever sees something of a session adds a sign in the transaction that writes what it meant; the row's
status is what `core.evidence` makes of all of them, and a change of it is an event. Where signs of several sources
compete, time alone can change the belief: such sessions are judged anew now and then. A session that was found silent
(engine.silence) stays `stalled` until there is a new sign of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from stretto.agents.limits import is_limit
from stretto.core.evidence import Belief, Sign, Source, What, believe, from_plain, kept, to_plain
from stretto.core.model import ItemKind, Session, SessionStatus, TurnResult
from stretto.interfaces import Signal
from stretto.store.sqlite import Writer

#: no sign is too old where a silence is measured by somebody else
_ENDLESS = float("inf")
_FULL = re.compile(
    r"prompt.is.too.long|prompt_too_long|context.?(window|length|overflow)|too many tokens"
    r"|token count\b.{0,40}\bexceeds",
    re.I,
)
#: an adapter's word for a status -> the sign
_STATUS = {
    SessionStatus.STARTING: What.STARTING,
    SessionStatus.WORKING: What.WORKING,
    SessionStatus.WAITING: What.ASKING,
    SessionStatus.IDLE: What.DONE,
}


def note(tx: Writer, id: str, *signs: tuple[What, str] | Sign, now: SessionStatus | None = None) -> Belief | None:
    """Add signs of a session and write what is believed then; None if there is no such session.

    A pair is a sign of the agent's protocol at this moment. `now`: what its status is whatever the signs say.
    """
    session = tx.one(Session, "id = ?", id)
    if session is None:
        return None
    new = [_sign(tx, session, one) for one in signs]
    return _judge(tx, session, kept([*from_plain(session.signs), *new], session.generation), now)


def _sign(tx: Writer, session: Session, one: tuple[What, str] | Sign) -> Sign:
    if isinstance(one, Sign):
        return one
    what, text = one
    of_process = what in (What.LEFT, What.FELL, What.STOPPED)
    return Sign(what, Source.PROCESS if of_process else Source.PROTOCOL, tx.now, session.generation, text[:500])


def _judge(tx: Writer, session: Session, signs: tuple[Sign, ...], forced: SessionStatus | None = None) -> Belief:
    belief = believe(signs, tx.now, generation=session.generation, silence=_ENDLESS)
    status = forced or belief.session
    if status is not session.status:
        tx.event("session.status", task=session.task, session=session.id, status=status)
    tx.update(
        Session,
        session.id,
        status=status,
        status_at=max((sign.at for sign in signs), default=tx.now),
        evidence=lines(belief),
        signs=tuple(to_plain(signs)),
        belief=plain(belief),
    )
    return belief


def outdated(session: Session, now: float) -> bool:
    """Whether time has changed what the signs say together; a session that was found silent is left as it is."""
    signs = from_plain(session.signs)
    if len({s.source for s in signs if s.source is not Source.PROCESS}) < 2 or session.status is SessionStatus.STALLED:
        return False
    return plain(believe(signs, now, generation=session.generation, silence=_ENDLESS)) != session.belief


def plain(belief: Belief) -> dict[str, Any]:
    """A belief as it is stored and shown."""
    return {"status": belief.status.value, "reason": belief.reason, "until": belief.until}


def lines(belief: Belief) -> tuple[str, ...]:
    """The evidence in words, the strongest first, without mere sounds."""
    shown = [seen for seen in belief.evidence if seen.sign.what is not What.SOUND]
    return tuple(f"{seen.sign.told} ({seen.used})" if seen.used else seen.sign.told for seen in shown)


def of_result(result: TurnResult, reason: str) -> What:
    """The sign for how a turn ended."""
    if result is TurnResult.FAILED:
        return What.OVERFLOW if _FULL.search(reason) else What.ERROR
    return {
        TurnResult.OK: What.DONE,
        TurnResult.LIMITED: What.LIMITED,
        TurnResult.INTERRUPTED: What.INTERRUPTED,
    }[result]


def of_signal(signal: Signal, generation: int, now: float) -> Sign | None:
    """The sign in what an adapter reported; what says nothing of the agent's doing is a sound of it."""
    read = _READ.get(signal.type, _sound)
    if signal.type == "sign":
        return of_data(signal.data, generation, now)
    what, text, until = read(signal.data, now)
    return Sign(what, Source.PROTOCOL, now, generation, text[:500], until)


_Read = tuple[What, str, float | None]


def _sound(data: Mapping[str, Any], now: float) -> _Read:
    return What.SOUND, "", None


def _status(data: Mapping[str, Any], now: float) -> _Read:
    return _STATUS.get(SessionStatus(data["status"]), What.SOUND), str(data.get("evidence", "")), None


def _asked(data: Mapping[str, Any], now: float) -> _Read:
    permission = data.get("kind") == ItemKind.PERMISSION.value
    return (What.PERMISSION if permission else What.ASKING), str(data.get("text", ""))[:200], None


def _retry(data: Mapping[str, Any], now: float) -> _Read:
    """A request that is to be repeated: a wait for the vendor if that is why, else just work."""
    reason, delay = str(data.get("reason", "")), float(data.get("delay_s") or 0.0)
    text = f"tries again in {delay:g} s: {reason}"
    return (What.LIMITED, text, now + delay) if is_limit(reason) else (What.WORKING, text, None)


def _ended(data: Mapping[str, Any], now: float) -> _Read:
    if data.get("code") == "no_conversation":
        return What.SOUND, "", None  # it was no turn: nothing of it was read
    reason = str(data.get("reason") or "")
    return of_result(TurnResult(data["result"]), reason), reason, None


_READ: dict[str, Callable[[Mapping[str, Any], float], _Read]] = {
    "turn_started": lambda data, now: (What.WORKING, "its turn began", None),
    "text": lambda data, now: (What.WORKING, "output", None),
    "tool": lambda data, now: (What.WORKING, f"tool {data.get('name', '')}", None),
    "withdrawn": lambda data, now: (What.WORKING, "goes on", None),
    "status": _status,
    "asked": _asked,
    "retry": _retry,
    "turn_ended": _ended,
}


def of_exit(exit: Mapping[str, Any]) -> tuple[What, str]:
    """The sign for the record with which a shim ends. An exit code says nothing about the work."""
    code, signal, reason = exit.get("code"), exit.get("signal"), str(exit.get("reason") or "")
    how = f"signal {signal}" if signal else f"exit code {code}"
    text = f"{how}: {reason}" if reason else how
    if exit.get("stop"):
        return What.STOPPED, text
    return (What.LEFT if code == 0 and not signal else What.FELL), text


def of_data(data: Mapping[str, Any], generation: int, now: float) -> Sign | None:
    """The sign that an agent's side reports as such; None if it makes no sense. It cannot claim to be the process."""
    try:
        source, what = Source[str(data["source"]).upper()], What(data["what"])
        at, until = float(data.get("at") or now), data.get("until")
        text, until = str(data.get("text") or "")[:500], None if until is None else float(until)
    except (KeyError, TypeError, ValueError):
        return None
    if source is Source.PROCESS:
        return None
    return Sign(what, source, min(at, now), int(data.get("generation") or generation), text, until)
