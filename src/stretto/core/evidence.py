"""What an agent does, as far as it can be known: signs of different worth and age become one belief with a reason.

Specification. A sign says what somebody saw, who (its source) and when. Of each source the last sign counts, in the
order in which signs arrived; those of another generation never count. Then, from the strongest source to the weakest:

1. A newer sign of a weaker source waits until the stronger one is `FRESH` seconds old: screens and titles lag.
2. After that it confirms the stronger one if both mean the same for the person (it works, it waits, it is over); else
   the agent's own word (hook, file, title) takes the stronger one's place, but what was read off the screen cannot:
   the two contradict each other, and the status is `unknown`.
3. A process that ended overrules everything that is not newer than its end; a sign after that end is a contradiction.
   In the middle of work an end is a crash, whatever its exit code says; an exit code never says that work is done.
4. Silence in the middle of work is `stalled`, never `done`. It is measured in seconds during which the machine was
   awake and somebody watched. An agent that waits for the person, or for its vendor until a known time, is not silent.

`starting` and the word that it quits are weak: any newer sign replaces them. Times are seconds since the epoch; a time
that is yet to come (a clock was set back) is no time, and yields to every other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum
from typing import Any

from stretto.core.model import SessionStatus
from stretto.core.quick import dataclass

#: seconds for which a stronger source is believed against newer signs of weaker ones
FRESH = 5.0
#: seconds by which clocks and lookers may differ
SLACK = 2.0
#: seconds after which a process that said goodbye should be gone
LEAVING = 30.0
#: seconds without a sign in the middle of work, unless the configuration says otherwise
SILENCE = 1800.0
#: gaps of the machine's sleep that are remembered
_GAPS = 20


class Source(IntEnum):
    """Who saw it; a greater number is worth more. The process is apart: it says whether there is an agent at all."""

    SCREEN = 1
    PROCESS = 2
    TITLE = 3
    TRANSCRIPT = 4
    FILE = 5
    HOOK = 6
    PROTOCOL = 7

    @property
    def word(self) -> str:
        """The source as a person reads it."""
        return "session file" if self is Source.FILE else self.name.lower()


class What(StrEnum):
    """What a sign says. The last five: `sound` that it said something, whatever; the rest is of the process only.

    `left`: it ended with exit code 0, `fell`: in any other way, `stopped`: because we ended it.
    """

    STARTING = "starting"
    WORKING = "working"
    ASKING = "asking"
    PERMISSION = "permission"
    LIMITED = "limited"
    OVERFLOW = "overflow"
    ERROR = "error"
    DONE = "done"
    INTERRUPTED = "interrupted"
    QUIT = "quit"
    SOUND = "sound"
    ALIVE = "alive"
    LEFT = "left"
    FELL = "fell"
    STOPPED = "stopped"


class Status(StrEnum):
    """What is believed."""

    STARTING = "starting"
    WORKING = "working"
    ASKING = "asking"
    PERMISSION = "permission"
    LIMITED = "limited"
    OVERFLOW = "overflow"
    ERROR = "error"
    DONE = "done"
    INTERRUPTED = "interrupted"
    QUIT = "quit"
    CRASHED = "crashed"
    STALLED = "stalled"
    UNKNOWN = "unknown"


_ENDS = frozenset({What.LEFT, What.FELL, What.STOPPED})
_OF_PROCESS = _ENDS | {What.ALIVE}
#: what the person makes of a claim: it works, it waits for me, its turn is over
_WORKS, _WAITS, _RESTS = range(3)
#: how a turn went when its agent is gone: the word stays, for an exit code says less
_KEPT = frozenset({What.ERROR, What.OVERFLOW, What.INTERRUPTED, What.LIMITED})
_TOLD = {
    What.STARTING: "it starts",
    What.WORKING: "it works",
    What.ASKING: "it asks a question",
    What.PERMISSION: "it asks for permission",
    What.LIMITED: "its vendor takes no more now",
    What.OVERFLOW: "its context is full",
    What.ERROR: "its turn ended with an error",
    What.DONE: "its turn is over",
    What.INTERRUPTED: "its turn was interrupted",
    What.QUIT: "it says goodbye",
}
_SESSION = {
    Status.STARTING: SessionStatus.STARTING,
    Status.WORKING: SessionStatus.WORKING,
    Status.ASKING: SessionStatus.WAITING,
    Status.PERMISSION: SessionStatus.WAITING,
    Status.STALLED: SessionStatus.STALLED,
    Status.UNKNOWN: SessionStatus.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that was seen of a session. `text`: details in words for the person.

    `until`: when an agent that waits for its vendor in the middle of a turn tries again; a limit without it has ended
    the turn.
    """

    what: What
    source: Source
    at: float
    generation: int
    text: str = ""
    until: float | None = None

    @property
    def told(self) -> str:
        """The sign in words, without its age."""
        said = f"{self.what.value}: {self.text}" if self.text else self.what.value
        return f"{self.source.word} says {said}"


@dataclass(frozen=True, slots=True)
class Watch:
    """How long somebody has watched, and when the machine slept: what nobody watched proves nothing.

    `wall` and `ticks` are the last readings of the wall clock and of one that stands still while the machine sleeps.
    """

    since: float
    wall: float
    ticks: float
    slept: tuple[tuple[float, float], ...] = ()

    def seen(self, wall: float, ticks: float) -> Watch:
        """The watch after another look at both clocks; the wall clock having gone ahead of the other is a sleep."""
        asleep = (wall - self.wall) - (ticks - self.ticks)
        slept = (*self.slept, (wall - asleep, wall))[-_GAPS:] if asleep > SLACK else self.slept
        return Watch(self.since, wall, ticks, slept)

    def awake(self, since: float, now: float) -> float:
        """Seconds between two times of the wall clock during which we watched and the machine was awake."""
        since = max(since, self.since)
        lost = sum(max(0.0, min(end, now) - max(begin, since)) for begin, end in self.slept)
        return max(0.0, now - since - lost)


@dataclass(frozen=True, slots=True)
class Seen:
    """A sign as a piece of evidence: its age in seconds, and how it was `used`: believed, or why not."""

    sign: Sign
    age: float
    used: str


@dataclass(frozen=True, slots=True)
class Belief:
    """What an agent does. `over`: its process is gone; `until`: when a limit is over, if that is known."""

    status: Status
    reason: str
    evidence: tuple[Seen, ...] = ()
    until: float | None = None
    over: bool = False

    @property
    def session(self) -> SessionStatus:
        """The belief in the fewer words of `status --json`; a turn that is over leaves its agent idle."""
        if self.over:
            return SessionStatus.EXITED
        waits = self.status is Status.LIMITED and self.until is not None
        return SessionStatus.WORKING if waits else _SESSION.get(self.status, SessionStatus.IDLE)


def kept(signs: Iterable[Sign], generation: int) -> tuple[Sign, ...]:
    """The signs that still matter, at most three of a source: believing them is believing all of them."""
    last: dict[tuple[Source, str], Sign] = {}
    for sign in signs:
        if sign.generation == generation and (sign.source is Source.PROCESS) == (sign.what in _OF_PROCESS):
            key = (sign.source, sign.what.value if sign.what in (What.QUIT, What.SOUND) else "")
            last.pop(key, None)
            last[key] = sign
    return tuple(last.values())


def believe(
    signs: Iterable[Sign],
    now: float,
    *,
    generation: int,
    began: float | None = None,
    watch: Watch | None = None,
    silence: float = SILENCE,
) -> Belief:
    """What these signs, in the order of their arrival, say now of the session of this generation.

    `began`: when it was started; without it, one that has said nothing yet is never called stalled.
    """
    given = list(signs)
    case = _Case(kept(given, generation), now, watch or Watch(0.0, now, now), silence, now if began is None else began)
    belief = case.belief()
    late = sum(sign.generation != generation for sign in given)
    note = f"; {late} late {'sign' if late == 1 else 'signs'} of another process left out" if late else ""
    return Belief(belief.status, belief.reason + note, case.evidence(), belief.until, belief.over)


class _Case:
    """One judgement: the signs of one session, and what became of each."""

    def __init__(self, signs: tuple[Sign, ...], now: float, watch: Watch, silence: float, began: float) -> None:
        self._now, self._watch, self._silence, self._signs, self._began = now, watch, silence, signs, began
        self._used: dict[Sign, str] = {}
        self._process = next((s for s in signs if s.source is Source.PROCESS), None)
        said = [s for s in signs if s.source is not Source.PROCESS]
        self._heard = max((self._time(s) for s in said), default=0.0)
        newest = max((self._time(s) for s in said if s.what not in (What.QUIT, What.SOUND)), default=0.0)
        self._quit = next((s for s in said if s.what is What.QUIT and self._time(s) >= newest), None)
        self._claims = sorted((s for s in said if s.what not in (What.QUIT, What.SOUND)), key=lambda s: -s.source)

    def belief(self) -> Belief:
        leader, against = self._leader()
        if self._process is not None and self._process.what in _ENDS:
            return self._over(self._process, leader)
        if self._quit is not None:
            return self._leaving(self._quit)
        if against is not None and leader is not None:
            return Belief(Status.UNKNOWN, f"{leader.told}, but {against.told}")
        if leader is None:
            return self._nothing()
        return self._living(leader)

    def evidence(self) -> tuple[Seen, ...]:
        """Every sign that was looked at, the strongest first."""
        rows = sorted(self._signs, key=lambda s: (-s.source, -s.at))
        return tuple(Seen(s, max(0.0, self._now - s.at), self._used.get(s, "")) for s in rows)

    # ------------------------------------------------------------ who is believed

    def _time(self, sign: Sign) -> float:
        return sign.at if sign.at <= self._now + SLACK else 0.0

    def _leader(self) -> tuple[Sign | None, Sign | None]:
        """The claim that is believed, and what was read off the screen against it."""
        leader: Sign | None = None
        confirmed, against = 0.0, None
        for sign in self._claims:
            at = self._time(sign)
            if leader is None or (leader.what is What.STARTING and at > confirmed):
                leader, confirmed = sign, at
            elif at <= confirmed:
                self._used[sign] = "older"
            elif self._now - confirmed <= FRESH:
                self._used[sign] = f"the {leader.source.word} was heard a moment ago"
            elif _meaning(sign) == _meaning(leader):
                confirmed, self._used[sign] = at, "confirms"
            elif sign.source is Source.SCREEN:
                against, self._used[sign] = sign, "contradicts"
            else:
                self._used[leader] = "overtaken"
                leader, confirmed = sign, at
        if leader is not None:
            self._used[leader] = "believed"
        return leader, against

    # ------------------------------------------------------------ what follows from it

    def _over(self, end: Sign, leader: Sign | None) -> Belief:
        how = end.text or end.what.value
        after = [s for s in (*self._claims, *self._sounds()) if self._time(s) > self._time(end) + SLACK]
        self._used[end] = "believed"
        if after:
            self._used[after[0]] = "contradicts"
            return Belief(Status.UNKNOWN, f"its process ended ({how}), but afterwards {after[0].told}")
        if end.what is What.STOPPED:
            return Belief(Status.QUIT, f"it was ended ({how})", over=True)
        if leader is not None and leader.what in _KEPT and _meaning(leader) == _RESTS:
            return Belief(Status(leader.what.value), f"{_words(leader)}, then its process ended ({how})", over=True)
        if self._quit is not None:
            return Belief(Status.QUIT, f"{_words(self._quit)}, then its process ended ({how})", over=True)
        if leader is None or _meaning(leader) != _RESTS:
            return Belief(Status.CRASHED, f"its process ended ({how}) in the middle of its work", over=True)
        if end.what is What.FELL:
            return Belief(Status.CRASHED, f"its turn was over, then its process ended ({how})", over=True)
        return Belief(Status.QUIT, f"its turn was over, then it ended by itself ({how})", over=True)

    def _leaving(self, word: Sign) -> Belief:
        self._used[word] = "believed"
        alive = self._process
        if alive is not None and self._time(alive) > self._time(word) + LEAVING:
            self._used[alive] = "contradicts"
            return Belief(Status.UNKNOWN, f"{word.told}, but its process goes on")
        return Belief(Status.QUIT, _words(word))

    def _nothing(self) -> Belief:
        if self._process is None and not self._signs:
            return Belief(Status.UNKNOWN, "nothing was heard of it yet")
        if quiet := self._silent(max(self._heard, self._began)):
            return Belief(Status.STALLED, f"it says nothing that tells what it does, for {_minutes(quiet)}")
        return Belief(Status.STARTING, "its process is there, and has not said yet what it does")

    def _living(self, leader: Sign) -> Belief:
        self._used[leader] = "believed"
        status, until = Status(leader.what.value), leader.until
        if _meaning(leader) != _WORKS:
            return Belief(status, _words(leader))
        if quiet := self._silent(max(self._heard, until or 0.0)):
            return Belief(Status.STALLED, f"it was in the middle of its work and is silent for {_minutes(quiet)}")
        return Belief(status, _words(leader), until=until)

    def _silent(self, heard: float) -> float:
        """Seconds of a silence that is too long, else 0."""
        quiet = self._watch.awake(heard, self._now)
        return quiet if quiet > self._silence else 0.0

    def _sounds(self) -> list[Sign]:
        return [s for s in self._signs if s.what is What.SOUND]


def _meaning(sign: Sign) -> int:
    if sign.what in (What.ASKING, What.PERMISSION):
        return _WAITS
    works = sign.what in (What.STARTING, What.WORKING) or (sign.what is What.LIMITED and sign.until is not None)
    return _WORKS if works else _RESTS


def _words(sign: Sign) -> str:
    said = _TOLD[sign.what]
    return f"{said} ({sign.source.word}: {sign.text})" if sign.text else f"{said} ({sign.source.word})"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


# ---------------------------------------------------------------- kept between daemons


def to_plain(signs: Iterable[Sign]) -> list[list[Any]]:
    """Signs as JSON."""
    return [[s.what.value, int(s.source), s.at, s.generation, s.text, s.until] for s in signs]


def from_plain(values: Iterable[Any]) -> tuple[Sign, ...]:
    """Signs from JSON; what cannot be one (of a later version) is left out."""
    return tuple(sign for value in values if (sign := _sign(value)) is not None)


def _sign(value: Any) -> Sign | None:
    try:
        what, source, at, generation, text, until = value
        return Sign(
            What(what), Source(source), float(at), int(generation), str(text), None if until is None else float(until)
        )
    except (TypeError, ValueError):
        return None


def evidence_of(belief: Belief) -> list[Mapping[str, Any]]:
    """The evidence in the shape of `explain --json`."""
    return [
        {
            "signal": seen.sign.source.word,
            "value": ": ".join(filter(None, (seen.sign.what.value, seen.sign.text)))
            + (f" ({seen.used})" if seen.used else ""),
            "age_s": round(seen.age, 1),
        }
        for seen in belief.evidence
    ]
