"""Who starts when: open places, priorities, needs, research, pauses, long waits, changes of the plan."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
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


def makes(*ids: str, first: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {id: turns([*(first or []), write(f"{id}.txt", id)]) for id in ids}


def started(spine: Spine) -> list[str]:
    return [str(e.task).rpartition("/")[2] for e in spine.events("task.admitted")]


def test_no_more_than_n_tasks_are_open_at_once(spine: Spine):
    spine.run(plan(*(task(f"t{n}") for n in range(6))), makes(*(f"t{n}" for n in range(6))), open=2)
    over = spine.wait_over(60)
    assert set(over.values()) == {"landed"}, [spine.task(id).outcome_reason for id in over]
    open_now, most = 0, 0
    for event in spine.events():
        open_now += {"task.admitted": 1, "task.finished": -1}.get(event.type, 0)
        most = max(most, open_now)
    assert most == 2


def test_the_important_one_starts_first(spine: Spine):
    spine.run(plan(task("a"), task("b", priority="5"), task("c")), makes("a", "b", "c"), open=1)
    spine.wait_over()
    assert started(spine) == ["b", "a", "c"]


def test_two_are_open_until_five_have_landed_then_three(spine: Spine):
    assert spine.run(plan(*(task(f"t{n}") for n in range(5))), makes(*(f"t{n}" for n in range(5))))["open"] == 2
    spine.wait_over(60)
    (spine.folder / "PLAN.md").rename(spine.folder / "OLD.md")
    assert spine.run(plan(task("later")), makes("later"))["open"] == 3


def test_research_runs_beside_the_open_places(spine: Spine):
    hang = turns([{"hang": True}])
    script = {"one": hang, "why": turns([{"report": "so"}])}
    spine.run(plan(task("one"), task("why", kind="research")), script, open=1)
    spine.wait(lambda: spine.outcomes()["why"] == "finished")
    assert spine.outcomes()["one"] is None
    assert "why" in started(spine)


def test_a_dependent_starts_from_a_target_that_contains_what_it_needs(spine: Spine):
    script = makes("one") | {"two": turns([{"run": ["test", "-f", "one.txt"]}, write("two.txt", "2")])}
    spine.run(plan(task("one"), task("two", needs="one")), script)
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    landed = spine.task("one").landed
    assert landed is not None
    assert spine.task("two").base == landed["commit"]


def test_the_result_note_of_a_need_reaches_its_dependents(spine: Spine):
    script = {
        "one": turns([write("one.txt", "1"), {"note": {"text": "the port is 4711", "result": True}}]),
        "two": turns({"when": {"prompt": "the port is 4711"}, "steps": [write("two.txt", "2")]}),
    }
    spine.run(plan(task("one"), task("two", needs="one")), script)
    assert spine.wait_over() == {"one": "landed", "two": "landed"}


def test_with_a_pinned_base_all_start_from_the_first(spine: Spine):
    base = spine.repo.head
    spine.run(plan(task("one"), task("two")), makes("one", "two"), open=1, pin_base=True)
    spine.wait_over()
    assert [t.base for t in spine.tasks()] == [base, base]


def test_a_failed_need_leaves_its_dependents_blocked_with_that_reason(spine: Spine):
    spine.run(plan(task("one"), task("two", needs="one")), {"one": turns([{"fail": 3}]), **makes("two")})
    spine.wait(lambda: spine.state("two") == ("blocked", "needs one, which is failed"))
    assert spine.outcomes() == {"one": "failed", "two": None}
    assert "exit code 3" in spine.task("one").outcome_reason


def test_needs_star_waits_for_all_others_and_is_blocked_if_one_failed(spine: Spine):
    script = makes("one", "all") | {"bad": turns([{"fail": 1}])}
    spine.run(plan(task("one"), task("bad"), task("all", needs='"*"')), script)
    spine.wait(lambda: spine.outcomes() == {"one": "landed", "bad": "failed", "all": None})
    spine.wait(lambda: spine.state("all")[0] == "blocked" and "bad" in spine.state("all")[1])


def test_a_paused_run_starts_nothing_until_it_is_resumed(spine: Spine):
    run = spine.run(plan(task("one"), task("two", needs="one")), makes("one", "two", first=[{"sleep": 0.5}]))["run"]
    spine.wait(lambda: spine.events("message.delivered"))
    spine.call("pause", run=run)
    spine.wait(lambda: spine.events("turn.ended"))
    spine.wait(lambda: spine.state("one")[1] == "paused")
    assert spine.outcomes() == {"one": None, "two": None}
    spine.call("resume", run=run)
    assert spine.wait_over() == {"one": "landed", "two": "landed"}


def test_the_time_of_a_pause_counts_from_the_pause(spine: Spine, clock: FakeClock):
    run = spine.run(plan(task("one"), task("two")), makes("one", "two", first=[{"sleep": 0.5}]), open=1)["run"]
    spine.wait(lambda: spine.events("message.delivered"))
    clock.advance(11 * 60)
    paused_at = clock.now()
    spine.call("pause", task=f"{run}/one")
    spine.wait(lambda: spine.state("one")[1] == "paused")
    with spine.engine.store.read() as db:
        assert db.value("SELECT since FROM views WHERE uid = ?", f"{run}/one") >= paused_at
    assert started(spine) == ["one"]
    clock.advance(11 * 60)
    spine.wait(lambda: started(spine) == ["one", "two"])
    spine.call("resume", task=f"{run}/one")
    assert spine.wait_over() == {"one": "landed", "two": "landed"}


def test_a_task_that_waits_for_long_frees_its_place_and_comes_back(spine: Spine, clock: FakeClock):
    spine.run(plan(task("one"), task("two"), checks="[]"), makes("one", "two"), open=1, approve="human")
    first = spine.wait_item("review")
    assert started(spine) == ["one"]
    clock.advance(11 * 60)
    spine.wait(lambda: started(spine) == ["one", "two"])
    spine.wait(lambda: len(spine.items()) == 2)
    for item in spine.items():
        spine.call("answer", item=item.id, answer="approve")
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert first.task.endswith("/one")


def test_an_edited_plan_joins_replaces_and_tells(spine: Spine):
    words = {"when": {"origin": "spec"}, "steps": [write("told.txt", "yes")]}
    script = {"one": turns([{"sleep": 1.0}, write("one.txt", "1")], words), **makes("two", "three")}
    spine.run(plan(task("one"), task("two", needs="one")), script, approve="auto")
    spine.wait(lambda: spine.events("message.delivered"))
    edited = plan(
        task("one").replace("Do one in its file.", "Do one, and say so."),
        task("two", needs="one").replace("Do two in its file.", "Do two otherwise."),
        task("three"),
    )
    with pytest.raises(StrettoError) as caught:
        spine.run(edited)
    assert caught.value.code == "confirm"
    assert [c["id"] for c in caught.value.details["change"]["told"]] == ["one"]
    spine.run(edited, yes=True)
    assert spine.task("two").spec == "Do two otherwise."
    assert spine.wait_over(60) == {"one": "landed", "two": "landed", "three": "landed"}
    assert "told.txt" in spine.repo.files("main")


def test_a_whole_run_is_cancelled_and_keeps_its_work(spine: Spine):
    script = {"one": turns([write("one.txt", "1"), {"hang": True}]), **makes("two")}
    run = spine.run(plan(task("one"), task("two", needs="one")), script)["run"]
    path = Path(str(spine.wait(lambda: spine.task("one").workspace)))
    spine.wait((path / "one.txt").exists)
    spine.call("cancel", run=run)
    assert spine.wait_over() == {"one": "cancelled", "two": "cancelled"}
    assert (path / "one.txt").read_text() == "1"
    assert spine.task("one").branch is not None


def test_an_interrupted_turn_waits_for_the_person(spine: Spine):
    script = {"one": turns([write("one.txt", "1"), {"hang": True}], [write("two.txt", "2")])}
    spine.run(plan(task("one")), script, approve="human")
    path = Path(str(spine.wait(lambda: spine.task("one").workspace)))
    spine.wait((path / "one.txt").exists)
    spine.call("interrupt", task="one")
    item = spine.wait_item("interrupted")
    spine.call("answer", item=item.id, answer="continue")
    review = spine.wait_item("review")
    spine.call("answer", item=review.id, answer="approve")
    assert spine.wait_over() == {"one": "landed"}
    assert {"one.txt", "two.txt"} <= set(spine.repo.files("main"))


def test_a_send_back_makes_another_turn_and_asks_again(spine: Spine):
    again = {"when": {"origin": "person", "prompt": "shorter"}, "steps": [write("one.txt", "2")]}
    spine.run(plan(task("one")), {"one": turns([write("one.txt", "1")], again)}, approve="human")
    review = spine.wait_item("review")
    spine.call("answer", item=review.id, answer="make it shorter")
    second = spine.wait(lambda: next((i for i in spine.items() if i.id != review.id), None))
    assert second.kind.value == "review"
    spine.call("answer", item=second.id, answer="approve")
    assert spine.wait_over() == {"one": "landed"}
    assert spine.repo.show("main", "one.txt") == "2"


def test_a_late_answer_becomes_the_next_turn(spine: Spine):
    first = [{"ask": {"text": "Which?", "options": ["red", "blue"], "timeout": 0.2}}, write("one.txt", "?")]
    late = {"when": {"origin": "answer", "prompt": "blue"}, "steps": [write("one.txt", "blue")]}
    spine.run(plan(task("one")), {"one": turns(first, late)}, approve="human")
    spine.wait(lambda: spine.events("turn.ended"))
    question = spine.wait_item("question")
    spine.call("answer", item=question.id, answer="2")
    spine.wait(lambda: len(spine.events("turn.ended")) == 2)
    review = spine.wait_item("review")
    spine.call("answer", item=review.id, answer="approve")
    assert spine.wait_over() == {"one": "landed"}
    assert spine.repo.show("main", "one.txt") == "blue"


def test_undo_without_an_id_leaves_alone_what_a_landing_cleared_away(spine: Spine):
    run = spine.run(plan(task("one")), makes("one"))["run"]
    assert spine.wait_over() == {"one": "landed"}
    (removed,) = spine.wait(lambda: spine.events("workspace.removed"))
    with pytest.raises(StrettoError) as caught:
        spine.call("undo")
    assert caught.value.code == "no_removal"
    assert spine.call("undo", id=removed.data["undo"])["task"] == f"{run}/one"


def test_the_name_of_a_run_where_a_task_is_wanted_tells_how_to_say_it(spine: Spine):
    run = spine.run(plan(task("one")), makes("one"))["run"]
    with pytest.raises(StrettoError) as caught:
        spine.call("pause", task=run)
    assert caught.value.hint == f"for all tasks of that run: --run {run}"
    spine.wait_over()
