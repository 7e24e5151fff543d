"""What a session streams is read once, and moves something only if it means something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stretto.core.model import Message, Session, SessionStatus
from stretto.engine.pump import Pump
from stretto.testing.shims import FakeSession
from tests.engine.spine import Spine
from tests.engine.test_conversations import Claude, asks, claude, spine, start, tell

__all__ = ["claude", "spine"]  # fixtures

PIECE = b'{"type":"stream_event","event":{"type":"content_block_delta","delta":{"text":"word"}}}\n'


def said(text: str) -> bytes:
    content = [{"type": "text", "text": text}]
    return json.dumps({"type": "assistant", "message": {"id": text, "content": content}}).encode() + b"\n"


def working(spine: Spine, claude: Claude) -> tuple[FakeSession, Session]:
    """A session in its turn, which holds back whatever means nothing."""
    spine.engine.pump.held = float("inf")
    claude.turn = lambda session, text: tell(session, json.loads(said("begun")))
    start(spine)
    spine.wait(lambda: claude.texts)
    here = claude.sessions[0]
    row = spine.wait(lambda: (row := at(spine, here)).status is SessionStatus.WORKING and row)
    spine.engine.pump.pump(row.id)
    return here, at(spine, here)


def at(spine: Spine, session: FakeSession) -> Session:
    with spine.engine.store.read() as db:
        found = db.one(Session, "id = ?", session.spec["session"])
    assert found is not None
    return found


def output(spine: Spine) -> str:
    with spine.engine.store.read() as db:
        return "".join(message.output for message in db.select(Message, "kind = 'turn'"))


def test_what_means_nothing_is_passed_over_and_what_comes_behind_it_is_seen(spine: Spine, claude: Claude) -> None:
    here, before = working(spine, claude)
    for _ in range(3):
        here.say(PIECE)
        assert spine.engine.pump.pump(before.id) is None
    assert at(spine, here).cursor == before.cursor
    here.say(said("a word"))
    assert spine.engine.pump.pump(before.id) is None  # text alone is nothing to decide on
    assert at(spine, here).cursor > before.cursor + 3 * len(PIECE)
    tell(here, asks("r1", "Write", file_path="/f", content="x"))
    assert spine.wait_item("permission").text == "Write: /f"
    assert output(spine).count("a word") == 1


def test_a_reader_that_knows_nothing_of_the_last_one_passes_over_it_again(spine: Spine, claude: Claude) -> None:
    here, before = working(spine, claude)
    here.say(said("first"))
    here.say(PIECE * 3)
    spine.engine.pump.pump(before.id)
    held = at(spine, here).cursor
    here.say(PIECE)
    spine.engine.pump.pump(before.id)
    assert at(spine, here).cursor == held
    Pump(spine.engine.parts).pump(before.id)  # as after a crash: from what was written down
    _, end = spine.engine.parts.shims.read(Path(before.folder), "out", held, 1 << 20)
    assert at(spine, here).cursor == end > held
    here.say(said("second"))
    spine.engine.pump.pump(before.id)
    assert [output(spine).count(word) for word in ("begun", "first", "second")] == [1, 1, 1]


def test_a_sound_of_a_session_that_was_found_silent_counts_at_once(spine: Spine, claude: Claude) -> None:
    here, before = working(spine, claude)
    with spine.engine.store.write() as tx:
        tx.update(Session, before.id, status=SessionStatus.STALLED)
    here.say(PIECE)
    spine.engine.pump.pump(before.id)
    assert at(spine, here).status is SessionStatus.WORKING


def test_nothing_is_kept_in_memory_of_a_session_that_is_over(spine: Spine, claude: Claude) -> None:
    here, before = working(spine, claude)
    places: dict[str, Any] = spine.engine.pump._places
    assert before.id in places
    spine.cancel_open()
    spine.wait(lambda: at(spine, here).ended_at is not None)
    spine.engine.pump.pump(before.id)
    assert before.id not in places
