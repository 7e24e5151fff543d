"""A session's socket served from a thread, with a person who answers by a function."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stretto.agentapi.server import AgentServer

Answers = Callable[[str, dict[str, Any]], dict[str, Any]]
TOKEN = "t0ken"


class Api:
    """What was asked of the socket; `server` may be closed and opened again as a daemon's restart does."""

    def __init__(self, path: Path, answers: Answers | None) -> None:
        self.path, self.calls = path, list[tuple[str, dict[str, Any]]]()
        self.cancelled = 0
        self.answers = answers
        self._loop = asyncio.new_event_loop()
        self._server: AgentServer | None = None

    def env(self) -> dict[str, str]:
        """The variables of an agent of this session."""
        return {"STRETTO_AGENT_SOCKET": str(self.path), "STRETTO_AGENT_TOKEN": TOKEN, "STRETTO_TURN": "1"}

    def call(self, work: Any) -> Any:
        """Run a coroutine in the loop of the server."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def up(self) -> None:
        self._server = AgentServer("s1", self.path, TOKEN, self._handle)
        self.call(self._server.start())

    def down(self) -> None:
        if self._server is not None:
            self.call(self._server.close())

    async def _handle(self, session: str, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        assert session == "s1"
        self.calls.append((verb, args))
        try:
            if self.answers is None:
                await asyncio.get_running_loop().create_future()
            return self.answers(verb, args) if self.answers else {}
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@contextmanager
def served(folder: Path, answers: Answers | None = None) -> Iterator[Api]:
    """A running server; without `answers` nobody ever answers."""
    api = Api(folder / "agent.sock", answers)
    thread = threading.Thread(target=api._loop.run_forever)
    thread.start()
    try:
        api.up()
        yield api
    finally:
        api.down()
        api._loop.call_soon_threadsafe(api._loop.stop)
        thread.join()
        api._loop.close()
