import json
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.core.model import Message
from tests.engine.spine import Spine, plan, running, task, turns, write


@pytest.fixture
def spine(home, make_repo, tmp_path):
    repo = make_repo("repo", {"README.md": "hello\n", "a.txt": "one\n"})
    with running(repo, tmp_path) as spine:
        yield spine


def test_land_is_no_consent(spine: Spine) -> None:
    spine.run(plan(task("one")), {"one": turns([write("one.txt", "1")])}, approve="human")
    spine.wait_item("review")
    with pytest.raises(StrettoError, match="is not approved") as refused:
        spine.call("land", task="one")
    assert refused.value.code == "not_approved"
    assert spine.task("one").outcome is None
    spine.call("approve", task="one")
    assert spine.wait_over(60) == {"one": "landed"}


def test_what_was_removed_and_brought_back_is_cleared_away_once_it_has_landed(spine: Spine) -> None:
    spine.run(plan(task("one")), {"one": turns([write("one.txt", "1")], [write("two.txt", "2")])}, approve="human")
    spine.wait_item("review")
    spine.call("remove", task="one")
    spine.call("undo")
    path = Path(str(spine.task("one").workspace))
    assert path.is_dir()
    spine.call("retry", task="one")
    spine.wait(lambda: [i for i in spine.items() if i.kind.value in ("review", "nochange")], 60)
    spine.call("approve", task="one")
    assert spine.wait_over(60) == {"one": "landed"}
    spine.wait(lambda: spine.task("one").cleaned)
    assert not path.exists()


def test_a_plan_becomes_landed_commits(spine: Spine):
    spine.run(
        plan(task("one"), task("two"), task("three", needs="one, two")),
        {"*": turns([write("new.txt", "x")])} | {id: turns([write(f"{id}.txt", id)]) for id in ("one", "two", "three")},
    )
    assert spine.wait_over() == {"one": "landed", "two": "landed", "three": "landed"}
    assert {"one.txt", "two.txt", "three.txt"} <= set(spine.repo.files("main"))
    subjects = spine.repo.subjects("main", first_parent=True)
    assert subjects[0] == "Land three: Do three"
    spine.wait(lambda: all(t.cleaned for t in spine.tasks()))
    assert [t.branch for t in spine.tasks()] == [None, None, None]


def test_a_failing_check_goes_back_to_its_agent_and_is_fixed(spine: Spine):
    spine.run(
        plan(task("one"), checks='["test -f good.txt"]'),
        {"one": turns([write("bad.txt", "x")], {"when": {"origin": "check"}, "steps": [write("good.txt", "x")]})},
    )
    assert spine.wait_over() == {"one": "landed"}
    results = [e.data["result"] for e in spine.events("check.finished") if e.data["purpose"] == "task"]
    assert results == ["failed", "passed"]


def test_a_check_that_stays_red_ends_after_three_repairs(spine: Spine):
    spine.run(
        plan(task("one"), checks='["false"]'),
        {
            "one": turns(
                [write("a", "1")], {"when": {"origin": "check"}, "steps": [{"append": {"path": "a", "text": "x"}}]}
            )
        },
    )
    assert spine.wait_over() == {"one": "failed"}
    assert "after 3 repair turns" in spine.task("one").outcome_reason
    assert spine.repo.files("main") == ["README.md", "a.txt"]


def test_a_conflict_is_ejected_and_resolved_by_its_agent(spine: Spine):
    conflict = {"when": {"origin": "conflict"}, "steps": [{"merge": {"resolve": {"a.txt": "both\n"}}}]}
    spine.run(
        plan(task("one", priority="1"), task("two")),
        {
            "one": turns([write("a.txt", "first\n")]),
            "two": turns([{"sleep": 1.0}, write("a.txt", "second\n")], conflict),
        },
        open=2,
    )
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert spine.repo.show("main", "a.txt") == "both"
    assert [e.data["cause"] for e in spine.events("queue.ejected")] == ["conflict"]


def test_a_red_gate_sends_the_work_back(spine: Spine):
    spine.run(
        plan(task("one", priority="1"), task("two"), checks='["test $(ls | grep -c part) -lt 2"]'),
        {
            "one": turns([write("part1", "x")]),
            "two": turns(
                [{"sleep": 1.0}, write("part2", "x")],
                {"when": {"origin": "gate"}, "steps": [{"merge": {}}, {"delete": "part2"}, write("other", "x")]},
            ),
        },
        open=2,
    )
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert [e.data["cause"] for e in spine.events("queue.ejected")] == ["gate"]
    assert set(spine.repo.files("main")) >= {"part1", "other"}


def test_the_person_answers_and_approves(spine: Spine):
    spine.run(
        plan(task("one")),
        {"one": turns([{"ask": {"text": "Which?", "options": ["red", "blue"], "expect": "blue"}}, write("c", "blue")])},
        approve="human",
    )
    question = spine.wait_item("question")
    assert [text for _, text in question.options] == ["red", "blue"]
    spine.wait(lambda: spine.state("one")[0] == "waiting")
    with pytest.raises(StrettoError, match="no option 3"):
        spine.call("answer", item=question.id, answer="3")
    spine.call("answer", item=question.id, answer="2")
    review = spine.wait_item("review")
    assert spine.task("one").outcome is None
    spine.call("answer", item=review.id, answer="approve")
    assert spine.wait_over() == {"one": "landed"}


def test_what_changed_after_the_review_was_asked_for_is_not_approved_unseen(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("c", "1")])}, approve="human")
    first = spine.wait_item("review")
    (Path(str(spine.task("one").workspace)) / "sneaky").write_text("nobody saw me\n")
    with pytest.raises(StrettoError, match="changed since you were asked"):
        spine.call("approve", task="one")
    spine.wait(lambda: [i for i in spine.items() if i.kind.value == "review" and i.id != first.id])
    assert spine.task("one").outcome is None
    spine.call("approve", task="one")
    assert spine.wait_over() == {"one": "landed"}
    assert set(spine.repo.files("main")) >= {"c", "sneaky"}


def test_an_answer_does_not_approve_unseen_either(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("c", "1")])}, approve="human")
    first = spine.wait_item("review")
    (Path(str(spine.task("one").workspace)) / "sneaky").write_text("nobody saw me\n")
    spine.call("answer", item=first.id, answer="approve")
    spine.wait(lambda: [i for i in spine.items() if i.kind.value == "review"] or spine.task("one").outcome)
    assert spine.task("one").outcome is None or "sneaky" not in spine.repo.files("main")


def test_what_changed_nothing_cannot_be_approved(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([])}, approve="human")
    item = spine.wait_item("nochange")
    with pytest.raises(StrettoError, match="one changed nothing") as caught:
        spine.call("approve", task="one")
    assert caught.value.hint == f"stretto answer {item.id} accept"


def test_requested_changes_void_the_approval(spine: Spine):
    spine.run(
        plan(task("one")),
        {"one": turns([write("c", "1")], {"when": {"origin": "comments"}, "steps": [write("c", "2")]})},
        approve="human",
    )
    spine.wait_item("review")
    for path, line in (("d", None), ("c", 7)):
        with pytest.raises(StrettoError, match=r"there is no file d|c has no line 7"):
            spine.call("comment", task="one", path=path, line=line, text="where?")
    spine.call("comment", task="one", path="c", line=1, text="two, please")
    spine.call("request_changes", task="one", text="nearly")
    spine.wait(lambda: [i for i in spine.items() if i.kind.value == "review" and spine.task("one").diff])
    spine.wait(lambda: spine.repo.show(str(spine.task("one").head), "c") == "2")
    spine.call("approve", task="one")
    assert spine.wait_over() == {"one": "landed"}
    assert spine.repo.show("main", "c") == "2"
    with spine.engine.store.read() as db:
        (told,) = db.select(Message, "task = ? AND origin = 'comments'", spine.task("one").uid)
    assert "nearly" in told.text
    assert "# Task one" in told.text, "an agent that keeps no conversation has forgotten its task"


def test_nothing_to_land_fails_under_auto_and_asks_a_person(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([{"print": "nothing to do"}])})
    assert spine.wait_over() == {"one": "failed"}
    assert spine.task("one").outcome_reason == "no change"


def test_research_ends_with_its_report(spine: Spine):
    spine.run(
        plan(task("why", kind="research"), task("one", needs="why")),
        {
            "why": turns([{"report": "because"}, {"note": {"text": "because of x", "result": True}}]),
            "one": turns([write("x", "1")]),
        },
    )
    assert spine.wait_over() == {"why": "finished", "one": "landed"}
    report = spine.task("why").report
    assert report is not None
    assert "because" in Path(report).read_text()


def test_a_cancelled_task_keeps_its_work_and_is_taken_up_again(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("x", "1"), {"hang": True}], [write("y", "2")])})
    path = spine.wait(lambda: spine.task("one").workspace)
    spine.wait(lambda: spine.events("message.delivered"))
    spine.wait(lambda: (Path(path) / "x").exists())
    spine.call("cancel", task="one")
    assert spine.wait_over() == {"one": "cancelled"}
    assert (Path(path) / "x").read_text() == "1"
    spine.call("retry", task="one")
    spine.wait(lambda: spine.outcomes() == {"one": "landed"})
    assert set(spine.repo.files("main")) >= {"x", "y"}


def test_words_that_were_waiting_when_a_task_was_cancelled_reach_its_agent_after_a_retry(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("x", "1"), {"hang": True}], [write("y", "2")])})
    spine.wait(lambda: spine.events("message.delivered"))
    spine.call("send", task="one", text="mind the gap")
    spine.call("cancel", task="one")
    spine.wait_over()
    spine.call("retry", task="one")
    spine.wait(lambda: spine.outcomes() == {"one": "landed"})
    with spine.engine.store.read() as db:
        delivered = db.select(Message, "task = ? AND delivered_at IS NOT NULL", spine.task("one").uid)
    assert sum("mind the gap" in message.text for message in delivered) == 1
    assert "# Task one" in delivered[-1].text, "what only waited is not what the agent was asked"


def test_words_that_were_waiting_reach_a_task_that_begins_anew_once(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("x", "1"), {"hang": True}], [write("y", "2")])})
    spine.wait(lambda: spine.events("message.delivered"))
    spine.call("send", task="one", text="mind the gap")
    spine.call("cancel", task="one")
    spine.wait_over()
    spine.call("retry", task="one", fresh=True)
    spine.wait(lambda: spine.outcomes() == {"one": "landed"})
    with spine.engine.store.read() as db:
        said = db.select(Message, "task = ? AND delivered_at IS NOT NULL ORDER BY n", spine.task("one").uid)
    assert [message.text.count("mind the gap") for message in said] == [0, 1]
    assert said[1].origin.value == "start"
    spine.repo.git("cat-file", "-e", "main:y")


def test_removal_and_undo_bring_back_every_byte(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("x", "1")])}, approve="human")
    spine.wait_item("review")
    path = Path(str(spine.task("one").workspace))
    (path / "untracked").write_text("mine")
    (path / ".git").exists()
    done = spine.call("remove", task="one")
    assert not path.exists()
    assert spine.task("one").outcome is not None
    spine.call("undo", id=done["undo"])
    assert (path / "untracked").read_text() == "mine"


def test_a_task_of_words_runs_alone_and_its_commands_must_be_trusted(spine: Spine):
    script = spine.folder / "script.json"
    script.write_text(json.dumps({"tasks": {"write-b": turns([{"hang": True}]), "write-d": turns([])}}))
    words = {"agent": f"scripted:{script}", "approve": "auto", "checkout": "leave", "fetch": False, "env": {}}
    with pytest.raises(StrettoError) as caught:
        spine.call("add", text="Write b.\n- checks: make", **words)
    assert caught.value.code == "untrusted"
    assert [one["text"] for one in caught.value.details["commands"]] == ["make"]
    with pytest.raises(StrettoError, match="`lands` cannot be read"):
        spine.call("add", text="Write b.\n- lands: maybe", **words)
    with pytest.raises(StrettoError, match="needs `other`"):
        spine.call("add", text="Write b.", needs=["other"], **words)
    made = spine.call("add", text="Write b.\nAccept: b is there.", **words)
    row = spine.task("write-b")
    assert made["tasks"] == [row.uid]
    assert (row.title, row.spec, row.accept) == ("Write b", "Write b.", "b is there.")
    del words["checkout"]
    assert spine.call("add", text="Write d.", **words)["run"] != made["run"], "the choice for the checkout holds on"
    with pytest.raises(StrettoError) as caught:
        spine.call("add", text="Write c.\n- checks: make c", run=made["run"], **words)
    assert caught.value.code == "untrusted"
    assert len(spine.tasks()) == 2
    spine.call("cancel", task="write-b")
    spine.wait_over()


def test_trust_needs_no_plan(spine: Spine):
    assert spine.call("trust")["commands"] == []


def test_refusals_name_cause_object_and_next_command(spine: Spine):
    with pytest.raises(StrettoError) as caught:
        spine.run(plan(task("one")), {"one": turns([])}, trust=False)
    assert caught.value.code == "untrusted"
    assert caught.value.details["hash"].startswith("sha256:")
    with pytest.raises(StrettoError) as caught:
        spine.run(plan(task("one")), {"one": turns([])}, checkout=None)
    assert caught.value.code == "checkout_choice"
    with pytest.raises(StrettoError) as caught:
        spine.run(plan(task("one"), task("one")), {"one": turns([])})
    assert caught.value.code == "bad_plan"
    assert spine.tasks() == []


def test_what_checks_leave_behind_is_kept_but_is_no_work(spine: Spine):
    check = "date +%N > out.txt && mkdir -p cache && head -c 11000000 /dev/zero > cache/big && echo x >> a.txt"
    spine.run(plan(task("one"), checks=f'["{check}"]'), {"one": turns([write("one.txt", "1")])})
    assert spine.wait_over() == {"one": "landed"}
    assert spine.repo.files("main") == ["README.md", "a.txt", "one.txt"]
    assert spine.repo.show("main", "a.txt") == "one"
    (cleaned,) = spine.events("work.cleaned")
    assert sorted(cleaned.data["paths"]) == ["a.txt", "cache/big", "out.txt"]
    kept = spine.repo.git("ls-tree", "-r", "--name-only", cleaned.data["ref"]).split()
    assert {"out.txt", "cache/big", "one.txt"} <= set(kept)
