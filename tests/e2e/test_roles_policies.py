"""The policy and the mode of a role, with the real programs: what they are for one role is another for the next.

What is denied never happens in the repository, what is allowed needs nobody, what is asked is in the inbox, and all of
it for one and the same agent, whose own policy would say otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import Stage, task
from tests.e2e.real_agents import KINDS, RealStage
from tests.e2e.test_claude_pane import seed
from tests.support.repository import Repository

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

RULES = """
[roles.implementer]
permissions = "allow Bash(touch *), Bash(git *); deny Bash(touch no*)"
[roles.tester]
permissions = "{asking}"
"""
CONFINED = """
[workspace]
sandbox = "bubblewrap"
[sandbox]
network = ["localhost:{port}"]
[roles.implementer]
permissions = "skip"
"""


@pytest.fixture(params=["claude", "codex", "pi"])
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    """Everything stands but the daemon. Afterwards nothing may be left."""
    kind = KINDS[request.param]
    kind.program()
    with ModelServer() as server:
        stage = RealStage(repo, tmp_path, server, kind=kind)
        yield stage
        stage.end(home)


def run(stage: RealStage, *tasks: str) -> None:
    Stage.run(stage, *tasks, words=("--agent", stage.kind.name, "--open", "2"))


def made(stage: RealStage, id: str) -> set[str]:
    """The files that a task has committed."""
    return set(stage.repo.files(stage.task(id)["head"])) - {"README.md", "stretto.toml"}


def test_each_role_allows_denies_and_asks_as_it_says(stage: RealStage) -> None:
    """The agent's own policy, to ask for everything, holds for neither of them."""
    asking = stage.kind.asking
    stage.configure(permissions="deny Bash", more=RULES.format(asking=asking), **stage.kind.asking_env)
    run(
        stage,
        task("one", "[[as=one]] x [[sh=touch yes]] [[sh=touch no]] [[say=done]]"),
        task("two", f"[[as=two]] x {stage.kind.asked_for.format('touch asked')} [[say=done]]", kind="test"),
    )
    item = stage.wait_item("permission")
    assert item["task"].endswith("/two")
    assert "touch asked" in item["text"]
    assert not (Path(stage.task("two")["worktree"]) / "asked").exists(), "not before the answer"
    stage.stretto("answer", item["id"], "allow")
    stage.wait(lambda: [i["kind"] for i in stage.inbox()] == ["review", "review"])
    assert (made(stage, "one"), made(stage, "two")) == ({"yes"}, {"asked"})
    assert [e["task"].rpartition("/")[2] for e in stage.events("item.opened") if e["data"]["kind"] != "review"] == [
        "two"
    ]
    stage.usage_is_right("one")


@pytest.mark.parametrize("stage", ["claude"], indirect=True)
def test_a_role_that_skips_is_asked_nothing_in_its_sandbox_and_leaves_nothing_outside(stage: RealStage) -> None:
    outside = Path.home() / "outside.txt"
    stage.configure(permissions="ask", more=CONFINED.format(port=stage.server.url.rpartition(":")[2]))
    spec = f"[[as=one]] x [[sh=echo 1 > inside.txt]] [[sh=echo 1 > {outside}]] [[say=done]]"
    run(stage, task("one", spec))
    stage.wait_item("review")
    assert made(stage, "one") == {"inside.txt"}
    assert not outside.exists()
    assert [e["data"]["kind"] for e in stage.events("item.opened")] == ["review"]


def test_one_role_works_in_a_pane_and_the_other_in_a_stream(home: Path, repo: Repository, tmp_path: Path) -> None:
    for name in ("claude", "pi"):
        KINDS[name].program()
    with ModelServer() as server:
        stage = Stage(repo, tmp_path, server)
        seed(stage)
        pi = KINDS["pi"]
        own = pi.environment(tmp_path / "agent-home" / "pi", server.url)
        agent = f"[agents.pi]\ncommand = {json.dumps([str(pi.program())])}\n[agents.pi.env]\n"
        agent += "".join(f"{key} = {json.dumps(value)}\n" for key, value in own.items())
        roles = '[roles.implementer]\nagent = "claude"\nmode = "pane"\n[roles.tester]\nagent = "pi"\nmode = "stream"\n'
        stage.configure(more=f'{agent}{roles}model = "{pi.model}"\npermissions = "{pi.free}"\n')
        edit = '[[as={0}]] x [[write path={0}.txt text="{0}\\n"]] [[say=done]]'
        stage.run(task("one", edit.format("one")), task("two", edit.format("two"), kind="test"), words=("--open", "2"))
        stage.wait(lambda: [i["kind"] for i in stage.inbox()] == ["review", "review"])
        found = {id: [(s["agent"], s["mode"]) for s in stage.told(id)["sessions"]] for id in ("one", "two")}
        assert found == {"one": [("claude", "pane")], "two": [("pi", "stream")]}
        panes = {path.parent.name for path in stage.home.sessions.glob("*/pane.json")}
        assert panes == {stage.told("one")["sessions"][0]["id"]}, "one of them has a terminal"
        for id in ("one", "two"):
            assert stage.repo.show(stage.task(id)["head"], f"{id}.txt") == id
        stage.end(home)
