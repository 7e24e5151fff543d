"""The daemon's side of the sessions' sockets: one `AgentServer` a session.

Specification. A request reaches the handler only from a process of the same user (peer credentials), with the
session's token (compared in constant time), as one line of at most 64 kB, with a known verb and sound arguments.
`args["request"]` is the client's request id: equal for repetitions of one call after a lost connection, so that the
handler can count once.
One connection runs one request at a time; when the client goes away its request is cancelled (an open question stays
open: that is a row, not this coroutine). A handler's StrettoError is told to the agent, any other exception is logged
and told as a bug without details. Closing the server ends its connections; the clients connect again to the next one.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stretto.agentapi.protocol import MAX_LINE, checked, decode, encode, error_body
from stretto.core.errors import Bug, StrettoError, Unavailable, UsageError

#: (session, verb, args) -> the `ok` of the response
Handler = Callable[[str, str, dict[str, Any]], Awaitable[dict[str, Any]]]
#: simultaneous connections of one session; more are closed at once
MAX_CONNECTIONS = 32
_log = logging.getLogger(__name__)


class AgentServer:
    """Serves the socket of one session between `start` and `close`."""

    def __init__(self, session: str, path: Path, token: str, handle: Handler) -> None:
        self.session, self.path = session, path
        self._token, self._handle = token, handle
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, mode 0600; a stale socket of an earlier daemon is replaced. Raises Unavailable."""
        sock = _listen(self.path)
        self._server = await asyncio.start_unix_server(self._accept, sock=sock, limit=MAX_LINE)

    async def close(self) -> None:
        """End all connections and remove the socket. May be called twice."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        with suppress(FileNotFoundError):
            self.path.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._server is None or len(self._connections) >= MAX_CONNECTIONS or not _is_ours(writer):
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client left or the server closes: nothing is owed to anybody
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        next_line = asyncio.ensure_future(_line(reader))
        try:
            while (line := await next_line) is not None:
                next_line = asyncio.ensure_future(_line(reader))
                reply = await self._reply_or_leave(line, next_line)
                if reply is None:
                    return
                writer.write(reply)
                await writer.drain()
        except UsageError as error:
            writer.write(encode({"id": None, **error_body(error)}))
        finally:
            next_line.cancel()

    async def _reply_or_leave(self, line: bytes, next_line: asyncio.Future[bytes | None]) -> bytes | None:
        """The response; None if the client went away first (or sent a line that is too long)."""
        work = asyncio.ensure_future(self._reply(line))
        try:
            waited: set[asyncio.Future[Any]] = {work, next_line}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and (next_line.exception() is not None or next_line.result() is None):
                return None
            return await work
        finally:
            work.cancel()

    async def _reply(self, line: bytes) -> bytes:
        request: Any = None
        try:
            message = decode(line)
            request = message.get("id")
            self._check_token(message.get("token"))
            verb, args = checked(message.get("verb"), message.get("args", {}))
            return encode({"id": request, "ok": await self._handle(self.session, verb, _with_id(args, request))})
        except StrettoError as error:
            return encode({"id": request, **error_body(error)})
        except Exception:  # the edge: logged whole, told to the agent without details
            _log.exception("agent API of session %s", self.session)
            bug = Bug("stretto failed to handle this; its log says why", object=self.session)
            return encode({"id": request, **error_body(bug)})

    def _check_token(self, token: object) -> None:
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise StrettoError("the token is not this session's", code="forbidden", object=self.session)


def _with_id(args: dict[str, Any], request: Any) -> dict[str, Any]:
    if not isinstance(request, str) or not 0 < len(request) <= 100:
        raise UsageError("`id` is not a text of 1 to 100 characters", code="bad_request")
    return {**args, "request": request}


async def _line(reader: asyncio.StreamReader) -> bytes | None:
    """The next line, None at the end. Raises UsageError for one that is too long."""
    try:
        line = await reader.readline()
    except ValueError:
        raise UsageError(f"a line has more than {MAX_LINE} bytes", code="too_long") from None
    except ConnectionError:
        return None
    return line if line.endswith(b"\n") else None


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`. Its folder is made 0700 if it does not exist."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_socket():
            path.unlink()
        sock.bind(os.fspath(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        sock.listen(MAX_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise Unavailable(f"cannot listen at {path}: {error}", object=str(path)) from error
    return sock


def _is_ours(writer: asyncio.StreamWriter) -> bool:
    """Whether the process at the other end is of this user (or root)."""
    sock: socket.socket = writer.get_extra_info("socket")
    uid = peer_uid(sock)
    return uid is not None and uid in (os.geteuid(), 0)


def peer_uid(sock: socket.socket) -> int | None:
    """The user id of the process at the other end of a Unix socket; None if the system does not tell."""
    try:
        if sys.platform == "darwin":
            raw = sock.getsockopt(0, 1, 76)  # SOL_LOCAL, LOCAL_PEERCRED: struct xucred {version, uid, …}
            return int(struct.unpack_from("II", raw)[1])
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", raw)[1])
    except (OSError, struct.error):
        return None
