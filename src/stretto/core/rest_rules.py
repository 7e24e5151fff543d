"""What a pause ends: nothing of a task that stands still shall go on running, and nothing that was said be lost.

Specification. A running turn is never cut off by a pause. Once it is over and its work is kept, the agent has nothing
to do: its process and all that it started are ended, if the conversation goes on by its id in the next session. An
agent that would forget the conversation with its process (`volatile`) stays, and so does one whose terminal the person
has taken over.
"""

from __future__ import annotations

from stretto.core.actions import NOTHING, Stop
from stretto.core.decision import Decision, shim_dead
from stretto.core.facts import Facts


def at_rest(f: Facts, decision: Decision) -> Decision:
    """The same decision; while it has no action and the task is paused, its idle agent is ended."""
    if decision.action != NOTHING or not (f.task.paused or f.run.paused) or not _idle(f):
        return decision
    return Decision(decision.stage, decision.state, decision.reason, Stop(reason="paused"), decision.cause)


def _idle(f: Facts) -> bool:
    session, turn = f.session, f.turn
    if session is None or session.ended_at is not None or f.controls or shim_dead(f):
        return False
    if turn is None or turn.result is None or not turn.settled:
        return False
    parser = session.parser
    known = session.conversation is not None and (parser.get("began") or parser.get("resume"))
    return bool(known) and not any(parser.get(word) for word in ("refused", "volatile", "attended", "handshake"))
