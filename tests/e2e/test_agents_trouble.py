"""What every real agent makes of its vendor's errors, and that stretto tells it as it is (`make test-agents-all`).

What one survives leaves no trace but the work; what it does not survive is put before the person in its words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e import real_agents, turn_agents
from tests.e2e.claude_stage import task
from tests.e2e.real_agents import Kind, RealStage
from tests.e2e.turn_agents import Turns, TurnStage
from tests.support.repository import Repository

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

#: some wait half a minute before they try again
PATIENCE = 300.0
KINDS = {**real_agents.KINDS, **turn_agents.KINDS}
NAMES = [name for name in os.environ.get("STRETTO_AGENTS", "").split() if name in KINDS] or list(KINDS)


@pytest.fixture(params=NAMES)
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    """Everything stands but the daemon. Afterwards nothing may be left."""
    kind = KINDS[request.param]
    kind.program()
    with ModelServer() as server:
        stage = (
            TurnStage(repo, tmp_path, server, kind=kind)
            if isinstance(kind, Turns)
            else RealStage(repo, tmp_path, server, kind=kind)
        )
        stage.configure()
        yield stage
        stage.end(home)


def test_errors_that_pass_leave_no_trace(stage: RealStage) -> None:
    """Each kind of them once in one turn: the work is done, nobody is asked anything, and every token is counted."""
    kind = stage.kind
    tools = not isinstance(kind, Turns) or kind.calls > 1  # a command that is repeated is taken for a loop
    steps = "".join(f"[[{one}]] {f'[[sh=echo {n}]] ' if tools else ''}" for n, one in enumerate(kind.passes))
    stage.run(task("one", f"[[as=one]] x {steps}{edit(kind)}"))
    assert ended(stage, "one") == ("ok", "review", "1 file, +1 -0: Do one")
    assert stage.repo.show(stage.task("one")["head"], "b.txt") == "b"
    assert len(stage.messages("one")) == len(stage.told("one")["sessions"]) == 1
    met = [one for name in stage.names("one") for one in stage.server.served(name) if not one.side]
    assert len([one for one in met if one.outcome in ("refused", "torn")]) == len(kind.passes), "it met each of them"
    stage.usage_is_right("one")


def test_errors_that_stay_are_told_as_they_are(stage: RealStage) -> None:
    """A full context and all that ends its turn, in its vendor's words; a vendor that takes no more is told as that."""
    kind = stage.kind
    stays = {"full": "overflow=9", **{f"broken-{n}": fault for n, fault in enumerate(kind.breaks)}}
    stays |= {"late": "err=429x99"} if kind.gives_up else {}  # the last one: its vendor gets nothing new then
    stage.run(
        *(task(id, f"[[as={id}]] x [[{fault}]] {edit(kind)}") for id, fault in stays.items()), words=("--open", "3")
    )
    told = {}
    for id in stays:
        told[id] = ended(stage, id)
    result, item, text = told.pop("full")
    assert (result, item) == ("failed", "failure") if kind.overflows else result == "ok"
    assert not kind.overflows or kind.full in text.lower()
    assert {result for id, (result, _, _) in told.items() if "429" in stays[id]} <= {"limited"}
    assert {result for id, (result, _, _) in told.items() if "429" not in stays[id]} <= {"failed"}
    assert all(item == ("limited" if result == "limited" else "failure") for result, item, _ in told.values())
    assert {stage.counted(id)["output"] for id in told} <= {0}


def edit(kind: Kind) -> str:
    """What makes it write a file at last."""
    return kind.edit("b.txt", "b") if isinstance(kind, Turns) else '[[write path=b.txt text="b\\n"]] [[say=Fine.]]'


def ended(stage: RealStage, id: str) -> tuple[str, str, str]:
    """How the first turn of a task ended, and what the person is told of it."""

    def look() -> tuple[str, str] | None:
        reason = stage.task(id)["reason"]
        if reason.startswith("limited until "):
            return "limited", reason
        return next(((i["kind"], i["text"]) for i in stage.inbox() if i["task"].endswith(f"/{id}")), None)

    kind, text = stage.wait(look, PATIENCE)
    return stage.messages(id)[0]["result"], kind, text
