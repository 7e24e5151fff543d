"""The client's own HTTP: what is whole is read, what is not is never taken for whole."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stretto.unixhttp import Broken, UnixConnection

Serve = Callable[[bytes], UnixConnection]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A server for one request that sends these bytes and closes; the connection to it, asked."""

    opened: list[UnixConnection] = []

    def start(answer: bytes) -> UnixConnection:
        path = str(tmp_path / "s")
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()

        def work() -> None:
            peer, _ = server.accept()
            with server, peer, suppress(OSError):  # who has seen enough closes
                while not peer.recv(65536).endswith(b"{}"):
                    pass
                for byte in range(0, len(answer), 7):  # in pieces, as a network would
                    peer.sendall(answer[byte : byte + 7])

        threading.Thread(target=work, daemon=True).start()
        connection = UnixConnection(path, 10)
        opened.append(connection)
        connection.connect()
        connection.request("POST", "/v1/x", b"{}", {"Host": "stretto"})
        return connection

    yield start
    for connection in opened:
        connection.close()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_of_known_length(serve: Serve) -> None:
    with_more = b"HTTP/1.1 409 Conflict\r\nContent-Length: 5\r\nX: y\r\n\r\nhello and more"
    response = serve(with_more).getresponse()
    assert (response.status, response.read()) == (409, b"hello")


def test_a_body_in_chunks_line_by_line(serve: Serve) -> None:
    body = b"4\r\none\n\r\n7;x=y\r\ntwo\nthr\r\n2\r\nee\r\n0\r\n\r\n"
    assert list(serve(CHUNKED + body).getresponse()) == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        CHUNKED + b"9\r\nshort",
        CHUNKED + b"5\r\nwhole\r\n",
        CHUNKED + b"what\r\n",
    ],
)
def test_what_is_not_whole_is_broken(serve: Serve, answer: bytes) -> None:
    connection = serve(answer)
    with pytest.raises(Broken):
        connection.getresponse().read()
