"""Secret values are kept in the daemon's memory only: after a restart the person is asked for them.

Specification. A session that cannot start without them leaves its message where it is: with the values it is sent as
if nothing had been. Under `auto`, where nobody can be asked, the turn fails (session.py).
"""

from __future__ import annotations

from typing import Final

from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.inbox import SECRETS, options
from stretto.core.model import Item, ItemKind
from stretto.engine.acts.rows import open_item, short_id
from stretto.engine.parts import Parts

#: the code of the refusal
LOST: Final = "secrets_lost"


def refuse(parts: Parts, f: Facts) -> None:
    """Raise StrettoError (`secrets_lost`) when values of the task's run are not known any more."""
    if missing := parts.secrets.missing(f.run):
        raise StrettoError(
            f"the values of {', '.join(missing)} were lost when the daemon was restarted",
            code=LOST,
            object=f.run.id,
            hint=f"set them and call: stretto retry {f.task.id}",
        )


def ask(parts: Parts, f: Facts, error: StrettoError) -> None:
    """Ask for the values."""
    tries = sum(1 for i in f.items if i.key.startswith(SECRETS))
    with parts.store.write() as tx:
        item = Item(
            id=short_id(),
            task=f.task.uid,
            kind=ItemKind.SETUP,
            key=f"{SECRETS}{tries}",
            text=f"{error.message} ({error.hint})",
            options=options(ItemKind.SETUP),
            payload={},
            opened_at=tx.now,
        )
        open_item(tx, item)
