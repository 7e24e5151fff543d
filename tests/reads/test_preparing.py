"""What is said of a workspace that is being made: the step that was told last, with its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto.reads import preparing
from stretto.store.sqlite import Store
from tests.support import rows


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(tmp_path / "stretto.db", clock)
    with store.write() as tx:
        tx.insert(rows.run())
        tx.insert(rows.started())
    yield store
    store.close()


def said(store: Store, now: float, since: float = 1000.0) -> str:
    with store.read() as db:
        return preparing.said(db, rows.UID, "makes its workspace", since, now)


def test_each_step_is_said_as_it_comes(store: Store, clock: Clock):
    assert said(store, 1001.0) == "makes its workspace"
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("setup.started", {"name": "npm-offline", "output": "/o"}, "npm-offline runs for 4 s"),
        ("setup.started", {"name": "npm-online", "output": "/o"}, "npm-online runs for 4 s"),
        (
            "dependencies.ready",
            {"name": "npm", "rung": "online", "seconds": 9.04, "output": "/o"},
            "npm installed from the network in 9.0 s",
        ),
        ("setup.started", {"name": "setup-1", "output": "/o"}, "setup-1 runs for 4 s"),
        (
            "setup.finished",
            {"name": "setup-1", "result": "passed", "seconds": 4.0, "output": "/o"},
            "setup-1 passed in 4.0 s",
        ),
    ]
    for number, (type, data, wanted) in enumerate(steps):
        clock.now = 1000.0 + 10 * number
        with store.write() as tx:
            tx.event(type, task=rows.UID, **data)
        assert said(store, clock.now + 4) == f"makes its workspace: {wanted}"


def test_steps_of_an_earlier_attempt_and_of_other_tasks_are_not_said(store: Store, clock: Clock):
    with store.write() as tx:
        tx.event("setup.started", task=rows.UID, name="setup-1", output="/o")
        tx.event("setup.started", task="demo-abcd/two", name="setup-2", output="/o")
    assert said(store, 1060.0, since=1050.0) == "makes its workspace"
    assert said(store, 1060.0) == "makes its workspace: setup-1 runs for 60 s"


def test_every_rung_has_words():
    assert set(preparing.RUNGS) == {"kept", "reflink", "copy", "offline", "online"}
