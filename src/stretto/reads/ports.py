"""`ports`: which ports belong to which workspace, who listens there, and who listens elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stretto.home import home_path
from stretto.reads import find
from stretto.reads.shapes import Json
from stretto.store.sqlite import Reader
from stretto.workspace import home_name
from stretto.workspace.port_leases import NOBODY, Lease, block, registry


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket. `pid` None: it belongs to somebody else. `workspace`: what its process was started in."""

    port: int
    address: str
    pid: int | None
    command: str
    workspace: str | None


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
    """A sentence for each process of the workspace outside of its ports, and each stranger on them."""
    found = []
    for one in listeners:
        inside, own = one.port in lease.ports, one.workspace == str(lease.path)
        if own and not inside:
            found.append(
                f"{lease.owner.owner}: {one.command} (process {one.pid}) listens on port {one.port}, outside of its"
                f" ports {_said(lease)}"
            )
        elif inside and not own and one.pid is not None:
            found.append(
                f"{lease.owner.owner}: port {one.port} of its ports is used by {one.command} (process {one.pid}),"
                " which does not belong to it"
            )
    return found


def _said(lease: Lease) -> str:
    own = block(lease.slot)
    other = sorted(lease.ports - {*own})
    return f"{own.start}-{own.stop - 1}" + "".join(f", {port}" for port in other)


def listening() -> list[Listener]:
    """Every listening TCP socket that can be seen, by port."""
    import psutil

    about: dict[int, tuple[str, str | None]] = {}
    found = []
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        pid = connection.pid
        if pid is not None and pid not in about:
            about[pid] = _process(pid)
        command, workspace = about.get(pid, ("?", None)) if pid is not None else ("?", None)
        found.append(Listener(connection.laddr.port, connection.laddr.ip, pid, command, workspace))
    return sorted(found, key=lambda one: (one.port, one.address))


def _process(pid: int) -> tuple[str, str | None]:
    """The command of a process, and the workspace that it was started in."""
    import psutil

    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        environment: Mapping[str, str] = process.environ()
    except (psutil.Error, OSError):
        return "?", None
    command = " ".join([os.path.basename(words[0]), *words[1:]])[:120] if words else "?"  # noqa: PTH119 - a text
    return command, environment.get("STRETTO_WORKSPACE")
