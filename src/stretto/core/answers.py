"""What an answered item changes: a pure value that the engine writes in one transaction.

Questions and permissions of a running turn, and dialogs of a pane, are answered where they are asked (`control`); the
answer to one whose turn is over becomes the next turn's message. All other kinds change rows only.
"""

from __future__ import annotations

from stretto.core.facts import Facts, is_note
from stretto.core.inbox import SECRETS
from stretto.core.limit_rules import LIMITED
from stretto.core.model import Item, ItemKind, Origin, State, TurnResult
from stretto.core.quick import dataclass
from stretto.core.who import PANE


@dataclass(frozen=True, slots=True)
class Consequence:
    """The changes that an answer makes.

    `turn`: the next message as (origin, text). `resend`: the turn that is sent once more. `resettle`: the failed turn
    whose work is taken as it is, so that it must be committed like that of one that ended well.
    """

    control: bool = False
    turn: tuple[Origin, str] | None = None
    resend: int | None = None
    resettle: int | None = None
    approve: bool = False
    requeue: bool = False
    recheck: str | None = None
    rebuild: bool = False
    reset: tuple[str, ...] = ()
    cancel: bool = False
    finish: tuple[State, str] | None = None


#: counters that a person's word starts afresh
ROUNDS = ("repair", "resolve", LIMITED)


def consequence(item: Item, f: Facts) -> Consequence:
    """What follows from the item's answer, given the facts of its task."""
    answer = item.answer or {}
    key, text = answer.get("key"), str(answer.get("text") or "")
    if item.kind in {ItemKind.QUESTION, ItemKind.PERMISSION}:
        return _to_agent(item, f, key, text)
    if key == "cancel":
        return Consequence(cancel=True)
    if key == "send-back":
        words = text or "Please look at it again: " + item.text
        return Consequence(turn=(Origin.PERSON, words), reset=ROUNDS)
    return _fixed(item, f, key)


def _to_agent(item: Item, f: Facts, key: str | None, text: str) -> Consequence:
    turn = f.turn
    same_turn = turn is not None and turn.n == item.payload.get("turn") and turn.result is None
    session = f.session
    if session is None or session.ended_at is not None or session.generation != item.generation:
        session = None
    # what is asked in a pane stands there for as long as its item is open, whoever began the turn
    asked = "request" in item.payload or item.payload.get("source") == "socket"
    stands = session is not None and session.mode == PANE and asked
    if session is not None and (same_turn or stands):
        return Consequence(control=True)
    if item.kind is ItemKind.PERMISSION:
        return Consequence()
    return Consequence(turn=(Origin.ANSWER, text or str(key)))


def _fixed(item: Item, f: Facts, key: str | None) -> Consequence:
    match (item.kind, key):
        case (ItemKind.REVIEW, "accept" | "approve") if item.payload.get("report"):
            return Consequence(finish=(State.FINISHED, "report accepted"))
        case (ItemKind.REVIEW, "approve"):
            # consent is to what was shown: if the patch changed since, the person is asked again
            return Consequence(approve=item.payload.get("patch") == f.task.patch)
        case (ItemKind.NOCHANGE, "accept"):
            return Consequence(finish=(State.FINISHED, "accepted without a change"))
        case (ItemKind.INTERRUPTED, "continue"):
            return Consequence(turn=(Origin.RESUME, ""))
        case (ItemKind.BUDGET, "continue") if not is_note(item) and _cut_short(f):
            return Consequence(turn=(Origin.RESUME, ""))
        case (ItemKind.UNDELIVERED, "retry"):
            return Consequence(resend=int(item.payload["n"]))
        case (ItemKind.SETUP, "retry"):
            return Consequence(rebuild=not item.key.startswith(SECRETS))
        case (ItemKind.CONFLICT, "retry"):
            return Consequence(reset=ROUNDS)
        case (ItemKind.FAILURE, "continue"):
            return Consequence(resettle=int(item.payload["n"]))
        case (ItemKind.FAILURE, "retry"):
            return _retry(item)
        case _:
            return Consequence()


def _cut_short(f: Facts) -> bool:
    """Whether the last turn was interrupted and is to be taken up again."""
    return f.turn is not None and f.turn.result is TurnResult.INTERRUPTED


def _retry(item: Item) -> Consequence:
    """Try again what failed: a check, a landing, or the turn itself."""
    if item.key.startswith("check-error:"):
        return Consequence(recheck=str(item.payload.get("check")))
    if item.key.startswith("landing:"):
        return Consequence(requeue=True)
    if item.key.startswith("rounds:"):
        return Consequence(reset=ROUNDS)
    if item.key.startswith("frozen:"):
        return Consequence()
    return Consequence(turn=(Origin.RESUME, ""), reset=ROUNDS)
