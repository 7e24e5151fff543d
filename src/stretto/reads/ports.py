"""`ports`: which ports belong to which workspace, who listens there, and who listens elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stretto.home import home_path
from stretto.net import Listener, listening
from stretto.reads import find
from stretto.reads.shapes import Json
from stretto.store.sqlite import Reader
from stretto.workspace import home_name
from stretto.workspace.port_leases import NOBODY, Lease, block, registry


def ports(db: Reader, args: dict[str, Any]) -> Json:
    """The leases of this repository (of the whole user: `all`), with who listens on them, and warnings."""
    repo = None if args.get("all") else find.require_repository(args)
    leases = [lease for lease in registry().all() if repo is None or lease.owner.repository == repo]
    listeners = listening() if leases else []
    home = home_name(home_path())
    return {
        "leases": [_lease(lease, listeners, home) for lease in leases],
        "warnings": [text for lease in leases for text in warnings(lease, listeners)],
    }


def _lease(lease: Lease, listeners: Iterable[Listener], home: str) -> Json:
    own = block(lease.slot)
    return {
        "slot": lease.slot,
        "first": own.start,
        "last": own.stop - 1,
        "ports": dict(lease.names),
        "owner": lease.owner.owner,
        "purpose": lease.owner.purpose,
        "repository": lease.owner.repository,
        "path": str(lease.path),
        "own_home": lease.owner.home == home,
        "held": lease.holder.alive(),
        "given": lease.holder == NOBODY,
        "listeners": [
            {"port": one.port, "address": one.address, "pid": one.pid, "command": one.command}
            for one in listeners
            if one.port in lease.ports
        ],
    }


def warnings(lease: Lease, listeners: Iterable[Listener]) -> list[str]:
    """A sentence for each process of the workspace outside of its ports, and each stranger on them.

    Of whom nothing can be told (another user's, one that is just ending) nothing is said.
    """
    found = []
    for one in listeners:
        inside, own = one.port in lease.ports, one.workspace == str(lease.path)
        if own and not inside:
            found.append(
                f"{lease.owner.owner}: {one.command} (process {one.pid}) listens on port {one.port}, outside of its"
                f" ports {_said(lease)}"
            )
        elif inside and one.workspace is not None and not own:
            found.append(
                f"{lease.owner.owner}: port {one.port} of its ports is used by {one.command} (process {one.pid}),"
                " which does not belong to it"
            )
    return found


def _said(lease: Lease) -> str:
    own = block(lease.slot)
    other = sorted(lease.ports - {*own})
    return f"{own.start}-{own.stop - 1}" + "".join(f", {port}" for port in other)
