"""Agents that hang: half an hour without a byte in the middle of a turn."""

from pathlib import Path

import pytest

from tests.engine.spine import plan, running, task, turns, write


@pytest.fixture
def clock(home, monkeypatch, tmp_path):
    """A file that moves the clock of the next engine."""
    monkeypatch.setenv("STRETTO_TESTING", "1")
    monkeypatch.setenv("STRETTO_TEST_CLOCK", str(tmp_path / "clock"))
    return tmp_path / "clock"


@pytest.fixture
def spine(clock, make_repo, tmp_path):
    with running(make_repo("repo", {"README.md": "hello\n"}), tmp_path) as spine:
        yield spine


def hangs(go: Path):
    """Says something, waits for a file, goes on."""
    wait = {"run": ["sh", "-c", f"until [ -e {go} ]; do sleep 0.1; done"]}
    return {"one": turns([{"print": "begins"}, wait, {"print": "goes on"}, write("a", "1")])}


def wait_until_it_hangs(spine):
    """All that it says was seen: only then does the time of its silence run."""
    spine.wait(lambda: any("begins" in m.output for m in spine.messages("one")))
    cursor = spine.session("one").cursor
    spine.wait(lambda: [seen.place[1] for seen in spine.engine._silence._seen.values()] == [cursor])


def test_the_person_is_asked_again_and_again_until_it_goes_on(spine, clock, tmp_path):
    go = tmp_path / "go"
    spine.run(plan(task("one")), hangs(go), approve="human")
    wait_until_it_hangs(spine)
    clock.write_text("2000")
    first = spine.wait_item("stall")
    assert "the agent has said nothing for 30 minutes" in first.text
    assert spine.session("one").status.value == "stalled"
    spine.call("answer", item=first.id, answer="continue")
    spine.wait(lambda: not spine.items())
    spine.wait(lambda: not any(seen.told for seen in spine.engine._silence._seen.values()))
    clock.write_text("4000")
    second = spine.wait_item("stall")
    assert second.id != first.id
    go.write_text("")
    spine.wait_item("review")
    assert [i.kind.value for i in spine.items()] == ["review"]
    assert "it goes on" in [e.data["reason"] for e in spine.events("item.closed")]


def test_with_nobody_there_the_task_fails_and_its_agent_is_ended(spine, clock, tmp_path):
    spine.run(plan(task("one")), hangs(tmp_path / "go"))
    wait_until_it_hangs(spine)
    clock.write_text("2000")
    assert spine.wait_over() == {"one": "failed"}
    assert spine.task("one").outcome_reason == "the agent has said nothing for 30 minutes"
    spine.wait(lambda: spine.session("one").ended_at)
