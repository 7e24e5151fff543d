"""What every real agent costs, to the last digit: its own figure, else its tokens times the prices of the person.

The model server's count is the judge of the tokens; the prices are odd on purpose. A model without a price has an
unknown cost, which is never zero. (`make test-agents` for three of the agents, `make test-agents-all` for the others.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e import real_agents, turn_agents
from tests.e2e.claude_stage import task
from tests.e2e.real_agents import Kind, RealStage
from tests.e2e.turn_agents import Turns, TurnStage
from tests.support.repository import Repository

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

PATIENCE = 150.0
#: for one that would else have a model whose price somebody knows
NAMELESS = {"codex": "nobody-knows-this"}
#: what those with a table of their own take for a million tokens, in dollars
ITS_OWN = {
    "claude": {"input": "3", "output": "15", "cache_read": "0.3", "cache_write": "3.75"},
    "pi": {"input": "1", "output": "2", "cache_read": "0.1", "cache_write": "1"},
    "opencode": {"input": "1", "output": "2", "cache_read": "0.1", "cache_write": "1"},
}
#: the adapters of others tell a cost of their own, or a part of the tokens only
KINDS: dict[str, Kind] = {
    name: replace(kind, model=NAMELESS.get(name, kind.model))
    for name, kind in {**real_agents.KINDS, **turn_agents.KINDS}.items()
    if not name.endswith("-acp")
}
NAMES = [name for name in os.environ.get("STRETTO_AGENTS", "").split() if name in KINDS] or list(KINDS)
ODD = {"input": "1.3700001", "output": "11.0300007", "cache_read": "0.0910003", "cache_write": "2.0700009"}


@pytest.fixture(params=NAMES)
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    """Everything stands but the daemon. Afterwards nothing may be left."""
    kind = KINDS[request.param]
    kind.program()
    with ModelServer() as server:
        turns = isinstance(kind, Turns)
        stage = TurnStage(repo, tmp_path, server, kind=kind) if turns else RealStage(repo, tmp_path, server, kind=kind)
        yield stage
        stage.end(home)


def test_what_it_costs_is_right_to_the_last_digit(stage: RealStage) -> None:
    """Its own figure wins over any table; without one its price is unknown, until the person says it."""
    name = stage.kind.name
    if name in ITS_OWN:
        configure(stage, more=table(stage))
        one = work(stage, "one")
        assert cost(stage, one) == (priced(stage, one, ITS_OWN[name]), "agent")
        return
    configure(stage)
    one = work(stage, "one")
    told = stage.json("usage", one)
    if name != "gemini":  # whose model everybody knows
        (unknown,) = told["unpriced"]
        assert unknown in names(stage)
        assert told["total"]["cost"] is None, "unknown is not zero"
        assert "unknown" in stage.stretto("usage", one)
    configure(stage, more=table(stage))
    for uid in (one, work(stage, "two")):  # prices are those of the newest run
        assert cost(stage, uid) == (priced(stage, uid, ODD), "table")
        assert stage.json("usage", uid)["unpriced"] == []


def test_without_a_figure_of_its_own_it_is_priced_by_the_table(stage: RealStage) -> None:
    if stage.kind.name not in ("pi", "opencode"):
        return  # the others are in the test above: claude always has one, the rest never
    configure(stage, more=table(stage), free=True)
    one = work(stage, "one")
    assert cost(stage, one) == (priced(stage, one, ODD), "table")


def test_a_budget_of_money_stops_it_before_the_next_turn(stage: RealStage) -> None:
    configure(stage, more=table(stage) + "\n[limits.task]\ncost = 0.0001\n")
    stage.run(task("one", spec(stage, "one")), checks='["false"]')
    stage.wait(lambda: any(i["text"].startswith("the budget is used up") for i in stage.inbox()), PATIENCE)
    (turn,) = stage.messages("one")
    assert turn["result"] in ("ok", "interrupted"), "who tells its tokens at once is stopped in its turn"
    served = [one for known in stage.names("one") for one in stage.server.served(known) if one.outcome == "served"]
    calls = stage.kind.calls if isinstance(stage.kind, Turns) else 2
    assert 1 <= len([one for one in served if not one.side]) <= calls
    assert Decimal(stage.json("usage", "one")["total"]["cost"]["amount"]) >= Decimal("0.0001")
    (item,) = stage.inbox()
    assert (item["kind"], "USD for the task" in item["text"]) == ("budget", True)


def names(stage: RealStage) -> set[str]:
    """How the model may be called: with its provider and without."""
    return {stage.kind.model, stage.kind.model.rpartition("/")[2]}


def table(stage: RealStage) -> str:
    """The person's prices."""
    rows = "\n".join(f"{kind} = {price}" for kind, price in ODD.items())
    return "\n".join(f"[prices.{json.dumps(name)}]\n{rows}" for name in sorted(names(stage)))


def configure(stage: RealStage, more: str = "", *, free: bool = False) -> None:
    """Lead the agent to the server. `free`: its own table says that everything costs nothing."""
    env: dict[str, Any] = {}
    if free and stage.kind.name == "opencode":
        own = stage.kind.environment(stage.folder / "agent-home", stage.server.url)
        config = json.loads(own["OPENCODE_CONFIG_CONTENT"])
        del config["provider"]["mock"]["models"]["mock-model"]["cost"]
        env["OPENCODE_CONFIG_CONTENT"] = json.dumps(config)
    stage.configure(more=more, **env)
    if free and stage.kind.name == "pi":
        path = stage.folder / "agent-home" / "pi" / "models.json"
        models = json.loads(path.read_text())
        models["providers"]["mock"]["models"][0]["cost"] = dict.fromkeys(
            ("input", "output", "cacheRead", "cacheWrite"), 0
        )
        path.write_text(json.dumps(models))


def spec(stage: RealStage, id: str) -> str:
    """What makes it write a file, whose name is its task's."""
    kind = stage.kind
    edit = kind.edit(f"{id}.txt", id) if isinstance(kind, Turns) else f'[[write path={id}.txt text="{id}\\n"]]'
    return f"[[as={id}]] x {edit}" + ("" if isinstance(kind, Turns) else " [[say=Fine.]]")


def work(stage: RealStage, id: str) -> str:
    """A run of one task, up to its review, with a plan of its own; the uid of the task."""
    path = stage.plan(task(id, spec(stage, id))).rename(stage.folder / f"{id}.md")
    words = ("--unsandboxed",) if stage.kind.free == "skip" else ()
    own = ("--agent", stage.kind.name, "--approve", "human", "--leave-checkout", "--no-fetch", "--trust")
    uid = f"{stage.json('run', str(path), *own, *words)['run']}/{id}"
    stage.wait(lambda: any(i["task"] == uid and i["kind"] == "review" for i in stage.inbox()), PATIENCE)
    return uid


def cost(stage: RealStage, uid: str) -> tuple[Decimal, str]:
    """What `usage --json` says of a task: the amount and whose it is."""
    told = stage.json("usage", uid)["total"]["cost"]
    assert told["currency"] == "USD"
    return Decimal(told["amount"]), told["source"]


def priced(stage: RealStage, uid: str, prices: dict[str, str]) -> Decimal:
    """The server's count, or what of it the agent can tell apart, times these prices."""
    known = {uid.rpartition("/")[2], *(str(one["conversation"]) for one in stage.told(uid)["sessions"])}
    if stage.kind.forgets:
        known.add("")
    parts = [stage.server.usage(name) for name in known]
    used = {kind: sum(getattr(part, kind) for part in parts) for kind in prices}
    if isinstance(stage.kind, Turns) and not stage.kind.details:
        used["input"] += used.pop("cache_read")
    assert used["input"] > 0
    return sum((count * Decimal(prices[kind]) for kind, count in used.items()), Decimal(0)) / 1_000_000
