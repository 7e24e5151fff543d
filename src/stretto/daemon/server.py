"""The daemon's life: take the lock, recover, listen, serve, go.

Specification. Starting is recovering: nothing is assumed of how the last daemon ended, and stopping saves nothing that
a kill -9 would not have saved. SIGTERM and SIGINT end the process within seconds, whatever operations still run; they
are in-doubt operations, as after a crash. The socket appears before recovery but is not listened on, so that nobody is
answered from a state that is not yet true.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from stretto.core.errors import StrettoError, Unavailable
from stretto.daemon.api import Api, Backend
from stretto.daemon.callers import is_ours, peer_of
from stretto.daemon.singleton import acquire, announce, sweep
from stretto.home import Home

#: seconds that running requests and the engine get at the end
GRACE = 3.0

log = logging.getLogger("stretto.daemon")


def serve(home: Home, make_backend: Callable[[Home], Backend]) -> None:
    """Be the daemon of this home until told to stop; does not return.

    Raises Conflict (`daemon_running`) if there is one already, and whatever recovery raises.
    """
    _, identity = acquire(home)
    configure_log(home)
    log.info("daemon %s starts, version %s, home %s", identity.pid, identity.version, home.path)
    _private(home.database)
    backend = make_backend(home)
    listener = bind(Path(identity.socket))
    backend.start()
    server: _Server
    api = Api(home, identity, read_token(home), backend, lambda: server.leave("asked to"))
    config = uvicorn.Config(
        api.app,
        http=PeerChecked,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=128,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config, api, ready=lambda: announce(home, identity))
    asyncio.run(server.serve(sockets=[listener]))
    _finish(home, backend)


def _finish(home: Home, backend: Backend) -> None:
    sweep(home)
    stopper = threading.Thread(target=backend.stop, daemon=True)
    stopper.start()
    stopper.join(GRACE)
    log.info("daemon ends%s", " although the engine still works" if stopper.is_alive() else "")
    logging.shutdown()
    # not sys.exit: that waits for worker threads, and stopping is allowed to be a crash
    os._exit(0)


class PeerChecked(H11Protocol):
    """Closes connections of other users, and puts the caller's pid where a port stands otherwise."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look at who is there before a byte is read."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        peer = None if connection is None else peer_of(connection)
        if peer is None or not is_ours(peer):
            log.warning("connection of user %s refused", "unknown" if peer is None else peer.uid)
            transport.abort()
            return
        self.client = (f"uid:{peer.uid}", peer.pid or 0)


class _Server(uvicorn.Server):
    """uvicorn without its ten ticks a second: it sleeps until it is told to go."""

    def __init__(self, config: uvicorn.Config, api: Api, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._api = api
        self._ready = ready
        self._leaving = asyncio.Event()

    def leave(self, why: str) -> None:
        """Stop serving. Called in the loop."""
        log.info("stops: %s", why)
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """Wait for the end."""
        self.server_state.default_headers = list(self.config.encoded_headers)
        self._api.hub.attach(asyncio.get_running_loop())
        self._ready()
        await self._leaving.wait()
        self._api.hub.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP end us; the second one at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)
        yield

    def _signalled(self, number: signal.Signals) -> None:
        if self.should_exit:
            os._exit(0)
        self.leave(signal.Signals(number).name)


def bind(path: Path) -> socket.socket:
    """A socket at this path that only we can open; not listened on yet. The holder of the lock calls it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    old = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        raise Unavailable(
            f"the socket {path} cannot be made: {error.strerror}", code="socket", object=str(path)
        ) from error
    finally:
        os.umask(old)
    return listener


def read_token(home: Home) -> str:
    """The token of this home, made on the first call."""
    with contextlib.suppress(FileNotFoundError):
        token = home.token_file.read_text().strip()
        if len(token) >= 32:
            home.token_file.chmod(0o600)
            return token
        home.token_file.unlink()
    fd = os.open(home.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    token = secrets.token_hex(32)
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
    return token


def configure_log(home: Home) -> None:
    """Send our log to the home's file, rotated at 4 MB, three old ones kept."""
    _private(home.daemon_log)
    handler = RotatingFileHandler(home.daemon_log, maxBytes=4 << 20, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _private(path: Path) -> None:
    """Make the file 0600 before anyone writes into it; SQLite gives its side files the same mode."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StrettoError(f"{path} cannot be written: {error.strerror}", code="home", object=str(path)) from error
