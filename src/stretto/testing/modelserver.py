"""A loopback server that pretends to be a model, for agents that are real: tests, demos and benchmarks without a key.

    with ModelServer() as server:
        env["ANTHROPIC_BASE_URL"] = server.url             # or OPENAI_BASE_URL = server.url + "/v1"
        …
        assert server.usage(session) == what_stretto_counted

Specification. It speaks Anthropic's Messages, OpenAI's Responses and Chat Completions, and Google's generateContent
(testing.dialect; a file for each), streaming or not. It answers what the prompt says (testing.scenario), keeps no
conversation, and counts what it served per session: that count is the oracle for tests of usage. Only the repetition of
faults (`[[err=529x2]]`) needs memory: how often a request was already refused. A request whose client left before the
end counts as aborted, not as served.
With `ModelServer(listen=True)` it also keeps what it was told (`heard`), for tests of what arrives.
Run it by hand with `python -m stretto.testing.modelserver [PORT]`; `GET /served` tells what it counted.
"""

from __future__ import annotations

import hashlib
import json
import math
import select
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, cast

from stretto.core.model import Usage
from stretto.testing import anthropic, gemini, openai_chat, openai_responses
from stretto.testing.dialect import Dialect, Json, Reply, example
from stretto.testing.scenario import Answer, Block, Fault, next_answer, setting
from stretto.testing.tools import call_for

#: the end of a path -> who answers there; Google's paths hold a model and are matched by a pattern
DIALECTS: dict[str, Dialect] = {
    "/messages": anthropic,
    "/responses": openai_responses,
    "/chat/completions": openai_chat,
}
#: tools by which a protocol's usual agent is called even if it did not offer them
USUAL = {dialect.NAME: dialect.USUAL for dialect in (anthropic, openai_responses, openai_chat, gemini)}
MODELS = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5")
_OUTCOMES = {"err": "refused", "overflow": "refused"}
_GARBAGE = b'event: message_start\ndata: {"type": "mess\x00\xff\n\n: \n\ndata: nonsense\n\n'


@dataclass(frozen=True, slots=True)
class Served:
    """One request. `outcome`: served, refused, torn (cut or garbage) or aborted (the client left).

    `side`: one beside the conversation, for a title, say. `protocol`: anthropic, responses, chat or gemini.
    """

    session: str
    model: str
    side: bool
    outcome: str
    usage: Usage
    protocol: str = "anthropic"


class ModelServer:
    """Serves on 127.0.0.1 between `start` and `stop` (or as a context manager). Thread-safe."""

    def __init__(self, port: int = 0, *, listen: bool = False) -> None:
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._lock = threading.Lock()
        self._served: list[Served] = []
        self._refused: Counter[str] = Counter()
        self._heard: list[tuple[str, ...]] | None = [] if listen else None
        #: what stands in the head of every answer besides: what a vendor says of its limits, for example
        self.headers: dict[str, str] = {}
        #: when its window begins anew (seconds since the epoch); then each 429 says so, as its vendor would
        self.resets: float | None = None
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
        names = ("input", "output", "cache_read", "cache_write", "reasoning")
        return Usage(**{name: sum(getattr(usage, name) for usage in whole) for name in names})

    def heard(self) -> list[tuple[str, ...]]:
        """The user's texts of each request in a conversation so far, in their order; none if it does not listen."""
        with self._lock:
            return list(self._heard or ())

    # ------------------------------------------------------------ for the handler

    def hear(self, texts: tuple[str, ...]) -> None:
        """Keep what a request said, if that is wanted."""
        with self._lock:
            if self._heard is not None:
                self._heard.append(texts)

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

    @property
    def owner(self) -> ModelServer:
        return cast("_Http", self.server).owner

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the tests read `served`."""

    def do_HEAD(self) -> None:
        self._send(200, b"")

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/models"):
            models = [
                {"type": "model", "object": "model", "id": name, "display_name": name, "created": 0, "owned_by": "x"}
                for name in MODELS
            ]
            self._json(200, {"object": "list", "data": models, "has_more": False})
        elif path == "/served":
            self._json(200, {"served": [asdict(one) for one in self.owner.served()]})
        else:
            self._json(404, anthropic.error(404))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        dialect = _dialect(path)
        body = _object(raw)
        if path.endswith("/count_tokens"):
            self._json(200, {"input_tokens": len(raw) // 4})
        elif path.endswith(":countTokens"):
            self._json(200, {"totalTokens": len(raw) // 4})
        elif dialect is None:
            self._json(404, anthropic.error(404))
        elif body is None:
            self._json(400, dialect.error(400))
        else:
            self._converse(dialect, path, body)

    def _converse(self, dialect: Dialect, path: str, body: Json) -> None:
        blocks = dialect.conversation(body)
        side = not body.get("tools") and setting(blocks, "bare") is None
        answer = Answer(values={"text": _aside(dialect.schema(body))}) if side else next_answer(blocks)
        session = dialect.session({k.lower(): v for k, v in self.headers.items()}, body) or setting(blocks, "as") or ""
        one = Served(session, dialect.model(path, body), side, "aborted", Usage(), dialect.NAME)
        if not side:
            self.owner.hear(tuple(block.text for block in blocks if block.kind == "text"))
        try:
            fault = self._next_fault(_key(session, blocks), answer)
            outcome = _OUTCOMES.get(fault.kind, "torn") if fault else "served"
            usage = dialect.USAGE if outcome == "served" else Usage()
            # counted before the last byte leaves: whoever got the answer finds it counted
            one = self.owner.count(replace(one, outcome=outcome, usage=usage))
            self._answer(dialect, path, body, answer, fault)
        except ConnectionError:
            self.owner.count(replace(one, outcome="aborted", usage=Usage()), instead_of=one)
            self.close_connection = True

    def _next_fault(self, key: str, answer: Answer) -> Fault | None:
        """The fault that is due now, after all that only take time. Raises ConnectionError if the client left."""
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

    def _answer(self, dialect: Dialect, path: str, body: Json, answer: Answer, fault: Fault | None) -> None:
        """Send the answer or the fault."""
        if fault is not None and fault.kind in ("err", "overflow"):
            status, resets = int(fault.value) or 400, self.owner.resets
            if status == 429 and resets is not None:
                body, head = dialect.limited(int(resets), max(1, math.ceil(resets - time.time())))
                self._send(status, json.dumps(body).encode(), head)
            else:
                self._json(status, dialect.error(status) if fault.kind == "err" else dialect.too_long())
            return
        call = call_for(answer, dialect.offers(body), USUAL[dialect.NAME])
        reply = Reply(uuid.uuid4().hex[:24], dialect.model(path, body), _text(answer), call)
        if fault is None and not dialect.streams(path, body):
            self._json(200, dialect.whole(reply))
        else:
            self._stream(_torn(dialect.stream(reply), fault))

    def _stream(self, events: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        for name, value in self.owner.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        for event in events:
            self.wfile.write(event)
            self.wfile.flush()

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, data: bytes, head: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (head or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _dialect(path: str) -> Dialect | None:
    if gemini.PATH.search(path):
        return gemini
    return next((dialect for end, dialect in DIALECTS.items() if path.endswith(end)), None)


def _object(raw: bytes) -> Json | None:
    """The request's object; None for anything else."""
    try:
        found = json.loads(raw or b"{}")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _aside(schema: Json | None) -> str:
    return "aside" if schema is None else json.dumps(example(schema))


def _text(answer: Answer) -> str:
    """What is said if there is nothing to call: a question without a tool for it is text, too."""
    if answer.word == "ask":
        return "\n".join(str(one["question"]) for one in answer.values["questions"])
    return str(answer.values.get("text", "done"))


def _key(session: str, blocks: Sequence[Block]) -> str:
    """What repetitions of one request have in common: the session and the user's side of the conversation."""
    said = repr(list(blocks)).encode("utf-8", "replace")
    return f"{session} {hashlib.sha256(said).hexdigest()}"


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
