"""Agents whose turns need something that they say first: the engine waits for it, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stretto.core.model import MessageKind, Session, TurnResult
from stretto.engine.engine import Engine
from stretto.home import open_home
from stretto.shim.folder import Record
from stretto.testing.agents import FakeAgent
from stretto.testing.shims import FakeSession, FakeShims
from tests.engine.spine import Spine, plan, task
from tests.support.repository import Repository


def tell(session: FakeSession, *lines: bytes) -> None:
    """The agent says lines, and the shim nudges the daemon."""
    for line in lines:
        session.say(line + b"\n")
    nudge(session)


def nudge(session: FakeSession) -> None:
    fd = os.open(session.spec["nudge"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, f"{session.spec['session']}\n".encode())
    os.close(fd)


def started(conversation: str) -> bytes:
    return FakeAgent.line("started", conversation=conversation, model="m")


def done() -> bytes:
    return FakeAgent.line("turn_ended", result="ok", reason="", text="done")


class Player:
    """Plays the agent of every session: `hello` and `turn` say what it does; all that it was given is kept."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.hello: Callable[[FakeSession, str | None], None] = lambda s, known: tell(s, started(known or "thread-1"))
        self.turn: Callable[[FakeSession], None] = lambda s: tell(s, done())
        self.given: list[dict[str, Any]] = []

    def __call__(self, session: FakeSession, record: Record) -> None:
        if session not in self.sessions:
            self.sessions.append(session)
        told = json.loads(record.data)
        self.given.append(told)
        if "hello" in told:
            self.hello(session, told["hello"])
        elif "turn" in told:
            self.turn(session)

    def turns(self) -> list[dict[str, Any]]:
        return [one for one in self.given if "turn" in one]


@pytest.fixture
def player() -> Player:
    return Player()


@pytest.fixture
def shims(player: Player) -> FakeShims:
    return FakeShims(player)


@contextmanager
def engine(repo: Repository, folder: Path, shims: FakeShims) -> Iterator[Spine]:
    running = Engine(open_home(), shims=shims, agent=lambda type: FakeAgent(chooses=True))
    running.start()
    try:
        yield Spine(running, repo, folder)
    finally:
        running.stop()
        running.store.close()


@pytest.fixture
def spine(home: Any, repo: Repository, tmp_path: Path, shims: FakeShims) -> Iterator[Spine]:
    with engine(repo, tmp_path, shims) as spine:
        yield spine
        spine.cancel_open()


def start(spine: Spine, **args: Any) -> None:
    path = spine.repo.path / "stretto.toml"
    path.write_text('schema = 1\n[agents.one]\ntype = "claude"\ncommand = ["/bin/true"]\n')
    spine.run(plan(task("one")), agent="one", **{"approve": "human", **args})


def test_a_turn_waits_for_the_id_and_carries_it(spine: Spine, player: Player) -> None:
    player.hello = lambda session, known: None
    start(spine)
    spine.wait(lambda: player.given == [{"hello": None}])
    spine.wait(lambda: spine.state("one") == ("active", "its session starts"))
    assert [m.number for m in spine.messages("one")] == [None], "it has no place before it can be said"
    tell(player.sessions[0], started("thread-7"))
    spine.wait_item("nochange")
    (turn,) = player.turns()
    assert turn["in"] == "thread-7"
    assert spine.session("one").conversation == "thread-7"


def test_the_conversation_is_taken_up_with_what_was_kept(spine: Spine, player: Player) -> None:
    player.turn = lambda session: session.die()
    start(spine)
    spine.wait(lambda: player.turns())
    with spine.engine.store.write() as tx:
        row = tx.one(Session, "task = ?", spine.task("one").uid)
        assert row is not None
        tx.update(Session, row.id, parser={**row.parser, "kept": {"total": 7}})
    nudge(player.sessions[0])
    player.turn = lambda session: tell(session, done())
    spine.call("answer", item=spine.wait_item("interrupted").id, answer="continue")
    spine.wait_item("nochange")
    assert [one["hello"] for one in player.given if "hello" in one] == [None, "thread-1"]
    assert [one["in"] for one in player.turns()] == ["thread-1", "thread-1"]
    assert "Do one in its file" in player.turns()[0]["turn"]
    assert "Do one in its file" not in player.turns()[1]["turn"], "the first prompt is not said again"
    assert spine.session("one").parser["kept"] == {"total": 7}


def test_an_agent_that_ends_before_it_takes_turns_fails_the_turn_once(spine: Spine, player: Player) -> None:
    def leaves(session: FakeSession, known: str | None) -> None:
        session.say(b"no licence\n", "err")
        session.leave(3)
        nudge(session)

    player.hello = leaves
    start(spine)
    item = spine.wait_item("failure")
    assert "its agent ended with exit code 3: no licence" in item.text
    assert len(player.sessions) == 1, "it is not started again by itself"
    player.hello = lambda session, known: tell(session, started("thread-2"))
    spine.call("answer", item=item.id, answer="retry")
    spine.wait_item("nochange")
    assert [one["in"] for one in player.turns()] == ["thread-2"]


def test_an_agent_that_cannot_begin_says_why_and_may_be_tried_again(spine: Spine, player: Player) -> None:
    player.hello = lambda session, known: tell(session, FakeAgent.line("unfit", reason="no such model"))
    start(spine)
    item = spine.wait_item("failure")
    assert "no such model" in item.text
    assert player.turns() == []
    player.hello = lambda session, known: tell(session, started("thread-2"))
    spine.call("answer", item=item.id, answer="retry")
    spine.wait_item("nochange")
    assert len(player.sessions) == 2
    assert spine.messages("one")[-1].result is TurnResult.OK


def test_a_conversation_that_is_not_known_is_begun_anew_with_the_task(spine: Spine, player: Player) -> None:
    def dies(session: FakeSession) -> None:
        session.die()
        nudge(session)

    player.turn = dies
    start(spine)

    def forgets(session: FakeSession, known: str | None) -> None:
        unknown = FakeAgent.line("turn_ended", result="failed", reason="", text="", code="no_conversation")
        tell(session, unknown if known else started("thread-9"))

    item = spine.wait_item("interrupted")
    player.hello, player.turn = forgets, lambda session: tell(session, done())
    spine.call("answer", item=item.id, answer="continue")
    spine.wait_item("nochange")
    assert [one["in"] for one in player.turns()] == ["thread-1", "thread-9"]
    assert "Do one in its file" in player.turns()[1]["turn"], "a new conversation is told what the task is"
    assert [e.data["reason"] for e in spine.events("conversation.refused")] == ["no_conversation"]


def test_a_reply_is_sent_once_and_a_notice_is_told(
    home: Any, repo: Repository, tmp_path: Path, player: Player, shims: FakeShims
) -> None:
    """Also when the daemon is replaced between the agent's request and its end."""
    reply = FakeAgent.line("reply", request="r1", data='{"answer": "r1"}')
    player.turn = lambda session: tell(session, FakeAgent.line("notice", text="a newer version"), reply)
    with engine(repo, tmp_path, shims) as spine:
        start(spine)
        spine.wait(lambda: {"answer": "r1"} in player.given)
    with engine(repo, tmp_path, shims) as spine:
        tell(player.sessions[0], done())
        spine.wait_item("nochange")
        assert player.given.count({"answer": "r1"}) == 1
        assert [e.data["text"] for e in spine.events("session.notice")] == ["a newer version"]
        with spine.engine.store.read() as db:
            kinds = [row["kind"] for row in db.rows("SELECT kind FROM messages ORDER BY n")]
        assert kinds == [MessageKind.TURN, MessageKind.CONTROL, MessageKind.CONTROL]
        spine.call("cancel", task=spine.task("one").uid)


def test_a_session_that_was_written_and_not_started_is_started(
    home: Any, repo: Repository, tmp_path: Path, player: Player, shims: FakeShims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the row of a session with its handshake and its shim."""
    with engine(repo, tmp_path, shims) as spine, monkeypatch.context() as patch:
        patch.setattr(shims, "start", lambda *_: (_ for _ in ()).throw(OSError("the daemon is killed here")))
        start(spine)
        spine.wait(lambda: spine.events("task.trouble"))
    assert player.given == []
    with engine(repo, tmp_path, shims) as spine:
        spine.wait_item("nochange")
        assert [one["in"] for one in player.turns()] == ["thread-1"]
        assert player.given.count({"hello": None}) == 1
        spine.call("cancel", task=spine.task("one").uid)


def test_an_agent_that_never_takes_turns_is_told_as_a_stall(
    home: Any, repo: Repository, tmp_path: Path, player: Player, shims: FakeShims, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = tmp_path / "clock"
    monkeypatch.setenv("STRETTO_TESTING", "1")
    monkeypatch.setenv("STRETTO_TEST_CLOCK", str(clock))
    player.hello = lambda session, known: None
    with engine(repo, tmp_path, shims) as spine:
        start(spine)
        spine.wait(lambda: spine.engine._silence._seen)
        clock.write_text("2000")
        assert "has said nothing for 30 minutes" in spine.wait_item("stall").text
        spine.call("cancel", task=spine.task("one").uid)
