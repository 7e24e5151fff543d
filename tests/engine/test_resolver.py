"""A conflict that another agent resolves: handed over, given back, with whatever goes wrong in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stretto.core.model import Session, TurnResult
from tests.engine.spine import Spine, plan, running, task, turns, write

MERGE = {"merge": {"resolve": {"a.txt": "both\n"}}}
SPENT = {"usage": {"input": 700, "output": 7}}


@pytest.fixture
def spine(home, make_repo, tmp_path) -> Iterator[Spine]:
    with running(make_repo("repo", {"README.md": "hello\n"}), tmp_path) as spine:
        yield spine


def configure(spine: Spine, resolver: str, *answer: dict[str, Any], more: str = "") -> None:
    """Two agents that play: `writer` makes a conflict in task two and cannot resolve it, `solver` gives this answer."""
    repair = {"when": {"origin": "check"}, "steps": [{"delete": "bad.txt"}, {"usage": {"input": 30, "output": 3}}]}
    waits = {"run": ["sh", "-c", f"while [ ! -e {spine.folder / 'go'} ]; do sleep 0.05; done"]}
    scripts = {
        "writer": {
            "one": turns([write("a.txt", "first\n")]),
            "two": turns([waits, write("a.txt", "second\n")], repair),
        },
        "solver": {"two": {"turns": list(answer)}},
    }
    text = "schema = 1\n"
    for name, script in scripts.items():
        path = spine.folder / f"{name}.json"
        path.write_text(json.dumps({"tasks": script}))
        text += f'[agents.{name}]\ntype = "scripted"\ncommand = ["{path}"]\nmodel = "{name}s"\n'
    text += f'[roles.implementer]\nagent = "writer"\n{resolver}{more}'
    spine.repo.commit("Configure", {"stretto.toml": text})


def start(spine: Spine, checks: str = '["true"]', **words: Any) -> None:
    """Run both; the second one writes once the first one has landed."""
    spine.run(plan(task("one"), task("two"), checks=checks), open=2, **words)
    spine.wait(lambda: spine.task("one").landed)
    spine.wait(lambda: spine.task("two").workspace)
    (spine.folder / "go").touch()


def sessions(spine: Spine, id: str) -> list[Session]:
    with spine.engine.store.read() as db:
        return db.select(Session, "task = ? ORDER BY generation", spine.task(id).uid)


def who(spine: Spine, id: str) -> list[tuple[str, str, str | None]]:
    return [(s.role, s.agent, s.model) for s in sessions(spine, id)]


SOLVER = '[roles.resolver]\nagent = "solver"\n'
SOLVES = {"when": {"origin": "conflict"}, "steps": [MERGE, SPENT]}


def test_the_resolver_resolves_and_the_repair_is_its_own_agents(spine: Spine) -> None:
    """Its merge is committed and counted as its own; what a check finds in it goes back to the first conversation."""
    bad = write("bad.txt", "x")
    configure(spine, SOLVER, {"when": {"origin": "conflict"}, "steps": [MERGE, bad, SPENT]})
    start(spine, '["test ! -e bad.txt"]')
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert spine.repo.show("main", "a.txt") == "both"
    first, solver, last = sessions(spine, "two")
    own = ("implementer", "writer", "writers")
    assert who(spine, "two") == [own, ("resolver", "solver", "solvers"), own]
    assert (first.generation, solver.generation, last.generation) == (1, 2, 3)
    assert (first.end_reason, solver.end_reason) == ("handed over", "handed over")
    told = {m.origin.value: m for m in spine.messages("two")}
    assert [told[name].session for name in ("start", "conflict", "check")] == [first.id, solver.id, last.id]
    asked = told["conflict"].text
    assert "another agent, writer" in asked
    assert "Do two in its file." in asked.partition("What you were asked")[2], "it is told what the task is"
    by = spine.call_read("usage", by="role", run=spine.task("two").run)["by"]
    assert {role: part["input"] for role, part in by.items()} == {"resolver": 700, "implementer": 30}
    wrote = spine.repo.git("log", "--format=%(trailers:key=Stretto-Agent,valueonly)", str(spine.task("two").head))
    assert {line for line in wrote.split() if line} == {"solver/solvers", "writer/writers"}
    assert [e.data["role"] for e in spine.events("session.started") if e.task == spine.task("two").uid] == [
        *("implementer", "resolver", "implementer")
    ]


def test_explain_and_status_say_who_resolves(spine: Spine) -> None:
    hold = {"run": ["sh", "-c", f"while [ ! -e {spine.folder / 'end'} ]; do sleep 0.05; done"]}
    configure(spine, SOLVER, {"when": {"origin": "conflict"}, "steps": [hold, MERGE]})
    start(spine)
    spine.wait(lambda: "solver, its resolver, resolves a conflict" in spine.state("two")[1])
    spine.wait(lambda: who(spine, "two")[-1][0] == "resolver")
    run = spine.task("two").run
    found = {one["signal"]: one["value"] for one in spine.call_read("explain", task="two", run=run)["evidence"]}
    assert found["agent"] == "solver (solvers), resolver"
    (shown,) = (t for t in spine.call_read("status", run=run)["tasks"] if t["id"] == "two")
    assert (shown["role"], shown["session"]["role"], shown["session"]["agent"]) == ("implementer", "resolver", "solver")
    (spine.folder / "end").touch()
    assert spine.wait_over()["two"] == "landed"


@pytest.mark.parametrize("resolver", ["", '[roles.resolver]\npermissions = "ask"\nmode = "stream"\n'])
def test_without_another_agent_the_same_session_gets_the_conflict(spine: Spine, resolver: str) -> None:
    configure(spine, resolver, SOLVES)
    start(spine)
    assert spine.wait_over()["two"] == "failed", "its script knows no answer to a conflict"
    (session,) = sessions(spine, "two")
    assert {m.origin.value: m.session for m in spine.messages("two")} == {"start": session.id, "conflict": session.id}


def test_a_limited_resolver_is_replaced_by_its_own_fallbacks(spine: Spine) -> None:
    """The counters do not mix: the task's own agent has not fallen."""
    more = '[agents.busy]\ncommand = ["sh", "-c", "exit 75"]\n[agents.gone]\ncommand = ["/no/such/program"]\n'
    roles = '[roles.resolver]\nagent = "busy"\nfallback = ["gone", "solver"]\n'
    merge = "git merge main || echo both > a.txt && git add -A && git commit -q --no-edit"
    always = {"when": {"origin": "resume"}, "steps": [{"run": ["sh", "-c", merge]}]}
    configure(spine, roles, SOLVES, always, more=more)
    start(spine)
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert [name for _, name, _ in who(spine, "two")] == ["writer", "busy", "solver"]
    assert spine.task("two").attempts["resolver fallback"] == 2
    assert "fallback" not in spine.task("two").attempts
    *_, limited, last = spine.messages("two")
    assert (limited.result, last.result) == (TurnResult.LIMITED, TurnResult.OK)
    assert "git merge" in last.text, "the one who takes over is told what the other was asked"
    assert "Do two in its file." in last.text


def test_a_resolver_that_cannot_be_started_is_told_at_the_start_and_then_asked_about(spine: Spine) -> None:
    roles = '[agents.gone]\ncommand = ["/no/such/program"]\n[roles.resolver]\nagent = "gone"\n'
    configure(spine, roles, SOLVES)
    told = spine.run(plan(task("one"), task("two")), open=2, approve="human")["notices"]
    assert any("/no/such/program" in text and "it is to resolve conflicts" in text for text in told)
    spine.call("answer", item=spine.wait_item("review").id, answer="approve")
    spine.wait(lambda: spine.task("one").landed)
    (spine.folder / "go").touch()
    spine.call("answer", item=spine.wait_item("review").id, answer="approve")
    assert "/no/such/program" in spine.wait_item("failure").text
