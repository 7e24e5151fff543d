"""Claude Code's own interface in a pane, the real program, through the whole of stretto."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.terminal.tmux import Terminal
from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import Stage, task
from tests.support import claude
from tests.support.repository import Repository

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

BUSY = 'Go. [[write path=a.txt text="a\\n"]] [[on=start slow=120x2]] [[say=never]] [[on=resume say=Finished.]]'


@pytest.fixture
def stage(home: Path, repo: Repository, tmp_path: Path) -> Iterator[Stage]:
    claude.program()
    with ModelServer() as server:
        stage = Stage(repo, tmp_path, server)
        seed(stage)
        yield stage
        stage.end(home)


def seed(stage: Stage) -> None:
    """What a person has who has used claude here before: no first steps, a known key, a trusted folder."""
    folder = stage.folder / "agent-home" / ".claude"
    folder.mkdir(parents=True)
    known = {
        "hasCompletedOnboarding": True,
        "customApiKeyResponses": {"approved": ["dummy"], "rejected": []},
        "projects": {str(stage.repo.path): {"hasTrustDialogAccepted": True}},
    }
    (folder / ".claude.json").write_text(json.dumps(known))


def screen(stage: Stage, session: str) -> str:
    """What the pane shows, for the reader of a failure."""
    spec = json.loads((stage.home.sessions / session / "pane.json").read_text())
    terminal = Terminal(Path(spec["socket"]), os.environ)
    try:
        return terminal.command("capture-pane", "-p")
    finally:
        terminal.close()


def test_it_lands_from_a_pane_and_its_usage_is_exact(stage: Stage) -> None:
    stage.configure()
    long = "A very long spec. " * 600
    spec = f'{long} [[write path=one.txt text="one\\n"]] [[commit=Add one]] [[say=Added one.]]'
    stage.run(task("one", spec, mode="pane"), approve="auto", words=("--agent", "claude"))
    stage.wait_state("one", "landed")
    assert stage.repo.show("main", "one.txt") == "one"
    assert stage.usage_is_right("one")["input"] == 3 * 1200
    (session,) = stage.told("one")["sessions"]
    assert session["mode"] == "pane"
    assert "Added one." in stage.told("one")["note"]


def test_a_permission_a_question_and_an_interrupt_reach_it(stage: Stage) -> None:
    stage.configure(permissions="ask")
    stage.run(
        task("one", 'x [[sh=touch yes]] [[ask q="Which colour?" options="Blue|Red"]] [[slow=120x2]]', mode="pane"),
        words=("--agent", "claude"),
    )
    item = stage.wait_item("permission")
    worktree = Path(stage.task("one")["worktree"])
    assert "touch yes" in item["text"]
    assert not (worktree / "yes").exists()
    stage.stretto("answer", item["id"], "allow")
    item = stage.wait_item("question")
    assert (worktree / "yes").exists()
    assert "Which colour?" in item["text"]
    stage.stretto("answer", item["id"], "2")
    stage.wait(lambda: not [i for i in stage.inbox() if i["kind"] == "question"])
    stage.stretto("interrupt", "one")
    stage.wait_item("interrupted")
    assert stage.messages("one")[0]["result"] == "interrupted"


def test_kill_9_of_tmux_resumes_the_conversation_and_never_the_prompt(stage: Stage) -> None:
    stage.configure()
    stage.run(task("one", BUSY, mode="pane"), words=("--agent", "claude"))
    stage.wait_edited("one", "a.txt")
    first = stage.task("one")["session"]
    spec = json.loads((stage.home.sessions / first["id"] / "pane.json").read_text())
    terminal = Terminal(Path(spec["socket"]), os.environ)
    pid = int(terminal.command("display-message", "-p", "#{pid}"))
    terminal.close()
    os.kill(pid, signal.SIGKILL)
    item = stage.wait_item("interrupted")
    assert "tmux" in item["text"]
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    one, two = stage.told("one")["sessions"]
    assert one["conversation"] == two["conversation"]
    assert [m["origin"] for m in stage.messages("one")] == ["start", "resume"]
    given = [json.loads(r["data"]) for r in stage.records(two["id"]) if r["kind"] == "turn"]
    assert all(BUSY not in one["turn"] for one in given), "the first prompt is never sent again"
    stage.usage_is_right("one")
