"""The ways out of a sandbox that are allowed, and that there are no others."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.conftest import WORLD
from tests.support.arena import PYTHON, SECRET, Arena, users
from tests.support.waiting import wait_for


@pytest.fixture(scope="module", params=users(), ids=lambda user: "unprivileged" if user else "as we are")
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    folder = WORLD.folder / f"n{secrets.token_hex(3)}"
    folder.mkdir()
    made = Arena(folder, request.param)
    yield made
    made.close()


ASK = f"""{PYTHON} -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", 3128), 5); s.settimeout(5)
s.sendall(sys.argv[1].encode() + b" HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
data = b""
while part := s.recv(1000):
    data += part
    if data.startswith(b"HTTP/1.1 200") and b"s3cret" in data: break
print(data.decode())
' """


def ask(arena: Arena, request: str, *allow: str) -> str:
    done = arena.inside(f"{ASK} '{request}'", recipe=arena.with_(allow=allow))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_allowed_host_is_reached(arena: Arena) -> None:
    said = ask(arena, f"CONNECT 127.0.0.1:{arena.tcp}", f"127.0.0.1:{arena.tcp}")
    assert said.startswith("HTTP/1.1 200")
    assert SECRET in said


@pytest.mark.parametrize(
    ("request_", "allow", "status"),
    [
        ("CONNECT 127.0.0.1:{tcp}", "127.0.0.2:{tcp}", "403"),
        ("CONNECT 127.0.0.1:{tcp}", "127.0.0.1", "403"),
        ("CONNECT localhost:{tcp}", "*.localhost:{tcp}", "403"),
        ("CONNECT localhost:{tcp}", "localhost:{tcp}", "403"),  # a name that leads into this machine
        ("CONNECT evil.example.org:443", "example.org", "403"),
        ("CONNECT evilexample.org:443", "*.example.org", "403"),
        ("CONNECT 169.254.169.254:80", "*:443", "403"),
        ("GET http://127.0.0.1:{tcp}/", "127.0.0.1:{tcp}", "405"),
        ("CONNECT 127.0.0.1", "127.0.0.1", "405"),
    ],
)
def test_nothing_else_is(arena: Arena, request_: str, allow: str, status: str) -> None:
    before = len(arena.heard)
    said = ask(arena, request_.format(tcp=arena.tcp), allow.format(tcp=arena.tcp))
    assert said.startswith(f"HTTP/1.1 {status} ")
    assert SECRET not in said
    assert len(arena.heard) == before


def test_a_server_of_this_machine_is_reached_at_its_port_and_only_that(arena: Arena) -> None:
    other = arena.tcp6
    script = (
        "import socket,sys;s=socket.create_connection(('127.0.0.1',int(sys.argv[1])),5);print(s.recv(100).decode())"
    )
    recipe = arena.with_(forward=((arena.tcp, "127.0.0.1", arena.tcp),))
    assert SECRET in arena.inside(f'{PYTHON} -c "{script}" {arena.tcp}', recipe=recipe).stdout
    assert "refused" in arena.inside(f'{PYTHON} -c "{script}" {other}', recipe=recipe).stderr


@pytest.mark.parametrize(("family", "address"), [("AF_INET", "127.0.0.1"), ("AF_INET", "0.0.0.0"), ("AF_INET6", "::1")])
def test_a_dev_server_is_reached_from_outside_while_it_listens(arena: Arena, family: str, address: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = f"""{PYTHON} -c '
import socket
s = socket.socket(socket.{family}); s.bind(("{address}", {port})); s.listen()
for n in range(2):
    c, _ = s.accept(); c.sendall(b"hello " + c.recv(10)); c.close()
s.close()
'; echo over; sleep 60"""
    started = arena.start(server, arena.with_(ports=(port,)))
    assert wait_for(lambda: talk(port)) == b"hello you"
    assert talk(port) == b"hello you"
    assert started.stdout is not None
    assert started.stdout.readline() == "over\n"
    wait_for(lambda: not listens(port))
    started.terminate()
    started.kill()
    started.wait()
    started.stdout.close()


LAST_WORDS = f"""{PYTHON} -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
s.sendall(b"x" * 300000)
' """


def test_what_was_sent_by_the_end_of_the_sandbox_arrives(arena: Arena) -> None:
    """A kernel sends what a process has left in a socket when it ends; so do we, who stand between."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # little lies on the way, most with us
        server.bind(("127.0.0.1", 0))
        server.listen()
        port, heard = server.getsockname()[1], []

        def hear() -> None:
            client, _ = server.accept()
            with client:
                while part := client.recv(1000):  # small sips: it comes slower than it is sent
                    heard.append(len(part))

        listener = threading.Thread(target=hear)
        listener.start()
        done = arena.inside(f"{LAST_WORDS} {port}", recipe=arena.with_(forward=((port, "127.0.0.1", port),)))
        listener.join(60)
    assert (done.returncode, sum(heard)) == (0, 300_000), done.stderr


def talk(port: int) -> bytes | None:
    """What the server answers; None while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"you")
            return client.recv(100)
    except ConnectionRefusedError:
        return None


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def test_much_is_passed_on_in_both_directions_at_once(arena: Arena) -> None:
    """Eight connections with two megabytes each; the other side sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def echo(client: socket.socket) -> None:
            with client:
                while part := client.recv(65536):
                    client.sendall(part)
                client.shutdown(socket.SHUT_WR)

        def serve() -> None:
            for _ in range(8):
                client, _ = server.accept()
                threading.Thread(target=echo, args=(client,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        script = f"""{PYTHON} -c '
import hashlib, os, socket, threading
data = os.urandom(1 << 21)
def one(n):
    s = socket.create_connection(("127.0.0.1", {port}))
    threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
    got = b""
    while part := s.recv(65536): got += part
    print("same" if got == data else "other %d" % len(got), flush=True)
ts = [threading.Thread(target=one, args=(n,)) for n in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
'"""
        done = arena.inside(script, recipe=arena.with_(forward=((port, "127.0.0.1", port),)))
    assert done.stdout.split() == ["same"] * 8, done.stderr
