"""Any program in a pane: each message starts it, what it does there is seen, and a person can take part."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto.core.model import Delivery, TurnResult
from stretto.terminal.tmux import Terminal
from tests.engine.spine import Spine, plan, running, task

PLAN = plan(task("a", mode="pane"))


@pytest.fixture
def spine(home, make_repo, tmp_path) -> Iterator[Spine]:
    with running(make_repo("repo", {"README.md": "hello\n"}), tmp_path) as spine:
        yield spine


def start(spine: Spine, script: str, approve: str = "human") -> None:
    path = spine.folder / "agent.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    text = f'[agents.mine]\ntype = "command"\ncommand = ["{path}", "a word"]\n'
    spine.repo.commit("Settings", {"stretto.toml": text})
    spine.run(PLAN, agent="mine", approve=approve)


def tmux(spine: Spine, *words: str) -> str:
    told: Any = json.loads(Path(spine.session("a").folder, "pane.json").read_text())
    terminal = Terminal(Path(told["socket"]), os.environ)
    try:
        return terminal.command(*words)
    finally:
        terminal.close()


def wrote(path: Path) -> str:
    """What stands in a file; nothing while there is none."""
    return path.read_text() if path.exists() else ""


def test_it_lands_from_a_pane_where_it_has_a_terminal_and_its_message(spine: Spine) -> None:
    start(
        spine,
        'tty > tty.txt; printf "\\033[1mturn %s\\033[0m of %s\\n" "$STRETTO_TURN" "$1"\n'
        'cat "$STRETTO_PROMPT_FILE" > a.txt',
        approve="auto",
    )
    assert spine.wait_over() == {"a": "landed"}
    assert "Do a in its file." in spine.repo.show("main", "a.txt")
    assert spine.repo.show("main", "tty.txt").startswith("/dev/")
    (message,) = spine.messages("a")
    assert (message.result, message.state) == (TurnResult.OK, Delivery.DONE)
    assert "turn 1 of a word" in message.output, "what it wrote, without colours"


def test_a_failure_an_interrupt_and_the_turn_after_it(spine: Spine) -> None:
    start(
        spine,
        'echo "$STRETTO_TURN" > a.txt\n[ "$STRETTO_TURN" = 1 ] && exit 3\n'
        '[ "$STRETTO_TURN" = 2 ] && { touch b.txt; sleep 600; }\ntouch c.txt',
    )
    item = spine.wait_item("failure")
    assert "exit code 3" in item.text
    session = spine.session("a")
    spine.call("answer", item=item.id, answer="retry")
    worktree = Path(str(spine.task("a").workspace))
    spine.wait((worktree / "b.txt").exists)
    spine.wait(lambda: spine.messages("a")[-1].state is Delivery.DELIVERED)
    spine.call("interrupt", task="a")
    item = spine.wait_item("interrupted")
    spine.call("answer", item=item.id, answer="continue")
    spine.wait_item("review")
    assert (worktree / "c.txt").exists()
    assert [m.result for m in spine.messages("a")] == [TurnResult.FAILED, TurnResult.INTERRUPTED, TurnResult.OK]
    assert spine.session("a").id == session.id, "one pane for all of them"


def test_what_a_person_typed_stays_and_can_start_it_too(spine: Spine) -> None:
    start(spine, 'cat "$STRETTO_PROMPT_FILE" > "turn-$STRETTO_TURN.txt"')
    item = spine.wait_item("review")
    worktree = Path(str(spine.task("a").workspace))
    tmux(spine, "send-keys", "-l", "a draft of mine")
    spine.wait(lambda: "agent> a draft of mine" in tmux(spine, "capture-pane", "-p"))
    spine.call("send", task="a", text="More of it.")
    spine.wait(lambda: wrote(worktree / "turn-2.txt"))
    assert "draft" not in wrote(worktree / "turn-2.txt")
    again = spine.wait(lambda: next((i for i in spine.items() if i.kind.value == "review" and i.id != item.id), None))
    spine.wait(lambda: "agent> a draft of mine" in tmux(spine, "capture-pane", "-p"))
    tmux(spine, "send-keys", "Enter")
    spine.wait(lambda: wrote(worktree / "turn-3.txt"))
    assert wrote(worktree / "turn-3.txt") == "a draft of mine"
    spine.wait(
        lambda: next((i for i in spine.items() if i.kind.value == "review" and i.id not in (item.id, again.id)), None)
    )
    assert "turn-3.txt" in spine.repo.files(str(spine.task("a").head)), "it was taken up, and asked about anew"


def test_the_end_of_its_terminal_is_an_interrupted_turn(spine: Spine) -> None:
    start(spine, "touch a.txt; [ -e b.txt ] || { touch b.txt; sleep 600; }")
    spine.wait(lambda: (where := spine.task("a").workspace) and Path(where, "b.txt").exists())
    spine.wait(lambda: spine.messages("a")[0].state is Delivery.DELIVERED)
    os.kill(int(tmux(spine, "display-message", "-p", "#{pid}")), signal.SIGKILL)
    item = spine.wait_item("interrupted")
    spine.call("answer", item=item.id, answer="continue")
    spine.wait_item("review")
