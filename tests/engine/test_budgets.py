"""Budgets through a whole engine: told in time, stopped before the next turn or in the running one, granted again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.core.model import Item, State
from stretto.reads import read
from stretto.testing.clock import FakeClock
from tests.engine.spine import Spine, plan, running, task, turns, write


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def spine(home, make_repo, tmp_path, clock) -> Iterator[Spine]:
    repo = make_repo("repo", {"README.md": "hello\n"})
    with running(repo, tmp_path, clock) as spine:
        yield spine


def configure(spine: Spine, text: str) -> None:
    (spine.repo.path / "stretto.toml").write_text("schema = 1\n" + text)
    spine.repo.git("add", "-A")
    spine.repo.git("commit", "-q", "-m", "Configure")


def used(tokens: int, **more: Any) -> dict[str, Any]:
    return {"usage": {"input": tokens, **more}}


def waiting(spine: Spine) -> list[Item]:
    return [i for i in spine.items() if not i.payload.get("note")]


def notes(spine: Spine) -> list[str]:
    return [i.text for i in spine.items() if i.payload.get("note")]


def answer(spine: Spine, item: Item, words: str) -> None:
    spine.call("answer", item=item.id, answer=words)


def refusal(spine: Spine, task: str) -> StrettoError | None:
    """Why nobody can go to the terminal of a task; None while another act has it in hand."""
    with pytest.raises(StrettoError) as refused:
        spine.call("attach", task=task)
    return None if refused.value.code == "busy" else refused.value


def test_told_at_four_fifths_stopped_before_the_next_turn_and_granted_again(spine: Spine) -> None:
    script = {"one": turns([write("a.txt", "1"), used(900)], [used(200)], [write("good.txt", "x"), used(10)])}
    spine.run(plan(task("one", budget="1000 tokens"), checks='["test -f good.txt"]'), script, approve="human")
    (item,) = spine.wait(lambda: [i for i in waiting(spine) if i.kind.value == "budget"])
    assert "1 100 tokens of 1 000 tokens for the task" in item.text
    assert len(spine.messages("one")) == 2, "the second turn began at nine tenths, the third did not"
    assert notes(spine) == [], "the question takes the place of the note"
    (told,) = spine.events("budget.warned")
    assert told.data["text"] == "90% of a budget is used: 900 tokens of 1 000 tokens for the task"
    assert (told.data["scope"], told.data["measure"], told.data["used"], told.data["limit"]) == (
        "task",
        "tokens",
        900,
        1000,
    )
    assert spine.state("one")[0] == "waiting"
    answer(spine, item, "continue")
    spine.wait(lambda: [i.kind.value for i in waiting(spine)] == ["review"])
    assert len(spine.messages("one")) == 3


def test_a_running_turn_is_interrupted_and_taken_up_again(spine: Spine) -> None:
    script = {"one": turns([write("a.txt", "1"), used(2000), {"hang": True}], [write("b.txt", "2")])}
    configure(spine, "[limits]\ntokens = 1500\n")
    spine.run(plan(task("one")), script, approve="human")
    (item,) = spine.wait(lambda: [i for i in waiting(spine) if i.kind.value == "budget"])
    (turn,) = spine.messages("one")
    assert turn.result is not None
    assert turn.result.value == "interrupted"
    assert (item.payload["used"], "for the run" in item.text) == (2000, True)
    answer(spine, item, "continue")
    spine.wait(lambda: [i.kind.value for i in waiting(spine)] == ["review"])
    assert [m.origin.value for m in spine.messages("one")] == ["start", "resume"]
    head = str(spine.task("one").head)
    assert {"a.txt", "b.txt"} <= set(spine.repo.files(head)), "nothing that it did was lost"


def test_with_nobody_there_the_task_fails_and_others_start_no_turn(spine: Spine) -> None:
    done, go = spine.folder / "done", spine.folder / "go"
    hurried = {"run": ["sh", "-c", f"until test -e {done}; do sleep 0.05; done"]}
    script = {
        "one": turns([write("a.txt", "1"), used(300)]),
        "two": turns([write("b.txt", "1"), hurried, used(300), {"hang": True}]),
        "three": turns([write("c.txt", "1"), used(1)]),
    }
    configure(spine, "[limits]\ntokens = 500\n")
    check = f"touch {done}; until test -e {go}; do sleep 0.05; done"
    spine.run(plan(task("one"), task("two"), task("three", needs="one"), checks=json.dumps([check])), script)
    spine.wait(lambda: spine.task("two").outcome)
    go.touch()
    over = {"one": "landed", "two": "failed", "three": "failed"}
    assert spine.wait_over() == over, "what was done when it was used up still lands"
    assert spine.task("two").outcome_reason == "the budget is used up: 600 tokens of 500 tokens for the run"
    assert "the budget is used up" in spine.task("three").outcome_reason
    assert spine.messages("three") == []


def test_what_an_agent_says_that_it_used_belongs_to_its_turn(spine: Spine) -> None:
    script = {"one": turns([write("a.txt", "1"), used(30)], [write("good.txt", "x"), used(7), used(5)])}
    spine.run(plan(task("one"), checks='["test -f good.txt"]'), script)
    assert spine.wait_over() == {"one": "landed"}
    uid = spine.task("one").uid
    by = spine.call_read("usage", by="turn")["by"]
    first, second = spine.messages("one")
    assert {key: one["input"] for key, one in by.items()} == {f"{uid}#{first.n}": 30, f"{uid}#{second.n}": 12}


def test_a_day_holds_over_runs_and_ends(spine: Spine, clock: FakeClock) -> None:
    configure(spine, "[limits.day]\ntokens = 500\n")
    first = {"one": turns([write("a.txt", "1"), used(600), {"hang": True}])}
    spine.run(plan(task("one")), first)
    assert spine.wait_over() == {"one": "failed"}
    spine.folder = spine.folder / "another"
    spine.folder.mkdir()
    told = spine.run(plan(task("later")), {"later": turns([write("b.txt", "1")])}, approve="human")
    assert [n for n in told["notices"] if "the budget is used up: 600 tokens of 500 tokens for the day" in n]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    joined = spine.call("add", text="Do more.", title="more", run=told["run"], trust=True, env=env)
    used_up = (
        "the budget is used up: 600 tokens of 500 tokens for the day; it asks you before it begins (stretto inbox)"
    )
    assert joined["notices"] == [used_up]
    spine.call("cancel", task="more")
    (item,) = spine.wait(lambda: [i for i in waiting(spine) if i.kind.value == "budget"])
    assert "for the day" in item.text
    refused = spine.wait(lambda: refusal(spine, "later"))
    assert "later has not begun: it waits for your answer: the budget is used up" in refused.message
    assert (refused.code, refused.hint) == ("no_session", f"stretto answer {item.id}")
    clock.advance(86_400)
    answer(spine, item, "continue")
    spine.wait(lambda: [i.kind.value for i in waiting(spine)] == ["review"])


def test_minutes_are_those_of_agents(spine: Spine, clock: FakeClock) -> None:
    script = {"one": turns([write("a.txt", "1"), {"hang": True}])}
    spine.run(plan(task("one", budget="10 minutes")), script, approve="human")
    spine.wait(lambda: [m for m in spine.messages("one") if m.state.value == "delivered"])
    clock.advance(9 * 60)
    spine.engine.reconciler.nudge(None)
    spine.wait(lambda: notes(spine) == ["90% of a budget is used: 9.0 minutes of 10.0 minutes for the task"])
    clock.advance(60)
    spine.engine.reconciler.nudge(None)
    (item,) = spine.wait(lambda: [i for i in waiting(spine) if i.kind.value == "budget"])
    answer(spine, item, "cancel")
    spine.wait(lambda: spine.task("one").outcome is State.CANCELLED)


def test_money_that_is_not_known_is_said_and_never_zero(spine: Spine) -> None:
    configure(spine, '[limits.task]\ncost = 1.0\n[prices.priced]\ninput = 1.0\noutput = 2.0\ndate = "2026-11-01"\n')
    script = {
        "mystery": turns([write("a.txt", "1"), used(900_000, model="mystery-model")]),
        "dear": turns([write("b.txt", "1"), used(900_000, model="priced"), {"hang": True}]),
        "told": turns([write("c.txt", "1"), used(1, model="mystery-model", cost="0.25")]),
    }
    spine.run(plan(task("mystery"), task("dear"), task("told")), script, approve="human", open=3)
    spine.wait(lambda: len(notes(spine)) == 2)
    unknown = next(text for text in notes(spine) if "not known" in text)
    assert "mystery-model" in unknown
    assert any(text.startswith("90% of a budget is used: 0.90 USD of 1.00 USD") for text in notes(spine))
    spine.wait(lambda: len([i for i in waiting(spine) if i.kind.value == "review"]) == 2)
    with spine.engine.store.read() as db:
        args = {"cwd": str(spine.repo.path), "now": spine.engine.clock.now(), "by": "model"}
        found = read("usage", db, args)
    assert found["by"]["priced"]["cost"] == {"amount": "0.9", "currency": "USD", "source": "table"}
    assert found["by"]["mystery-model"]["cost"] == {"amount": "0.25", "currency": "USD", "source": "agent"}
    assert found["unpriced"] == ["mystery-model"]
    assert found["prices"] == [{"model": "priced", "source": "yours", "date": "2026-11-01"}]
    assert [(b["scope"], b["share"]) for b in found["budgets"]][:1] == [("task", 0.9)]
