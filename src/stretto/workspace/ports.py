"""The ports of a workspace: a layer over the user's registry of leases.

Schemes. `block`: names are places in the slot's block of 20 (`[workspace.ports] api = 1` is the second port of it), and
`PORT` is the first. `offset`: names are port numbers to which the slot is added (`api = 4000` is 4001 in slot 1), slots
are taken from the lowest, and `PORT` is the first that is named; the block belongs to the workspace as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stretto.core import names
from stretto.workspace import port_leases
from stretto.workspace.layers import Data, Held, Leftover, Place
from stretto.workspace.port_leases import BLOCK, SLOTS, Holder, Lease, Owner, Registry

SCHEMES = ("block", "offset")
#: places in the block that stretto uses itself
DATABASE, BROWSER = BLOCK - 1, BLOCK - 2


@dataclass(frozen=True, slots=True)
class PortSettings:
    """`[workspace.ports]`: names with their numbers, and what the numbers mean."""

    names: Mapping[str, int] = field(default_factory=dict)
    scheme: str = "block"


def variable(name: str) -> str:
    """The variable of a named port.

    >>> variable("api-v2")
    'PORT_API_V2'
    """
    return "PORT_" + name.upper().replace("-", "_")


def project_name(root: Path, slot: int) -> str:
    """Docker Compose's project of a workspace: its containers, networks and volumes."""
    project = hashlib.sha256(str(root).encode()).hexdigest()[:4]
    return f"{names.slugify(root.name, 20)}-{project}-{slot:02d}"


class Ports:
    """The layer. Every workspace has it."""

    name = "ports"

    def __init__(
        self, settings: PortSettings, home: str, repository: Path, *, registry: Registry | None = None
    ) -> None:
        self._settings = settings
        self._home = home
        self._repository = repository
        self._given = registry
        self._holder: Holder | None = None

    @property
    def _registry(self) -> Registry:
        return self._given or port_leases.registry()

    def variables(self) -> frozenset[str]:
        """Names of the variables that a workspace gets."""
        return frozenset({"PORT", "STRETTO_SLOT", "COMPOSE_PROJECT_NAME", *map(variable, self._settings.names)})

    def wanted(self, place: Place) -> bool:
        """Always: ports cost nothing."""
        return True

    def take(self, place: Place, recorded: Data) -> Held:
        """Lease a slot, or find the one that is leased; the one of `recorded` is preferred."""
        if self._holder is None:
            self._holder = Holder.current()
        owner = self._owner(place)
        before = recorded.get("slot")
        candidates = self._candidates(owner, before)
        lease = self._registry.lease(owner, place.path, self._holder, self._named, candidates, before)
        return self._held(place, lease)

    def _held(self, place: Place, lease: Lease) -> Held:
        data: Data = {"slot": lease.slot, "ports": dict(lease.names)}
        return Held(self.values(place, data), data)

    def values(self, place: Place, data: Data) -> Mapping[str, str]:
        """`PORT`, `PORT_<NAME>`, `STRETTO_SLOT` and `COMPOSE_PROJECT_NAME`."""
        slot = int(data["slot"])
        return {
            **{name: str(port) for name, port in data["ports"].items()},
            "STRETTO_SLOT": str(slot),
            "COMPOSE_PROJECT_NAME": project_name(place.root, slot),
        }

    def give(self, place: Place, data: Data) -> None:
        """Give the lease back; while something listens there, the ports stay taken."""
        self._registry.release(self._owner(place))

    def back(self, place: Place, data: Data) -> Held:
        """Lease again: the same slot if it is still free, else another."""
        return self.take(place, data)

    def purge(self, place: Place, data: Data) -> None:
        """There is nothing left to end."""

    def leftovers(self, owners: Iterable[str]) -> list[Leftover]:
        """Leases of this home and repository whose owner is not known."""
        known = set(owners)
        mine = (self._home, str(self._repository))
        return [
            Leftover(
                self.name,
                f"{port_leases.block(lease.slot).start}-{port_leases.block(lease.slot).stop - 1}",
                f"the ports of slot {lease.slot} are leased to {lease.owner.owner}, which nobody knows",
                "stretto ports shows who listens there; a free one is taken over when no other is left",
            )
            for lease in self._registry.all()
            if (lease.owner.home, lease.owner.repository) == mine and lease.owner.owner not in known
        ]

    def _owner(self, place: Place) -> Owner:
        return Owner(place.home, str(place.repository), place.owner, place.purpose)

    def _named(self, slot: int) -> dict[str, int]:
        """The ports of a slot by the names of their variables."""
        wanted = self._settings.names
        if self._settings.scheme == "offset":
            found = {variable(name): number + slot for name, number in wanted.items()}
            return {"PORT": next(iter(found.values()), port_leases.block(slot).start), **found}
        start = port_leases.block(slot).start
        return {"PORT": start, **{variable(name): start + place for name, place in wanted.items()}}

    def _candidates(self, owner: Owner, recorded: int | None) -> Iterator[int]:
        """Slots in the order of preference: the one of before, then by hash, or from the lowest."""
        if recorded is not None:
            yield int(recorded)
        first = 0
        if self._settings.scheme == "block":
            said = "\0".join((owner.home, owner.repository, owner.owner, owner.purpose))
            first = int.from_bytes(hashlib.sha256(said.encode()).digest()[:4], "big") % SLOTS
        yield from ((first + n) % SLOTS + 1 for n in range(SLOTS))
