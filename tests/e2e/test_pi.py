"""What only pi does, by the real program: rules that its extension judges, its own prices, conversations that are lost.

pi does not say in its requests which conversation they belong to: `[[as=ID]]` in a task's spec does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import task
from tests.e2e.real_agents import KINDS, RealStage
from tests.support import pi, processes
from tests.support.repository import Repository

pytestmark = [pytest.mark.pi, pytest.mark.e2e]

BUSY = (
    '[[as=one]] Go. [[write path=a.txt text="a\\n"]] [[on=start slow=120x2]] [[say=never]] [[on=resume say=Finished.]]'
)


@pytest.fixture
def stage(home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    """Everything stands but the daemon."""
    pi.program()
    with ModelServer() as server:
        yield RealStage(repo, tmp_path, server, kind=KINDS["pi"])
    processes.end(processes.holding(str(home)))


def test_permissions_are_asked_allowed_denied_and_kept_for_the_session(stage: RealStage) -> None:
    stage.configure(permissions="allow Bash(git *); deny Bash(curl *)")
    spec = (
        "[[as=one]] x [[sh=git status]] [[sh=touch b1]] [[sh=touch b1]] [[sh=git status; touch b2]]"
        ' [[sh=true && curl -s file:///]] [[tool write {"path": "said", "content": "{{result}}"}]]'
    )
    stage.run(task("one", spec))

    def asked(text: str) -> str:
        item = stage.wait(lambda: next((i for i in stage.inbox() if i["text"] == text), None))
        return str(item["id"])

    first = asked("bash: touch b1")
    assert not (Path(stage.task("one")["worktree"]) / "b1").exists()
    stage.stretto("answer", first, "always")
    stage.stretto("answer", asked("bash: git status; touch b2"), "deny not two at once, please")
    stage.stretto("answer", asked("write: said"), "allow")
    stage.wait_item("review")
    head = stage.task("one")["head"]
    found = stage.repo.files(head)
    assert {"b1", "said"} <= set(found)
    assert "b2" not in found
    assert "rules do not allow" in stage.repo.show(head, "said"), "a denied command hides behind no other one"
    assert len(stage.events("item.opened")) == 4, "three permissions and the review"


def test_a_forgotten_conversation_begins_anew_with_the_task(stage: RealStage) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    os.kill(stage.pid(stage.task("one")["session"]["id"], "shim"), signal.SIGKILL)
    item = stage.wait_item("interrupted")
    (stage.folder / "agent-home" / "pi" / "sessions").rename(stage.folder / "gone")
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    assert [e["data"]["reason"] for e in stage.events("conversation.refused")] == ["no_conversation"]
    sessions = stage.told("one")["sessions"]
    (told,) = stage.prompts(sessions[-1]["id"])
    assert BUSY in told, "the new conversation is told what the task is"


def test_what_it_costs_and_that_it_tries_again_is_told(stage: RealStage) -> None:
    stage.configure()
    stage.run(task("one", "[[as=one]] x [[err=500]] [[say=fine]]"))
    stage.wait_item("nochange")
    assert stage.events("session.retry")
    told = stage.task("one")
    assert told["usage"]["cost"]["source"] == "agent"
    assert told["session"]["model"] == "mock-model"
    stage.usage_is_right("one")
