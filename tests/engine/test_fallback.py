"""Agents that would not do: missing ones and those whose vendor takes no more, with others to take their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.core.model import TurnResult
from stretto.engine.pump import record_quota
from stretto.reads import read
from stretto.testing.clock import FakeClock
from tests.engine.spine import Spine, plan, running, task

#: leaves a file behind, and says that its vendor takes no more; as often as the file `again` holds lines
BUSY = '["sh", "-c", "echo half > half.txt; exit 75"]'
SPARE = '["sh", "-c", "cat \\"$STRETTO_PROMPT_FILE\\" > \\"$STRETTO_TASK.txt\\""]'
AGENTS = f"""schema = 1
[agents.busy]
command = {BUSY}
[agents.missing]
command = ["/no/such/program"]
[agents.spare]
command = {SPARE}
"""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def spine(home, make_repo, tmp_path, clock) -> Iterator[Spine]:
    repo = make_repo("repo", {"README.md": "hello\n"})
    with running(repo, tmp_path, clock) as spine:
        yield spine


def configure(spine: Spine, roles: str) -> None:
    (spine.repo.path / "stretto.toml").write_text(AGENTS + roles)
    spine.repo.git("add", "-A")
    spine.repo.git("commit", "-q", "-m", "Configure")


def replaced(spine: Spine) -> list[tuple[str, Any, Any]]:
    return [
        (str(e.task).rpartition("/")[2], e.data["instead_of"], e.data["agent"]) for e in spine.events("agent.replaced")
    ]


def test_a_limited_agent_is_replaced_and_passed_over_for_a_while(spine: Spine) -> None:
    configure(spine, '[roles.implementer]\nagent = "busy"\nfallback = ["missing", "spare"]\n')
    spine.run(plan(task("one"), task("two", needs="one")))
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    first, second = spine.messages("one")
    assert (first.result, second.result, second.origin.value) == (TurnResult.LIMITED, TurnResult.OK, "resume")
    assert "Do one in its file." in spine.repo.show("main", "one.txt"), "the other agent is told what the task is"
    assert spine.repo.show("main", "half.txt") == "half", "what the first one left is not lost"
    assert replaced(spine) == [("one", "busy", "missing"), ("one", "missing", "spare"), ("two", "busy", "spare")]
    assert len(spine.messages("two")) == 1
    assert spine.session("two").agent == "spare"


def test_without_another_agent_it_waits_and_the_person_decides(spine: Spine, clock: FakeClock) -> None:
    configure(spine, '[roles.implementer]\nagent = "busy"\n[roles.tester]\nagent = "spare"\n')
    spine.run(plan(task("one"), task("other", role="tester")), approve="human")
    spine.wait(lambda: {i.kind.value for i in spine.items()} == {"failure", "review"})
    item = next(i for i in spine.items() if i.kind.value == "failure")
    assert "not now" in item.text
    spine.folder = spine.folder / "another"  # a plan is known by its file
    spine.folder.mkdir()
    spine.run(plan(task("later"), task("free", role="tester")), approve="human", open=2)
    spine.wait(lambda: spine.state("free")[0] == "waiting")
    assert spine.state("later")[0] == "ready", "only tasks of the limited vendor wait"
    assert spine.task("later").admitted_at is None
    clock.advance(301)
    spine.engine.reconciler.nudge(None)
    spine.wait(lambda: spine.task("later").admitted_at is not None)


def test_a_missing_agent_is_told_at_the_start_and_replaced(spine: Spine) -> None:
    configure(spine, '[roles.implementer]\nagent = "missing"\nfallback = ["spare"]\n')
    told = spine.run(plan(task("one")))
    assert any("/no/such/program" in n and "spare takes its tasks" in n for n in told["notices"])
    assert spine.wait_over() == {"one": "landed"}
    assert spine.session("one").agent == "spare"


def test_no_agent_at_all_is_refused(spine: Spine) -> None:
    configure(spine, '[roles.implementer]\nagent = "missing"\nfallback = ["missing"]\n')
    with pytest.raises(StrettoError, match="no/such/program") as refused:
        spine.run(plan(task("one")))
    assert refused.value.code == "agent_missing"


def test_a_window_that_is_used_up_delays_new_starts_of_that_agents_tasks_only(spine: Spine, clock: FakeClock) -> None:
    configure(spine, '[agents.other]\ncommand = ["sh", "-c", "echo 1 > \\"$STRETTO_TASK.txt\\""]\n')
    with spine.engine.store.write() as tx:
        record_quota(tx, "other", "r/t", {"window": "5h", "used": 1.0, "resets_at": tx.now + 900, "exhausted": True})
        record_quota(tx, "spare", "r/t", {"window": "5h", "used": 0.5, "resets_at": tx.now + 900, "exhausted": False})
    spine.run(plan(task("one", agent="other"), task("two", agent="spare"), checks='["true"]'))
    spine.wait(lambda: spine.task("two").outcome)
    assert spine.task("one").admitted_at is None
    with spine.engine.store.read() as db:
        asked = {"run": spine.task("one").run, "now": clock.now()}
        shown = {one["agent"]: one for one in read("usage", db, asked)["quotas"]}
        reasons = {one["id"]: one["reason"] for one in read("status", db, asked)["tasks"]}
    assert reasons["one"] == "other is limited by the vendor; tried again in 900 s"
    assert (shown["other"]["exhausted"], shown["other"]["used"], shown["spare"]["used"]) == (True, 1.0, 0.5)
    clock.advance(901)
    spine.engine.reconciler.nudge(None)
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert [e.data["agent"] for e in spine.events("agent.quota")] == ["other", "spare"]
