"""Rows for tests: complete values of which a test names only what matters to it."""

from __future__ import annotations

from typing import Any

from stretto.core.model import (
    Approval,
    Check,
    CheckResult,
    Delivery,
    Entry,
    Item,
    ItemKind,
    Kind,
    Message,
    MessageKind,
    Origin,
    QueueState,
    Run,
    Session,
    Task,
    TurnResult,
)

RUN = "demo-abcd"
UID = f"{RUN}/one"
TREE, PATCH, HEAD = "t" * 40, "sha256:aa", "h" * 40


def run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        "id": RUN,
        "repo": "/r/.git",
        "root": "/r",
        "title": "Demo",
        "context": "",
        "plan_path": None,
        "plan_text": "",
        "base": "b" * 40,
        "target": "main",
        "agent": "scripted",
        "open_limit": 2,
        "approve": "human",
        "pin_base": False,
        "push": False,
        "checkout": "leave",
        "config": {"checks": [{"name": "unit", "run": "true"}]},
        "env": {},
        "paused": False,
        "created_at": 100.0,
    }
    return Run(**{**values, **changes})


def task(id: str = "one", **changes: Any) -> Task:
    owner = changes.get("run", RUN)
    values: dict[str, Any] = {
        "uid": f"{owner}/{id}",
        "run": owner,
        "repo": "/r/.git",
        "id": id,
        "position": 0,
        "title": f"Do {id}",
        "spec": "do it",
        "accept": "it is done",
        "kind": Kind.FEATURE,
        "role": "implementer",
        "needs": (),
        "files": (),
        "tables": (),
        "priority": 0,
        "lands": True,
        "fields": {},
        "created_at": 100.0,
    }
    return Task(**{**values, **changes})


def started(id: str = "one", **changes: Any) -> Task:
    """A task with a workspace; with a committed change unless the test says otherwise."""
    values: dict[str, Any] = {
        "admitted_at": 110.0,
        "workspace": "/bays/1",
        "bay": 1,
        "base": "b" * 40,
        "branch": f"stretto/{RUN}/{id}/work",
        "head": HEAD,
        "tree": TREE,
        "patch": PATCH,
        "diff": {"files": 1, "added": 3, "deleted": 1},
    }
    return task(id, **{**values, **changes})


def turn(n: int = 1, state: Delivery = Delivery.DONE, result: TurnResult | None = TurnResult.OK, **changes) -> Message:
    values: dict[str, Any] = {
        "task": UID,
        "n": n,
        "kind": MessageKind.TURN,
        "origin": Origin.START,
        "text": f"message {n}",
        "state": state,
        "created_at": 120.0 + n,
        "result": result,
        "settled": result is not None,
    }
    return Message(**{**values, **changes})


def session(**changes: Any) -> Session:
    values: dict[str, Any] = {
        "id": "s1",
        "task": UID,
        "role": "implementer",
        "agent": "scripted",
        "model": None,
        "mode": "stream",
        "conversation": None,
        "generation": 1,
        "folder": "/h/sessions/s1",
        "started_at": 115.0,
        "status_at": 130.0,
    }
    return Session(**{**values, **changes})


def check(result: CheckResult | None = CheckResult.PASSED, **changes: Any) -> Check:
    values: dict[str, Any] = {
        "task": UID,
        "name": "unit",
        "purpose": "task",
        "command": "true",
        "tree": TREE,
        "environment": "e",
        "result": result,
        "started_at": 140.0,
        "seconds": 2.0,
        "head": HEAD,
    }
    return Check(**{**values, **changes})


def approval(**changes: Any) -> Approval:
    values: dict[str, Any] = {"task": UID, "head": HEAD, "base": "b" * 40, "patch": PATCH, "by": "person", "at": 150.0}
    return Approval(**{**values, **changes})


def entry(state: QueueState = QueueState.WAITING, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "id": 1,
        "task": UID,
        "repo": "/r/.git",
        "target": "main",
        "head": HEAD,
        "patch": PATCH,
        "state": state,
        "reason": "",
        "enqueued_at": 160.0,
        "updated_at": 160.0,
    }
    return Entry(**{**values, **changes})


def item(kind: ItemKind = ItemKind.QUESTION, key: str = "q:1", **changes: Any) -> Item:
    values: dict[str, Any] = {
        "id": "i1",
        "task": UID,
        "kind": kind,
        "key": key,
        "text": "which one?",
        "options": (),
        "payload": {},
        "opened_at": 170.0,
    }
    return Item(**{**values, **changes})
