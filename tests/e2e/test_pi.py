"""The real pi through the whole of stretto: a plan in, landed commits out, and all that can go wrong on the way.

pi does not say in its requests which conversation they belong to: `[[as=ID]]` in a task's spec does.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import FREE, Stage, task
from tests.support import pi, processes
from tests.support.repository import Repository
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.pi, pytest.mark.e2e]

EDIT = '[[as={0}]] Do it. [[write path={0}.txt text="{0}\\n"]] [[commit=Add {0}]] [[say=Added {0}.]]'
BUSY = (
    '[[as=one]] Go. [[write path=a.txt text="a\\n"]] [[on=start slow=120x2]] [[say=never]] [[on=resume say=Finished.]]'
)
NAMES = ("input", "output", "cache_read", "cache_write", "reasoning")


class PiStage(Stage):
    """The same words for another agent."""

    def configure(self, permissions: str = FREE, command: list[str] | None = None, more: str = "", **env: str) -> None:
        """Commit a stretto.toml that leads pi to the model server."""
        own = pi.environment(self.folder / "agent-home", self.server.url)
        lines = ["schema = 1", "[agents.pi]", f"command = {json.dumps(command or [str(pi.program())])}"]
        lines += [f"permissions = {json.dumps(permissions)}", f"model = {json.dumps(pi.MODEL)}", "[agents.pi.env]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in {**own, **env}.items()]
        path = self.repo.path / "stretto.toml"
        path.write_text("\n".join([*lines, more, ""]))
        self.repo.git("add", "stretto.toml")
        self.repo.git("commit", "-q", "-m", "Configure")

    def run(self, *tasks: str, checks: str = '["true"]', approve: str = "human", words: tuple[str, ...] = ()) -> Any:
        return super().run(*tasks, checks=checks, approve=approve, words=("--agent", "pi", *words))

    def prompts(self, session: str) -> list[str]:
        found = [json.loads(r["data"]) for r in self.records(session) if r["kind"] == "turn"]
        return [str(one["message"]) for one in found]

    def served(self, id: str) -> int:
        return len([one for one in self.server.served(id) if one.outcome == "served"])

    def served_usage(self, id: str) -> dict[str, int]:
        whole = [one.usage for one in self.server.served(id) if one.outcome == "served"]
        return {name: sum(getattr(usage, name) for usage in whole) for name in NAMES}

    def counted(self, id: str) -> dict[str, int]:
        told = next(t for t in self.json("status")["tasks"] if t["id"] == id)["usage"]
        return {name: told[name] for name in NAMES}


@pytest.fixture
def stage(home: Path, repo: Repository, tmp_path: Path) -> Iterator[PiStage]:
    """Everything stands but the daemon, which the first command starts; agents and daemon are ended afterwards."""
    with ModelServer() as server:
        yield PiStage(repo, tmp_path, server)
    processes.end(processes.holding(str(home)))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".git" not in path.parts}


def test_two_at_once_land_with_exact_usage_and_leave_nothing(stage: PiStage, tmp_path: Path) -> None:
    stage.configure()
    before = files(stage.repo.path)
    stage.run(task("one", EDIT.format("one")), task("two", EDIT.format("two")), approve="auto", words=("--open", "2"))
    for id in ("one", "two"):
        stage.wait_state(id, "landed")
        assert stage.repo.show("main", f"{id}.txt") == id
        assert stage.usage_is_right(id)["input"] == 3 * 1200, "write, commit, the last text"
        told = stage.task(id)
        assert told["usage"]["cost"]["source"] == "agent"
        assert (told["session"]["agent"], told["session"]["model"]) == ("pi", "mock-model")
        assert f"Added {id}." in stage.told(id)["note"]
    assert {"Add one", "Add two"} <= set(stage.repo.subjects("main"))
    stage.wait(lambda: not processes.holding(str(stage.home.sessions)))
    assert files(stage.repo.path) == before, "the checkout of the person is as it was"
    wrote = {name.split("/")[0] for name in files(tmp_path / "agent-home")}
    assert wrote <= {"pi"}, "nothing but pi's own folder"


def test_a_question_is_answered_inside_the_turn(stage: PiStage) -> None:
    stage.configure()
    spec = '[[as=one]] x [[ask q="Which colour?" options="Blue|Red"]] [[write path=colour.txt text="{{result}}"]]'
    stage.run(task("one", spec))
    item = stage.wait_item("question")
    assert item["text"] == "Which colour?"
    assert item["options"] == [{"key": "1", "text": "Blue"}, {"key": "2", "text": "Red"}]
    assert stage.task("one")["session"]["status"] == "waiting"
    stage.stretto("answer", item["id"], "2")
    stage.wait_item("review")
    assert '"Which colour?"="Red"' in stage.repo.show(stage.task("one")["head"], "colour.txt")
    assert len(stage.messages("one")) == 1, "the answer was given inside the turn"
    stage.usage_is_right("one")


def test_permissions_are_asked_allowed_denied_and_kept_for_the_session(stage: PiStage) -> None:
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


def test_interrupt_and_continue_keep_conversation_and_process(stage: PiStage) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    pid = stage.pid(session["id"], "agent")
    stage.stretto("interrupt", "one")
    item = stage.wait_item("interrupted")
    assert stage.messages("one")[0]["result"] == "interrupted"
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    assert [m["origin"] for m in stage.messages("one")] == ["start", "resume"]
    assert stage.conversations("one") == [session["conversation"]]
    assert stage.pid(session["id"], "agent") == pid
    stage.usage_is_right("one")


@pytest.mark.parametrize("who", ["agent", "shim"])
def test_kill_9_of_agent_or_shim_resumes_the_conversation(stage: PiStage, who: str) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    agent = psutil.Process(stage.pid(session["id"], "agent"))
    os.kill(stage.pid(session["id"], who), signal.SIGKILL)
    item = stage.wait_item("interrupted")
    wait_for(lambda: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE)
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    first, second = stage.told("one")["sessions"]
    assert first["conversation"] == second["conversation"]
    (told,) = stage.prompts(second["id"])
    assert BUSY not in told, "the first prompt is never sent again"
    assert stage.repo.show(stage.task("one")["head"], "a.txt") == "a"
    stage.usage_is_right("one")


def test_kill_9_of_the_daemon_changes_nothing_for_pi(stage: PiStage) -> None:
    stage.configure()
    spec = '[[as=one]] Go. [[write path=a.txt text="a\\n"]] [[slow=3]] [[write path=b.txt text="b\\n"]] [[say=Both.]]'
    stage.run(task("one", spec), approve="auto")
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    stage.kill_daemon()
    assert not stage.said(session["id"], b"agent_settled")
    wait_for(lambda: stage.said(session["id"], b"agent_settled"), 30, what="the turn's end")
    stage.up()
    stage.wait_state("one", "landed")
    assert stage.repo.show("main", "b.txt") == "b"
    assert len(stage.prompts(session["id"])) == 1
    assert len(stage.told("one")["sessions"]) == 1
    stage.usage_is_right("one")


def test_a_forgotten_conversation_begins_anew_with_the_task(stage: PiStage) -> None:
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


def test_trouble_with_the_model_is_told_and_survived_or_put_before_the_person(stage: PiStage) -> None:
    stage.configure()
    stage.run(
        task("one", "[[as=one]] x [[err=500]] [[write path=a text=1]] [[cut=1]] [[say=fine]]"),
        task("two", "[[as=two]] x [[err=401x9]] [[say=never]]"),
    )
    assert "401" in stage.wait_item("failure")["text"]
    stage.wait_item("review")
    assert stage.events("session.retry")
    stage.usage_is_right("one")
