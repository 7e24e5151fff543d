"""SQLite in memory: every process has a database of its own, and it ends with it. For test runs.

Specification. There is nothing to make, to keep or to drop: the address is all. Migrations are run by the process that
needs them (a test runner), never by us: what they made would be gone with their process.
"""

from __future__ import annotations

from stretto.workspace.databases.base import Address, Marker, Place


class Memory:
    """The provider `memory`."""

    kind = "memory"
    freezes = False
    keeps = False

    def check(self) -> None:
        """Nothing can be missing."""

    def origin(self) -> str:
        """Always empty."""
        return "empty"

    def require_free(self, name: str, place: Place) -> None:
        """Every name is."""

    def create(self, name: str, marker: Marker, template: str | None, place: Place, *, begun: bool) -> None:
        """The process that connects does it."""

    def address(self, name: str, place: Place) -> Address:
        """The same words for everybody: it is the process that differs."""
        return Address("sqlite:///:memory:")

    def freeze(self, name: str, template: str, marker: Marker, place: Place) -> None:
        """There is nothing that could be kept."""

    def set_aside(self, name: str, aside: str, place: Place) -> None:
        """Nothing to take away."""

    def bring_back(self, name: str, aside: str, place: Place) -> None:
        """Nothing to bring."""

    def drop(self, name: str, place: Place, *, begun: bool = False) -> None:
        """Gone with its process."""

    def found(self) -> dict[str, Marker]:
        """None that we could see."""
        return {}
