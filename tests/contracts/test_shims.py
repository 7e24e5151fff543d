"""What every `Shims` keeps, the real one and its fake."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import Conflict, UsageError
from stretto.interfaces import Shims
from stretto.shim.control import FolderShims
from stretto.testing.shims import FakeShims
from tests.support.waiting import wait_for

AGENTS = {
    "stream": ["/bin/sh", "-c", 'while read -r line; do echo "$line"; done'],
    "turns": ["/bin/sh", "-c", 'cat "$STRETTO_PROMPT_FILE"; echo'],
}


class Bench:
    """One implementation, and the sessions that a test started with it."""

    def __init__(self, shims: Shims, root: Path) -> None:
        self.shims, self.root = shims, root
        self.folders: list[Path] = []

    def start(self, style: str = "stream", folder: Path | None = None) -> Path:
        if folder is None:
            folder = self.root / f"s{len(self.folders)}"
            self.folders.append(folder)
        spec: dict[str, Any] = {
            "session": f"{self.root.parent.name}-{self.root.name}-{folder.name}",
            "style": style,
            "argv": AGENTS[style],
            "cwd": "/",
            "env": {"PATH": os.environ["PATH"]},
        }
        self.shims.start(folder, spec, {"TOKEN": "t"})
        return folder

    def said(self, folder: Path, data: bytes) -> None:
        wait_for(lambda: self.read(folder) == data, what=lambda: f"{data!r}, not {self.read(folder)!r}")

    def read(self, folder: Path, step: int = 3) -> bytes:
        parts: list[bytes] = []
        cursor = 0
        while True:
            data, cursor = self.shims.read(folder, "out", cursor, step)
            if not data:
                return b"".join(parts)
            parts.append(data)

    def until(self, folder: Path, **wanted: Any) -> None:
        def there() -> bool:
            state = self.shims.state(folder)
            return all(getattr(state, name) == value for name, value in wanted.items())

        wait_for(there, what=lambda: f"{wanted}, not {self.shims.state(folder)}")


@pytest.fixture(params=["real", "fake"])
def bench(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Bench]:
    made = Bench(FolderShims() if request.param == "real" else FakeShims(), short_folder)
    yield made
    for folder in made.folders:
        assert made.shims.end(folder, 2.0)


def test_a_folder_without_a_shim_is_dead_and_says_nothing(bench):
    state = bench.shims.state(bench.root / "none")
    assert (state.alive, state.attempting, state.delivered, state.exit, state.turns) == (False, 0, 0, None, {})
    assert state.pid is None
    assert bench.shims.end(bench.root / "none", 1.0)


def test_records_are_delivered_in_order_and_once(bench):
    folder = bench.start()
    for n, text in enumerate(("a", "b", "c"), 1):
        bench.shims.append(folder, "turn", text, n)
    bench.said(folder, b"a\nb\nc\n")
    bench.until(folder, attempting=3, delivered=3, alive=True, agent_alive=True)
    bench.shims.append(folder, "turn", "again", 2)
    bench.shims.append(folder, "control", "d", 4)
    bench.said(folder, b"a\nb\nc\nd\n")


def test_a_record_without_the_one_before_it_is_refused(bench):
    folder = bench.start()
    with pytest.raises(Conflict) as caught:
        bench.shims.append(folder, "turn", "x", 2)
    assert caught.value.code == "record_order"
    with pytest.raises(UsageError):
        bench.shims.append(folder, "shout", "x", 1)
    assert bench.read(folder) == b""


def test_starting_twice_is_starting_once(bench):
    folder = bench.start()
    bench.shims.append(folder, "turn", "a", 1)
    bench.said(folder, b"a\n")
    pid = bench.shims.state(folder).pid
    bench.start(folder=folder)
    assert bench.shims.state(folder).pid == pid
    assert bench.read(folder) == b"a\n"


def test_reading_is_by_position(bench):
    folder = bench.start()
    bench.shims.append(folder, "turn", "0123456789", 1)
    bench.said(folder, b"0123456789\n")
    assert bench.shims.read(folder, "out", 4, 3) == (b"456", 7)
    assert bench.shims.read(folder, "out", 11, 3) == (b"", 11)
    assert bench.shims.read(folder, "err", 0, 3) == (b"", 0)
    assert bench.shims.tail(folder, "out", 4) == b"789\n"
    assert bench.shims.tail(folder, "out", 400) == b"0123456789\n"


def test_stop_ends_the_session_with_a_record(bench):
    folder = bench.start()
    bench.shims.append(folder, "turn", "a", 1)
    bench.said(folder, b"a\n")
    bench.until(folder, delivered=1)
    bench.shims.append(folder, "stop", "", 2)
    bench.until(folder, alive=False, agent_alive=False, delivered=2)
    ended = bench.shims.state(folder).exit
    assert ended
    assert ended["reason"] == "stopped"
    assert bench.read(folder) == b"a\n"


def test_end_ends_it_and_can_be_repeated(bench):
    folder = bench.start()
    assert bench.shims.end(folder, 5.0)
    ended = bench.shims.state(folder)
    assert (ended.alive, (ended.exit or {})["reason"]) == (False, "terminated")
    assert bench.shims.end(folder, 5.0)


def test_the_next_life_of_a_folder_goes_on_after_what_was_delivered(bench):
    folder = bench.start()
    bench.shims.append(folder, "turn", "a", 1)
    bench.said(folder, b"a\n")
    bench.until(folder, delivered=1)
    assert bench.shims.end(folder, 5.0)
    bench.shims.append(folder, "turn", "b", 2)
    bench.start(folder=folder)
    bench.said(folder, b"a\nb\n")
    bench.until(folder, alive=True, delivered=2, exit=None)


def test_each_turn_is_a_process_with_a_record(bench):
    folder = bench.start("turns")
    for n, text in enumerate(("a", "b"), 1):
        bench.shims.append(folder, "turn", text, n)
    wait_for(lambda: 2 in bench.shims.state(folder).turns, what="the second turn")
    state = bench.shims.state(folder)
    assert [(turn["n"], turn["code"], turn["interrupted"]) for _, turn in sorted(state.turns.items())] == [
        (1, 0, False),
        (2, 0, False),
    ]
    assert (state.alive, state.agent_alive, state.delivered) == (True, False, 2)
    assert bench.read(folder) == b"a\nb\n"
