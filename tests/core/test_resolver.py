"""Whose turn it is: the resolver's while a conflict is resolved, the task's own agent's before and after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stretto.core.facts import Facts
from stretto.core.model import Delivery, Origin
from stretto.core.who import (
    agent_of,
    choices_of,
    has_resolver,
    must_hand_over,
    next_agent,
    recipe_of,
    resolvers,
    role_of,
)
from tests.core.scenarios import facts
from tests.support import rows

AGENTS = {"a": {"type": "command", "model": "m"}, "b": {"type": "command", "model": "n"}, "c": {"type": "command"}}
IMPLEMENTER = {"agent": "a", "fallback": ["c"]}


def run(resolver, **config):
    roles = {"implementer": IMPLEMENTER, **({"resolver": resolver} if resolver else {})}
    return rows.run(agent=config.get("agent", ""), config={"roles": roles, "agents": AGENTS, **config})


def said(**keys):
    return {"agent": "a", **keys, "said": sorted(keys)}


@pytest.mark.parametrize(
    ("resolver", "fields", "config", "expected"),
    [
        (None, {}, {}, None),
        (said(agent="b"), {}, {}, "b"),
        (said(agent="a"), {}, {}, None),
        (said(agent="a", model="m"), {}, {}, None),
        (said(model="strong"), {}, {}, "a"),
        (said(permissions="skip"), {}, {}, None),
        (said(mode="pane", fallback=["b"]), {}, {}, None),
        # what the task says is said of its implementer, what call and plan say of everybody
        (said(agent="b"), {"agent": "b"}, {}, None),
        (said(agent="a"), {"agent": "b"}, {}, "a"),
        (said(agent="b"), {"model": "t"}, {}, "b"),
        (said(agent="b"), {}, {"agent": "a"}, None),
        (said(agent="a"), {"model": "t"}, {}, "a"),
        # a run that was made before resolvers were built
        ({"agent": "b"}, {}, {}, None),
    ],
)
def test_who_resolves_a_conflict(resolver, fields, config, expected) -> None:
    f = turn(run(resolver, **config), Origin.START, Origin.CONFLICT, fields=fields)
    assert has_resolver(f) == (expected is not None)
    assert agent_of(f).name == (expected or fields.get("agent") or "a")


def turn(run, *origins: Origin, fields=None, **changes) -> Facts:
    """A task whose turns have these origins; the last one was not given to anybody yet."""
    done = [rows.turn(n, origin=origin, session="s1") for n, origin in enumerate(origins[:-1], 1)]
    last = rows.turn(len(origins), Delivery.QUEUED, None, origin=origins[-1])
    return facts(rows.started(fields=fields or {}, **changes), run=run, messages=(*done, last))


S, K, X, R, A = Origin.START, Origin.CHECK, Origin.CONFLICT, Origin.RESUME, Origin.ANSWER
RUN = run(said(agent="b"))


@pytest.mark.parametrize(
    ("origins", "role"),
    [
        ((S,), "implementer"),
        ((S, X), "resolver"),
        ((S, X, R), "resolver"),
        ((S, X, R, A, R), "resolver"),
        ((S, R), "implementer"),
        ((S, X, K), "implementer"),
        ((S, X, Origin.GATE), "implementer"),
        ((S, X, Origin.COMMENTS, R), "implementer"),
        ((S, X, Origin.PERSON), "implementer"),
        ((S, X, K, X), "resolver"),
        ((R,), "implementer"),
    ],
)
def test_a_conflict_and_what_goes_on_with_it_are_the_resolvers(origins, role) -> None:
    assert role_of(turn(RUN, *origins)) == role
    assert role_of(turn(run(None), *origins)) == "implementer"
    assert role_of(turn(RUN, *origins, role="resolver")) == "resolver"


def test_a_turn_that_was_given_to_a_session_is_that_sessions() -> None:
    """Also one that began as something else: what a person does in the resolver's terminal is the resolver's."""
    session = rows.session(id="s2", role="resolver", agent="b", generation=2)
    worked = rows.turn(3, origin=Origin.PERSON, session="s2")
    f = replace(turn(RUN, S, X), session=session, messages=(rows.turn(session="s1"), worked))
    assert role_of(f) == "resolver"
    assert not must_hand_over(f)
    later = replace(f, messages=(*f.messages, rows.turn(4, Delivery.QUEUED, None, origin=K)))
    assert role_of(later) == "implementer"
    assert must_hand_over(later)
    assert not must_hand_over(replace(later, session=replace(session, ended_at=1.0)))


def test_each_of_the_two_has_fallbacks_of_its_own() -> None:
    limited = run(said(agent="b", fallback=["c", "a"]))
    f = turn(limited, S, X, attempts={"fallback": 1})
    assert (agent_of(f).name, choices_of(f), next_agent(f)) == ("b", ("b", "c", "a"), "c")
    f = turn(limited, S, X, attempts={"resolver fallback": 2})
    assert (role_of(f), agent_of(f).name) == ("implementer", "a"), "it came down to the one whose work it is"
    f = turn(limited, S, X, R, attempts={"resolver fallback": 1, "fallback": 0})
    assert (role_of(f), agent_of(f).name) == ("resolver", "c")
    f = turn(limited, S, K, attempts={"resolver fallback": 1})
    assert (agent_of(f).name, next_agent(f)) == ("a", "c")


def test_a_resolver_that_never_asks_counts_for_the_sandbox() -> None:
    config = {**run(said(agent="b", permissions="skip")).config, "sandbox": "bubblewrap"}
    assert [spec.name for spec in resolvers(config, "implementer", None)] == ["b"]
    assert recipe_of(config, "implementer", None, None) == "clone"
    assert recipe_of({**config, "roles": {"implementer": IMPLEMENTER}}, "implementer", None, None) == "worktree"
