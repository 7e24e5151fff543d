"""A loopback server that pretends to be a model, for agents that are real: tests, demos and benchmarks without a key.

    with ModelServer() as server:
        env["ANTHROPIC_BASE_URL"] = server.url
        …
        assert server.usage(session) == what_stretto_counted

Specification. It answers what the prompt says (testing.scenario), keeps no conversation, and counts what it served per
session: that count is the oracle for tests of usage. Only the repetition of faults (`[[err=529x2]]`) needs memory: how
often a request was already refused. A request whose client left before the end counts as aborted, not as served.
Run it by hand with `python -m stretto.testing.modelserver [PORT]`; `GET /served` tells what it counted.
"""

from __future__ import annotations

import hashlib
import json
import select
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, cast

from stretto.core.model import Usage
from stretto.testing import anthropic
from stretto.testing.scenario import Answer, Fault, next_answer

MODELS = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5")
_OUTCOMES = {"err": "refused", "overflow": "refused"}
_GARBAGE = b'event: message_start\ndata: {"type": "mess\x00\xff\n\n: \n\ndata: nonsense\n\n'


@dataclass(frozen=True, slots=True)
class Served:
    """One request. `outcome`: served, refused, torn (cut or garbage) or aborted (the client left)."""

    session: str
    model: str
    side: bool
    outcome: str
    usage: Usage


class ModelServer:
    """Serves on 127.0.0.1 between `start` and `stop` (or as a context manager). Thread-safe."""

    def __init__(self, port: int = 0) -> None:
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._lock = threading.Lock()
        self._served: list[Served] = []
        self._refused: Counter[str] = Counter()
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        """What an agent gets as its base URL."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> ModelServer:
        """Begin to serve."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End: slow answers are dropped."""
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def served(self, session: str | None = None) -> list[Served]:
        """What was asked so far, of one session or of all."""
        with self._lock:
            return [one for one in self._served if session in (None, one.session)]

    def usage(self, session: str | None = None) -> Usage:
        """The tokens of all answers that were served whole."""
        whole = [one.usage for one in self.served(session) if one.outcome == "served"]
        names = ("input", "output", "cache_read", "cache_write")
        return Usage(**{name: sum(getattr(usage, name) for usage in whole) for name in names})

    # ------------------------------------------------------------ for the handler

    def count(self, served: Served, instead_of: Served | None = None) -> Served:
        """Remember a request, or correct what was remembered of it."""
        with self._lock:
            self._served = [one for one in self._served if one is not instead_of]
            self._served.append(served)
        return served

    def due(self, key: str, faults: tuple[Fault, ...]) -> Fault | None:
        """The fault that this request still has to suffer; each is suffered `times` times, in order."""
        with self._lock:
            seen = self._refused[key]
            for fault in faults:
                if seen < fault.times:
                    self._refused[key] += 1
                    return fault
                seen -= fault.times
            return None


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: ModelServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An agent that is killed leaves broken connections; they are no news. Anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 600
    _posts: ClassVar[dict[str, str]] = {"/v1/messages": "_messages", "/v1/messages/count_tokens": "_count_tokens"}

    @property
    def owner(self) -> ModelServer:
        return cast("_Http", self.server).owner

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the tests read `served`."""

    def do_HEAD(self) -> None:
        self._send(200, b"")

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/models":
            models = [{"type": "model", "id": name, "display_name": name} for name in MODELS]
            self._json(200, {"data": models, "has_more": False})
        elif path == "/served":
            self._json(200, {"served": [asdict(one) for one in self.owner.served()]})
        else:
            self._json(404, anthropic.error(404))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        method = self._posts.get(self.path.partition("?")[0])
        if method is None:
            self._json(404, anthropic.error(404))
            return
        getattr(self, method)(raw, json.loads(raw or b"{}"))

    def _count_tokens(self, raw: bytes, body: dict[str, Any]) -> None:
        self._json(200, {"input_tokens": len(raw) // 4})

    def _messages(self, raw: bytes, body: dict[str, Any]) -> None:
        side = not body.get("tools")
        answer = Answer(values={"text": "aside"}) if side else next_answer(anthropic.conversation(body))
        one = Served(self._session(body), str(body.get("model")), side, "aborted", Usage())
        try:
            fault = self._next_fault(body, answer)
            outcome = _OUTCOMES.get(fault.kind, "torn") if fault else "served"
            usage = anthropic.USAGE if outcome == "served" else Usage()
            # counted before the last byte leaves: whoever got the answer finds it counted
            one = self.owner.count(replace(one, outcome=outcome, usage=usage))
            self._answer(body, answer, fault)
        except ConnectionError:
            self.owner.count(replace(one, outcome="aborted", usage=Usage()), instead_of=one)
            self.close_connection = True

    def _next_fault(self, body: dict[str, Any], answer: Answer) -> Fault | None:
        """The fault that is due now, after all that only take time. Raises ConnectionError if the client left."""
        key = self._key(body)
        while (fault := self.owner.due(key, answer.faults)) is not None and fault.kind == "slow":
            self._wait(fault.value)
        return fault

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.owner.stopping.wait(min(left, 0.1)):
                raise ConnectionAbortedError
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionAbortedError

    def _answer(self, body: dict[str, Any], answer: Answer, fault: Fault | None) -> None:
        """Send the answer or the fault."""
        if fault is not None and fault.kind in ("err", "overflow"):
            status = int(fault.value) or 400
            self._json(status, anthropic.error(status) if fault.kind == "err" else anthropic.too_long())
            return
        id = uuid.uuid4().hex[:24]
        block, model = anthropic.content_block(answer, id), str(body.get("model"))
        if fault is None and not body.get("stream"):
            self._json(200, anthropic.message(block, model, id))
        else:
            self._stream(_torn(anthropic.stream(block, model, id), fault))

    def _session(self, body: dict[str, Any]) -> str:
        if session := self.headers.get("X-Claude-Code-Session-Id"):
            return session
        try:
            return str(json.loads(body["metadata"]["user_id"])["session_id"])
        except (KeyError, TypeError, ValueError):
            return ""

    def _key(self, body: dict[str, Any]) -> str:
        """What repetitions of one request have in common: the session and the user's side of the conversation."""
        blocks = repr(anthropic.conversation(body)).encode("utf-8", "replace")
        return f"{self._session(body)} {hashlib.sha256(blocks).hexdigest()}"

    def _stream(self, events: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in events:
            self.wfile.write(event)
            self.wfile.flush()

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _torn(events: Iterator[bytes], fault: Fault | None) -> Iterator[bytes]:
    """The events, ended in the middle or replaced by garbage if the fault says so."""
    if fault is not None and fault.kind == "garbage":
        yield _GARBAGE
        return
    for number, event in enumerate(events):
        if fault is not None and number == 2:
            yield event[: len(event) // 2]
            return
        yield event


def main(argv: list[str]) -> int:
    """Serve until interrupted; the first line of stdout is the URL."""
    server = ModelServer(int(argv[0]) if argv else 0).start()
    sys.stdout.write(server.url + "\n")
    sys.stdout.flush()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
