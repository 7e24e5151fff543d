"""`Shims` in memory: sessions whose agent is a function, for tests of everything above the shim.

Specification. It passes the contract suite of the real one (tests/contracts/test_shims.py) and is as strict: records in
order, each delivered once over all lives of a folder, one turn at a time in style `turns`. Nothing happens by itself:
the agent's function is called inside `append` and `start`; what it does not do at once a test does later through the
`FakeSession` (`say`, `end_turn`, `leave`, `die`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stretto.core.errors import Conflict, UsageError
from stretto.interfaces import ShimState
from stretto.shim.constants import KINDS
from stretto.shim.folder import Record

#: what an agent does about a record that has reached it
Behaviour = Callable[["FakeSession", Record], None]


def silent(session: FakeSession, record: Record) -> None:
    """An agent that does nothing: turns go on until a test ends them."""


def obedient(session: FakeSession, record: Record) -> None:
    """An agent that repeats what it is told; in style turns each turn ends at once with 0."""
    session.say(record.data.encode() + b"\n")
    if session.style == "turns" and record.kind == "turn":
        session.end_turn()


@dataclass
class FakeSession:
    """One folder: what was asked of it and what it says. `now` is the time that records carry."""

    folder: Path
    behaviour: Behaviour
    spec: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    streams: dict[str, bytearray] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    turns: dict[int, dict[str, Any]] = field(default_factory=dict)
    attempting: int = 0
    delivered: int = 0
    exit: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    alive: bool = False
    starts: int = 0
    running: int = 0
    now: float = 0.0

    @property
    def style(self) -> str:
        """`stream` or `turns`."""
        return str(self.spec.get("style", "stream"))

    def say(self, data: bytes, stream: str = "out") -> None:
        """The agent prints something."""
        self.streams.setdefault(stream, bytearray()).extend(data)

    def drop(self, until: int, stream: str = "out") -> None:
        """The cap was reached: bytes before this position are gone."""
        self.dropped[stream] = until

    def end_turn(self, code: int | None = 0, signal: int | None = None, *, interrupted: bool = False) -> None:
        """The running turn (style turns) ends; the next one begins if it waits."""
        number, self.running = self.running, 0
        times = {"started_at": self.now, "ended_at": self.now}
        self.turns[number] = {"n": number, "code": code, "signal": signal, "interrupted": interrupted, **times}
        self.serve()

    def leave(self, code: int | None = 0, signal: int | None = None, reason: str = "exited") -> None:
        """The session is over, with a record of its end."""
        if self.running:
            self.running, number = 0, self.running
            self.turns[number] = {"n": number, "code": code, "signal": signal, "interrupted": True}
        self.exit = {"code": code, "signal": signal, "at": self.now, "reason": reason, "stop": None}
        self.alive = False

    def die(self, *, attempting: bool = False) -> None:
        """The shim is killed; with `attempting` while it wrote the next record."""
        self.alive, self.running = False, 0
        if attempting:
            self.attempting = self.delivered + 1

    def serve(self) -> None:
        """Hand out what can be handed out now."""
        while self.alive:
            record = next((one for one in self.records if one.n > self.attempting), None)
            if record is None or not self._takes(record):
                return
            self.attempting = self.delivered = record.n
            self._deliver(record)

    def _takes(self, record: Record) -> bool:
        return not (self.style == "turns" and record.kind == "turn" and self.running)

    def _deliver(self, record: Record) -> None:
        if record.kind == "stop":
            self.leave(None, None, "stopped")
            return
        if self.style == "turns" and record.kind == "interrupt":
            if self.running:
                self.end_turn(None, 2, interrupted=True)
            return
        if self.style == "turns" and record.kind == "turn":
            self.running = record.n
        self.behaviour(self, record)


class FakeShims:
    """Implements `Shims`. `sessions` are kept by folder, whatever became of them."""

    def __init__(self, behaviour: Behaviour = obedient) -> None:
        self.behaviour = behaviour
        self.sessions: dict[Path, FakeSession] = {}
        self._lock = threading.RLock()

    def __getitem__(self, folder: Path) -> FakeSession:
        return self.sessions[folder]

    def start(self, folder: Path, spec: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        """See `Shims`."""
        with self._lock:
            session = self._session(folder)
            if session.alive:
                return
            session.spec, session.secrets = dict(spec), dict(secrets)
            session.alive, session.exit, session.problem, session.running = True, None, None, 0
            session.attempting = session.delivered = max(session.attempting, session.delivered)
            session.starts += 1
            session.serve()

    def append(self, folder: Path, kind: str, data: str, number: int) -> None:
        """See `Shims`."""
        if kind not in KINDS:
            raise UsageError(f"{kind!r} is no kind of record", object=kind)
        with self._lock:
            session = self._session(folder)
            before = len(session.records)
            if number <= before:
                return
            if number != before + 1:
                raise Conflict(
                    f"record {number} cannot follow record {before}", code="record_order", object=str(folder)
                )
            session.records.append(Record(number, kind, data))
            session.serve()

    def state(self, folder: Path) -> ShimState:
        """See `Shims`."""
        with self._lock:
            one = self.sessions.get(folder)
            if one is None:
                return ShimState(False, None, 0, 0, None, {})
            busy = one.alive and (one.style == "stream" or one.running > 0)
            pid = 1 if one.starts else None
            return ShimState(
                one.alive,
                busy,
                one.attempting,
                one.delivered,
                one.exit,
                dict(one.turns),
                pid,
                pid,
                one.problem,
                begun=one.starts > 0,
            )

    def read(self, folder: Path, stream: str, cursor: int, limit: int) -> tuple[bytes, int]:
        """See `Shims`."""
        with self._lock:
            said, lost = self._stream(folder, stream)
            cursor = max(cursor, lost)
            data = bytes(said[cursor : cursor + limit])
            return data, cursor + len(data)

    def tail(self, folder: Path, stream: str, limit: int) -> bytes:
        """See `Shims`."""
        with self._lock:
            said, lost = self._stream(folder, stream)
            return bytes(said[max(lost, len(said) - limit) :])

    def end(self, folder: Path, timeout: float) -> bool:
        """See `Shims`."""
        with self._lock:
            session = self.sessions.get(folder)
            if session is not None and session.alive:
                session.leave(None, 15, "terminated")
            return True

    def _session(self, folder: Path) -> FakeSession:
        return self.sessions.setdefault(folder, FakeSession(folder, self.behaviour))

    def _stream(self, folder: Path, stream: str) -> tuple[bytearray, int]:
        session = self._session(folder)
        return session.streams.get(stream, bytearray()), session.dropped.get(stream, 0)
