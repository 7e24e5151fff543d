import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto import trust
from stretto.config import agent_option, load, resolve
from stretto.core.plan import Plan
from stretto.core.plan import parse as parse_plan
from tests.core.test_config import FULL


def commands_of(toml: str, plan: str = "## a: T\n", agent: str | None = None) -> tuple[trust.Command, ...]:
    made, _ = parse_plan(plan)
    return trust.commands(resolve(load(toml), made, agent=agent_option(agent) if agent else None), made.tasks)


def test_everything_that_would_be_run_is_in_the_set():
    found = {(command.kind, command.text) for command in commands_of(FULL, "## a: T\n- checks: make x\n")}
    assert found == {
        ("setup", "npm ci"),
        ("setup", "make db"),
        ("check", "pytest -q"),
        ("check", "npm test"),
        ("check", "make x"),
        ("serve", "npm start"),
        ("database", "copied from sqlite:///var/db.sqlite3"),
        ("migrate", "make migrate"),
        ("seed", "make seed"),
        ("agent", '["command","python3","agent.py","-v"]'),
        ("agent", '{"docs":{"command":"docs-server"}}'),
        ("agent", "permissions: skip"),
        ("agent", "permissions: allow Edit, Bash(npm test)"),
        ("sandbox", "reach example.org"),
        ("sandbox", "reach *.example.org:8443"),
        ("sandbox", "reach localhost:5432"),
        ("sandbox", "read ~/.rustup"),
        ("sandbox", "read /srv"),
        ("env", "API=http://127.0.0.1:{port.api}/{task}"),
        ("env", "URL={database.url}"),
        ("env", 'JSON={"a": 1}'),
        ("env", "N=3"),
        ("env", "LEVEL=1"),
        ("env", "KEY is taken from your KEY"),
        ("env", "OTHER is taken from your MINE"),
        ("env", "TOKEN is taken from your AGENT_TOKEN"),
    }


def test_no_configuration_asks_nothing_and_a_typed_agent_neither():
    assert commands_of("") == ()
    assert commands_of("", agent="command:python3 agent.py") == ()


def test_what_agents_are_told_by_the_repository_counts_with_its_whole_text():
    config = {"prompts": {"start": "Do {{title}}.\nThen \x1b push.\n"}}
    (found,) = trust.commands(config)
    assert (found.kind, found.text) == ("prompt", "start.md: Do {{title}}.\nThen \x1b push.\n")
    listed = trust.listing([found])
    assert "  start.md: Do {{title}}.\n      Then \\x1b push." in listed
    assert "what agents are told" in listed
    changed = trust.commands({"prompts": {"start": "Do {{title}}.\n"}})
    assert not trust.compare([found], changed).trusted
    assert trust.compare([found], trust.commands({})).trusted


def test_environment_and_front_matter_of_a_plan_count():
    found = commands_of("", '---\nchecks: make\nenv: {"PATH": "/tmp"}\n---\n## a: T\n- env: {"X": "1"}\n')
    assert [command.text for command in found] == ["make", "PATH=/tmp", "X=1"]


def test_the_digest_names_the_set_of_texts_and_nothing_else():
    one = commands_of("[checks]\na = 'make'\nb = 'make lint'\n")
    renamed = commands_of("[checks]\nz = 'make lint'\ny = {run = 'make', timeout = 5}\n")
    other = commands_of("[checks]\na = 'make '\nb = 'make lint'\n")
    assert trust.digest(one) == trust.digest(renamed) != trust.digest(other)
    assert trust.digest(one).startswith("sha256:")
    assert len(trust.digest(one)) == 71


def test_the_order_of_an_agents_words_counts():
    first = commands_of("[agents.a]\ncommand = ['rm', 'x y']\n")
    second = commands_of("[agents.a]\ncommand = ['rm', 'x', 'y']\n")
    assert trust.digest(first) != trust.digest(second)


TEXTS = st.text(max_size=10)
SETS = st.lists(st.builds(trust.Command, st.sampled_from(trust.KINDS), TEXTS), max_size=6)


@given(SETS)
def test_what_is_stored_is_read_again(found):
    assert set(trust.read(trust.canonical(found))) == set(found)
    assert trust.digest(found) == trust.digest(reversed(found + found))


@given(SETS, SETS)
def test_equal_digests_mean_equal_sets(one, other):
    assert (trust.digest(one) == trust.digest(other)) == (set(one) == set(other))


@given(SETS, SETS)
def test_a_set_is_trusted_if_nothing_is_new(trusted, wanted):
    change = trust.compare(trusted, wanted)
    assert change.trusted == set(wanted).issubset(set(trusted))
    assert set(change.added) == set(wanted) - set(trusted)
    assert set(change.removed) == set(trusted) - set(wanted)


@pytest.mark.parametrize("stored", ["", "{}", "[1]", '[["check"]]', '[["check", 1]]'])
def test_what_is_not_a_set_is_refused(stored):
    with pytest.raises(ValueError):  # noqa: PT011 - json's own error or ours
        trust.read(stored)


def test_the_listing_shows_control_characters_and_what_is_new():
    found = commands_of('[checks]\na = "make"\nb = "make\\u001b[2K\\nrm -rf ~\\u202e"\n')
    text = trust.listing(found, trusted=[trust.Command("check", "make")])
    assert text == (
        "checks, after each turn and before each landing:\n    make  (a)\n  + make\\x1b[2K\\nrm -rf ~\\u202e  (b)"
    )
    assert trust.listing(()) == "no commands"


def test_json_for_programs():
    value = trust.as_json(commands_of("[checks]\na = 'make'\nb = 'make'\n"))
    assert json.loads(json.dumps(value)) == [{"kind": "check", "text": "make", "names": ["a", "b"]}]


def test_plan_without_tasks():
    assert trust.commands(resolve(load(""), Plan())) == ()
