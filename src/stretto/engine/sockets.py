"""The agent API of live sessions: one socket each, served by an event loop in a thread of its own.

Specification. An agent may ask, note, report usage and read its own status; nothing else is reachable from here. A
question is a row; the coroutine that waits for its answer may die with the daemon, and the client asks again: the same
text in the same turn is the same question. An answer is marked as handed out before it is sent, so that a crash in
between makes the client ask again instead of giving the agent a second answer as a new turn.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any

from stretto.agentapi.protocol import question_key
from stretto.agentapi.server import AgentServer
from stretto.core.errors import StrettoError, TimedOut, Unavailable
from stretto.core.evidence import What
from stretto.core.model import Item, ItemKind, Session, Task, Usage
from stretto.engine import believing
from stretto.engine.acts.rows import open_item, short_id
from stretto.engine.acts.session import agent_socket
from stretto.engine.parts import Parts
from stretto.engine.taking import record_usage, running_turn
from stretto.store.sqlite import Writer

_log = logging.getLogger(__name__)


class Sockets:
    """Keeps a socket open for each live session."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agent-api", daemon=True)
        self._servers: dict[str, AgentServer] = {}
        self._changed = asyncio.Event()
        self._unlisten = parts.store.listen(self._on_commit)

    def start(self) -> None:
        """Start the loop."""
        self._thread.start()

    def stop(self) -> None:
        """Close all sockets; the clients connect again to the next daemon."""
        self._unlisten()
        if not self._thread.is_alive():  # nothing was opened by one that was never started
            self._loop.close()
            return
        self._call(self._close_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def sync(self) -> None:
        """Open what live sessions lack, close what is over."""
        with self._parts.store.read() as db:
            live = {str(row["id"]) for row in db.rows("SELECT id FROM sessions WHERE ended_at IS NULL")}
            new = [db.one(Session, "id = ?", id) for id in sorted(live - self._servers.keys())]
        for gone in self._servers.keys() - live:
            self._call(self._servers.pop(gone).close())
        for session in new:
            if session is not None:
                self._open(session)

    def _open(self, session: Session) -> None:
        path = agent_socket(self._parts, session)
        server = AgentServer(session.id, path, self._parts.agent_token(session.id), self._handle)
        try:
            self._call(server.start())
        except StrettoError as error:
            _log.error("session %s: %s", session.id, error.message)
            return
        self._servers[session.id] = server

    def _call(self, work: Coroutine[Any, Any, Any]) -> None:
        if self._loop.is_closed():
            work.close()
            raise Unavailable("the daemon is stopping")
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _close_all(self) -> None:
        for server in list(self._servers.values()):
            await server.close()
        self._servers = {}

    def _on_commit(self, _last: int) -> None:
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _handle(self, session_id: str, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        with self._parts.store.read() as db:
            session = db.one(Session, "id = ? AND ended_at IS NULL", session_id)
        if session is None:
            raise StrettoError("this session is over", code="cancelled", object=session_id)
        match verb:
            case "ask":
                return await self._ask(session, args)
            case "note":
                return self._note(session, args)
            case "usage":
                return self._usage(session, args)
            case _:
                return self._status(session)

    # ------------------------------------------------------------ ask

    async def _ask(self, session: Session, args: dict[str, Any]) -> dict[str, Any]:
        key = f"ask:{question_key(args.get('turn'), str(args['text']))}"
        deadline = None if args.get("timeout") is None else self._loop.time() + float(args["timeout"])
        with self._parts.store.write() as tx:
            self._open_question(tx, session, key, args)
        self._parts.nudge(session.task)
        while True:
            changed = self._changed
            answer = self._look(session, key)
            if answer is not None:
                return answer
            left = None if deadline is None else deadline - self._loop.time()
            if left is not None and left <= 0:
                raise TimedOut("nobody answered in time; the question stays open", object=key)
            try:
                await asyncio.wait_for(changed.wait(), left)
            except TimeoutError:
                continue

    def _open_question(self, tx: Writer, session: Session, key: str, args: dict[str, Any]) -> None:
        turn = running_turn(tx, session.id)
        options = tuple((str(n), str(text)) for n, text in enumerate(args.get("options") or (), 1))
        open_item(
            tx,
            Item(
                id=short_id(),
                task=session.task,
                kind=ItemKind.QUESTION,
                key=key,
                text=str(args["text"]),
                options=options,
                payload={"source": "socket", "turn": turn.n if turn else None},
                opened_at=tx.now,
                session=session.id,
                generation=session.generation,
            ),
        )
        believing.note(tx, session.id, (What.ASKING, str(args["text"])[:200]))

    def _look(self, session: Session, key: str) -> dict[str, Any] | None:
        """The answer, marked as handed out; None while there is none. Raises when there will be none."""
        with self._parts.store.read() as db:
            item = db.one(Item, "task = ? AND key = ?", session.task, key)
            task = db.one(Task, "uid = ?", session.task)
        if item is not None and item.answer is not None:
            self._handed_out(session, item)
            return {"answer": str(item.answer.get("text") or item.answer.get("key")), "key": item.answer.get("key")}
        over = task is None or task.outcome is not None or task.wanted == "cancelled"
        if over or item is None or item.closed_at is not None:
            raise StrettoError("the task is over", code="cancelled", object=session.task)
        return None

    def _handed_out(self, session: Session, item: Item) -> None:
        if item.applied_at is not None:
            return
        with self._parts.store.write() as tx:
            tx.update(Item, item.id, applied_at=tx.now, closed_at=tx.now)
            believing.note(tx, session.id, (What.WORKING, "got an answer"))
            tx.event("item.closed", task=item.task, item=item.id, reason="answered")
        self._parts.nudge(session.task)

    # ------------------------------------------------------------ the rest

    def _note(self, session: Session, args: dict[str, Any]) -> dict[str, Any]:
        text = str(args["text"])
        with self._parts.store.write() as tx:
            tx.event("agent.note", task=session.task, session=session.id, text=text, result=bool(args.get("result")))
            if args.get("result"):
                tx.update(Task, session.task, note=text)
        return {}

    def _usage(self, session: Session, args: dict[str, Any]) -> dict[str, Any]:
        cost = args.get("cost")
        usage = Usage(
            **{k: int(args.get(k) or 0) for k in ("input", "output", "cache_read", "cache_write", "reasoning")},
            cost=None if cost is None else str(cost),
            cost_source=None if cost is None else "agent",
        )
        with self._parts.store.write() as tx:
            key = f"agent:{session.id}:{args['request']}"
            turn = running_turn(tx, session.id)
            record_usage(tx, session.task, session.id, turn.n if turn else None, key, args.get("model"), usage)
        return {}

    def _status(self, session: Session) -> dict[str, Any]:
        with self._parts.store.read() as db:
            view = db.rows("SELECT stage, state, reason FROM views WHERE uid = ?", session.task)
        row = dict(view[0]) if view else {}
        return {"task": session.task, "session": session.id, "generation": session.generation, **row}
