"""Who does a task: each level of overriding against the one below it, in the words of plan, file and call."""

from __future__ import annotations

import pytest

from stretto.config import agent_option, load, resolve
from stretto.core.assigned import assigned
from stretto.core.plan import parse
from stretto.core.who import TIER_OF_ROLE, WORK_OF_ROLE, unused_roles

READY = ("claude", "pi")
MODELS = {"claude": {"strong": "opus", "fast": "sonnet", "cheap": "haiku"}}


def who(toml: str = "", front: str = "", fields: str = "", agent: str | None = None, mode: str | None = None):
    """What the first task of a plan gets: role, agent, model, mode, permissions; then the fall-backs."""
    plan = parse(f"---\n{front}\n---\n# P\n\n## a: T\n{fields}\n")[0]
    typed = agent_option(agent) if agent else None
    found = assigned(resolve(load(toml), plan, agent=typed, mode=mode, ready=READY, models=MODELS), plan.tasks[0])
    first, *others = found.agents
    shown = (found.role, first.name, first.model, found.mode, first.permissions)
    return shown, [(spec.name, spec.model, spec.permissions) for spec in others]


ROLE = "[roles.implementer]\n"
AGENT = "[agents.claude]\n"
FULL = f'{ROLE}agent = "pi"\nmodel = "r"\nmode = "pane"\npermissions = "skip"\n'

TABLE = [
    # the defaults, by kind and role
    ("", "", "", None, None, ("implementer", "claude", "sonnet", "stream", "ask")),
    ("", "", "- kind: test", None, None, ("tester", "claude", "haiku", "stream", "ask")),
    ("", "", "- kind: research", None, None, ("researcher", "claude", "sonnet", "stream", "ask")),
    ("", "", "- role: resolver", None, None, ("resolver", "claude", "opus", "stream", "ask")),
    ("", "", "- role: reviewer", None, None, ("reviewer", "claude", "sonnet", "stream", "ask")),
    ("", "", "- kind: test\n- role: scout", None, None, ("scout", "claude", "sonnet", "stream", "ask")),
    # the tier, the agent's own word, the role's
    (f'{ROLE}tier = "cheap"\n', "", "", None, None, ("implementer", "claude", "haiku", "stream", "ask")),
    (f'{AGENT}models = {{fast = "f"}}\n', "", "", None, None, ("implementer", "claude", "f", "stream", "ask")),
    (f'{AGENT}model = "m"\npermissions = "allow Edit"\n', "", "", None, None,
     ("implementer", "claude", "m", "stream", "allow Edit")),
    (f'{AGENT}model = "m"\npermissions = "allow Edit"\n{ROLE}model = "r"\npermissions = "ask"\n', "", "", None, None,
     ("implementer", "claude", "r", "stream", "ask")),
    (FULL, "", "", None, None, ("implementer", "pi", "r", "pane", "skip")),
    (FULL, "", "- kind: test", None, None, ("tester", "claude", "haiku", "stream", "ask")),
    # the plan
    (FULL, "model: p\nmode: stream", "", None, None, ("implementer", "pi", "p", "stream", "skip")),
    (FULL, "agent: claude", "", None, None, ("implementer", "claude", "sonnet", "pane", "skip")),
    # the call
    (FULL, "agent: pi\nmode: pane", "", "claude", "stream", ("implementer", "claude", "sonnet", "stream", "skip")),
    (FULL, "", "", "pi", None, ("implementer", "pi", "r", "pane", "skip")),
    (FULL, "model: p", "", "claude", None, ("implementer", "claude", "p", "pane", "skip")),
    (FULL, "", "", "command:sh x", None, ("implementer", "command", None, "pane", "skip")),
    # the task
    (FULL, "agent: pi\nmodel: p", "- agent: claude\n- model: t\n- mode: stream", "pi", "pane",
     ("implementer", "claude", "t", "stream", "skip")),
    (FULL, "", "- agent: claude", None, None, ("implementer", "claude", "sonnet", "pane", "skip")),
    (FULL, "", "- model: t", None, None, ("implementer", "pi", "t", "pane", "skip")),
    (FULL, "", "- role: scout\n- agent: pi", None, None, ("scout", "pi", None, "stream", "ask")),
]  # fmt: skip


@pytest.mark.parametrize(("toml", "front", "fields", "agent", "mode", "expected"), TABLE)
def test_the_nearer_word_wins(toml, front, fields, agent, mode, expected) -> None:
    assert who(toml, front, fields, agent, mode) == (expected, [])


SPARES = f'{ROLE}fallback = ["claude", "pi", "own"]\nmodel = "r"\n[agents.own]\ncommand = ["x"]\nmodel = "o"\n'


@pytest.mark.parametrize(
    ("toml", "fields", "first", "others"),
    [
        # a model of task, plan or role is one vendor's: it does not go over to another
        (SPARES, "- model: t", ("claude", "t"), [("pi", None, "ask"), ("own", "o", "ask")]),
        (SPARES, "- agent: pi\n- model: t", ("pi", "t"), [("claude", "r", "ask"), ("own", "o", "ask")]),
        (SPARES, "- agent: own", ("own", "o"), [("claude", "r", "ask"), ("pi", None, "ask")]),
        # each has its own policy, unless the role has one
        (SPARES + 'permissions = "skip"\n', "", ("claude", "r"), [("pi", None, "ask"), ("own", "o", "skip")]),
        (f'{ROLE}permissions = "allow Edit"\nfallback = ["own"]\n[agents.own]\ncommand = ["x"]\npermissions = "skip"\n',
         "", ("claude", "sonnet"), [("own", None, "allow Edit")]),
    ],
)  # fmt: skip
def test_fallbacks_stand_behind_whatever_was_chosen(toml, fields, first, others) -> None:
    shown, spares = who(toml, fields=fields)
    assert (shown[1:3], spares) == (first, others)


def test_a_role_that_nobody_described_has_the_usual_agent() -> None:
    """A task that joins a run may name a role that its configuration does not know."""
    plan = parse("## a: T\n- role: scout\n")[0]
    for call, expected in ((None, "claude"), ("pi", "pi")):
        frozen = resolve(load(""), parse("## b: T\n")[0], agent=call, ready=READY, models=MODELS)
        (spec,) = assigned(frozen, plan.tasks[0]).agents
        assert spec.name == expected


def test_of_each_role_with_a_tier_is_told_what_it_is_for() -> None:
    assert set(WORK_OF_ROLE) == set(TIER_OF_ROLE)


def test_roles_that_nothing_uses_are_named_only_where_the_file_describes_them() -> None:
    toml = '[roles.reviewer]\nmodel = "x"\n[roles.tester]\nmodel = "y"\n'
    frozen = resolve(load(toml), parse("## a: T\n")[0])
    assert unused_roles(frozen, ()) == ["reviewer"]
    assert unused_roles(frozen, ("reviewer",)) == []
