"""Roles with the real programs: claude implements, codex resolves, pi researches, each with the model that is named.

The model server is the judge: it knows which model each request was for, and what it cost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import FREE, Stage, task
from tests.e2e.real_agents import KINDS
from tests.support import codex, pi
from tests.support.repository import Repository

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

#: what pi calls its model, once its provider is chosen
MOCK = pi.MODEL.partition("/")[2]
SONNET, HAIKU = "claude-sonnet-4-5", "claude-haiku-4-5"
ROLES = f"""
[roles.implementer]
agent = "claude"
model = "{SONNET}"
permissions = "{FREE}"
[roles.researcher]
agent = "pi"
model = "{pi.MODEL}"
permissions = "{FREE}"
[roles.resolver]
agent = "codex"
model = "{codex.MODEL}"
permissions = "skip"
"""
#: resolves the conflict however often it is asked to
RESOLVE = "git merge -q main; echo both > shared.txt; git add -A; git commit -q --no-edit; true\n"


@pytest.fixture
def stage(home: Path, repo: Repository, tmp_path: Path) -> Iterator[Stage]:
    with ModelServer() as server:
        stage = Stage(repo, tmp_path, server)
        yield stage
        stage.end(home)


def configure(stage: Stage) -> None:
    text = "schema = 1\n"
    for name in ("claude", "codex", "pi"):
        kind, url = KINDS[name], stage.server.url
        text += f"[agents.{name}]\ncommand = {json.dumps([str(kind.program())])}\n"
        text += f"args = {json.dumps(list(kind.arguments(url)))}\n[agents.{name}.env]\n"
        own = kind.environment(stage.folder / "agent-home" / name, url)
        text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in own.items())
    stage.repo.commit("Configure", {"stretto.toml": text + ROLES, "resolve.sh": RESOLVE})


def side(id: str) -> str:
    return f'[[as={id}]] Do it. [[on=start write path=shared.txt text="{id}\\n"]] [[on=conflict sh=sh resolve.sh]]'


def review(stage: Stage, id: str) -> str:
    """The item in which a task waits for consent, once it is there."""

    def look() -> str | None:
        items = (i for i in stage.inbox() if i["kind"] == "review" and i["task"].endswith(f"/{id}"))
        return next((str(item["id"]) for item in items), None)

    return str(stage.wait(look))


def test_each_role_reaches_its_program_with_its_model(stage: Stage) -> None:
    configure(stage)
    study = "[[as=study]] Look. [[sh=cat README.md]] [[say=All is well.]]"
    stage.run(
        task("one", side("one")),
        task("two", side("two") + f"\n- model: {HAIKU}"),
        task("study", study + "\n- kind: research"),
        words=("--open", "3", "--unsandboxed"),
    )
    for id in ("one", "two", "study"):
        review(stage, id)
    stage.stretto("answer", review(stage, "study"), "accept")
    stage.stretto("approve", "one")
    stage.wait_state("one", "landed")
    stage.stretto("approve", "two")
    stage.wait(lambda: [m for m in stage.messages("two") if m["origin"] == "conflict" and m["result"] == "ok"])
    review(stage, "two")
    stage.stretto("approve", "two")
    stage.wait_state("two", "landed")
    assert stage.repo.show("main", "shared.txt") == "both"
    found = [(s["role"], s["agent"], s["model"]) for id in ("one", "two", "study") for s in stage.told(id)["sessions"]]
    assert found == [
        ("implementer", "claude", SONNET),
        ("implementer", "claude", HAIKU),
        ("resolver", "codex", codex.MODEL),
        ("researcher", "pi", MOCK),
    ]
    served = [one for one in stage.server.served() if not one.side and one.outcome == "served"]
    models = {one.model for one in served}
    assert models == {SONNET, HAIKU, codex.MODEL, MOCK}
    by = stage.json("usage", "--by", "role")["by"]
    for role, model in (("resolver", codex.MODEL), ("researcher", MOCK)):
        assert by[role]["input"] == sum(one.usage.input for one in served if one.model == model) > 0
