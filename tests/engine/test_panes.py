"""Sessions in panes, from the message to the landed commit: real tmux, real shims, the scripted agent's interface."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.core.model import Delivery, TurnResult
from stretto.engine.acts.endings import last_screen
from stretto.engine.engine import Engine
from stretto.home import open_home
from stretto.terminal.pane import Pane
from stretto.terminal.tmux import Terminal
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support import processes
from tests.support.waiting import wait_for


@pytest.fixture
def spine(home, make_repo, tmp_path) -> Iterator[Spine]:
    with running(make_repo("repo", {"README.md": "hello\n"}), tmp_path) as spine:
        yield spine


PLAN = plan(task("a", mode="pane"))
BUSY = turns([write("a.txt", "a\n"), {"sleep": 600}], {"when": {"origin": "resume"}, "steps": [write("b.txt", "b\n")]})


def habits(spine: Spine, words: str) -> None:
    """How the interface misbehaves."""
    (spine.folder / "script.json").write_text("{}")
    text = f'[agents.odd]\ntype = "scripted"\ncommand = ["{spine.folder / "script.json"}"]\nenv = {{COMPOSER_HABITS = "{words}"}}\n'  # noqa: E501
    spine.repo.commit("Settings", {"stretto.toml": text})


def spec(spine: Spine) -> Any:
    """What the host of the task's pane was told."""
    return json.loads(Path(spine.session("a").folder, "pane.json").read_text())


def server(spine: Spine) -> int:
    terminal = Terminal(Path(spec(spine)["socket"]), os.environ)
    try:
        return int(terminal.command("display-message", "-p", "#{pid}"))
    finally:
        terminal.close()


def busy(spine: Spine) -> Path:
    """Until the first turn has done something; its worktree."""
    spine.run(PLAN, {"a": BUSY}, approve="human")
    spine.wait(lambda: (where := spine.task("a").workspace) and Path(where, "a.txt").exists())
    spine.wait(lambda: spine.messages("a")[0].state is Delivery.DELIVERED)
    return Path(str(spine.task("a").workspace))


def test_a_task_lands_from_a_pane_and_leaves_no_process(spine: Spine) -> None:
    long = {"write": {"path": "a.txt", "text": "{{task}}\n"}}
    spine.run(PLAN, {"a": turns([long, {"print": "I wrote it."}])})
    assert spine.wait_over() == {"a": "landed"}
    session = spine.session("a")
    assert (session.mode, session.generation) == ("pane", 1)
    (message,) = spine.messages("a")
    assert (message.result, message.state) == (TurnResult.OK, Delivery.DONE)
    assert "I wrote it." in message.output
    assert spine.repo.show("main", "a.txt") == "a"
    spine.wait(lambda: spine.session("a").ended_at is not None)
    assert processes.gone(session.folder) == []


def test_an_interrupt_and_the_turn_that_takes_it_up_again(spine: Spine) -> None:
    busy(spine)
    first = spine.session("a")
    spine.call("interrupt", task="a")
    item = spine.wait_item("interrupted")
    spine.call("answer", item=item.id, answer="continue")
    spine.wait_item("review")
    assert [m.result for m in spine.messages("a")] == [TurnResult.INTERRUPTED, TurnResult.OK]
    assert spine.session("a").id == first.id, "one pane for both"


@pytest.mark.parametrize("who", ["tmux", "agent", "shim"])
def test_death_is_noticed_and_the_conversation_goes_on_in_a_new_pane(spine: Spine, who: str) -> None:
    busy(spine)
    first = spine.session("a")
    known = Path(first.folder, "shim.json")
    pid = {
        "tmux": lambda: server(spine),
        "agent": lambda: spine_agent(spine),
        "shim": lambda: int(json.loads(known.read_text())["pid"]),
    }[who]()
    os.kill(pid, signal.SIGKILL)
    item = spine.wait(lambda: next((i for i in spine.items() if i.kind.value in ("interrupted", "failure")), None))
    if who == "tmux":
        assert (item.kind.value, "tmux" in item.text) == ("interrupted", True)
    spine.call("answer", item=item.id, answer="retry" if item.kind.value == "failure" else "continue")
    spine.wait_item("review")
    second = spine.session("a")
    assert (second.generation, second.conversation) == (2, first.conversation)
    assert len([m for m in spine.messages("a") if m.origin == "start"]) == 1, "the first prompt is never sent again"
    assert processes.gone(first.folder) == []


def spine_agent(spine: Spine) -> int:
    terminal = Terminal(Path(spec(spine)["socket"]), os.environ)
    try:
        return Pane(terminal, "stretto").facts().pid
    finally:
        terminal.close()


def test_what_is_not_known_to_have_arrived_is_put_before_the_person(spine: Spine) -> None:
    habits(spine, "deaf")
    (spine.folder / "script.json").write_text(json.dumps({"tasks": {"a": turns([write("a.txt", "a\n")])}}))
    spine.run(PLAN, agent="odd", approve="human")
    item = spine.wait_item("undelivered")
    assert "nothing says that the turn began" in item.text
    assert "Do a in its file." in item.text
    (message,) = spine.messages("a")
    assert (message.state, message.result) == (Delivery.UNDELIVERED, None)
    spine.call("answer", item=item.id, answer="retry")
    again = spine.wait(
        lambda: next((i for i in spine.items() if i.kind.value == "undelivered" and i.id != item.id), None)
    )
    assert again.text == item.text


def test_a_long_message_that_did_not_arrive_is_shown_by_its_beginning_and_kept_whole(spine: Spine) -> None:
    habits(spine, "deaf")
    (spine.folder / "script.json").write_text(json.dumps({"tasks": {"a": turns([write("a.txt", "a\n")])}}))
    words = "\n".join(f"Line {n} of a long spec." for n in range(400))
    spine.run(PLAN.replace("Do a in its file.", f"Do a in its file.\n{words}"), agent="odd", approve="human")
    item = spine.wait_item("undelivered")
    assert "stretto prompt a" in item.text
    assert len(item.text) < 1200
    assert "Line 399" not in item.text
    assert "Line 399" in spine.messages("a")[0].text


@pytest.mark.parametrize("starts", [1, 2])
def test_a_program_that_fails_at_its_start_is_started_once_more(spine: Spine, starts: int) -> None:
    habits(spine, f"stumble={starts}")
    (spine.folder / "script.json").write_text(json.dumps({"tasks": {"a": turns([write("a.txt", "a\n")])}}))
    spine.run(PLAN, agent="odd", approve="human")
    if starts == 1:
        spine.wait_item("review")
        assert (spine.session("a").generation, len(spine.messages("a"))) == (1, 1)
    else:
        assert "the terminal did not answer" in spine.wait_item("failure").text
    assert Path(spec(spine)["shared"], "starts").read_text().count("started") == 2


def test_a_dialog_becomes_a_question_and_its_answer_a_key(spine: Spine) -> None:
    habits(spine, "dialog=Do you trust this folder?")
    (spine.folder / "script.json").write_text(json.dumps({"tasks": {"a": turns([write("a.txt", "a\n")])}}))
    spine.run(PLAN, agent="odd", approve="human")
    item = spine.wait_item("question")
    assert item.text == "Do you trust this folder?"
    assert [list(o) for o in item.options] == [["1", "Yes"], ["2", "No"]]
    spine.call("answer", item=item.id, answer="2")
    spine.wait_item("review")
    report = Path(spec(spine)["shared"], "composer.jsonl").read_text().splitlines()
    assert json.loads(report[0]) == {"dialog": "2"}


def test_a_dialog_that_only_its_own_terminal_answers_takes_no_answer(spine: Spine) -> None:
    habits(spine, "blind=Do you trust this folder?")
    (spine.folder / "script.json").write_text(json.dumps({"tasks": {"a": turns([write("a.txt", "a\n")])}}))
    spine.run(PLAN, agent="odd", approve="human")
    item = spine.wait_item("question")
    assert "Do you trust this folder?" in item.text
    with pytest.raises(StrettoError, match="only its own terminal answers") as caught:
        spine.call("answer", item=item.id, answer="yes")
    assert caught.value.hint == f"stretto attach {item.task}"
    assert [one.id for one in spine.items()] == [item.id], "it stays until it is answered there"
    spine.cancel_open()


def test_who_has_no_interface_is_refused_before_anything_begins(spine: Spine) -> None:
    spine.repo.commit("Settings", {"stretto.toml": '[agents.odd]\ntype = "acp"\ncommand = ["/bin/true"]\n'})
    with pytest.raises(StrettoError, match="cannot run in a pane") as caught:
        spine.run(PLAN, agent="odd")
    assert caught.value.code == "no_pane"
    assert spine.tasks() == []


def test_a_daemon_that_comes_back_finds_the_pane_at_work(home, make_repo, tmp_path) -> None:
    repo, hold = make_repo("repo", {"README.md": "hello\n"}), tmp_path / "go"
    wait = {"run": ["/bin/sh", "-c", f"until [ -e {hold} ]; do sleep 0.1; done"]}
    engine = Engine(open_home())
    engine.start()
    spine = Spine(engine, repo, tmp_path)
    spine.run(PLAN, {"a": turns([write("a.txt", "a\n"), wait])})
    spine.wait(lambda: spine.messages("a") and spine.messages("a")[0].state is Delivery.DELIVERED)
    first = spine.session("a")
    engine.stop()
    engine.store.close()
    hold.touch()
    wait_for(lambda: b"turn_ended" in Path(first.folder, "out.000001").read_bytes())
    with running(repo, tmp_path) as again:
        assert again.wait_over() == {"a": "landed"}
        assert again.session("a").id == first.id


def test_a_pane_begins_inside_the_sandbox(spine: Spine) -> None:
    look = {"run": ["/bin/sh", "-c", 'ls "$(dirname "$STRETTO_PANE_FOLDER")" >seen; echo "[$TMUX]" >>seen']}
    spine.run(plan(task("a", mode="pane", sandbox="bubblewrap")), {"a": turns([look])})
    assert spine.wait_over(60) == {"a": "landed"}
    seen = spine.repo.show("main", "seen").split()
    assert "[]" in seen
    assert not {"tmux", "pane.json", "in.jsonl"} & set(seen), "nothing of the terminal is within reach"
    assert spine.session("a").mode == "pane"


def test_the_last_words_of_a_screen_are_those_that_stand_together() -> None:
    art = "some greeting\n  \x1b[1m█████\x1b[0m   *\n ......█ █...\n"
    said = " Unable to connect to the services\n Failed to connect: EAI_AGAIN\n see https://example.org\n\n"
    told = "Unable to connect to the services Failed to connect: EAI_AGAIN see https://example.org"
    assert last_screen((art + said).encode()) == told
    assert last_screen(b"") == ""
    assert len(last_screen(b"word " * 1000)) == 300
