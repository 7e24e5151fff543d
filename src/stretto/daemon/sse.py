"""Events to faces: replay from the event table, then follow.

Specification. A stream is a cursor over the table and nothing else: each batch is read where the last one ended, and
sent before the next is read, so that a reader of any slowness costs one batch of memory and loses nothing. A wake-up is
only a hint; without one the table is looked at with every keep-alive. A reader that takes nothing for a minute is
dropped, and comes back with `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Read = Callable[[dict[str, Any]], dict[str, Any]]

#: events of one batch
BATCH = 200
#: seconds between two signs of life
KEEP_ALIVE = 15.0
#: seconds that a reader may take for one batch
PATIENCE = 60.0


class Hub:
    """Wakes all streams when the engine has written events; its callback may come from any thread."""

    def __init__(self, subscribe: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()
        self._lock = threading.Lock()
        self._scheduled = False
        self._unsubscribe = subscribe(self._told)
        self.closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop that the streams live in."""
        self._loop = loop

    def close(self) -> None:
        """End all streams. Call it in the loop."""
        self.closed = True
        self._unsubscribe()
        self._wake()

    def _told(self) -> None:
        with self._lock:  # many events at once need one wake-up
            if self._scheduled or self._loop is None:
                return
            self._scheduled = True
        with suppress(RuntimeError):  # the loop has ended: nobody listens any more
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        with self._lock:
            self._scheduled = False
        for event in self._waiting:
            event.set()

    async def batches(self, read: Read, since: int, repo: str | None) -> AsyncIterator[list[dict[str, Any]]]:
        """Lists of events after `since`, for ever; an empty list is a sign of life."""
        woken = asyncio.Event()
        self._waiting.add(woken)
        loop = asyncio.get_running_loop()
        try:
            while not self.closed:
                woken.clear()  # before the read: an event that is written meanwhile wakes us again
                args = {"since": since, "limit": BATCH, "repo": repo}
                result = await loop.run_in_executor(None, read, args)
                events: list[dict[str, Any]] = result["events"]
                if events:
                    since = int(events[-1]["id"])
                    yield events
                    continue
                try:
                    await asyncio.wait_for(woken.wait(), KEEP_ALIVE)
                except TimeoutError:
                    yield []
        finally:
            self._waiting.discard(woken)


def encode(events: list[dict[str, Any]]) -> bytes:
    """The batch in the text form of server-sent events."""
    if not events:
        return b": alive\n\n"
    parts = [
        f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
        for event in events
    ]
    return "".join(parts).encode("utf-8", "replace")


def stream(hub: Hub, read: Read, since: int, repo: str | None) -> Response:
    """The answer that follows the event table."""
    return _Stream(hub, read, since, repo)


class _Stream(Response):
    media_type = "text/event-stream"

    def __init__(self, hub: Hub, read: Read, since: int, repo: str | None) -> None:
        self.status_code = 200
        self.background = None
        self._source = (hub, read, since, repo)
        self.init_headers({"cache-control": "no-store"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_until_gone(receive))
        sending = asyncio.ensure_future(self._send(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, sending):
                task.cancel()
            results = await asyncio.gather(gone, sending, return_exceptions=True)
        for error in results:
            if isinstance(error, Exception) and not isinstance(error, TimeoutError):
                raise error

    async def _send(self, send: Send) -> None:
        hub, read, since, repo = self._source
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b": welcome\n\n", "more_body": True})
        async for events in hub.batches(read, since, repo):
            message = {"type": "http.response.body", "body": encode(events), "more_body": True}
            await asyncio.wait_for(send(message), PATIENCE)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
