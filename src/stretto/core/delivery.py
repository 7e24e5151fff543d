"""Bring a message into an agent's terminal, and know whether it arrived. Pure.

Specification. A message is pasted at most once, and only into a composer that was seen empty twice in a row with no
dialog over it. Enter is pressed only while the composer shows the message and nothing else: never into a dialog, never
on what a person typed. It is pressed again only when the same is still there after a while and nothing says that a
turn began. What began is told by evidence; a screen is believed only where nothing better reports in time. In all other
cases the message is undelivered, with the reason, and whether anything of it can have reached the agent.
Accepted: beside a message with pictures or marks, those that a person types in the same moment go unnoticed.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

from stretto.core.quick import dataclass

#: seconds: until a terminal takes a message; from paste to Enter; until the paste shows; from Enter to evidence
READY_S, SETTLE_S, SHOWN_S, BEGIN_S = 60.0, 0.3, 10.0, 5.0
#: how often Enter is pressed at most
ENTERS = 4
#: seconds between the two looks at an empty composer
STEADY_S = 0.2
#: lines and characters of a message that are shown beside other things
SHOWN_LINES, SHOWN_CHARACTERS = 12, 800
#: what is no letter of a message: all control characters but tab and newline
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_SPACE = re.compile(r"\s+")


class Phase(StrEnum):
    """How far a delivery is."""

    WAITING = "waiting"
    PASTED = "pasted"
    ENTERED = "entered"


class Act(StrEnum):
    """What is to be done now."""

    WAIT = "wait"
    PASTE = "paste"
    ENTER = "enter"
    BEGAN = "began"
    GIVE_UP = "give up"


class Holds(StrEnum):
    """What the composer shows."""

    NOTHING = "nothing"
    OURS = "ours"
    OTHER = "other"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Look:
    """A terminal at one moment. `now`: seconds of a clock that never jumps.

    `dialog`: something waits for an answer there. `working`: the screen says that a turn runs. `began`: evidence, from
    after the paste and better than the screen, that the turn began.
    """

    now: float
    alive: bool = True
    holds: Holds = Holds.UNSEEN
    dialog: bool = False
    working: bool = False
    began: str | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """A delivery under way. `since`: when its phase began; `empty`: since when the composer is seen empty."""

    since: float
    phase: Phase = Phase.WAITING
    empty: float | None = None
    enters: int = 0
    entered: float = 0.0

    @property
    def touched(self) -> bool:
        """Whether anything of the message can have reached the agent's terminal."""
        return self.phase is not Phase.WAITING


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now, and why (the evidence of a turn that began, the reason of giving up)."""

    way: Way
    act: Act
    why: str = ""


def step(way: Way, look: Look) -> Step:
    """The next step of a delivery."""
    if way.touched and look.began is not None:
        return Step(way, Act.BEGAN, look.began)
    if not look.alive:
        return Step(way, Act.GIVE_UP, "the agent's terminal is gone")
    if way.phase is Phase.WAITING:
        return _waiting(way, look)
    return _pasted(way, look) if way.phase is Phase.PASTED else _entered(way, look)


def _waiting(way: Way, look: Look) -> Step:
    if look.working:  # somebody's turn runs, however long it takes
        return Step(Way(look.now), Act.WAIT)
    if look.dialog or look.holds is not Holds.NOTHING:
        if look.now - way.since >= READY_S:
            return Step(way, Act.GIVE_UP, _busy(look))
        return Step(Way(way.since), Act.WAIT)
    if way.empty is None or look.now - way.empty < STEADY_S:
        return Step(Way(way.since, empty=look.now if way.empty is None else way.empty), Act.WAIT)
    return Step(Way(look.now, Phase.PASTED), Act.PASTE)


def _busy(look: Look) -> str:
    if look.dialog:
        return "a dialog is open in the agent's terminal"
    if look.holds is Holds.UNSEEN:
        return "the agent's terminal shows no place for a message"
    return "a draft stands in the agent's composer"


def _pasted(way: Way, look: Look) -> Step:
    age = look.now - way.since
    if look.holds is Holds.OURS and not look.dialog and age >= SETTLE_S:
        return Step(_pressed(way, look), Act.ENTER)
    if age >= SHOWN_S:
        beside = look.holds is Holds.OTHER
        why = "something else stands in the agent's composer beside it" if beside else "it did not appear on the screen"
        return Step(way, Act.GIVE_UP, "a dialog opened over it" if look.dialog else why)
    return Step(way, Act.WAIT)


def _pressed(way: Way, look: Look) -> Way:
    return Way(way.since, Phase.ENTERED, None, way.enters + 1, look.now)


def _entered(way: Way, look: Look) -> Step:
    if look.now - way.entered < BEGIN_S:
        return Step(way, Act.WAIT)
    if look.working and look.holds is not Holds.OURS:
        return Step(way, Act.BEGAN, "screen: it works")
    if look.dialog:
        return Step(way, Act.GIVE_UP, "a dialog opened, and it is not known whether the turn began")
    if look.holds is Holds.OURS and not look.working:
        if way.enters < ENTERS:
            return Step(_pressed(way, look), Act.ENTER)
        return Step(way, Act.GIVE_UP, f"it stands in the agent's composer, which took none of {ENTERS} Enters")
    return Step(way, Act.GIVE_UP, "nothing says that the turn began")


# ---------------------------------------------------------------- text


def clean(text: str) -> str:
    """A message as it can be pasted: no control characters, which could end the paste or mean keys; lines as lines."""
    return _CONTROL.sub("", lines(text))


def lines(text: str) -> str:
    """A text whose lines end by a newline and nothing else."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def shortened(text: str, whole: str) -> str:
    """A message as it is shown where many things are: its beginning, and the command `whole` that shows all of it."""
    shown = "\n".join(text.split("\n")[:SHOWN_LINES])[:SHOWN_CHARACTERS]
    return text if shown == text else f"{shown.rstrip()} …\n({len(text)} characters in all: {whole})"


def squeezed(text: str) -> str:
    """A text without its white space, by which two showings of it are compared."""
    return _SPACE.sub("", text)


def plain(text: str) -> str:
    """What every terminal shows of a text: letters without their marks and variants, no pictures, no white space.

    A terminal, and tmux in between, composes marks and joined pictures as it can, and leaves some of them out.
    """
    return "".join(char for char in unicodedata.normalize("NFKD", text) if _is_plain(char))


def _is_plain(char: str) -> bool:
    kind = unicodedata.category(char)
    return char <= "\uffff" and kind[0] in "LNPS" and kind not in ("So", "Sk")


def same(shown: str, text: str) -> bool:
    """Whether what is shown is a part of a text, as far as a terminal can show it."""
    bare, whole = squeezed(shown), squeezed(text)
    if bare in whole:
        return True
    strange = plain(text) != whole
    return strange and bool(part := plain(shown)) and part in plain(text)


def holds(shown: str | None, text: str, *, folded: bool = False) -> Holds:
    """What a composer that shows this holds, as far as `text` goes.

    `shown` None: no composer is seen. `folded`: it shows only that something was pasted, and nothing beside it.
    """
    if shown is None:
        return Holds.UNSEEN
    if not squeezed(shown):
        return Holds.NOTHING
    return Holds.OURS if folded or same(shown, clean(text)) else Holds.OTHER
