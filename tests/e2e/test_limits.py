"""A vendor that takes no more, with the real programs: the task waits until the time that it told, and goes on then.

The clock of the daemon is moved, not waited for; the model server says when its window ends, as each vendor does.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto.core.limited import moment
from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import task
from tests.e2e.real_agents import KINDS, RealStage
from tests.support.repository import Repository

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

#: a window that is far away for a machine that is busy, and near enough for a file of the clock
AWAY = 3 * 3600
SPEC = (
    '[[as=one]] x [[on=start err=429x99]] [[on=start say=no]] [[on=resume write path=b.txt text="b\\n"]] [[say=Fine.]]'
)


@pytest.fixture(params=["claude", "codex", "pi"])
def stage(
    request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RealStage]:
    """Everything stands but the daemon, whose clock is told by a file. Afterwards nothing may be left."""
    kind = KINDS[request.param]
    kind.program()
    monkeypatch.setenv("STRETTO_TESTING", "1")
    monkeypatch.setenv("STRETTO_TEST_CLOCK", str(tmp_path / "clock"))
    (tmp_path / "clock").write_text("0")
    with ModelServer() as server:
        server.resets = time.time() + AWAY
        stage = RealStage(repo, tmp_path, server, kind=kind)
        own: dict[str, Any] = (
            {"ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "dummy"} if kind.name == "claude" else {}
        )
        stage.configure(**own)  # windows are those of a subscription
        if kind.name == "pi":  # which would try for a quarter of a minute
            settings = tmp_path / "agent-home" / "pi" / "settings.json"
            settings.write_text(json.dumps({"retry": {"enabled": False}}))
        yield stage
        stage.end(home)


def test_it_waits_for_the_time_that_the_vendor_told_and_goes_on_in_its_conversation(stage: RealStage) -> None:
    resets = stage.server.resets
    assert resets is not None
    began = time.time()
    stage.run(task("one", SPEC))
    stage.wait(lambda: stage.task("one")["reason"].startswith("limited until "))
    (ended,) = stage.events("turn.ended")
    until = ended["data"]["until"]
    # some say in how long it is over, and that takes a moment
    assert int(resets) <= until <= math.ceil(resets) + 1 + (time.time() - began), stage.story()
    assert stage.task("one")["reason"].startswith(
        f"limited until {moment(until, began)}, then {stage.kind.name} goes on: "
    )
    assert stage.inbox() == []
    stage.kill_daemon()
    (stage.folder / "clock").write_text(str(AWAY + 120))
    stage.up()
    stage.wait_item("review")
    assert stage.repo.show(stage.task("one")["head"], "b.txt") == "b"
    (session,) = stage.told("one")["sessions"]
    first, second = stage.prompts(session["id"])
    assert SPEC in first
    assert SPEC not in second, "the conversation goes on: the task is not told again"
    assert [(m["origin"], m["result"]) for m in stage.messages("one")] == [("start", "limited"), ("resume", "ok")]
    stage.usage_is_right("one")
