"""Where entries land, and the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Landed:
    """A commit that moved the target."""

    commit: str
    tree: str
    tested_tree: str
    old: str
    at: float


class Target(Protocol):
    """Where entries land. A local ref here; a remote branch or a forge's queue later."""

    name: str

    def tip(self) -> str: ...
    def contains(self, commit: str) -> bool: ...
    def land(self, candidate: str, old: str) -> None:
        """Compare-and-swap; raises Conflict when the tip is not `old`. Landing twice is a no-op."""
        ...


class Clock(Protocol):
    """Time. `now` is the wall clock (seconds since the epoch), `monotonic` never jumps."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
