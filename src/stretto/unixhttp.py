"""Just enough HTTP/1.1 for our own daemon over its Unix socket: one request a connection.

Specification. `http.client` costs a quarter of what `stretto status` may take of the processor (it imports ssl and the
mail parser), hence this. It understands what the daemon sends: a status line, headers, a body by Content-Length or in
chunks. Anything else, and an answer that ends early, is `Broken`: never half an answer.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from typing import IO

#: longest line of a head or of a chunk's size, in bytes
_LINE = 65536


class Broken(Exception):
    """The answer is no HTTP, or not whole."""


class UnixConnection:
    """A connection to the socket at `path`; `timeout` in seconds for each wait, None for ever."""

    #: what an answer that is no HTTP raises
    broken = Broken

    def __init__(self, path: str, timeout: float | None) -> None:
        self._path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self._file = self.sock.makefile("rb")

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock.connect(self._path)

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send the one request. Raises OSError."""
        head = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        if method != "GET":
            head.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode() + body)

    def getresponse(self) -> Response:
        """Wait for the head of the answer. Raises OSError and Broken."""
        return Response(self._file)

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self.sock.close()


class Response:
    """The answer: `status`, and the body by `read` or line by line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        words = self._line().split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise Broken("the answer does not begin as HTTP does")
        self.status = int(words[1])
        self._headers = self._read_headers()

    def _read_headers(self) -> dict[bytes, bytes]:
        found = {}
        while line := self._line().strip():
            name, _, value = line.partition(b":")
            found[name.strip().lower()] = value.strip()
        return found

    def _line(self) -> bytes:
        line = self._file.readline(_LINE)
        if not line.endswith(b"\n"):
            raise Broken("the answer ends early")
        return line

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise Broken("the answer ends early")
        return data

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self._parts())

    def __iter__(self) -> Iterator[bytes]:
        """The body line by line, as it comes."""
        rest = b""
        for part in self._parts():
            *lines, rest = (rest + part).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def _parts(self) -> Iterator[bytes]:
        if self._headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            while size := self._size():
                yield self._exactly(size)
                self._line()
            self._read_headers()
        elif (length := self._headers.get(b"content-length", b"")).isdigit():
            yield self._exactly(int(length))
        else:
            raise Broken("the answer does not tell its length")

    def _size(self) -> int:
        try:
            return int(self._line().split(b";")[0], 16)
        except ValueError as error:
            raise Broken("a chunk without its size") from error
