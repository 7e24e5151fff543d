"""The routes of the daemon, and the checks that every request passes before any of them is looked up.

Specification. A request comes over the Unix socket from our own user (`server.py` closes the others), names the host
`stretto`, carries no `Origin` (no face of this socket is a web page), the token and the protocol version. All of that
is checked for every path, known or not, so that a new route is protected by being one. A body is JSON, an object, at
most 8 MiB. Every failure is JSON: `{"error": {code, message, object, hint, details}, "exit_code"}`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from stretto.bugreport import blot, write_report
from stretto.core.errors import Bug, Conflict, StrettoError, TimedOut, Unavailable, UsageError
from stretto.daemon.callers import admit
from stretto.daemon.singleton import Identity
from stretto.daemon.sse import Hub, stream
from stretto.home import Home

#: both sides of the socket speak exactly this version
PROTOCOL = 1
#: bytes of a request's body
BODY_LIMIT = 8 << 20

Args = dict[str, Any]
log = logging.getLogger("stretto.daemon.api")


class Backend(Protocol):
    """What answers: the engine and the reads, or a stand-in in tests. All calls come from worker threads."""

    def start(self) -> None:
        """Recover and go to work; nobody is answered before it returns."""
        ...

    def stop(self) -> None:
        """Stop starting things. May take long: nobody waits for it beyond the grace time."""
        ...

    def reads(self) -> Mapping[str, Callable[[Args], Args]]:
        """Operations that change nothing, by name; `events` is among them."""
        ...

    def writes(self) -> Mapping[str, Callable[[Args], Args]]:
        """Operations that steer, by name."""
        ...

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, from any thread, after events were written. Returns the way to stop it."""
        ...


class Refused(Exception):
    """A request that is answered with a status of its own, before any operation."""

    def __init__(self, status: int, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = StrettoError(message, code=code, hint=hint)


class Api:
    """The ASGI application over one backend."""

    def __init__(
        self,
        home: Home,
        identity: Identity,
        token: str,
        backend: Backend,
        stop: Callable[[], None],
    ) -> None:
        self._home = home
        self._identity = identity
        self._backend = backend
        self._stop = stop
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="op")
        self.hub = Hub(backend.subscribe)
        routes = [
            Route("/v1/events", self._events, methods=["GET"]),
            Route("/v1/{op}", self._operation, methods=["POST"]),
        ]
        handlers: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
            404: self._missing,
            405: self._missing,
        }
        self.app: ASGIApp = Guard(Starlette(routes=routes, exception_handlers=handlers), token)

    def about(self) -> Args:
        """Who answers here: the body of `ping` and the `daemon` of every status."""
        about = asdict(self._identity)
        return {"schema": 1, **about, "protocol": PROTOCOL}

    async def _operation(self, request: Request) -> Response:
        op = request.path_params["op"]
        try:
            args = await _body(request)
            return _json(200, await self._perform(op, args, _pid(request)))
        except Refused as refused:
            return failure(refused.error, refused.status)
        except StrettoError as error:
            return failure(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:  # the edge: whatever it is becomes a report and an answer
            return failure(self._bug(op, error))

    async def _perform(self, op: str, args: Args, pid: int | None) -> Args:
        if op == "ping":
            return self.about()
        loop = asyncio.get_running_loop()
        if (read := self._backend.reads().get(op)) is not None:
            result = await loop.run_in_executor(self._pool, read, args)
            return {**result, "daemon": self._daemon()} if op in ("status", "usage") else result
        write = self._backend.writes().get(op)
        if write is None and op != "shutdown":
            raise Refused(404, "unknown_operation", f"there is no operation {op}", "restart the daemon: stretto down")
        args = await loop.run_in_executor(self._pool, admit, pid, op, args)
        result = {} if write is None else await loop.run_in_executor(self._pool, write, args)
        if op == "shutdown":
            self._stop()
        return result

    def _daemon(self) -> Args:
        me = self._identity
        return {"pid": me.pid, "start_time": me.start_time, "version": me.version, "started_at": me.started_at}

    def _bug(self, op: str, error: Exception) -> Bug:
        path = write_report(self._home.bug_reports, error, f"daemon-{op}")
        log.error("%s failed: %s (%s)", op, blot(repr(error)), path)
        return Bug(
            f"stretto failed while it did {op}: {type(error).__name__}",
            object=str(path),
            hint=f"the report is in {path}; nothing was lost, try again or restart with: stretto down",
        )

    async def _events(self, request: Request) -> Response:
        try:
            since = _cursor(request)
            return stream(self.hub, self._backend.reads()["events"], since, request.query_params.get("repo"))
        except Refused as refused:
            return failure(refused.error, refused.status)

    async def _missing(self, request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        text = f"there is no {request.method} {request.url.path}"
        return failure(StrettoError(text, code="unknown_operation"), status)


class Guard:
    """What every request must carry, whatever its path."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope["headers"])
        except Refused as refused:
            await failure(refused.error, refused.status)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, headers: list[tuple[bytes, bytes]]) -> None:
        def every(name: bytes) -> list[bytes]:
            return [value for key, value in headers if key == name]

        if every(b"host") != [b"stretto"]:
            raise Refused(421, "bad_host", "the request names another host")
        if every(b"origin") or every(b"sec-fetch-site"):
            raise Refused(403, "bad_origin", "the daemon's socket does not answer web pages")
        given = every(b"authorization")
        if len(given) != 1 or not hmac.compare_digest(given[0], self._expected):
            raise Refused(401, "bad_token", "the token is missing or wrong")
        if every(b"stretto-protocol") != [str(PROTOCOL).encode()]:
            raise Refused(
                426,
                "protocol",
                f"the daemon speaks protocol {PROTOCOL}, the caller another one",
                "after an upgrade restart it: stretto down, then stretto up (agents keep running)",
            )


async def _body(request: Request) -> Args:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "content_type", "the body must be application/json")
    data = bytearray()
    if _length(request) > BODY_LIMIT:
        raise _too_large()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_LIMIT:
            raise _too_large()
    try:
        value = json.loads(bytes(data) or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused(400, "bad_json", f"the body is not JSON: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise Refused(400, "bad_json", "the body must be a JSON object")
    return value


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _too_large() -> Refused:
    return Refused(413, "too_large", f"the body is larger than {BODY_LIMIT >> 20} MiB")


def _cursor(request: Request) -> int:
    text = request.headers.get("last-event-id") or request.query_params.get("since") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused(400, "usage", "since must be a number")
    return int(text)


def _pid(request: Request) -> int | None:
    """The pid of the caller, which `server.PeerChecked` puts where a port stands otherwise."""
    client = request.scope.get("client")
    return None if client is None else client[1] or None


def status_of(error: StrettoError) -> int:
    """The HTTP status of an error."""
    table: tuple[tuple[type[StrettoError], int], ...] = (
        (UsageError, 400),
        (Conflict, 409),
        (Unavailable, 503),
        (TimedOut, 504),
        (Bug, 500),
    )
    return next((status for kind, status in table if isinstance(error, kind)), 422)


def failure(error: StrettoError, status: int | None = None) -> Response:
    """The answer that carries an error."""
    return _json(status or status_of(error), {"error": error.as_json(), "exit_code": error.exit_code})


def _json(status: int, value: Args) -> Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")
