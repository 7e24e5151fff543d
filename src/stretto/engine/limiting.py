"""When a vendor that takes no more will take more again, as far as its agent told."""

from __future__ import annotations

from stretto.agents.limits import told
from stretto.core.model import Session
from stretto.store.sqlite import Reader, Writer

#: the furthest moment that is believed, in seconds from now: of a window that an agent tells as such (no vendor counts
#: in longer ones), and of mere words, by which an agent could lay its task aside
FURTHEST, OF_WORDS = 32 * 86400.0, 8 * 86400.0


def until(tx: Writer, session: Session, reason: str) -> float | None:
    """The moment that these words name, else that at which the used up windows of the agent begin anew."""
    found = told(reason, tx.now)
    if found is None or found > tx.now + OF_WORDS:
        found = _window(tx, session.agent, tx.now)
    return found if found is not None and found < tx.now + FURTHEST else None


def _window(db: Reader, agent: str, now: float) -> float | None:
    """The last of its full windows counts: all of them must have room."""
    sql = "SELECT MAX(resets_at) FROM quotas WHERE agent = ? AND (exhausted OR used >= 1.0) AND resets_at > ?"
    at = db.value(sql, agent, now)
    return None if at is None else float(at)
