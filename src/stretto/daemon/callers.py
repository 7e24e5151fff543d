"""Who asks: the user of the other end of a connection, and whether an agent speaks there (DECISIONS 21).

Only our own user may connect at all. Steering is refused to a process with a session marker among its ancestors; one
with a driver's marker may do what `core.driver` says.
Without a sandbox that stops mistakes, not malice: an agent that runs as the user can shed the marker (SECURITY.md).
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

from stretto.core import driver
from stretto.core.errors import StrettoError
from stretto.proctree import inherited, look

#: the variable that a shim puts into the environment of its agent
MARKER = "STRETTO_SESSION"


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that opened a connection. `pid` is None where the system does not tell it."""

    uid: int
    pid: int | None


def peer_of(connection: socket.socket) -> Peer | None:
    """Who is at the other end of a Unix socket; None if the system cannot tell."""
    try:
        return _linux_peer(connection) if sys.platform == "linux" else _bsd_peer(connection)
    except OSError:
        return None


def _linux_peer(connection: socket.socket) -> Peer:
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return Peer(uid, pid or None)


def _bsd_peer(connection: socket.socket) -> Peer:
    """macOS: LOCAL_PEERCRED (struct xucred: version, uid, groups) and LOCAL_PEERPID."""
    level, peercred, peerpid = 0, 0x001, 0x002
    _, uid = struct.unpack_from("Ii", connection.getsockopt(level, peercred, 76))
    (pid,) = struct.unpack("i", connection.getsockopt(level, peerpid, 4))
    return Peer(uid, pid or None)


def is_ours(peer: Peer | None) -> bool:
    """Whether this peer is the user who runs the daemon. A peer that cannot be told is not."""
    return peer is not None and peer.uid == os.geteuid()


def admit(pid: int | None, op: str, args: dict[str, Any]) -> dict[str, Any]:
    """The call as it may be carried out: a person's as it is, a driver's without what is the person's alone.

    Raises StrettoError if the caller is, or descends from, another agent, and for what a driver may not do. `pid` None:
    the system does not tell, so nothing is known.
    """
    args = {name: value for name, value in args.items() if name != driver.BY}
    if pid is None:
        return args
    if look(pid) is None:
        raise StrettoError("the caller has gone", code="caller_gone", object=str(pid))
    if inherited(pid, MARKER):
        raise StrettoError(
            "an agent cannot steer: this call comes from inside a session",
            code="agent_refused",
            object=f"process {pid}",
            hint="an agent asks the person with: stretto agent ask",
        )
    return driver.admit(op, args) if inherited(pid, driver.MARKER) else args
