"""The real codex and pi in panes, each through its own interface and the whole of stretto; the model server counts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stretto.terminal.tmux import Terminal
from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import task
from tests.e2e.real_agents import KINDS, RealStage, chosen
from tests.e2e.test_agents_real import BUSY, EDIT, files
from tests.e2e.test_attach import LEAVE, Screen
from tests.support import processes
from tests.support.repository import Repository
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

PANES = ("codex", "pi")
COMMAND = {
    # codex asks only when it wants to leave its sandbox
    "codex": '[[tool exec_command {{"cmd": "{0}", "sandbox_permissions": "require_escalated", '
    '"justification": "why"}}]]',
    "pi": "[[sh={0}]]",
}
SHOWN = {"codex": "command: {0} (why)", "pi": "bash: {0}"}


@dataclass
class PaneStage(RealStage):
    """The same words for sessions in panes."""

    def run(self, *tasks: str, checks: str = '["true"]', approve: str = "human", words: tuple[str, ...] = ()) -> Any:
        return super().run(*tasks, checks=checks, approve=approve, words=("--mode", "pane", *words))

    def prompts(self, session: str) -> list[str]:
        return [json.loads(r["data"])["turn"] for r in self.records(session) if r["kind"] == "turn"]

    def terminal(self, session: str) -> Terminal:
        spec = json.loads((self.home.sessions / session / "pane.json").read_text())
        return Terminal(Path(spec["socket"]), os.environ)

    def tmux(self, session: str, *words: str) -> str:
        """What the tmux of a session answers."""
        terminal = self.terminal(session)
        try:
            return terminal.command(*words)
        finally:
            terminal.close()

    def shows(self, word: str) -> bool:
        """Whether the newest session's pane shows this; asked before it stands, tmux would start a server for us."""
        session = self.told("one")["sessions"][-1]
        told = self.home.sessions / session["id"] / "pane.json"
        if not told.exists() or not Path(json.loads(told.read_text())["socket"]).with_name("ready").exists():
            return False
        return word in self.tmux(session["id"], "capture-pane", "-p")

    def transcript(self) -> str:
        """All that the agents have written of their conversations."""
        return "".join(path.read_text() for path in (self.folder / "agent-home").rglob("*.jsonl"))

    def ready(self) -> bool:
        """Whether the newest session waits for words, as its host has said."""
        return b'"idle"' in self.output(self.told("one")["sessions"][-1]["id"])

    def story(self) -> str:
        shown = []
        for folder in self.home.sessions.iterdir():
            try:
                shown.append(f"{folder.name}:\n{self.tmux(folder.name, 'capture-pane', '-p')}")
            except Exception as error:  # it may be gone; the failure itself matters more
                shown.append(f"{folder.name}: {error}")
        return "\n".join([super().story(), *shown])


@pytest.fixture(params=[name for name in PANES if name in chosen()])
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[PaneStage]:
    """Everything stands but the daemon. Afterwards nothing may be left."""
    KINDS[request.param].program()
    with ModelServer() as server:
        stage = PaneStage(repo, tmp_path, server, kind=KINDS[request.param])
        yield stage
        stage.stretto("down", "--all")
        processes.require_none(str(home))


def test_two_at_once_land_from_panes_and_usage_is_exact(stage: PaneStage, tmp_path: Path) -> None:
    stage.configure()
    before, around = files(stage.repo.path), {path.name for path in tmp_path.iterdir()}
    long = "Ünïcödé 漢字 -- a very long spec. " * 500
    stage.run(
        task("one", f"-- {long}\n{EDIT.format('one')}"),
        task("two", EDIT.format("two")),
        approve="auto",
        words=("--open", "2"),
    )
    for id in ("one", "two"):
        stage.wait_state(id, "landed")
        assert stage.repo.show("main", f"{id}.txt") == id
        assert stage.usage_is_right(id)["input"] == 3 * 1200, "write, commit, the last text"
        (session,) = stage.told(id)["sessions"]
        assert session["mode"] == "pane"
        assert f"Added {id}." in stage.told(id)["note"]
    assert len(set(stage.conversations("one") + stage.conversations("two"))) == 2
    assert files(stage.repo.path) == before, "the checkout of the person is as it was"
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} - around <= {"repo", "PLAN"}
    wrote = {name.split("/")[0] for name in files(tmp_path / "agent-home")}
    assert wrote <= stage.kind.folders, "nothing but the agent's own folder"


def test_a_question_a_permission_and_an_interrupt_reach_it(stage: PaneStage) -> None:
    stage.configure(permissions="ask")
    name = stage.kind.name
    if name == "codex":  # with its sandbox, out of which it asks to go
        toml = stage.repo.path / "stretto.toml"
        toml.write_text(toml.read_text().replace('sandbox_mode=\\"danger-full-access\\"', "hide_agent_reasoning=true"))
        stage.repo.git("commit", "-q", "-a", "-m", "Ask")
    asks = '[[ask q="Which colour?" options="Blue|Red"]] [[ask q="Which shape?" options="Round|Square"]]'
    stage.run(task("one", f"[[as=one]] x {COMMAND[name].format('touch yes')} {asks} [[slow=120x2]] [[say=never]]"))
    item = stage.wait_item("permission")
    assert item["text"] == SHOWN[name].format("touch yes")
    assert [option["key"] for option in item["options"]] == ["allow", "always", "deny"]
    worktree = Path(stage.task("one")["worktree"])
    assert not (worktree / "yes").exists()
    stage.wait(lambda: stage.task("one")["session"]["status"] == "waiting")
    stage.stretto("answer", item["id"], "allow")
    item = stage.wait_item("question")
    assert (worktree / "yes").exists()
    assert item["text"] == "Which colour?"
    assert item["options"] == [{"key": "1", "text": "Blue"}, {"key": "2", "text": "Red"}]
    stage.stretto("answer", item["id"], "2")
    shape = stage.wait(lambda: next((i for i in stage.inbox() if i["text"] == "Which shape?"), None))
    assert "item_closed" in stage.stretto("answer", item["id"], "1", "--json", code=1)
    stage.stretto("answer", shape["id"], "a strange one")
    stage.wait(lambda: "a strange one" in stage.transcript())
    stage.stretto("interrupt", "one")
    stage.wait_item("interrupted")
    assert stage.messages("one")[0]["result"] == "interrupted"
    assert "Red" in stage.transcript()
    stage.usage_is_right("one")


@pytest.mark.parametrize("who", ["tmux", "shim", "agent"])
def test_kill_9_resumes_the_conversation_and_never_the_prompt(stage: PaneStage, who: str) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    first = stage.task("one")["session"]["id"]
    pid = {
        "tmux": lambda: int(stage.tmux(first, "display-message", "-p", "#{pid}")),
        "agent": lambda: int(stage.tmux(first, "display-message", "-p", "#{pane_pid}")),
        "shim": lambda: stage.pid(first, "shim"),
    }[who]()
    os.kill(pid, signal.SIGKILL)
    item = stage.wait_item("interrupted", 30)
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    one, two = stage.told("one")["sessions"]
    assert one["conversation"] == two["conversation"]
    assert [m["origin"] for m in stage.messages("one")] == ["start", "resume"]
    assert not [text for text in stage.prompts(two["id"]) if BUSY in text], "the first prompt is never sent again"
    assert stage.repo.show(stage.task("one")["head"], "a.txt") == "a"
    stage.usage_is_right("one")


def test_kill_9_of_the_daemon_changes_nothing_and_trouble_is_told(stage: PaneStage) -> None:
    stage.configure()
    spec = '[[as=one]] Go. [[write path=a.txt text="a\\n"]] [[slow=3]] [[write path=b.txt text="b\\n"]] [[say=Both.]]'
    stage.run(task("one", spec), task("two", "[[as=two]] x [[err=401x9]]"), words=("--open", "2"))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    stage.kill_daemon()
    wait_for(lambda: stage.said(session["id"], b'"turn_ended"'), 30, what="the turn's end")
    stage.up()
    assert stage.wait_item("review")["task"].endswith("/one")
    assert stage.repo.show(stage.task("one")["head"], "b.txt") == "b"
    assert len(stage.prompts(session["id"])) == len(stage.told("one")["sessions"]) == 1
    assert "401" in stage.wait_item("failure")["text"]
    stage.usage_is_right("one")


def test_a_stream_session_is_taken_over_in_its_interface_and_handed_back(stage: PaneStage) -> None:
    stage.configure()
    RealStage.run(stage, task("one", '[[as=one]] x [[write path=a.txt text="a\\n"]] [[say=Stream said.]]'))
    stage.wait_item("review")
    screen = Screen(("attach", "one"), stage.repo.path, {})
    stage.wait(lambda: stage.shows("Stream said."))
    stage.wait(lambda: stage.ready())
    screen.keys(b'[[as=one]] y [[write path=b.txt text="b"]] [[say=By hand.]]')
    stage.wait(lambda: stage.shows("By hand"))
    screen.keys(b"\r")
    stage.wait(lambda: (Path(stage.task("one")["worktree"]) / "b.txt").exists())
    stage.wait(lambda: stage.served("one") == 4)
    screen.keys(LEAVE)
    assert screen.ends() == 0
    stage.wait(lambda: stage.told("one")["sessions"][-1]["status"] == "exited")
    stage.stretto("send", "one", '[[as=one]] z [[write path=c.txt text="c\\n"]] [[say=Back.]]')
    stage.wait(lambda: "c.txt" in stage.repo.files(stage.task("one")["head"] or "HEAD"))
    stage.wait_item("review")
    assert [(s["mode"], s["generation"]) for s in stage.told("one")["sessions"]] == [
        ("stream", 1),
        ("pane", 2),
        ("stream", 3),
    ]
    assert len(set(stage.conversations("one"))) == 1
    assert {"a.txt", "b.txt", "c.txt"} <= set(stage.repo.files(stage.task("one")["head"]))
    stage.usage_is_right("one")
