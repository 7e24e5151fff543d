"""The launcher's network: sockets inside, connections outside, and bytes between them. Specified in launch.py.

The command waits until everything listens: up to there only `_socket` is loaded, which takes no time.
"""

from __future__ import annotations

import _socket
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from stretto.workspace.sandbox.launch_words import Words

    #: takes a connection, and what it calls when the end inside has said its last
    _Handle = Callable[[socket.socket, Callable[[], None]], None]

#: where the proxy listens inside
PROXY_PORT = 3128
#: connections at once; seconds for a head of a request and for a connection to a host; seconds between looks
MOST, PATIENCE, EVERY = 256, 30.0, 0.4
#: seconds for which the last bytes of what has ended are passed on
LAST = 3.0
LOOPBACK = "127.0.0.1"


def connect(words: Words, inside: int) -> Callable[[], Callable[[], None]]:
    """Let everything inside that is to be reached listen. What is returned begins to pass on.

    It returns what is called when nobody is inside any more: it waits until all that was sent there is passed on.
    Between the two the command may begin: who connects by then waits in the queue of a socket that listens.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    helper = os.fork()
    if helper == 0:
        ours.close()
        _serve_inside(theirs, inside, _listening(words))
    theirs.close()
    ours.settimeout(PATIENCE)
    answer, fds = _receive(ours)
    if answer != b"ok":
        raise OSError(answer.decode("utf-8", "replace") or "it went away")
    ours.settimeout(None)

    def begin() -> Callable[[], None]:
        import socket

        listeners = dict(zip(_listening(words), (socket.socket(fileno=fd) for fd in fds), strict=True))
        exchange = _Exchange(words, listeners, socket.socket(fileno=ours.detach()), inside)
        exchange.start()
        return exchange.finish

    return begin


def _listening(words: Words) -> list[int]:
    return [*([PROXY_PORT] if words.allow else []), *words.forward]


#: bytes of a descriptor in a message, and of many
_WORD, _MOST_FDS = 4, 200


def _send(link: _socket.socket, text: bytes, fds: list[int]) -> None:
    packed = b"".join(fd.to_bytes(_WORD, sys.byteorder) for fd in fds)
    link.sendmsg([text], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)] if fds else [])


def _receive(link: _socket.socket) -> tuple[bytes, list[int]]:
    """A message with the descriptors that came with it."""
    text, extra, _, _ = link.recvmsg(1000, _socket.CMSG_LEN(_WORD * _MOST_FDS))
    fds: list[int] = []
    for level, kind, data in extra:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            fds += [
                int.from_bytes(data[at : at + _WORD], sys.byteorder) for at in range(0, len(data) - _WORD + 1, _WORD)
            ]
    for fd in fds:
        os.set_inheritable(fd, False)
    return text, fds


def _serve_inside(link: _socket.socket, inside: int, listening: list[int]) -> None:
    """In a process that enters the sandbox's network, and nothing else of it: make sockets there. Never returns."""
    try:
        _die_with_parent()
        _enter(inside)
        made = []
        for port in listening:
            sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            sock.bind((LOOPBACK, port))
            sock.listen(128)
            made.append(sock)
        _send(link, b"ok", [sock.fileno() for sock in made])
        for sock in made:
            sock.close()
        while asked := link.recv(100):
            _answer(link, int(asked))
    except BaseException as error:  # a child must not run the parent's code; what went wrong is told if it still can be
        try:
            link.send(str(error).encode("utf-8", "replace")[:900] or b"failed")
        except OSError:
            os._exit(1)
    finally:
        os._exit(0)


def _answer(link: _socket.socket, port: int) -> None:
    """A connection to whoever listens on this port inside, at either loopback address."""
    for family, address in ((_socket.AF_INET, LOOPBACK), (_socket.AF_INET6, "::1")):
        sock = _socket.socket(family, _socket.SOCK_STREAM)
        try:
            sock.settimeout(2.0)
            sock.connect((address, port))
            sock.setblocking(True)
            _send(link, b"ok", [sock.fileno()])
        except OSError:
            continue
        else:
            return
        finally:
            sock.close()
    link.send(b"nobody")


def _enter(inside: int) -> None:
    """Join the network of that process: first, as a user without rights must, the user namespace that owns it."""
    import ctypes
    import fcntl

    libc = ctypes.CDLL(None, use_errno=True)
    network = os.open(f"/proc/{inside}/ns/net", os.O_RDONLY)
    if libc.setns(network, 0x40000000) == 0:
        return
    owner = fcntl.ioctl(network, 0xB701)  # NS_GET_USERNS
    for fd, kind in ((owner, 0x10000000), (network, 0x40000000)):
        if libc.setns(fd, kind) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"its network cannot be entered: {os.strerror(number)}")


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL


class _Exchange:
    """Everything that is passed on, in threads of this process: it ends with it."""

    def __init__(self, words: Words, listeners: dict[int, socket.socket], link: socket.socket, inside: int) -> None:
        import threading

        self._words, self._listeners, self._link, self._inside = words, listeners, link, inside
        self._asking = threading.Lock()
        self._free = threading.BoundedSemaphore(MOST)
        self._speaking = 0  # connections whose end inside has not been read to its end
        self._silence = threading.Condition()

    def start(self) -> None:
        """Begin; returns at once."""
        for port, listener in self._listeners.items():
            target = self._words.forward.get(port)
            self._run(self._accept, listener, self._proxy if target is None else self._forwarding(target))
        if self._words.ports:
            self._run(self._mirror)

    def finish(self) -> None:
        """Nobody is inside any more: wait until what was sent there is passed on, as a kernel does of an ended process.

        `LAST` seconds at most: somebody outside may not take it.
        """
        import time

        end = time.monotonic() + LAST
        coming = select.poll()
        for listener in self._listeners.values():
            coming.register(listener, select.POLLIN)
        with self._silence:
            while (self._speaking or coming.poll(0)) and time.monotonic() < end:
                self._silence.wait(0.02)

    def _run(self, what: Callable[..., None], *arguments: object) -> None:
        import threading

        threading.Thread(target=what, args=arguments, daemon=True).start()

    def _accept(self, listener: socket.socket, handle: _Handle) -> None:
        listener.setblocking(False)
        coming = select.poll()
        coming.register(listener, select.POLLIN)
        while True:
            coming.poll()
            with self._silence:  # for `finish` a connection is always either coming or counted
                try:
                    client, _ = listener.accept()
                except BlockingIOError:
                    continue
                taken = self._free.acquire(blocking=False)
                self._speaking += taken
            if taken:
                self._run(self._handled, handle, client)
            else:
                client.close()

    def _handled(self, handle: _Handle, client: socket.socket) -> None:
        silent = self._voice()
        try:
            with client:
                handle(client, silent)
        except (OSError, ValueError):
            return  # this connection is over; who made it sees that
        finally:
            silent()
            self._free.release()

    def _voice(self) -> Callable[[], None]:
        """What is called, once or more, when the end inside of a connection has said its last."""
        left = [1]

        def silent() -> None:
            with self._silence:
                self._speaking -= sum(left)
                left.clear()
                self._silence.notify_all()

        return silent

    # ---- ways out

    def _forwarding(self, target: tuple[str, int]) -> _Handle:
        import socket

        def forward(client: socket.socket, silent: Callable[[], None]) -> None:
            with socket.create_connection(target, PATIENCE) as server:
                _pass_on(client, server, silent)

        return forward

    def _proxy(self, client: socket.socket, silent: Callable[[], None]) -> None:
        client.settimeout(PATIENCE)
        head, early = _head(client)
        method, _, rest = head.partition(b" ")
        host, _, port = rest.split(b" ")[0].decode("ascii", "replace").rpartition(":")
        if method != b"CONNECT" or not port.isdigit():
            _refuse(client, "405 Method Not Allowed", "only CONNECT is known here; use https")
            return
        if not self._words.allows(host, int(port)):
            _refuse(client, "403 Forbidden", f"{host}:{port} is not among the hosts that this sandbox may reach")
            return
        try:
            server = _reach(host.strip("[]"), int(port))
        except PermissionError as error:
            _refuse(client, "403 Forbidden", str(error))
            return
        except OSError as error:
            _refuse(client, "502 Bad Gateway", f"{host}:{port} cannot be reached: {error}")
            return
        with server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            server.sendall(early)
            _pass_on(client, server, silent)

    # ---- ways in

    def _mirror(self) -> None:
        """Listen outside on what is listened to inside."""
        import socket
        import time

        open_now: dict[int, socket.socket] = {}
        while True:
            wanted = _listeners(self._inside) & set(self._words.ports)
            for port in open_now.keys() - wanted:
                sock = open_now.pop(port)
                sock.shutdown(socket.SHUT_RDWR)
                sock.close()
            for port in wanted - open_now.keys():
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind((LOOPBACK, port))
                    sock.listen(128)
                except OSError:
                    sock.close()  # somebody else has it now; looked at again
                    continue
                open_now[port] = sock
                self._run(self._accept_outside, sock, port)
            time.sleep(EVERY)

    def _accept_outside(self, listener: socket.socket, port: int) -> None:
        try:
            self._accept(listener, lambda client, silent: self._enter(client, port, silent))
        except OSError:
            return  # nobody listens inside any more

    def _enter(self, client: socket.socket, port: int, silent: Callable[[], None]) -> None:
        import socket

        with self._asking:
            self._link.send(str(port).encode())
            answer, fds = _receive(self._link)
        if answer == b"ok":
            with socket.socket(fileno=fds[0]) as server:
                _pass_on(server, client, silent)


def _listeners(inside: int) -> set[int]:
    """The TCP ports on which something listens in the network of that process."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{inside}/net/{name}", encoding="ascii") as table:
                rows = [line.split() for line in table][1:]
        except OSError:
            continue  # it is over
        found |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
    return found


def _head(client: socket.socket) -> tuple[bytes, bytes]:
    """The first line of a request, and what came after its head. Raises ValueError for one that is too long."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(4096)
        if not part or len(data) > 16384:
            raise ValueError("no request")
        data += part
    head, _, early = data.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], early


def _refuse(client: socket.socket, status: str, why: str) -> None:
    text = f"stretto: {why}\n".encode("utf-8", "replace")
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    client.sendall(head.encode("ascii", "replace") + text)


def _reach(host: str, port: int) -> socket.socket:
    """A connection to an allowed host. Raises PermissionError if its name leads into this machine or its network."""
    import ipaddress
    import socket

    error: OSError = OSError("it has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        place = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if not place.is_global and str(address[0]) != host:
            error = PermissionError(f"{host} leads to {place}, which is an address of this machine or its network")
            continue
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(address)
        except OSError as failure:
            sock.close()
            error = failure
            continue
        return sock
    raise error


def _pass_on(inner: socket.socket, outer: socket.socket, silent: Callable[[], None]) -> None:
    """Bytes from each to the other until both have ended, or one cannot take more. `silent`: the inner one has."""
    import socket

    for sock in (inner, outer):
        sock.settimeout(None)
    open_ends = {inner.fileno(): (inner, outer), outer.fileno(): (outer, inner)}
    poll = select.poll()
    for fd in open_ends:
        poll.register(fd, select.POLLIN)
    while open_ends:
        for fd, _ in poll.poll():
            source, sink = open_ends[fd]
            data = source.recv(65536)
            if data:
                sink.sendall(data)
                continue
            poll.unregister(fd)
            del open_ends[fd]
            sink.shutdown(socket.SHUT_WR)
            if source is inner:
                silent()
