"""What is told of agents without starting one: declarations, programs, versions, logins, and who else provides some."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from stretto import agents
from stretto.agents.declaration import CAPABILITIES, Declaration
from stretto.agents.looks import confines, logged_in, look, remedy, version_of
from stretto.config.read import AGENT_TYPES
from stretto.core.model import AgentSpec
from stretto.core.who import TIERS, agent_spec, choices
from tests.support.repository import Repository
from tests.support.world import ROOT, STRETTO


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("type", agents.types())
def test_every_declaration_makes_sense(type: str) -> None:
    said = agents.declared(type)
    assert said.type == type
    assert said.about
    assert said.can <= set(CAPABILITIES)
    assert set(said.keys) <= {name for name, secret in said.variables.items() if secret}
    assert set(said.models) in (set(), set(TIERS))
    assert all(version_like[0].isdigit() for version_like in said.tested)
    assert (said.program is None) == (type not in agents.ready())


def test_the_configuration_knows_the_types() -> None:
    assert tuple(sorted(AGENT_TYPES)) == agents.types()


def test_a_program_is_found_with_its_version(tmp_path: Path) -> None:
    tested = agents.declared("claude").tested[0]
    path = program(tmp_path / "bin", "claude", f'[ "$*" = --version ] && echo "{tested} (Claude Code)"')
    env = {"PATH": f"{tmp_path / 'bin'}:{os.defpath}", "HOME": str(tmp_path)}
    sight = look(AgentSpec("claude", "claude"), env)
    assert (sight.path, sight.missing, sight.version, sight.tested) == (str(path), None, tested, True)
    program(tmp_path / "bin", "claude", "echo 99.0.1-rc.2")
    newer = look(AgentSpec("claude", "claude"), env)
    assert (newer.version, newer.tested, newer.missing) == ("99.0.1-rc.2", False, None)
    program(tmp_path / "bin", "claude", "echo 1.0; exit 3")
    assert look(AgentSpec("claude", "claude"), env).version is None
    (tmp_path / "bin" / "claude").unlink()
    gone = look(AgentSpec("claude", "claude"), {"PATH": str(tmp_path / "bin")})
    assert (gone.path, gone.version) == (None, None)
    assert gone.missing is not None
    assert remedy(AgentSpec("claude", "claude"), env).startswith("install it")
    program(tmp_path / "bin", "claude", "true")
    assert remedy(AgentSpec("claude", "claude"), env) == "choose another with --agent NAME", (
        "its reason says what to do"
    )
    assert remedy(AgentSpec("x", "no such type"), env) == "choose another with --agent NAME"
    assert "not on PATH" in gone.missing


def test_a_command_of_the_configuration_is_not_run_to_look_at_it(tmp_path: Path) -> None:
    path = program(tmp_path, "own", f"touch {tmp_path}/ran; echo 1.2.3")
    sight = look(AgentSpec("claude", "claude", command=(str(path),)), {"PATH": os.defpath})
    assert (sight.path, sight.version, sight.tested, sight.missing) == (str(path), None, None, None)
    assert not (tmp_path / "ran").exists()
    assert version_of([str(path)], {}) == "1.2.3"
    assert (tmp_path / "ran").exists()


def test_a_login_is_seen_and_not_read(tmp_path: Path) -> None:
    said = agents.declared("claude")
    assert logged_in(said, {"HOME": str(tmp_path)})[0] is False
    assert logged_in(said, {"ANTHROPIC_API_KEY": "secret"}) == (True, "ANTHROPIC_API_KEY is set")
    folder = tmp_path / "config"
    folder.mkdir()
    os.mkfifo(folder / ".credentials.json")  # whoever opened it would wait for ever
    found, evidence = logged_in(said, {"HOME": str(tmp_path), "CLAUDE_CONFIG_DIR": str(folder)})
    assert found is True
    assert evidence == f"{folder / '.credentials.json'} is there"
    assert logged_in(Declaration("x", "x"), {})[0] is None


THIRD = """
from stretto.agents.command import CommandAgent
from stretto.agents.declaration import Declaration


class Third(CommandAgent):
    type = "third"
    declaration = Declaration("third", "somebody else's", program="third-program", tested=("1.0",))

    def probe(self, spec, env):
        return None
"""


def test_other_packages_and_the_configuration_add_agents(repo: Repository, home: Path, tmp_path: Path) -> None:
    package = tmp_path / "site"
    (package / "third-1.dist-info").mkdir(parents=True)
    (package / "third.py").write_text(THIRD)
    (package / "third-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: third\nVersion: 1\n")
    (package / "third-1.dist-info" / "entry_points.txt").write_text("[stretto.agents]\nthird = third:Third\n")
    text = 'schema = 1\n[agents.mine]\ncommand = ["sh"]\n[roles.tester]\nagent = "third"\nfallback = ["mine"]\n'
    (repo.path / "stretto.toml").write_text(text)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT / "src")])}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*STRETTO, *words], cwd=repo.path, env=env, capture_output=True, text=True, check=False)

    done = run("agents", "--json")
    assert done.returncode == 0, done.stderr
    found = {agent["name"]: agent for agent in json.loads(done.stdout)["agents"]}
    assert {"claude", "third", "mine"} <= set(found)
    assert (found["third"]["type"], found["third"]["roles"]) == ("third", ["tester"])
    assert (found["mine"]["type"], found["mine"]["fallback_of"]) == ("command", ["tester"])
    assert found["mine"]["can"]["questions"] is True
    assert found["mine"]["can"]["stream"] is False
    told = run("agents", "--long").stdout
    assert "mine · any program" in told
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line[:1].isalpha() and " · " not in line}
    (head,) = (line.split() for line in told.splitlines() if line.split()[:1] == ["stream"])
    for name, agent in found.items():
        assert rows[name] == ["yes" if agent["can"][word] else "-" for word in head]
    assert head == list(found["mine"]["can"])
    assert max(len(line) for line in told[told.index(" stream pane ") :].splitlines()) <= 80
    assert "third can be started" in run("doctor").stdout


CONFIG = {
    "agents": {
        "claude": {"type": "claude", "models": {"strong": "opus", "fast": "sonnet", "cheap": "haiku"}},
        "other": {"type": "command", "model": "own"},
        "plain": {"type": "pi"},
    },
    "roles": {
        "tester": {"agent": "claude", "fallback": ["other", "plain"]},
        "driver": {"agent": "claude", "model": "named", "fallback": ["plain"]},
        "odd": {"agent": "claude", "tier": "strong"},
    },
}


@pytest.mark.parametrize(
    ("role", "agent", "model", "fallen", "who", "which"),
    [
        ("tester", None, None, 0, "claude", "haiku"),
        ("tester", None, "mine", 0, "claude", "mine"),
        ("tester", None, "mine", 1, "other", "own"),
        ("tester", None, None, 2, "plain", None),
        ("tester", None, None, 9, "plain", None),
        ("driver", None, None, 0, "claude", "named"),
        ("driver", None, None, 1, "plain", None),
        ("driver", "other", None, 0, "other", "own"),
        ("driver", "plain", None, 0, "plain", None),
        ("odd", None, None, 0, "claude", "opus"),
        ("unknown", "claude", None, 0, "claude", "sonnet"),
    ],
)
def test_who_does_it_with_which_model(
    role: str, agent: str | None, model: str | None, fallen: int, who: str, which: str | None
) -> None:
    spec = agent_spec(CONFIG, role, agent, model, fallen)
    assert (spec.name, spec.model) == (who, which)


def test_the_choices_of_a_task_name_each_agent_once() -> None:
    assert choices(CONFIG, "tester", None) == ("claude", "other", "plain")
    assert choices(CONFIG, "tester", "plain") == ("plain", "other")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('shift 2; exec "$@"', None),
        ("echo warning >&2; echo 'bwrap: no namespaces here' >&2; exit 1", "bwrap: no namespaces here"),
        ("echo 'error: unrecognized subcommand' >&2; exit 2", None),
        ('touch "$HOME/h" "$CODEX_HOME/c" "$TMPDIR/t"; exit 42', None),
    ],
)
def test_a_sandbox_of_its_own_that_cannot_start_is_told_in_its_words(
    tmp_path: Path, script: str, told: str | None
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    program(tmp_path / "bin", "codex", script)
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(home), "CODEX_HOME": str(home)}
    assert confines(AgentSpec("codex", "codex"), env) == told
    assert list(home.iterdir()) == [], "nothing of the person is touched"
    assert confines(AgentSpec("codex", "codex", command=("codex",)), env) is None
    assert confines(AgentSpec("claude", "claude"), env) is None
