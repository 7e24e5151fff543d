"""What the brain says of one task, and the words that its rules share."""

from __future__ import annotations

from stretto.core.actions import NOTHING, Action, Ask, Finish
from stretto.core.facts import Facts
from stretto.core.model import ItemKind, SessionStatus, Stage, State
from stretto.core.quick import dataclass


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a task stands and what it needs next. `stage` None: not started."""

    stage: Stage | None
    state: State
    reason: str
    action: Action = NOTHING
    cause: str = ""


def ask(f: Facts, stage: Stage, kind: ItemKind, key: str, text: str, *extra: str, **payload: object) -> Decision:
    """Put it before the person; with nobody there (`auto`) the task fails instead, so that `--wait` ends."""
    if f.auto:
        return finish(stage, State.FAILED, text)
    if f.item(key) is not None:
        # answered and applied, and yet the facts are the same: ask again under a new key
        key = f"{key}+{sum(1 for i in f.items if i.key.split('+')[0] == key)}"
    action = Ask(kind=kind, key=key, text=text, payload={**payload, "extra": list(extra)})
    return Decision(stage, State.WAITING, f"{kind.value}: {first_line(text)}", action, kind.value)


def finish(stage: Stage, outcome: State, reason: str) -> Decision:
    """The task is over."""
    return Decision(stage, State.ACTIVE, reason, Finish(outcome=outcome, reason=reason), outcome.value)


def shim_dead(f: Facts) -> bool:
    """Only a positive observation counts, now or on record: a look that failed means nothing."""
    session = f.session
    over = session is not None and (session.ended_at is not None or session.status is SessionStatus.EXITED)
    return over or (session is not None and f.observed.shim is False)


def first_line(text: str) -> str:
    """The first line, short enough for a reason."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= 160 else line[:159] + "…"


def listed(names: object) -> str:
    """A few names in a sentence; more than four are counted."""
    words = [str(n) for n in names] if isinstance(names, list | tuple) else [str(names)]
    return ", ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "")
