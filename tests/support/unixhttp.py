"""`http.client` over the Unix socket: what a stranger would speak to the daemon with."""

from __future__ import annotations

import http.client
import socket


class UnixConnection(http.client.HTTPConnection):
    """A connection to the socket at `path`. `broken`: what an answer that is no HTTP raises."""

    broken = http.client.HTTPException

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("stretto", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
