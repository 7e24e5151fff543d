"""An engine in this process, with real git, real shims and the scripted agent: the words that its tests speak."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stretto.core.errors import StrettoError
from stretto.core.model import Event, Item, Message, Session, Task
from stretto.engine.engine import Engine
from stretto.engine.operations import OPERATIONS
from stretto.home import open_home
from stretto.interfaces import Clock
from stretto.reads import read
from tests.support.repository import Repository
from tests.support.waiting import wait_for


class Spine:
    """One repository and the engine that works on it."""

    def __init__(self, engine: Engine, repo: Repository, folder: Path) -> None:
        self.engine, self.repo, self.folder = engine, repo, folder

    def call(self, verb: str, **args: Any) -> dict[str, Any]:
        return OPERATIONS[verb](self.engine, {"cwd": str(self.repo.path), **args})

    def call_read(self, verb: str, **args: Any) -> dict[str, Any]:
        """What a face gets for a question."""
        with self.engine.store.read() as db:
            where = {"cwd": str(self.repo.path), "now": self.engine.clock.now(), "live": True}
            return read(verb, db, {**where, "home": str(self.engine.home.path), **args})

    def run(self, plan: str, script: dict[str, Any] | None = None, **args: Any) -> dict[str, Any]:
        path = self.folder / "PLAN.md"
        path.write_text(plan)
        if script is not None:
            (self.folder / "script.json").write_text(json.dumps({"tasks": script}))
            args.setdefault("agent", f"scripted:{self.folder / 'script.json'}")
        env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LANG": "C.UTF-8"}
        words = {"approve": "auto", "trust": True, "checkout": "leave", "fetch": False, "env": env}
        return self.call("run", plan_path=str(path), plan_text=plan, **{**words, **args})

    def task(self, id: str) -> Task:
        with self.engine.store.read() as db:
            found = db.one(Task, "id = ? ORDER BY created_at DESC", id)
        assert found is not None
        return found

    def tasks(self) -> list[Task]:
        with self.engine.store.read() as db:
            return db.select(Task, "1 ORDER BY position")

    def cancel_open(self) -> None:
        """Cancel what is not over; a task may end by itself between the look at it and the word."""
        for row in self.tasks():
            try:
                if row.outcome is None:
                    self.call("cancel", task=row.uid)
            except StrettoError as error:
                if error.code != "task_over":
                    raise

    def session(self, id: str) -> Session:
        with self.engine.store.read() as db:
            found = db.one(Session, "task = ? ORDER BY generation DESC", self.task(id).uid)
        assert found is not None
        return found

    def messages(self, id: str) -> list[Message]:
        """The turns of a task."""
        with self.engine.store.read() as db:
            return db.select(Message, "task = ? AND kind = 'turn' ORDER BY n", self.task(id).uid)

    def items(self) -> list[Item]:
        with self.engine.store.read() as db:
            return db.select(Item, "closed_at IS NULL AND answered_at IS NULL ORDER BY opened_at")

    def state(self, id: str) -> tuple[str, str]:
        """State and reason of a task as its last view said."""
        with self.engine.store.read() as db:
            rows = db.rows("SELECT state, reason FROM views WHERE uid = ?", self.task(id).uid)
        return (rows[0]["state"], rows[0]["reason"]) if rows else ("", "")

    def events(self, type: str | None = None) -> list[Event]:
        return [e for e in self.engine.store.events(0, 100_000) if type in (None, e.type)]

    def outcomes(self) -> dict[str, str | None]:
        return {t.id: t.outcome.value if t.outcome else None for t in self.tasks()}

    def wait(self, what: Callable[[], Any], timeout: float = 120.0) -> Any:
        return wait_for(what, timeout, what=lambda: "\n".join(self.story()))

    def wait_over(self, timeout: float = 120.0) -> dict[str, str | None]:
        self.wait(lambda: all(t.outcome is not None for t in self.tasks()), timeout)
        return self.outcomes()

    def wait_item(self, kind: str, timeout: float = 120.0) -> Item:
        def look() -> Item | None:
            return next((i for i in self.items() if i.kind.value == kind), None)

        found: Item = self.wait(look, timeout)
        return found

    def story(self) -> list[str]:
        return [f"{e.id} {e.task or e.run or ''} {e.type} {e.data}" for e in self.events()]


@contextmanager
def running(repo: Repository, folder: Path, clock: Clock | None = None) -> Iterator[Spine]:
    engine = Engine(open_home(), clock=clock)
    engine.start()
    spine = Spine(engine, repo, folder)
    try:
        yield spine
    finally:
        spine.cancel_open()
        spine.engine.stop()
        spine.engine.store.close()


def plan(*tasks: str, checks: str = '["true"]') -> str:
    return f"---\nchecks: {checks}\n---\n# A plan\n\nContext.\n\n" + "\n\n".join(tasks) + "\n"


def task(id: str, **fields: str) -> str:
    rows = "".join(f"- {k}: {v}\n" for k, v in fields.items())
    return f"## {id}: Do {id}\nDo {id} in its file.\nAccept: it is done.\n{rows}"


def write(path: str, text: str) -> dict[str, Any]:
    return {"write": {"path": path, "text": text}}


def turns(*turns: Any) -> dict[str, Any]:
    return {"turns": [t if isinstance(t, dict) else {"steps": t} for t in turns]}
