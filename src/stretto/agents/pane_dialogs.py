"""The dialogs of a pane: what the screen asks becomes a question, and an answer becomes keys.

Specification.
- A dialog is asked about once, for as long as it stands unchanged, and withdrawn when it is gone.
- An answer is given only to the dialog that it was asked for, seen right before the key. One that stands there some
  time later is asked about anew, as another question.
- Words go into the field of a dialog as one line, and Enter follows only while that field still stands. A dialog that
  opens its field at a key of its own gets the words when the field is open.
- What only the agent's own terminal can answer is told as such.
One thread: that of the pane's host.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Final

from stretto.agents.tui import Dialog
from stretto.core import delivery
from stretto.core.model import OWN_TERMINAL
from stretto.interfaces import Signal
from stretto.terminal.pane import Pane

#: seconds for which a key may go unheeded
TAKEN: Final = 2.0
#: seconds that a dialog may take to open a field for words
_OPENING = 20.0
#: seconds from words to the Enter behind them
_SETTLE = 0.4


class Dialogs:
    """What a pane asks. `say` tells the daemon."""

    def __init__(self, pane: Pane, say: Callable[[Signal], None]) -> None:
        self._pane, self._say = pane, say
        self._asked: tuple[str, Dialog] | None = None
        self._asks = 0
        self._answered = self._typed = 0.0
        self._saying = ""

    @property
    def open(self) -> Dialog | None:
        """The dialog that was asked about and has no answer yet."""
        return self._asked[1] if self._asked is not None and not self._answered else None

    def see(self, dialog: Dialog | None, *, begun: bool) -> bool:
        """Ask what a dialog asks, inside a message's turn or not; whether what nobody asks any more is withdrawn."""
        if self._typed and (dialog is None or dialog.words != ()):
            self._typed = 0.0  # it went away under the words: Enter would mean something else
        if self._typed:
            if time.monotonic() - self._typed > _SETTLE:
                self._typed, self._answered = 0.0, time.monotonic()
                self._pane.press("Enter")
            return False
        late = self._answered and time.monotonic() - self._answered > (_OPENING if self._saying else TAKEN)
        gone = self._asked is not None and (dialog != self._asked[1] or bool(late))  # one that stays asks once more
        if gone:
            self.withdraw()
        if dialog is None or self._asked is not None:
            return gone
        if self._saying and dialog.words == ():
            self._enter(self._saying)
            self._asked, self._saying, self._answered = ("", dialog), "", time.monotonic()
            return gone
        self._ask(dialog, permission=begun and dialog.permission)
        return gone

    def _ask(self, dialog: Dialog, *, permission: bool) -> None:
        self._saying = ""
        self._asks, self._answered = self._asks + 1, 0.0
        digest = hashlib.sha256(repr((dialog.text, dialog.options)).encode()).hexdigest()[:8]
        self._asked = (f"{self._asks}-{digest}", dialog)
        about = {
            "kind": "permission" if permission else "question",
            "request": self._asked[0],
            "text": dialog.told,
            "options": list(dialog.options),
            "keys": {key: key for key, _ in dialog.options},
            OWN_TERMINAL: not dialog.answerable,
        }
        self._say(Signal("asked", about))

    def withdraw(self) -> None:
        """Nobody asks any more what a dialog asked."""
        if self._asked is not None:
            self._say(Signal("withdrawn", {"request": self._asked[0]}))
        self._asked = None

    def let_go(self) -> None:
        """The turn was interrupted: words on their way stay where they are."""
        self._saying, self._typed = "", 0.0

    def answer(self, request: str, key: str | None, words: str, found: Dialog | None) -> None:
        """Press what the answer needs, if the dialog that is `found` on the screen now is the one that asked."""
        if self._asked is None or self._asked[0] != request or found is None or found != self._asked[1]:
            self._notice("the dialog that was answered is gone; its answer was not used")
            return
        self._answered = time.monotonic()
        if key is not None and key in found.keys:
            self._pane.press(*found.keys[key])
        elif key is None and found.words is not None:
            if found.words:  # they are said to what opens then
                self._saying = words
                self._pane.press(*found.words)
            else:
                self._enter(words)
        else:
            self._notice("the dialog does not take this answer: only its own terminal does")

    def _enter(self, words: str) -> None:
        """Words for a dialog, as one line."""
        self._pane.paste(" ".join(delivery.clean(words).split()))
        self._typed = time.monotonic()

    def _notice(self, text: str) -> None:
        self._say(Signal("notice", {"text": text}))
