"""`stretto attach` at a terminal of 80 columns: a session is taken over and handed back, nothing is lost."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import Stage, task
from tests.support.repository import Repository
from tests.support.waiting import wait_for
from tests.support.world import STRETTO

pytestmark = pytest.mark.e2e

LEAVE = b"\x1d"


@dataclass
class Screen:
    """A command at a terminal of our own; `seen` is all that it drew."""

    words: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    seen: bytes = b""
    code: int | None = None
    process: Any = field(init=False)

    def __post_init__(self) -> None:
        self.fd, other = pty.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [*STRETTO, *self.words],
            cwd=self.cwd,
            env={**os.environ, "TERM": "xterm-256color", **self.env},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(other)

    def shows(self, word: bytes, timeout: float = 120.0) -> None:
        def look() -> bool:
            while select.select([self.fd], [], [], 0)[0]:
                try:
                    self.seen += os.read(self.fd, 1 << 16)
                except OSError:
                    break
            return word in self.seen

        wait_for(look, timeout, what=lambda: f"{word!r} in {self.seen[-3000:]!r}")

    def keys(self, data: bytes) -> None:
        os.write(self.fd, data)

    def ends(self) -> int:
        def over() -> bool:
            if select.select([self.fd], [], [], 0)[0]:
                with suppress(OSError):
                    self.seen += os.read(self.fd, 1 << 16)
            return self.process.poll() is not None

        wait_for(over, what=lambda: repr(self.seen[-2000:]))
        return int(self.process.returncode)

    def hang_up(self) -> None:
        """The person closes the window."""
        os.close(self.fd)
        self.process.wait(20)


@pytest.fixture
def stage(home: Path, repo: Repository, tmp_path: Path) -> Iterator[Stage]:
    with ModelServer() as server:
        stage = Stage(repo, tmp_path, server)
        yield stage
        stage.end(home)


def test_a_dialog_that_the_person_leaves_open_holds_nothing_up(stage: Stage) -> None:
    """Its program asks at its start what only its own terminal answers; the stream session asks nothing of the kind."""
    script = stage.folder / "script.json"
    script.write_text(
        json.dumps({"tasks": {"one": {"turns": [{"steps": [write("a.txt")]}, {"steps": [write("b.txt")]}]}}})
    )
    odd = f'type = "scripted"\ncommand = ["{script}"]\nenv = {{COMPOSER_HABITS = "blind=Do you trust this folder?"}}\n'
    stage.repo.commit("An odd one", {"stretto.toml": f"[agents.odd]\n{odd}"})
    stage.run(task("one", "Do it."), words=("--agent", "odd"))
    stage.wait_item("review")
    screen = attach(stage)
    screen.shows(b"Esc to cancel")
    item = stage.wait_item("question")
    stage.stretto("answer", item["id"], "yes", code=2)
    stage.stretto("send", "one", "And one more.")
    screen.keys(LEAVE)
    assert screen.ends() == 0
    stage.wait(lambda: "b.txt" in stage.repo.files(stage.task("one")["head"]))
    assert sessions(stage) == [("stream", 1), ("pane", 2), ("stream", 3)]
    stage.wait(lambda: item["id"] not in [each["id"] for each in stage.inbox()])


def start(stage: Stage, turns: list[Any], mode: str = "stream") -> None:
    script = stage.folder / "script.json"
    script.write_text(json.dumps({"tasks": {"one": {"turns": turns}}}))
    stage.run(task("one", "Do it.", mode=mode), words=("--agent", f"scripted:{script}"))


def write(path: str) -> dict[str, Any]:
    return {"write": {"path": path, "text": f"{path}\n"}}


def attach(stage: Stage, *words: str, **env: str) -> Screen:
    return Screen(("attach", "one", *words), stage.repo.path, env)


def sessions(stage: Stage) -> list[tuple[str, int]]:
    return [(s["mode"], s["generation"]) for s in stage.told("one")["sessions"]]


def test_a_stream_session_is_taken_over_and_handed_back(stage: Stage) -> None:
    start(stage, [{"steps": [write("a.txt")]}, {"steps": [write("b.txt")]}, {"steps": [write("c.txt")]}])
    stage.wait_item("review")
    screen = attach(stage, TMUX="/tmp/somebody,1,0")
    screen.shows(b"? for shortcuts")
    screen.keys(b"more, please\r")
    worktree = Path(stage.task("one")["worktree"])
    stage.wait(lambda: (worktree / "b.txt").exists())
    screen.shows(b"done: 0")
    stage.stretto("send", "one", "And one more.")
    stage.wait(lambda: "in its terminal" in stage.task("one")["reason"])
    assert not (worktree / "c.txt").exists()
    screen.keys(LEAVE)
    assert screen.ends() == 0
    stage.wait(lambda: (worktree / "c.txt").exists())
    stage.wait_item("review")
    assert sessions(stage) == [("stream", 1), ("pane", 2), ("stream", 3)]
    assert len(set(stage.conversations("one"))) == 1
    assert {"a.txt", "b.txt", "c.txt"} <= set(stage.repo.files(stage.task("one")["head"]))


def test_what_the_person_did_there_is_committed_and_checked_and_asked_about_anew(stage: Stage) -> None:
    start(stage, [{"steps": [write("a.txt")]}, {"steps": [write("b.txt")]}])
    first = stage.wait_item("review")
    screen = attach(stage)
    screen.shows(b"? for shortcuts")
    screen.keys(b"more\r")
    screen.shows(b"done: 0")
    screen.hang_up()
    stage.wait(lambda: [i for i in stage.inbox() if i["kind"] == "review" and i["id"] != first["id"]])
    assert "b.txt" in stage.repo.files(stage.task("one")["head"])
    assert sessions(stage) == [("stream", 1), ("pane", 2)]
    told = stage.call("explain", task="one")["evidence"]
    assert any("you left its terminal" in str(one["value"]) for one in told), told


def test_what_is_asked_there_is_answered_there_also_from_elsewhere(stage: Stage) -> None:
    """The turn is the person's own; its question stands in the terminal, and the answer must not become a turn."""
    asks = {"ask": {"text": "Which colour?", "options": ["Blue", "Red"]}}
    start(stage, [{"steps": [write("a.txt")]}, {"steps": [asks, write("b.txt")]}])
    first = stage.wait_item("review")
    screen = attach(stage)
    screen.shows(b"? for shortcuts")
    screen.keys(b"more\r")
    item = stage.wait_item("question")
    stage.stretto("answer", item["id"], "2")
    screen.shows(b"done: 0")
    screen.keys(LEAVE)
    assert screen.ends() == 0
    stage.wait(lambda: [i for i in stage.inbox() if i["kind"] == "review" and i["id"] != first["id"]])
    assert "b.txt" in stage.repo.files(stage.task("one")["head"])
    assert [m["origin"] for m in stage.messages("one")] == ["start", "person"]


def test_what_the_person_did_in_a_pane_is_taken_up_while_they_sit_there(stage: Stage) -> None:
    start(stage, [{"steps": [write("a.txt")]}, {"steps": [write("b.txt")]}], mode="pane")
    first = stage.wait_item("review")
    screen = attach(stage)
    screen.shows(b"? for shortcuts")
    screen.keys(b"more\r")
    stage.wait(lambda: [i for i in stage.inbox() if i["kind"] == "review" and i["id"] != first["id"]])
    assert "b.txt" in stage.repo.files(stage.task("one")["head"])
    assert sessions(stage) == [("pane", 1)]
    assert [(m["origin"], m["result"]) for m in stage.messages("one")] == [("start", "ok"), ("person", "ok")]
    screen.keys(LEAVE)
    assert screen.ends() == 0


def test_a_turn_that_waits_for_an_answer_says_so(stage: Stage) -> None:
    start(stage, [{"steps": [{"ask": {"text": "Which colour?", "options": ["Blue", "Red"]}}, write("a.txt")]}])
    item = stage.wait_item("question")
    screen = attach(stage)
    screen.shows(f"stretto answer {item['id']}".encode())
    assert b"waits for your answer: Which colour?" in screen.seen
    stage.stretto("answer", item["id"], "1")
    screen.shows(b"? for shortcuts")
    screen.keys(LEAVE)
    assert screen.ends() == 0


def test_who_only_looks_changes_nothing(stage: Stage) -> None:
    start(stage, [{"steps": [write("a.txt")]}])
    item = stage.wait_item("review")
    screen = attach(stage)
    screen.shows(b"? for shortcuts")
    screen.keys(LEAVE)
    assert screen.ends() == 0
    stage.wait(lambda: stage.told("one")["sessions"][-1]["status"] == "exited")
    assert [i["id"] for i in stage.inbox()] == [item["id"]]


def test_a_pane_is_looked_at_and_typed_into_and_outlives_its_viewers(stage: Stage) -> None:
    hold = stage.folder / "go"
    wait = {"run": ["/bin/sh", "-c", f"until [ -e {hold} ]; do sleep 0.1; done"]}
    start(stage, [{"steps": [write("a.txt"), wait]}], mode="pane")
    stage.wait(lambda: (where := stage.task("one")["worktree"]) and (Path(where) / "a.txt").exists())
    looking = attach(stage, "--read-only")
    looking.shows(b"esc to interrupt")
    looking.keys(b"mine")
    typing = attach(stage)
    typing.shows(b"esc to interrupt")
    typing.keys(b"a thought")
    typing.shows(b"a thought")
    assert b"mine" not in typing.seen
    typing.process.send_signal(signal.SIGKILL)
    typing.hang_up()
    looking.hang_up()
    hold.touch()
    stage.wait_item("review")
    assert sessions(stage) == [("pane", 1)]


def test_a_running_turn_is_waited_for_or_interrupted(stage: Stage) -> None:
    start(stage, [{"steps": [write("a.txt"), {"sleep": 600}]}, {"steps": [write("b.txt")]}])
    stage.wait(lambda: (where := stage.task("one")["worktree"]) and (Path(where) / "a.txt").exists())
    refused = attach(stage, "--read-only")
    assert refused.ends() == 1
    assert b"not in a pane" in refused.seen
    patient = attach(stage)
    patient.shows(b"middle of a turn")
    patient.keys(b"\x03")
    assert patient.ends() == 130
    assert sessions(stage) == [("stream", 1)]
    screen = attach(stage, "--interrupt")
    screen.shows(b"? for shortcuts")
    assert stage.messages("one")[0]["result"] == "interrupted"
    screen.keys(b"\x02d")
    assert screen.ends() == 0


def test_without_a_terminal_it_says_so(stage: Stage) -> None:
    start(stage, [{"steps": [write("a.txt")]}])
    stage.wait_item("review")
    assert "no_terminal" in stage.stretto("attach", "one", code=1) + json.dumps("no_terminal")
