"""Agents that would not do: missing ones and those whose vendor takes no more, with others to take their place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.core.limit_rules import PAUSES
from stretto.core.limited import moment
from stretto.core.model import Run, TurnResult
from stretto.engine.taking import record_quota
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


def test_without_another_agent_it_waits_and_tasks_of_other_vendors_go_on(spine: Spine, clock: FakeClock) -> None:
    configure(spine, '[roles.implementer]\nagent = "busy"\n[roles.tester]\nagent = "spare"\n')
    spine.run(plan(task("one"), task("other", role="tester")), approve="human")
    spine.wait(lambda: spine.state("one")[1].startswith("limited until "))
    spine.wait_item("review")
    assert "not now" in spine.state("one")[1]
    spine.folder = spine.folder / "another"  # a plan is known by its file
    spine.folder.mkdir()
    spine.run(plan(task("later"), task("free", role="tester")), approve="human", open=2)
    spine.wait(lambda: spine.state("free")[0] == "waiting")
    assert spine.state("later")[0] == "ready", "only tasks of the limited vendor wait"
    assert spine.task("later").admitted_at is None
    clock.advance(301)
    spine.engine.reconciler.nudge(None)
    spine.wait(lambda: spine.task("later").admitted_at is not None)


def used_up(spine: Spine, agent: str, seconds: float) -> str:
    """Let an agent have told that its vendor's window is used up; when that begins anew, in words."""
    with spine.engine.store.write() as tx:
        record_quota(tx, agent, "r/t", {"window": "5h", "used": 1.0, "resets_at": tx.now + seconds, "exhausted": True})
        return moment(tx.now + seconds)


def waits_again(spine: Spine, kept: int) -> bool:
    """Whether so many turns are over and what they left is kept."""
    return [m.settled for m in spine.messages("one")] == [True] * kept


def test_all_agents_that_are_limited_are_named_with_the_end_of_their_windows(spine: Spine, clock: FakeClock) -> None:
    late = '[agents.late]\ncommand = ["sh", "-c", "echo closed for today; exit 75"]\n'
    configure(spine, late + '[roles.implementer]\nagent = "busy"\nfallback = ["missing", "late"]\n')
    end = used_up(spine, "late", 7200)
    run = spine.run(plan(task("one")), approve="human")["run"]
    who = f"busy, late are limited; missing is not to be started (late until {end})"
    said = f"limited until {moment(clock.now() + 7200, clock.now())}, then late goes on: {who}"[:160]
    spine.wait(lambda: spine.state("one")[1].startswith(said))
    assert spine.call_read("status", run=run)["tasks"][0]["reason"].startswith(said)
    assert spine.call_read("explain", task="one")["reason"].startswith(said)
    for kept in range(2, len(PAUSES) + 2):
        spine.wait(partial(waits_again, spine, kept))
        clock.advance(7200)
        spine.engine.reconciler.nudge(None)
    item = spine.wait_item("failure")
    who = "busy, late are limited; missing is not to be started"
    assert item.text.splitlines()[0] == who
    assert item.text.splitlines()[1].startswith("busy: ")
    assert "/no/such/program" in item.text.splitlines()[2]
    spine.wait(lambda: spine.state("one") == ("waiting", f"failure: {who}"))
    assert spine.call_read("inbox", run=run)["inbox"][0]["text"] == item.text
    told = [[(one["agent"], one["limited"]) for one in e.data["passed"]] for e in spine.events("agent.replaced")]
    assert told == [[("busy", True)], [("missing", False)]]


def test_an_agent_that_was_passed_over_is_named_with_the_one_that_is_limited_next(spine: Spine) -> None:
    configure(
        spine,
        '[agents.late]\ncommand = ["sh", "-c", "exit 75"]\n[roles.implementer]\nagent = "spare"\nfallback = ["late"]\n',
    )
    end = used_up(spine, "spare", 1800)
    spine.run(plan(task("one")), approve="human")
    who = f"spare, late are limited (spare until {end})"
    spine.wait(lambda: spine.state("one")[1].endswith(f"then late goes on: {who}"))


def test_a_task_that_waits_for_limited_agents_names_them_with_the_end_of_their_windows(spine: Spine) -> None:
    configure(spine, '[roles.implementer]\nagent = "busy"\nfallback = ["spare"]\n')
    ends = [used_up(spine, agent, seconds) for agent, seconds in (("busy", 900), ("spare", 7200))]
    run = spine.run(plan(task("one")))["run"]
    reason = spine.call_read("status", run=run)["tasks"][0]["reason"]
    assert reason == f"busy, spare are limited (busy until {ends[0]}, spare until {ends[1]}); tried again in 900 s"
    assert spine.call_read("explain", task="one")["next"] == "it starts by itself when one of its agents is taken again"


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
    assert (refused.value.code, str(refused.value.hint).startswith("install it")) == ("agent_missing", True)


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
    assert reasons["one"] == f"other is limited until {moment(clock.now() + 900)}; tried again in 900 s"
    assert (shown["other"]["exhausted"], shown["other"]["used"], shown["spare"]["used"]) == (True, 1.0, 0.5)
    clock.advance(901)
    spine.engine.reconciler.nudge(None)
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert [e.data["agent"] for e in spine.events("agent.quota")] == ["other", "spare"]


def test_a_fallback_that_cannot_be_started_is_told_at_the_start(spine: Spine) -> None:
    configure(spine, '[roles.implementer]\nagent = "spare"\nfallback = ["missing"]\n')
    told = spine.run(plan(task("one")))
    assert any("/no/such/program" in n and "cannot take over from spare" in n for n in told["notices"])
    assert spine.wait_over() == {"one": "landed"}


def test_a_task_of_its_own_agent_has_the_fallbacks_of_its_role(spine: Spine) -> None:
    """What the task says of agent and model holds for the first of them; mode and policy stay those of the role."""
    configure(
        spine,
        '[agents.odd]\ncommand = ["sh", "-c", "exit 75"]\nmodel = "odds"\n'
        '[roles.implementer]\nagent = "spare"\nmodel = "r"\nfallback = ["missing", "spare"]\npermissions = "ask"\n',
    )
    spine.run(plan(task("one", agent="odd", model="t"), task("two")))
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert replaced(spine) == [("one", "odd", "missing"), ("one", "missing", "spare")]
    with spine.engine.store.read() as db:
        found = db.rows("SELECT agent, model FROM sessions WHERE task = ? ORDER BY generation", spine.task("one").uid)
    assert [(row["agent"], row["model"]) for row in found] == [("odd", "t"), ("spare", "r")]


def join(spine: Spine, run: str, **words: Any) -> dict[str, Any]:
    words = {"text": "Do it.\nAccept: it is done.", "run": run, "trust": True, "checkout": "leave", **words}
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **words.pop("env", {})}
    return spine.call("add", **{"env": env, "fetch": False, **words})


def test_a_task_that_joins_gets_the_agent_of_the_call_its_role_or_its_kind(spine: Spine) -> None:
    configure(
        spine,
        '[agents.slow]\ncommand = ["sh", "-c", "sleep 60"]\n'
        '[roles.implementer]\nagent = "slow"\n[roles.tester]\nagent = "spare"\nmodel = "cheap one"\n',
    )
    run = spine.run(plan(task("one"), checks="[]"), open=9)["run"]
    for title, words in {
        "by-call": {"agent": "spare"},
        "by-kind": {"kind": "test"},
        "by-role": {"role": "tester"},
        "by-both": {"kind": "test", "role": "implementer", "agent": "spare"},
    }.items():
        join(spine, run, title=title, **words)
    titles = ("by-call", "by-kind", "by-role", "by-both")
    spine.wait(lambda: all(spine.task(title).outcome for title in titles))
    assert [spine.session(title).agent for title in titles] == ["spare"] * 4
    assert [spine.session(t).model for t in ("by-call", "by-kind", "by-role")] == [None, "cheap one", "cheap one"]
    assert spine.task("by-both").role == "implementer"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ({"agent": "spar"}, "unknown_agent", "'spar'"),
        ({"agent": "missing"}, "agent_missing", "/no/such/program"),
        ({"agent": "command:sh x"}, "usage", "no other agent that is described on the command line"),
        ({"role": "a b"}, "usage", "a b"),
    ],
)
def test_who_cannot_be_had_is_told_before_the_task_joins(spine: Spine, words, code: str, says: str) -> None:
    configure(spine, '[agents.slow]\ncommand = ["sh", "-c", "sleep 60"]\n[roles.implementer]\nagent = "slow"\n')
    run = spine.run(plan(task("one")))["run"]
    with pytest.raises(StrettoError, match=says) as refused:
        join(spine, run, **words)
    assert refused.value.code == code
    assert [t.id for t in spine.tasks()] == ["one"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"approve": "human"}, "has begun with approve = auto, and --approve human"),
        ({"checkout": "update"}, "has begun with --leave-checkout, and --update-checkout"),
    ],
)
def test_what_a_run_that_has_begun_cannot_heed_is_refused(spine: Spine, words, says: str) -> None:
    configure(spine, '[agents.slow]\ncommand = ["sh", "-c", "sleep 60"]\n[roles.implementer]\nagent = "slow"\n')
    run = spine.run(plan(task("one")))["run"]
    with pytest.raises(StrettoError, match=says) as refused:
        join(spine, run, **words)
    assert (refused.value.code, refused.value.object) == ("usage", run)
    with pytest.raises(StrettoError, match=says):
        spine.run(plan(task("one"), task("two")), **words)
    assert [t.id for t in spine.tasks()] == ["one"]
    join(spine, run, title="two", approve="auto", checkout="leave")
    assert [t.id for t in spine.tasks()] == ["one", "two"], "what the run says already is no matter"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"agent": "slow"}, "has begun with spare as its agent, and --agent slow"),
        ({"agent": "command:sh x"}, "has begun with spare as its agent"),
        ({"mode": "pane"}, "has begun with the modes of its roles, and --mode pane"),
        ({"target": "other"}, "has begun with the target main, and --target other"),
        ({"base": "other"}, "has begun with the base [0-9a-f]{9}, and --base other"),
        ({"pin_base": True}, "has begun with a base that follows the target, and --pin-base cannot"),
        ({"push": True}, "has begun with landings that are not pushed, and --push cannot"),
    ],
)
def test_a_plan_that_is_running_refuses_what_it_cannot_heed(spine: Spine, words, says: str) -> None:
    configure(spine, '[agents.slow]\ncommand = ["sh", "-c", "sleep 60"]\n')
    spine.repo.git("branch", "other")
    spine.repo.commit("Later", {"later.txt": "1"})
    spine.run(plan(task("one", agent="slow")), agent="spare")
    with pytest.raises(StrettoError, match=says):
        spine.run(plan(task("one", agent="slow"), task("two")), agent=words.pop("agent", "spare"), **words)
    assert [t.id for t in spine.tasks()] == ["one"]


def test_the_call_that_began_a_run_can_be_repeated_after_its_base_has_grown(spine: Spine) -> None:
    configure(spine, '[agents.slow]\ncommand = ["sh", "-c", "sleep 60"]\n')
    words: dict[str, Any] = {"agent": "slow", "base": "main", "target": "main", "approve": "human", "mode": "stream"}
    run = spine.run(plan(task("one")), **words)["run"]
    spine.repo.commit("Later", {"later.txt": "1"})
    assert spine.run(plan(task("one"), task("two")), **words)["run"] == run
    join(spine, run, title="three", approve="human", base="main")
    assert [t.id for t in spine.tasks()] == ["one", "two", "three"]


def test_a_plan_that_is_running_opens_as_many_tasks_as_it_is_told(spine: Spine) -> None:
    configure(spine, '[agents.slow]\ncommand = ["sh", "-c", "sleep 60"]\n[roles.implementer]\nagent = "slow"\n')
    text = plan(task("one"), task("two"))
    spine.run(text, open=1)
    spine.wait(lambda: spine.task("one").admitted_at)
    assert spine.task("two").admitted_at is None
    assert "2 open at once from now on; until now 1" in spine.run(text, open=2)["notices"]
    spine.wait(lambda: spine.task("two").admitted_at)
    assert spine.events("run.changed")[-1].data["open"] == 2


def test_who_knows_of_agents_without_a_sandbox_lets_one_join(spine: Spine) -> None:
    bold = (
        '[agents.bold]\ncommand = ["true"]\npermissions = "skip"\n[agents.slow]\ncommand = ["sh", "-c", "sleep 60"]\n'
    )
    configure(spine, bold)
    run = spine.run(plan(task("one")), agent="slow")["run"]
    with pytest.raises(StrettoError, match="without asking") as refused:
        join(spine, run, title="two", agent="bold")
    assert refused.value.code == "unconfined"
    join(spine, run, title="two", agent="bold", unsandboxed=True)
    assert spine.task("two").fields["agent"] == "bold"


def test_a_task_of_a_role_that_nobody_described_joins_with_the_usual_agent(spine: Spine) -> None:
    configure(spine, "")
    run = spine.run(plan(task("one"), checks="[]"), agent="spare")["run"]
    join(spine, run, title="scouted", role="scout")
    spine.wait(lambda: spine.task("scouted").outcome)
    assert (spine.task("scouted").role, spine.session("scouted").agent) == ("scout", "spare")


def test_a_plan_that_is_changed_may_not_name_an_agent_that_is_not_there(spine: Spine) -> None:
    configure(spine, '[agents.slow]\ncommand = ["sh", "-c", "sleep 60"]\n[roles.implementer]\nagent = "slow"\n')
    spine.run(plan(task("one")))
    with pytest.raises(StrettoError) as refused:
        spine.run(plan(task("one"), task("two", agent="spar")))
    assert refused.value.code == "unknown_agent"
    assert [t.id for t in spine.tasks()] == ["one"]


def test_what_the_agent_of_a_joining_task_reads_from_the_environment_is_there(spine: Spine) -> None:
    """Each agent has variables of its own program: those of one that joins were not captured with the run."""
    program = spine.folder / "pi"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 0.87.1 && exit\necho no; exit 3\n')
    program.chmod(0o755)
    configure(spine, f'[agents.pi]\ncommand = ["{program}"]\n')
    run = spine.run(plan(task("one"), checks="[]"), agent="spare", approve="human")["run"]
    given = {"OPENAI_API_KEY": "dummy", "PI_CODING_AGENT_DIR": str(spine.folder)}
    join(spine, run, title="joined", agent="pi", env=given)
    with spine.engine.store.read() as db:
        found = db.one(Run, "id = ?", run)
    assert found is not None
    assert found.env["PI_CODING_AGENT_DIR"] == str(spine.folder)
    assert "OPENAI_API_KEY" not in found.env, "a secret is not written down"
    assert spine.engine.parts.secrets.of(found)["OPENAI_API_KEY"] == "dummy"
