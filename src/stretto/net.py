"""What listens on this machine, asked from the outside: whether a TCP port is free, and whether a server answers."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass

_NO_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_FAMILIES = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))  # noqa: S104 - a look at all addresses
#: where a server of this machine answers
LOOPBACK = ("127.0.0.1", "::1")


def free(port: int) -> bool:
    """Whether nothing listens on this TCP port at any address, IPv4 or IPv6. A family that is not there is free."""
    if sys.platform.startswith("linux"):
        both = _bindable(socket.AF_INET6, "::", port, only=False)
        if both is not None:
            return both
    return all(_bindable(family, address, port) is not False for family, address in _FAMILIES)


def _bindable(family: socket.AddressFamily, address: str, port: int, *, only: bool = True) -> bool | None:
    """Whether a socket can be bound; None where there is no such family. `only`: IPv6, and not IPv4 besides."""
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    with probe:
        if sys.platform.startswith("linux"):
            # there it only lets us pass what is closing; elsewhere it would pass a listener on one address
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            probe.bind((address, port))
        except OSError as error:
            return None if error.errno in _NO_FAMILY else False
    return True


def accepts(port: int, timeout: float = 1.0) -> bool:
    """Whether something accepts connections on this port of the loopback interface."""
    for address in LOOPBACK:
        with suppress(OSError), socket.create_connection((address, port), timeout):
            return True
    return False


def answers(port: int, path: str, timeout: float = 2.0) -> bool:
    """Whether an HTTP server on this port answers `GET path` with success or a redirection."""
    for address in LOOPBACK:
        connection = http.client.HTTPConnection(address, port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Host": f"127.0.0.1:{port}", "Connection": "close"})
            if 200 <= connection.getresponse().status < 400:
                return True
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return False


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket. `pid` None: it belongs to somebody else.

    `workspace`: that in which its process was started; empty for none, None where that cannot be told.
    """

    port: int
    address: str
    pid: int | None
    command: str
    workspace: str | None


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
    """The command of a process, and the workspace that it was started in.

    One that ends while it is looked at has no environment, and servers of PostgreSQL write their titles over theirs.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        words, environment = process.cmdline(), process.environ()
    except (psutil.Error, OSError):
        return "?", None
    command = " ".join([os.path.basename(words[0]), *words[1:]])[:120] if words else "?"  # noqa: PTH119 - a text
    return command, environment.get("STRETTO_WORKSPACE", "") if environment else None
