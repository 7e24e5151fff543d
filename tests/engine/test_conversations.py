"""claude's protocol between engine and agent, without the program: its adapter is real, its process a function here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stretto.core.model import Delivery, Message, MessageKind, Origin, TurnResult
from stretto.engine.acts import endings
from stretto.engine.acts.endings import Ending
from stretto.engine.engine import Engine
from stretto.home import open_home
from stretto.interfaces import ShimState
from stretto.shim.folder import Record
from stretto.testing.shims import FakeSession, FakeShims
from tests.engine.spine import Spine, plan, task
from tests.support.repository import Repository

Turn = Callable[[FakeSession, str], None]
REFUSED = {"type": "result", "subtype": "error_during_execution", "is_error": True, "result": "No conversation found"}


def tell(session: FakeSession, *lines: dict[str, Any] | bytes) -> None:
    """The agent says lines, and the shim nudges the daemon."""
    for line in lines:
        session.say((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
    fd = os.open(session.spec["nudge"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, f"{session.spec['session']}\n".encode())
    os.close(fd)


def asks(request: str, tool: str, **given: Any) -> dict[str, Any]:
    body = {"subtype": "can_use_tool", "tool_name": tool, "input": given}
    return {"type": "control_request", "request_id": request, "request": body}


def done(text: str = "done") -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": text, "terminal_reason": "completed"}


class Claude:
    """Plays every session's agent: `turn` is called for each message, answers are kept."""

    def __init__(self) -> None:
        self.turn: Turn = lambda session, text: tell(session, done())
        self.texts: list[str] = []
        self.answers: list[dict[str, Any]] = []
        self.sessions: list[FakeSession] = []

    def __call__(self, session: FakeSession, record: Record) -> None:
        if session not in self.sessions:
            self.sessions.append(session)
        told = json.loads(record.data)
        if record.kind == "turn":
            self.texts.append(told["message"]["content"])
            self.turn(session, self.texts[-1])
        elif told["type"] == "control_response":
            self.answers.append(told["response"]["response"])
            tell(session, done())

    def option(self, session: FakeSession, name: str) -> str:
        argv = session.spec["argv"]
        return str(argv[argv.index(name) + 1])


@pytest.fixture
def claude() -> Claude:
    return Claude()


@pytest.fixture
def spine(home: Any, repo: Repository, tmp_path: Any, claude: Claude) -> Iterator[Spine]:
    with playing(repo, tmp_path, claude) as spine:
        yield spine


@contextmanager
def playing(repo: Repository, tmp_path: Any, claude: Claude) -> Iterator[Spine]:
    (repo.path / "stretto.toml").write_text('schema = 1\n[agents.claude]\ncommand = ["/bin/true"]\n')
    engine = Engine(open_home(), shims=FakeShims(claude))
    engine.start()
    spine = Spine(engine, repo, tmp_path)
    yield spine
    spine.cancel_open()
    engine.stop()
    engine.store.close()


def start(spine: Spine) -> None:
    spine.run(plan(task("one")), agent="claude", approve="human")


def test_a_question_is_answered_and_not_denied(spine: Spine, claude: Claude) -> None:
    questions = [{"question": "Which?", "options": [{"label": "Blue"}, {"label": "Red"}]}]
    claude.turn = lambda session, text: tell(session, asks("r1", "AskUserQuestion", questions=questions))
    start(spine)
    spine.call("answer", item=spine.wait_item("question").id, answer="2")
    spine.wait_item("nochange")
    assert claude.answers == [
        {"behavior": "allow", "updatedInput": {"questions": questions, "answers": {"Which?": "Red"}}}
    ]


def test_lines_up_to_the_limit_are_understood_and_longer_ones_passed_over(spine: Spine, claude: Claude) -> None:
    huge = json.dumps(asks("r1", "Write", file_path="/huge", content="y" * (9 << 20))).encode()
    big = asks("r2", "Write", file_path="/big", content="z" * (7 << 20))
    claude.turn = lambda session, text: tell(session, huge, big)
    start(spine)
    item = spine.wait_item("permission")
    assert item.text == "Write: /big"
    assert [i.kind.value for i in spine.items()] == ["permission"]
    dropped = sum(e.data["bytes"] for e in spine.events("session.garbage"))
    assert 8 << 20 < dropped <= len(huge) + 1
    spine.call("answer", item=item.id, answer="allow")
    spine.wait_item("nochange")


def test_a_line_is_taken_when_it_is_whole(spine: Spine, claude: Claude) -> None:
    line = json.dumps(asks("r1", "Write", file_path="/big", content="z" * (3 << 20))).encode()
    claude.turn = lambda session, text: session.say(line[: 2 << 20])
    start(spine)
    spine.wait(lambda: claude.sessions and claude.texts)
    spine.engine._pump_one(claude.sessions[0].spec["session"])
    assert spine.items() == []
    tell(claude.sessions[0], line[2 << 20 :])
    assert spine.wait_item("permission").text == "Write: /big"
    assert spine.events("session.garbage") == []


def test_a_conversation_that_is_not_known_is_begun_anew(spine: Spine, claude: Claude) -> None:
    """Whatever is said first in a conversation, it says what the task is; and nothing is refused for ever."""

    def turn(session: FakeSession, text: str) -> None:
        if len(claude.sessions) == 1:
            session.die()
        elif len(claude.sessions) == 2:
            tell(session, REFUSED)
            session.leave(1)
        else:
            tell(session, done())

    claude.turn = turn
    start(spine)
    spine.call("answer", item=spine.wait_item("interrupted").id, answer="continue")
    spine.wait_item("nochange")
    first, second, third = claude.sessions
    assert claude.option(first, "--session-id") == claude.option(second, "--resume")
    assert claude.option(third, "--session-id") != claude.option(first, "--session-id")
    assert claude.texts[1] != claude.texts[2]
    assert "Do one in its file." in claude.texts[2]
    assert [m.state.value for m in spine.messages("one")] == ["interrupted", "done"]


def test_a_session_that_died_unheard_is_followed_by_one_of_the_same_conversation(spine: Spine, claude: Claude) -> None:
    """The second session resumes and dies before it is given anything: the third one must resume, too."""
    claude.turn = lambda session, text: session.die()
    start(spine)
    item = spine.wait_item("interrupted")
    shims = spine.engine.parts.shims
    assert isinstance(shims, FakeShims)
    told = Claude.__call__

    def deaf(session: FakeSession, record: Record) -> None:
        if record.kind == "turn" and len(claude.sessions) == 2:
            session.delivered -= 1
            session.attempting -= 1
            session.die()
            return
        told(claude, session, record)

    shims.behaviour = deaf
    claude.turn = lambda session, text: tell(session, done())
    spine.call("answer", item=item.id, answer="continue")
    spine.wait_item("nochange")
    first, *others = claude.sessions
    id = claude.option(first, "--session-id")
    assert [claude.option(one, "--resume") for one in others] == [id] * len(others)
    assert len(others) == 2


def test_what_an_ended_session_says_late_is_not_heard(spine: Spine, claude: Claude) -> None:
    claude.turn = lambda session, text: session.die()
    start(spine)
    spine.wait_item("interrupted")
    late = {"type": "stream_event", "event": {"type": "message_start", "message": {"id": "m", "usage": {}}}}
    tell(claude.sessions[0], late, asks("r9", "Write", file_path="/late"), done("late"))
    before = spine.story()
    spine.engine._sweep()
    assert spine.story() == before
    assert [i.kind.value for i in spine.items()] == ["interrupted"]


def test_an_agent_that_does_not_react_to_an_interrupt_is_ended(
    home: Any, repo: Repository, tmp_path: Any, claude: Claude, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRETTO_TESTING", "1")
    monkeypatch.setenv("STRETTO_TEST_CLOCK", str(tmp_path / "clock"))
    claude.turn = lambda session, text: None
    with playing(repo, tmp_path, claude) as spine:
        start(spine)
        spine.wait(lambda: spine.messages("one") and spine.messages("one")[0].state is Delivery.DELIVERED)
        spine.call("interrupt", task="one")
        spine.wait(lambda: [r for s in claude.sessions for r in s.records if r.kind == "interrupt"])
        (tmp_path / "clock").write_text("31")
        assert "it did not react to the interrupt" in spine.wait_item("interrupted").text
        claude.turn = lambda session, text: tell(session, done())
        spine.call("answer", item=spine.wait_item("interrupted").id, answer="continue")
        spine.wait_item("nochange")
        assert claude.option(claude.sessions[1], "--resume") == claude.option(claude.sessions[0], "--session-id")


# ---------------------------------------------------------------- what an end says of a message


def turn(**changes: Any) -> Message:
    values: dict[str, Any] = {"number": 2, "state": Delivery.WRITTEN, **changes}
    return Message("r/t", 1, values.pop("kind", MessageKind.TURN), Origin.START, "x", created_at=0.0, **values)


OWN, DIED = Ending("exit code 1", own=True), Ending("its session died")
REFUSAL = Ending("", refused="no_conversation")
FAILED, LOST = TurnResult.FAILED, TurnResult.INTERRUPTED


@pytest.mark.parametrize(
    ("ending", "first", "attempting", "delivered", "expected"),
    [
        (DIED, True, 2, 2, (Delivery.INTERRUPTED, LOST)),
        (DIED, True, 2, 1, (Delivery.UNDELIVERED, None)),
        (DIED, True, 1, 1, (Delivery.QUEUED, None)),
        (OWN, True, 2, 2, (Delivery.DONE, FAILED)),
        (OWN, False, 2, 2, (Delivery.DONE, FAILED)),
        (OWN, True, 1, 1, (Delivery.DONE, FAILED)),
        (OWN, False, 2, 1, (Delivery.UNDELIVERED, None)),
        (OWN, False, 1, 1, (Delivery.QUEUED, None)),
        (REFUSAL, True, 2, 2, (Delivery.QUEUED, None)),
    ],
)
def test_the_fate_of_a_turn(
    ending: Ending, first: bool, attempting: int, delivered: int, expected: tuple[Delivery, TurnResult | None]
) -> None:
    state = ShimState(False, False, attempting, delivered, None, {})
    changes = endings.fate(turn(), state, ending, first=first)
    assert (changes["state"], changes.get("result")) == expected


def test_the_last_line_that_says_something_is_told() -> None:
    assert endings.last_line(b"warming up\n\x1b[31mError: no\x07 licence\x1b[0m\n \n\n") == "Error: no licence"
    assert endings.last_line(b"\xff\xfe\n") == "\ufffd\ufffd"
    assert endings.last_line(b"") == ""
