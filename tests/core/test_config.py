import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto import trust
from stretto.config import Detected, agent_option, detect, load, parse, resolve, template
from stretto.config.read import TABLES
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec, CheckSpec
from stretto.core.plan import Plan
from stretto.core.plan import parse as parse_plan
from stretto.core.who import doubts

FULL = """\
schema = 1
[project]
base = "main"
target = "main"
worktrees = "../bays"
branch_prefix = "team"
keep_landed = true
[workspace]
copy = [".env"]
setup = ["npm ci", {run = "make db", timeout = "10m"}]
env_file = ".env.local"
ports = {api = 1, web = 2}
sandbox = "auto"
[workspace.env]
API = "http://127.0.0.1:{port.api}/{task}"
URL = "{database.url}"
JSON = '{"a": 1}'
N = 3
KEY = {secret = true}
OTHER = {from = "MINE"}
[workspace.serve.web]
run = "npm start"
port = "web"
ready = "/health"
timeout = 30
[sandbox]
network = ["example.org", "*.example.org:8443", "localhost:5432"]
read = ["~/.rustup", "/srv"]
memory = 4096
processes = 512
[database]
provider = "sqlite"
url = "sqlite:///var/db.sqlite3"
migrate = "make migrate"
seed = "make seed"
[checks]
unit = "pytest -q"
e2e = {run = "npm test", timeout = "30m", serve = ["web"]}
[roles.reviewer]
agent = "mine"
model = "strong"
mode = "stream"
permissions = "allow Edit, Bash(npm test)"
fallback = ["claude"]
[pipeline]
stages = ["implement", "check", "review", "approve", "land"]
approve = "auto"
check_rounds = 1
review_rounds = 0
[limits]
open = 4
tokens = 1000000
cost = 2.5
minutes = 90
[limits.task]
tokens = 5
[limits.day]
cost = 1.5
minutes = 0.5
[prices."vendor/model-1.5"]
input = 3.0
output = 15
cache_read = 0.3
cache_write = 3.75
date = "2026-11-01"
[agents.mine]
type = "command"
command = ["python3", "agent.py"]
args = ["-v"]
env = {LEVEL = "1", TOKEN = {from = "AGENT_TOKEN", secret = true}}
mcp = {docs = {command = "docs-server"}}
model = "m"
permissions = "skip"
[agents.claude]
model = "opus"
"""


def mistakes(text: str) -> list[tuple[str, int | None]]:
    return [(mistake.place, mistake.line) for mistake in parse(text)[1]]


def test_every_table_and_key_is_read():
    config = load(FULL)
    assert set(tomllib.loads(FULL)) == set(TABLES)
    assert config.branch_prefix == "team"
    assert config.keep_landed
    assert config.setup == ({"run": "npm ci", "timeout": 1800.0}, {"run": "make db", "timeout": 600.0})
    assert config.checks == (CheckSpec("unit", "pytest -q"), CheckSpec("e2e", "npm test", 1800.0, ("web",)))
    assert config.env["KEY"] == {"from": "KEY", "secret": True}
    assert (config.open, config.tokens, config.cost, config.minutes) == (4, 1000000, 2.5, 90)
    assert (config.task, config.day) == ({"tokens": 5}, {"cost": 1.5, "minutes": 0.5})
    assert config.prices["vendor/model-1.5"]["cache_write"] == 3.75
    assert config.ports == {"api": 1, "web": 2}


def test_no_file_is_needed():
    config = load("")
    frozen = resolve(config, Plan())
    assert frozen["checks"] == []
    assert frozen["agents"] == {"claude": frozen["agents"]["claude"]}
    assert frozen["agents"]["claude"]["type"] == "claude"
    assert frozen["roles"]["implementer"]["agent"] == "claude"
    assert (frozen["approve"], frozen["check_rounds"], frozen["branch_prefix"]) == ("human", 3, "stretto")


def test_the_frozen_value_is_json_and_keeps_no_secret_value():
    frozen = resolve(load(FULL), Plan())
    assert json.loads(json.dumps(frozen)) == frozen
    assert frozen["env"] == {
        "API": "http://127.0.0.1:{port.api}/{task}",
        "URL": "{database.url}",
        "JSON": '{"a": 1}',
        "N": "3",
    }
    assert frozen["capture"] == {"KEY": "KEY", "OTHER": "MINE", "TOKEN": "AGENT_TOKEN"}
    assert frozen["secret_names"] == ["KEY", "TOKEN"]
    assert frozen["agents"]["mine"]["env"] == {"LEVEL": "1"}
    assert frozen["agents"]["claude"]["type"] == "claude"
    assert frozen["agents"]["claude"]["model"] == "opus"
    assert frozen["checks"][1] == {"name": "e2e", "run": "npm test", "timeout": 1800.0, "serve": ["web"]}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[project]\nbranc_prefix = 'x'\n", [("project.branc_prefix", 2)]),
        ("[projct]\nbase = 'x'\n", [("projct", 1)]),
        ("schema = 2\n", [("schema", 1)]),
        ("[checks]\nunit = 3\n", [("checks.unit", 2)]),
        ("[checks.unit]\nrun = 'x'\ntimeout = 'soon'\n", [("checks.unit", 1)]),
        ("[checks]\n'a b' = 'x'\n", [("checks.a b", 2)]),
        ("checks = 7\n", [("checks", 1)]),
        ("[limits]\nopen = 0\ntokens = 'many'\n", [("limits.open", 2), ("limits.tokens", 3)]),
        ("[limits]\nopen = true\n", [("limits.open", 2)]),
        ("[project]\nkeep_landed = 'yes'\ntarget = 'a..b'\n", [("project.keep_landed", 2), ("project.target", 3)]),
        ("[project]\nbranch_prefix = 'refs/heads'\n", [("project.branch_prefix", 2)]),
        ("[workspace]\nenv_file = '../x'\n", [("workspace.env_file", 2)]),
        ("[workspace]\npool = 17\n", [("workspace.pool", 2)]),
        ("[workspace]\ndependencies = 'npm'\n", [("workspace.dependencies", 2)]),
        ("[workspace]\ndependencies = ['../x']\n", [("workspace.dependencies", 2)]),
        ("[workspace]\ndependencies = [1]\n", [("workspace.dependencies", 2)]),
        ("[workspace]\nenv = {STRETTO_TASK = 'x'}\n", [("workspace.env.STRETTO_TASK", 2)]),
        ("[workspace.env]\nA = '{port.api}'\n", [("workspace.env.A", 2)]),
        ("[workspace.env]\nA = '{database.url}'\n", [("workspace.env.A", 2)]),
        ("[workspace.env]\nA = '{tusk}'\nB = '{{tusk}}'\n", [("workspace.env.A", 2)]),
        ("[workspace.env]\nA = {form = 'X'}\n", [("workspace.env.A.form", 2)]),
        ("[workspace]\nports = {a = 1, b = 1}\n", [("workspace.ports", 2)]),
        ("[workspace]\nsetup = [3]\n", [("workspace.setup", 2)]),
        ("[workspace]\nsetup = [{run = 'x', timeout = -1}]\n", [("workspace.setup.timeout", 2)]),
        ("[checks]\na = {run = 'x', serve = ['web']}\n", [("checks.a.serve", 2)]),
        ("[agents.mine]\nmodel = 'x'\n", [("agents.mine", 1)]),
        ("[agents.mine]\ntype = 'command'\n", [("agents.mine", 1)]),
        ("[agents.mine]\ntype = 'comand'\ncommand = ['x']\n", [("agents.mine.type", 2)]),
        ("[roles.reviewer]\npermissions = 'everything'\n", [("roles.reviewer.permissions", 2)]),
        ("[roles.reviewer]\nmode = 'panes'\n", [("roles.reviewer.mode", 2)]),
        ("[pipeline]\nstages = ['land', 'implement']\n", [("pipeline.stages", 2)]),
        ("[pipeline]\nstages = ['check']\n", [("pipeline.stages", 2)]),
        ("[database]\nprovider = 'mysql'\n", [("database.provider", 2)]),
        ("[sandbox]\nnetwork = ['a b']\n", [("sandbox.network", 2)]),
        ("[sandbox]\nnetwork = ['example.org:99999']\n", [("sandbox.network", 2)]),
        ("[sandbox]\nread = ['srv']\n", [("sandbox.read", 2)]),
        ("[sandbox]\nread = ['~/../x']\n", [("sandbox.read", 2)]),
        ("[agents.claude]\ncredentials = ['/etc/shadow']\n", [("agents.claude.credentials", 2)]),
        ("[project\n", [("", 1)]),
        ("a = 1\na = 2\n", [("", 2)]),
    ],
)
def test_mistakes_have_their_place(text, found):
    assert mistakes(text) == found
    with pytest.raises(UsageError):
        load(text)


def test_all_mistakes_at_once_each_with_a_suggestion():
    text = "[projct]\n[limits]\nopenn = 2\n[checks]\nunit = ''\n[pipeline]\naprove = 'auto'\n"
    with pytest.raises(UsageError) as caught:
        load(text)
    error = caught.value
    assert error.code == "bad_config"
    assert error.exit_code == 2
    assert "4 mistakes" in error.message
    assert [one["suggestion"] for one in error.details["mistakes"]][:2] == ["write `project`", "write `open`"]
    assert "line 3, limits.openn: `openn` is not known; write `open`" in error.message


@given(st.text())
def test_no_text_makes_the_reader_fail(text):
    parse(text)


TOML_LIKE = st.recursive(
    st.one_of(st.text(max_size=5), st.integers(-5, 50), st.booleans(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["run", "a", "type", "env"]), inner, max_size=3)
    ),
)


@given(
    st.sampled_from(sorted(TABLES)),
    st.sampled_from(["", "setup", "env", "ports", "serve", "stages", "mine"]),
    TOML_LIKE,
)
def test_no_value_makes_the_reader_fail(table, key, value):
    text = f"{table} = {_toml({key: value} if key else value)}\n"
    config, found = parse(text)
    if not found:
        json.dumps(resolve(config, Plan()))


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return json.dumps(value)


# ---------------------------------------------------------------- resolve


def test_checks_of_the_plan_replace_those_of_the_file():
    plan, _ = parse_plan("---\nchecks: make\n---\n## a: T\n- checks: []\n")
    assert [check["run"] for check in resolve(load(FULL), plan)["checks"]] == ["make"]
    plan, _ = parse_plan("---\nchecks: []\n---\n## a: T\n")
    assert resolve(load(FULL), plan)["checks"] == []
    assert plan.tasks[0].extra() == {}


def test_the_call_wins_over_the_plan_and_the_plan_over_the_file():
    plan, _ = parse_plan("---\nagent: claude\nopen: 3\napprove: human\nbase: v1\nmode: pane\n---\n## a: T\n")
    frozen = resolve(load(FULL), plan)
    assert (frozen["agent"], frozen["limits"]["open"], frozen["approve"], frozen["base"], frozen["mode"]) == (
        ("claude", 3, "human", "v1", "pane")
    )
    frozen = resolve(load(FULL), plan, agent="mine", open_limit=7, approve="auto", mode="stream")
    assert (frozen["agent"], frozen["limits"]["open"], frozen["approve"], frozen["mode"]) == (
        "mine",
        7,
        "auto",
        "stream",
    )


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("claude", "claude"),
        ("command:python3 agent.py", AgentSpec("command", "command", ("python3", "agent.py"))),
        ("command: sh -c 'echo a; exit 1'", AgentSpec("command", "command", ("sh", "-c", "echo a; exit 1"))),
        ("scripted:demo agent.toml", AgentSpec("scripted", "scripted", ("demo agent.toml",))),
    ],
)
def test_the_agent_option(words, meant):
    assert agent_option(words) == meant


@pytest.mark.parametrize(
    ("path", "meant"), [("play.toml", "/here/play.toml"), ("../p.toml", "/here/../p.toml"), ("/x/p.toml", "/x/p.toml")]
)
def test_a_script_is_named_as_the_caller_sees_it(path: str, meant: str):
    assert agent_option(f"scripted:{path}", Path("/here")) == AgentSpec("scripted", "scripted", (meant,))
    assert agent_option(f"command:{path}", Path("/here")) == AgentSpec("command", "command", (path,))


@pytest.mark.parametrize("words", ["command:", "command:  ", "scripted:", "command:'a"])
def test_an_agent_option_without_a_program(words):
    with pytest.raises(UsageError):
        agent_option(words)


def test_a_typed_agent_does_every_role_and_is_marked():
    frozen = resolve(load(""), Plan(), agent=agent_option("command:python3 agent.py"))
    assert frozen["agent"] == "command"
    assert frozen["agents"]["command"]["command"] == ["python3", "agent.py"]
    assert frozen["agents"]["command"]["typed"] is True
    assert frozen["roles"]["tester"]["agent"] == "command"


def test_roles_that_a_plan_names_are_there():
    plan, _ = parse_plan("## a: T\n- role: scout\n")
    assert resolve(load(""), plan)["roles"]["scout"]["agent"] == "claude"


@pytest.mark.parametrize(
    ("toml", "plan", "agent"),
    [
        ("", "## a: T\n", "cladue"),
        ("", "## a: T\n- agent: cladue\n", None),
        ("", "---\nagent: cladue\n---\n## a: T\n", None),
        ("[roles.tester]\nagent = 'cladue'\n", "## a: T\n", None),
        ("[roles.tester]\nfallback = ['cladue']\n", "## a: T\n", None),
    ],
)
def test_an_unknown_agent_is_refused_with_a_guess(toml, plan, agent):
    with pytest.raises(UsageError, match="cladue") as caught:
        resolve(load(toml), parse_plan(plan)[0], agent=agent)
    assert caught.value.hint == "did you mean `claude`?"


def test_what_is_probably_not_meant_in_roles_is_told():
    text = "[agents.mine]\ncommand = ['sh']\n[roles.testr]\nmode = 'pane'\n[roles.tester]\nagent = 'mine'\n"
    frozen = resolve(load(text + "fallback = ['mine', 'claude']\n"), Plan())
    itself, misspelt = doubts(frozen, ["implementer"])
    assert "did you mean [roles.tester]?" in misspelt
    assert "[roles.tester] fallback names mine" in itself
    assert doubts(frozen, ["testr"]) == [itself], "a task names the role: it is one of the person's own"
    spare = load("[agents.mine]\ncommand = ['sh']\n[roles.tester]\nfallback = ['mine']\n")
    assert doubts(resolve(spare, Plan()), []) == []
    assert doubts(resolve(spare, Plan(), agent="mine"), []) == [], "the call chose it, for this run only"


# ---------------------------------------------------------------- init


@pytest.mark.parametrize(
    ("files", "checks", "dependencies"),
    [
        ({"pyproject.toml": "[tool.pytest.ini_options]"}, {"pytest": "python -m pytest -q"}, False),
        ({"pyproject.toml": "pytest", "uv.lock": ""}, {"pytest": "uv run pytest -q"}, True),
        ({"setup.py": "", "tests/test_a.py": ""}, {"unittest": "python -m unittest discover"}, False),
        ({"requirements.txt": "django", "manage.py": ""}, {"django": "python manage.py test"}, False),
        ({"web/package-lock.json": ""}, {}, True),
        ({"tests/fixtures/deep/package-lock.json": ""}, {}, False),
        (
            {"package.json": '{"scripts": {"test": "vitest", "lint": "eslint"}}', "pnpm-lock.yaml": ""},
            {"pnpm-test": "pnpm run test", "pnpm-lint": "pnpm run lint"},
            True,
        ),
        ({"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\""}}'}, {}, False),
        ({"package.json": "not json"}, {}, False),
        ({"Cargo.toml": ""}, {"cargo": "cargo test"}, False),
        ({"go.mod": "", "Makefile": "build:\n\ntest: build\n\tgo test"}, {"make": "make test"}, False),
        ({"README.md": ""}, {}, False),
    ],
)
def test_what_is_found(files, checks, dependencies):
    found = detect(files, files.get)
    assert (found.checks, found.dependencies) == (checks, dependencies)
    config = load(template(found))
    assert config.checks == tuple(CheckSpec(name, run) for name, run in checks.items())
    assert (config.dependencies is not None) == dependencies


@pytest.mark.parametrize(
    ("written", "read", "asked"),
    [
        ("false", None, []),
        ("true", {"folders": None, "online": True}, ["install what lock files name, with the scripts that run then"]),
        (
            '"offline"',
            {"folders": None, "online": False},
            ["install what lock files name, with the scripts that run then, without the network"],
        ),
        (
            '[".", "web"]',
            {"folders": [".", "web"], "online": True},
            ["install what lock files name in ., web, with the scripts that run then"],
        ),
    ],
)
def test_whose_packages_are_installed_must_be_trusted(written, read, asked):
    config = load(f"[workspace]\ndependencies = {written}\n")
    assert config.dependencies == read
    frozen = resolve(config, parse_plan("## a: T\n")[0])
    assert frozen["pool"] == (2 if read else 0)
    found = trust.commands(frozen)
    assert [command.text for command in found if command.kind == "dependencies"] == asked


def test_files_that_a_workspace_may_want_are_proposed():
    beside = [".env", ".env.test", ".env.example", "notes.txt", "config/master.key", "config/other.key", ".envrc"]
    found = detect((), lambda name: None, beside)
    assert found.copy == (".env", ".env.test", ".envrc", "config/master.key")
    assert load(template(found)).copy == found.copy


TEMPLATES = [
    Detected(),
    Detected(("Python",), {"pytest": 'python -m pytest -q -k "a\\b"'}, ("make db",), (".env",), True, "main"),
]


@pytest.mark.parametrize("found", TEMPLATES)
def test_the_first_file_has_no_mistakes(found):
    config = load(template(found))
    assert config.target == found.target
    assert config.copy == found.copy
    assert [command["run"] for command in config.setup] == list(found.setup)


@pytest.mark.parametrize("found", TEMPLATES)
def test_every_commented_line_of_it_is_valid_when_uncommented(found):
    lines = template(found).splitlines()
    text = "\n".join(line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in lines)
    config = load(text)
    assert config.agents["mine"]["command"] == ("python3", "agent.py")
    assert config.env["API_KEY"]["secret"]
    assert set(config.serve) == {"web"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('prompt = ["--go"]', "the message is in none of these words"),
        ('usage = {pattern = "("}', "this is no regular expression"),
        ('usage = {pattern = "(?P<tokens>x)"}', "the group `tokens` is not known"),
        ('usage = {pattern = "x"}', "nothing says where the tokens stand"),
        ('usage = {pattern = "(?P<input>x)", output = "a.b"}', "it is one or the other"),
        ('usage = {input = "a", form = "document"}', "the output is read line by line"),
        ('usage = {input = "a", from = "usage.json"}', "is neither the output nor a file"),
        ('usage = {inputs = "a"}', "`inputs` is not known"),
        ('usage = {input = "a", where = {type = ["x"]}}', "a text, a number or a truth value is expected"),
        ('fails = {again = "x"}', "it takes back what `pattern` says"),
        ("fails = {silent = true}", "no usage is read"),
        ('fails = {holds = {a = "b"}}', "there is no document of usage"),
        ('type = "claude"\nprompt = "input"', "`claude` has its own way of that"),
    ],
)
def test_a_bad_description_of_a_turn_is_refused_with_a_sentence(lines: str, said: str) -> None:
    kind = "" if lines.startswith("type") else 'command = ["x"]\n'
    _, (mistake,) = parse(f"schema = 1\n[agents.tool]\n{kind}{lines}\n")
    assert said in mistake.message
    assert mistake.suggestion
    assert mistake.place.startswith("agents.tool")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('{command = "docs"}', {"command": "docs"}),
        ('{command = ["python3", "x.py"]}', {"command": "python3", "args": ["x.py"]}),
        ('{command = ["python3", "x.py"], args = ["-v"], env = {N = 1, K = "v"}}',
         {"command": "python3", "args": ["x.py", "-v"], "env": {"N": "1", "K": "v"}}),
        ('{url = "http://127.0.0.1:1/mcp", headers = {X-Key = "k"}}',
         {"type": "http", "url": "http://127.0.0.1:1/mcp", "headers": {"X-Key": "k"}}),
        ('{url = "http://127.0.0.1:1/sse", type = "sse", own = 3}',
         {"type": "sse", "url": "http://127.0.0.1:1/sse", "own": 3}),
    ],
)  # fmt: skip
def test_a_tool_server_is_said_in_one_form_for_all_agents(said, meant):
    config, found = parse(f"[agents.claude.mcp]\ndocs = {said}\n")
    assert found == []
    assert resolve(config, Plan())["agents"]["claude"]["mcp"] == {"docs": meant}


@pytest.mark.parametrize(
    "said", ["3", "{}", '{command = "a", url = "b"}', "{command = 3}", '{command = "a", env = {K = {from = "X"}}}']
)
def test_a_tool_server_that_makes_no_sense_is_refused(said):
    ((place, line),) = mistakes(f"[agents.claude.mcp]\ndocs = {said}\n")
    assert (place.startswith("agents.claude.mcp.docs"), line) == (True, 2)
