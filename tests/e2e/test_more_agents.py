"""opencode and Gemini CLI beyond stream mode: in panes, taken over and handed back, and in the sandbox.

The real programs through the whole of stretto; the model server is the judge of their usage.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.terminal.tmux import Terminal
from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import Stage, task
from tests.e2e.real_agents import KINDS, RealStage, chosen
from tests.e2e.test_agents_real import BUSY, EDIT, files
from tests.e2e.test_attach import LEAVE, Screen
from tests.support import processes
from tests.support.repository import Repository
from tests.support.world import ROOT

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

#: on a machine that does much else an interface of 600 MB takes its time
PATIENCE = 240.0
#: files of a login, below the home
LOGIN = {"opencode": ".local/share/opencode/auth.json", "gemini": ".gemini/oauth_creds.json"}


@dataclass
class MoreStage(RealStage):
    """The same words, with more patience."""

    def wait(self, what: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        return super().wait(what, max(timeout, PATIENCE))

    def wait_item(self, kind: str, timeout: float = PATIENCE) -> Any:
        return super().wait_item(kind, PATIENCE)

    def wait_state(self, id: str, *states: str, timeout: float = PATIENCE) -> Any:
        return super().wait_state(id, *states, timeout=PATIENCE)

    def spec(self, id: str) -> Any:
        """What the host of the newest session's pane was told."""
        session = self.told(id)["sessions"][-1]["id"]
        return json.loads((self.home.sessions / session / "pane.json").read_text())

    def tmux(self, id: str, *words: str) -> str:
        terminal = Terminal(Path(self.spec(id)["socket"]), os.environ)
        try:
            return terminal.command(*words)
        finally:
            terminal.close()

    def shows(self, id: str, word: str) -> bool:
        """Whether the newest session's pane shows this."""
        try:
            return word in self.tmux(id, "capture-pane", "-p")
        except (StrettoError, OSError):  # its tmux is about to be started
            return False

    def story(self) -> str:
        shown = []
        for path in self.home.sessions.glob("*/pane.json"):
            terminal = Terminal(Path(json.loads(path.read_text())["socket"]), os.environ)
            try:
                shown.append(terminal.command("capture-pane", "-p"))
            except Exception as error:  # it may be gone; the failure itself matters more
                shown.append(str(error))
            finally:
                terminal.close()
        return "\n".join([super().story(), *shown])


@pytest.fixture(params=[name for name in LOGIN if name in chosen()])
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[MoreStage]:
    """Everything stands but the daemon. Afterwards nothing may be left."""
    KINDS[request.param].program()
    with ModelServer() as server:
        stage = MoreStage(repo, tmp_path, server, kind=KINDS[request.param])
        yield stage
        stage.stretto("down", "--all")
        processes.require_none(str(home))


def test_two_at_once_land_from_panes_and_never_mix(stage: MoreStage, tmp_path: Path) -> None:
    stage.configure()
    before = files(stage.repo.path)
    long = "A very long spec, wörd by word. " * 400
    first = task("one", f"{long}\n{EDIT.format('one')}", mode="pane")
    stage.run(first, task("two", EDIT.format("two"), mode="pane"), approve="auto", words=("--open", "2"))
    for id in ("one", "two"):
        stage.wait_state(id, "landed")
        assert stage.repo.show("main", f"{id}.txt") == id
        assert stage.usage_is_right(id)["input"] == 3 * 1200, "write, commit, the last text"
        (session,) = stage.told(id)["sessions"]
        assert session["mode"] == "pane"
        assert f"Added {id}." in stage.told(id)["note"]
    assert len(set(stage.conversations("one") + stage.conversations("two"))) == 2
    assert files(stage.repo.path) == before, "the checkout of the person is as it was"
    wrote = {name.split("/")[0] for name in files(tmp_path / "agent-home")}
    assert wrote <= stage.kind.folders, "nothing but the agent's own folder"


def test_what_it_asks_reaches_the_person_and_an_interrupt_its_turn(stage: MoreStage) -> None:
    stage.configure(permissions="ask")
    asks = '[[ask q="Which colour?" options="Blue|Red"]]'
    stage.run(task("one", f"[[as=one]] x [[sh=touch yes]] {asks} [[slow=120x2]] [[say=never]]", mode="pane"))
    item = stage.wait_item("permission")
    worktree = Path(stage.task("one")["worktree"])
    assert "touch yes" in item["text"]
    assert not (worktree / "yes").exists()
    assert stage.task("one")["session"]["status"] == "waiting"
    stage.stretto("answer", item["id"], "allow")
    item = stage.wait_item("question")
    assert (worktree / "yes").exists()
    assert "Which colour?" in item["text"]
    stage.stretto("answer", item["id"], "2")
    assert "item_closed" in stage.stretto("answer", item["id"], "1", "--json", code=1)
    stage.wait(lambda: stage.served("one") == 2 and not [i for i in stage.inbox() if i["kind"] == "question"])
    stage.stretto("interrupt", "one")
    stage.wait_item("interrupted")
    assert stage.messages("one")[0]["result"] == "interrupted"
    stage.usage_is_right("one")


@pytest.mark.parametrize("who", ["tmux", "agent", "shim"])
def test_kill_9_resumes_the_conversation_and_never_the_prompt(stage: MoreStage, who: str) -> None:
    stage.configure()
    stage.run(task("one", BUSY, mode="pane"))
    stage.wait_edited("one", "a.txt")
    first = stage.task("one")["session"]["id"]
    pid = {
        "tmux": lambda: int(stage.tmux("one", "display-message", "-p", "#{pid}")),
        "agent": lambda: int(stage.tmux("one", "display-message", "-p", "#{pane_pid}")),
        "shim": lambda: stage.pid(first, "shim"),
    }[who]()
    os.kill(pid, signal.SIGKILL)
    item = stage.wait_item("interrupted")
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    one, two = stage.told("one")["sessions"]
    assert one["conversation"] == two["conversation"]
    assert [m["origin"] for m in stage.messages("one")] == ["start", "resume"]
    given = [json.loads(r["data"]) for r in stage.records(two["id"]) if r["kind"] == "turn"]
    assert not [one for one in given if BUSY in one["turn"]], "the first prompt is never sent again"
    assert stage.repo.show(stage.task("one")["head"], "a.txt") == "a"
    stage.usage_is_right("one")


def test_kill_9_of_the_daemon_changes_nothing_and_trouble_is_told(stage: MoreStage) -> None:
    stage.configure()
    spec = '[[as=one]] Go. [[write path=a.txt text="a\\n"]] [[slow=3]] [[write path=b.txt text="b\\n"]] [[say=Both.]]'
    failing = task("two", "[[as=two]] x [[err=401x9]] [[say=never]]", mode="pane")
    stage.run(task("one", spec, mode="pane"), failing, words=("--open", "2"))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]["id"]
    stage.kill_daemon()
    stage.up()
    assert stage.wait_item("review")["task"].endswith("/one")
    assert stage.repo.show(stage.task("one")["head"], "b.txt") == "b"
    assert [s["id"] for s in stage.told("one")["sessions"]] == [session]
    assert "401" in stage.wait_item("failure")["text"]
    stage.usage_is_right("one")


def test_a_stream_session_is_taken_over_and_handed_back_and_a_draft_stays(stage: MoreStage) -> None:
    stage.configure()
    stage.run(task("one", '[[as=one]] x [[write path=a.txt text="a\\n"]] [[say=Said in stream.]]'))
    stage.wait_item("review")
    screen = Screen(("attach", "one"), stage.repo.path, {})
    stage.wait(lambda: stage.told("one")["sessions"][-1]["mode"] == "pane")
    stage.wait(lambda: stage.shows("one", "Said in stream."))
    last = stage.told("one")["sessions"][-1]["id"]
    stage.wait(lambda: b'"idle"' in stage.output(last))
    screen.keys(b'[[as=one]] y [[write path=b.txt text="b"]] [[say=By hand.]]')
    stage.wait(lambda: stage.shows("one", "hand.]]"))
    stage.stretto("send", "one", '[[as=one]] z [[write path=c.txt text="c\\n"]] [[say=Back.]]')
    stage.wait(lambda: "at its terminal" in stage.task("one")["reason"])
    screen.keys(b"\r")
    worktree = Path(stage.task("one")["worktree"])
    stage.wait(lambda: (worktree / "b.txt").exists())
    stage.wait(lambda: stage.served("one") == 4)
    screen.keys(LEAVE)
    assert screen.ends() == 0
    stage.wait(lambda: (worktree / "c.txt").exists())
    stage.wait_item("review")
    told = [(s["mode"], s["generation"]) for s in stage.told("one")["sessions"]]
    assert told == [("stream", 1), ("pane", 2), ("stream", 3)]
    assert len(set(stage.conversations("one"))) == 1
    stage.usage_is_right("one")


def test_in_a_sandbox_it_has_its_login_and_its_model_and_nothing_else(stage: MoreStage) -> None:
    name = stage.kind.name
    stage.configure("skip", more='[workspace]\nsandbox = "bubblewrap"\n')
    path = stage.repo.path / "stretto.toml"
    port = stage.server.url.rpartition(":")[2]
    outside = ("XDG_", "HOME", "GIT_")
    kept = [line for line in path.read_text().splitlines() if not line.startswith(outside)]
    hosts = [f"localhost:{port}"] if name == "opencode" else []  # Gemini CLI's is named by its variable
    node = str(ROOT / ".cache")  # what its launcher names, and the node that it names
    path.write_text(
        "\n".join([*kept, "[sandbox]", f"network = {json.dumps(hosts)}", f"read = [{json.dumps(node)}]", ""])
    )
    look = (
        "ls -A ~ > seen.txt; cat ~/.local/share/opencode/auth.json ~/.gemini/oauth_creds.json > logins.txt 2> /dev/null"
    )
    (stage.repo.path / "look.sh").write_text(f"{look}; true\n")
    stage.repo.git("add", "look.sh")
    stage.repo.git("commit", "-qam", "Look")
    for each, login in LOGIN.items():
        (Path.home() / login).parent.mkdir(parents=True, exist_ok=True)
        (Path.home() / login).write_text(json.dumps({}) if each == "opencode" else f'{{"login": "of {each}"}}')
    (Path.home() / ".ssh").mkdir(exist_ok=True)
    spec = "[[as=one]] Do it. [[sh=sh look.sh]] [[commit=Look]] [[say=So.]]"
    Stage.run(stage, task("one", spec), approve="auto", words=("--agent", name))
    stage.wait_state("one", "landed")
    assert stage.repo.show("main", "logins.txt") == (Path.home() / LOGIN[name]).read_text()
    assert ".ssh" not in stage.repo.show("main", "seen.txt").split()
    stage.usage_is_right("one")
