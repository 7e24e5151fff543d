"""Status from evidence, end to end in the engine, and what recorded conversations of the real programs are believed."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stretto import agents
from stretto.core.evidence import Sign, Source, What, believe, kept, to_plain
from stretto.core.model import SessionStatus, TurnResult
from stretto.engine import believing
from stretto.interfaces import Signal
from stretto.reads.explain import explain
from stretto.reads.status import status
from stretto.testing.agents import FakeAgent
from stretto.testing.shims import FakeShims
from tests.engine.spine import plan, task
from tests.engine.test_handshake import Player, engine, nudge, tell
from tests.support import rows

GOLDEN = Path(__file__).parent.parent / "agents" / "golden"
EXPECTED = {
    "claude": {
        "edit": "done working permission working permission working done working done",
        "interrupt": "done working permission working interrupted working interrupted",
        "questions": "done working asking working done working asking working done",
        "sub_agent": "done working done",
        "trouble": "done working done working error working overflow working done working done",
    },
    "codex": {
        "edit": "starting done working permission working permission working permission working done working done",
        "interrupt": "starting done working permission interrupted working interrupted",
        "questions": "starting done working asking working done working asking working done",
        "trouble": "starting done working done working error working overflow working done working done",
    },
    "pi": {
        "edit": "starting done working permission working permission working done working done",
        "interrupt": "starting done working permission interrupted working permission interrupted",
        "questions": "starting done working asking working done working asking working done",
        "trouble": "starting done working done working error working overflow working done error working done",
    },
}
RECORDED = [(agent, name) for agent, names in EXPECTED.items() for name in names]


def replayed(agent: str, name: str) -> list[Sign]:
    """The signs in what a real program wrote, a tenth of a second apart."""
    adapter, state = agents.find(agent), {"handshake": True}
    signals = [
        s for line in (GOLDEN / agent / f"{name}.jsonl").read_bytes().splitlines() for s in adapter.parse(line, state)
    ]
    found = [believing.of_signal(signal, 1, 1000 + n / 10) for n, signal in enumerate(signals)]
    return [sign for sign in found if sign is not None]


@pytest.mark.parametrize(("agent", "name"), RECORDED)
def test_recorded_conversations_of_real_programs_are_believed_as_they_went(agent: str, name: str) -> None:
    signs: tuple[Sign, ...] = ()
    told: list[str] = []
    for sign in replayed(agent, name):
        signs = kept([*signs, sign], 1)
        now = believe(signs, sign.at, generation=1).status.value
        told += [now] if told[-1:] != [now] else []
    assert " ".join(told) == EXPECTED[agent][name]


@pytest.mark.parametrize("exit", [{"code": 0}, {"code": 1}, {"code": None, "signal": 9}])
@pytest.mark.parametrize(("agent", "name"), [one for one in RECORDED if one[1] in ("interrupt", "trouble")])
def test_no_exit_code_makes_work_done(agent: str, name: str, exit: dict[str, Any]) -> None:
    """Wherever a recorded conversation is cut off by an exit: in the middle it is a crash, else as its turn ended."""
    signs = replayed(agent, name)
    what, text = believing.of_exit(exit)
    for length in range(1, len(signs) + 1):
        seen = signs[:length]
        at = seen[-1].at
        before = believe(seen, at, generation=1).status.value
        end = Sign(what, Source.PROCESS, at + 0.1, 1, text)
        after = believe([*seen, end], at + 0.2, generation=1)
        assert after.over
        if before in ("starting", "working", "permission", "asking"):
            assert after.status.value == "crashed"
        elif before == "done":
            assert after.status.value == ("quit" if exit == {"code": 0} else "crashed")
        else:
            assert after.status.value == before


def test_a_wait_for_the_vendor_has_an_end_and_other_retries_are_work() -> None:
    limited = believing.of_signal(Signal("retry", {"reason": "rate limit (429)", "delay_s": 30.0}), 2, 100.0)
    assert limited == Sign(What.LIMITED, Source.PROTOCOL, 100.0, 2, "tries again in 30 s: rate limit (429)", 130.0)
    busy = believing.of_signal(Signal("retry", {"reason": "overloaded (529)", "delay_s": 1.0}), 2, 100.0)
    assert busy is not None
    assert busy.what is What.WORKING


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"source": "process", "what": "fell"},
        {"source": "gossip", "what": "done"},
        {"source": "hook", "what": "dancing"},
        {"source": "hook", "what": "done", "at": "noon"},
    ],
)
def test_nobody_claims_what_makes_no_sense(data: dict[str, Any]) -> None:
    assert believing.of_signal(Signal("sign", data), 1, 5.0) is None


def test_what_a_failure_says_of_the_context() -> None:
    assert believing.of_result(TurnResult.FAILED, "prompt_too_long: 210000 tokens > 200000") is What.OVERFLOW
    assert believing.of_result(TurnResult.FAILED, "api_error: 500") is What.ERROR


# ---------------------------------------------------------------- in the engine


@pytest.fixture
def player() -> Player:
    return Player()


@pytest.fixture
def shims(player: Player) -> FakeShims:
    return FakeShims(player)


def line(type: str, **data: Any) -> bytes:
    return FakeAgent.line(type, **data)


def test_explain_and_status_show_what_is_believed_and_why(home, make_repo, tmp_path, player, shims) -> None:
    repo = make_repo("repo", {"README.md": "hello\n"})
    asked = {"kind": "permission", "request": "r", "text": "Bash: ls", "options": [["allow", "Allow"]]}
    player.turn = lambda s: tell(s, line("turn_started"), line("asked", **asked, questions=[], tool="Bash", input={}))
    with engine(repo, tmp_path, shims) as spine:
        spine.run(plan(task("one")), approve="human")
        spine.wait_item("permission")
        session = spine.session("one")
        assert (session.status, session.belief["status"]) == (SessionStatus.WAITING, "permission")
        with spine.engine.store.read() as db:
            told = status(db, {"live": True, "run": session.task.partition("/")[0]})["tasks"][0]["session"]
            evidence = explain(db, {"live": True, "task": session.task})["evidence"]
        assert (told["status"], told["belief"]["status"]) == ("waiting", "permission")
        assert told["evidence"] == ["protocol says permission: Bash: ls (believed)"]
        rows = [(row["signal"], row["value"]) for row in evidence]
        assert ("session", "waiting: it asks for permission (protocol: Bash: ls)") in rows
        assert ("session: protocol", "permission: Bash: ls (believed)") in rows
        assert all(row["age_s"] >= 0 for row in evidence if row["signal"].startswith("session"))
        # a title that says the opposite a moment later changes nothing
        tell(player.sessions[0], line("sign", source="title", what="working", text="spins"))
        spine.wait(lambda: any(sign[0] == "working" for sign in spine.session("one").signs))
        assert spine.session("one").status is SessionStatus.WAITING
        # what an earlier process says late changes nothing
        cursor = spine.session("one").cursor
        tell(player.sessions[0], line("sign", source="hook", what="quit", generation=99))
        spine.wait(lambda: spine.session("one").cursor > cursor)
        assert not any(sign[0] == "quit" for sign in spine.session("one").signs)
        assert spine.session("one").belief["status"] == "permission"
        spine.cancel_open()


def test_an_agent_that_leaves_in_the_middle_has_crashed_whatever_its_exit_code(
    home, make_repo, tmp_path, player, shims
) -> None:
    repo = make_repo("repo", {"README.md": "hello\n"})

    def leaves(session: Any) -> None:
        tell(session, line("turn_started"), line("text", text="almost done"))
        session.leave(0)
        nudge(session)

    player.turn = leaves
    with engine(repo, tmp_path, shims) as spine:
        spine.run(plan(task("one")), approve="human")
        spine.wait_item("failure")
        session = spine.session("one")
        assert session.status is SessionStatus.EXITED
        assert session.belief["status"] == "crashed"
        assert "in the middle of its work" in session.belief["reason"]
        spine.cancel_open()


def asking_for_leave(session: Any) -> None:
    asked = {"kind": "permission", "request": "r", "text": "Bash: ls", "options": [["allow", "Allow"]]}
    tell(session, line("turn_started"), line("asked", **asked, questions=[], tool="Bash", input={}))


def seen(spine: Any) -> tuple[str, str, str]:
    """State and reason of the only task and the status of its session, as a face is told them."""
    (told,) = spine.call_read("status", run=spine.task("one").run)["tasks"]
    return told["state"], told["reason"], told["session"]["status"]


@pytest.mark.parametrize("recorded", [True, False], ids=["its agent ended", "its shim died"])
def test_a_daemon_that_comes_back_never_says_that_the_dead_wait_for_a_permission(
    home, make_repo, tmp_path, player, shims, monkeypatch, recorded
) -> None:
    """Asked first thing after its start, while all that is to be done for a dead session is still to be done."""
    repo = make_repo("repo", {"README.md": "hello\n"})
    player.turn = asking_for_leave
    with engine(repo, tmp_path, shims) as spine:
        spine.run(plan(task("one")), approve="human")
        spine.wait_item("permission")
        spine.wait(lambda: spine.state("one")[0] == "waiting")
    (session,) = player.sessions
    session.leave(None, 9) if recorded else session.die()
    go = threading.Event()
    end = shims.end
    monkeypatch.setattr(shims, "end", lambda folder, timeout: go.wait(60) and end(folder, timeout))
    monkeypatch.setattr("stretto.engine.engine.CATCH_UP", 60.0)  # on a machine that does a hundred other things
    with engine(repo, tmp_path, shims) as spine:
        dead = ("active", "its session died; keeping its work", "exited")
        if not recorded:  # that is for the reconciler to see
            spine.wait(lambda: seen(spine) == dead)
        assert seen(spine) == dead
        assert spine.items() == []
        go.set()
        spine.wait(lambda: [i.kind.value for i in spine.items()] in (["interrupted"], ["failure"]))
        spine.cancel_open()


def test_the_end_of_an_agent_is_told_though_its_shim_is_still_there(
    home, make_repo, tmp_path, player, shims, monkeypatch
) -> None:
    """A shim records the end of its agent, says so and goes: who looks in between looks only once."""
    repo = make_repo("repo", {"README.md": "hello\n"})
    player.turn = asking_for_leave
    monkeypatch.setattr("stretto.engine.reconcile.BACKSTOP", 1e6)
    with engine(repo, tmp_path, shims) as spine:
        spine.run(plan(task("one")), approve="human")
        spine.wait_item("permission")
        (session,) = player.sessions
        session.leave(None, 9)
        session.alive = True
        nudge(session)
        spine.wait_item("interrupted")
        spine.cancel_open()


class Jumping:
    """A clock whose wall time can jump while the time of being awake does not: a lid that was closed."""

    def __init__(self, real: Any) -> None:
        self._real, self.slept = real, 0.0

    def now(self) -> float:
        return float(self._real.now()) + self.slept

    def monotonic(self) -> float:
        return float(self._real.monotonic())


def test_a_suspended_machine_stalls_nobody(home, make_repo, tmp_path, player, shims) -> None:
    repo = make_repo("repo", {"README.md": "hello\n"})
    player.turn = lambda s: tell(s, line("turn_started"), line("text", text="thinks"))
    with engine(repo, tmp_path, shims) as spine:
        clock = Jumping(spine.engine.parts.clock)
        spine.engine.parts.clock = clock
        spine.run(plan(task("one")), approve="human")
        spine.wait(lambda: spine.engine._silence._seen)
        clock.slept = 9 * 3600.0
        for _ in range(3):
            spine.engine._silence.look()
        assert spine.session("one").status is SessionStatus.WORKING
        assert not spine.items()
        spine.cancel_open()


def test_time_alone_is_noticed_where_several_sources_compete() -> None:
    working, idle = Sign(What.WORKING, Source.HOOK, 100.0, 1), Sign(What.DONE, Source.FILE, 102.0, 1)
    session = replace(
        rows.session(), generation=1, signs=tuple(to_plain([working, idle])), status=SessionStatus.WORKING
    )
    session = replace(session, belief=believing.plain(believe([working, idle], 103.0, generation=1)))
    assert session.belief["status"] == "working", "the hook was heard a moment ago"
    assert not believing.outdated(session, 104.0)
    assert believing.outdated(session, 106.0), "the hook had its chance: the session file counts"
    assert not believing.outdated(replace(session, status=SessionStatus.STALLED), 106.0)
    assert not believing.outdated(replace(session, signs=tuple(to_plain([working]))), 106.0)
