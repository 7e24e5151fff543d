"""All agents of a role limited: the task waits by itself, goes on in time, and asks the person at last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.core.limit_rules import PAUSES
from stretto.core.model import TurnResult
from stretto.engine.engine import Engine
from stretto.engine.taking import record_quota
from stretto.home import open_home
from stretto.testing.clock import FakeClock
from tests.engine.spine import Spine, plan, running, task

#: says what the file `said` holds and that its vendor takes no more, as long as there is that file; then does its task
SCRIPT = """\
echo "$STRETTO_TURN" >> "$1/turns"
cp "$STRETTO_PROMPT_FILE" "$1/prompt-$STRETTO_TURN"
if [ -e "$1/said" ]; then echo half > half.txt; cat "$1/said"; exit 75; fi
echo done > "$STRETTO_TASK.txt"
"""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def spine(home: Path, make_repo, tmp_path: Path, clock: FakeClock) -> Iterator[Spine]:
    repo = make_repo("repo", {"README.md": "hello\n"})
    with running(repo, tmp_path, clock) as spine:
        (tmp_path / "busy.sh").write_text(SCRIPT)
        command = f'["sh", "{tmp_path}/busy.sh", "{tmp_path}"]'
        config = f'schema = 1\n[agents.busy]\ncommand = {command}\n[roles.implementer]\nagent = "busy"\n'
        (repo.path / "stretto.toml").write_text(config)
        repo.git("add", "-A")
        repo.git("commit", "-q", "-m", "Configure")
        yield spine


def say(spine: Spine, words: str | None) -> None:
    """What the vendor says from now on; None: it takes more."""
    path = spine.folder / "said"
    path.unlink(missing_ok=True) if words is None else path.write_text(words + "\n")


def wait_limited(spine: Spine, until: str, tries: int = 1) -> None:
    """Until so many turns are over and kept, and the task waits again."""

    def waits() -> bool:
        turns = spine.messages("one") if spine.tasks() else []
        over = len(turns) == tries and all(turn.settled for turn in turns)
        return over and spine.state("one")[1].startswith(f"limited until {until}")

    spine.wait(waits)


def later(spine: Spine, clock: FakeClock, seconds: float) -> None:
    clock.advance(seconds)
    spine.engine.reconciler.nudge(None)


def test_it_goes_on_by_itself_when_the_vendor_takes_more(spine: Spine, clock: FakeClock) -> None:
    """FakeClock begins at 22:13:20 UTC."""
    say(spine, "429: try again in 10m")
    spine.run(plan(task("one")))
    wait_limited(spine, "22:24 UTC, then busy goes on: exit code 75: not now: 429: try again in 10m")
    shown = next(t for t in spine.call_read("status")["tasks"] if t["id"] == "one")
    assert (shown["state"], shown["reason"][:23]) == ("active", "limited until 22:24 UTC")
    told = spine.call_read("explain", task="one")
    assert (told["cause"], told["next"].rpartition(": ")[2]) == ("limited", f"stretto retry {spine.task('one').uid}")
    (ended,) = spine.events("turn.ended")
    assert ended.data["until"] == clock.now() + 600
    assert spine.items() == []
    say(spine, None)
    later(spine, clock, 599)
    assert spine.call_read("explain", task="one")["cause"] == "limited", "not before its time"
    later(spine, clock, 1)
    assert spine.wait_over() == {"one": "landed"}
    first, second = spine.messages("one")
    assert (first.result, second.result, second.origin.value) == (TurnResult.LIMITED, TurnResult.OK, "resume")
    assert spine.repo.show("main", "half.txt") == "half", "what it left is not lost"
    assert "interrupted in the middle" in (spine.folder / "prompt-2").read_text()


def test_the_wait_survives_the_daemon_and_the_person_ends_it_at_once(spine: Spine, clock: FakeClock) -> None:
    say(spine, "usage limit: available again in 2 hours")
    spine.run(plan(task("one"), task("two")), open=1, approve="human")
    wait_limited(spine, "00:14 UTC")
    spine.engine.stop()
    spine.engine.store.close()
    spine.engine = Engine(open_home(), clock=clock)
    spine.engine.start()
    later(spine, clock, 3600)
    assert spine.call_read("explain", task="one")["cause"] == "limited"
    with pytest.raises(StrettoError, match="not over"):
        spine.call("retry", task="one", fresh=True)
    say(spine, None)
    assert spine.call("retry", task="one") == {"tasks": [spine.task("one").uid]}
    assert spine.wait_item("review").task == spine.task("one").uid
    assert [m.origin.value for m in spine.messages("one")] == ["start", "resume"]
    with pytest.raises(StrettoError, match="only failed or cancelled"):
        spine.call("retry", task="one")
    spine.cancel_open()


def test_a_window_that_the_agent_told_of_is_waited_for(spine: Spine, clock: FakeClock) -> None:
    say(spine, "no more")
    with spine.engine.store.write() as tx:
        full = {"window": "5h", "used": 1.0, "resets_at": clock.now() + 1800, "exhausted": True}
        record_quota(tx, "busy", "r/t", {**full, "resets_at": clock.now() - 5})
    spine.run(plan(task("one")), approve="human")
    wait_limited(spine, "22:15 UTC")
    with spine.engine.store.write() as tx:
        record_quota(tx, "busy", "r/t", full)
    later(spine, clock, PAUSES[0])
    wait_limited(spine, "22:44 UTC", 2)
    spine.cancel_open()


def test_growing_pauses_and_then_the_person(spine: Spine, clock: FakeClock) -> None:
    say(spine, "429")
    spine.run(plan(task("one")), approve="human")
    for tries, pause in enumerate(PAUSES, 1):
        wait_limited(spine, "", tries)
        later(spine, clock, pause)
    item = spine.wait_item("failure")
    assert "not now: 429" in item.text
    assert len(spine.messages("one")) == len(PAUSES) + 1
    spine.call("answer", item=item.id, answer="retry")
    wait_limited(spine, "", len(PAUSES) + 2)
    say(spine, None)
    later(spine, clock, PAUSES[0])
    assert spine.wait_item("review").task == spine.task("one").uid
    spine.cancel_open()


def test_paused_it_waits_for_the_person_and_a_message_ends_the_wait(spine: Spine, clock: FakeClock) -> None:
    say(spine, "429: try again in 1m")
    spine.run(plan(task("one")), approve="human")
    wait_limited(spine, "22:15 UTC")
    spine.call("pause", task="one")
    spine.wait(lambda: spine.state("one")[1] == "paused")
    later(spine, clock, 3600)
    assert spine.call_read("explain", task="one")["cause"] == "paused"
    assert len(spine.messages("one")) == 1
    say(spine, None)
    spine.call("send", task="one", text="Go on, but write less.")
    spine.call("resume", task="one")
    spine.wait_item("review")
    assert [m.origin.value for m in spine.messages("one")] == ["start", "person"]
    spine.cancel_open()


def test_what_stands_still_gives_its_place_away(spine: Spine, clock: FakeClock) -> None:
    """Tasks of other vendors begin, although only one place was given to all."""
    say(spine, "usage limit: available again in 2 hours")
    config = spine.repo.path / "stretto.toml"
    config.write_text(config.read_text() + '[agents.other]\ncommand = ["sh", "-c", "echo 1 > two.txt"]\n')
    spine.repo.git("commit", "-q", "-a", "-m", "Another")
    spine.run(plan(task("one"), task("two", agent="other")), open=1, approve="human")
    wait_limited(spine, "00:14 UTC")
    assert spine.task("two").admitted_at is None
    later(spine, clock, 601)
    assert spine.wait_item("review").task == spine.task("two").uid
    assert spine.state("one")[1].startswith("limited until 00:14 UTC")
    spine.cancel_open()
