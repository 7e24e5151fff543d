"""Types of agents from other packages: a real distribution, installed; and those that are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stretto import agents
from stretto.agents.declaration import Declaration
from stretto.agents.others import mistakes
from tests.support.repository import Repository
from tests.support.world import ROOT, STRETTO

Run = Callable[..., subprocess.CompletedProcess[str]]
GOOD = """
from stretto.agents.command import CommandAgent
from stretto.agents.declaration import Declaration
from stretto.agents.turn_rules import TurnRules, runner
from stretto.agents.turns import launch_turns


class Scribe(CommandAgent):
    type = "scribe"
    declaration = Declaration("scribe", "writes a line, once for each turn", program="scribe-program", tested=("1.0",),
                              can=frozenset({"usage"}))

    def probe(self, spec, env):
        return None

    def launch(self, spec, context):
        rules = TurnRules(("{file}",), usage={"pattern": r"(?P<input>[0-9]+) tokens"})
        words = ("sh", "-c", "echo 41 tokens; echo scribbled > scribe.txt")
        return launch_turns(runner(words, rules, ()), spec, context)
"""


def wheel(folder: Path, name: str, code: str, entry: str) -> Path:
    """A wheel as a build tool makes it: one module, its metadata, its record."""
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[stretto.agents]\n{entry}\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


@pytest.fixture
def install(tmp_path: Path) -> Callable[[str, str, str], None]:
    """Install a distribution with pip, without an index, into a folder that `run` has on its path."""

    def install(name: str, code: str, entry: str) -> None:
        words = [
            "--quiet",
            "--no-index",
            "--no-deps",
            "--disable-pip-version-check",
            "--target",
            str(tmp_path / "site"),
        ]
        made = wheel(tmp_path, name, code, entry)
        subprocess.run([sys.executable, "-m", "pip", "install", *words, str(made)], check=True, capture_output=True)

    return install


@pytest.fixture
def run(repo: Repository, home: Path, tmp_path: Path) -> Run:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT / "src")])}

    def run(*words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*STRETTO, *words], cwd=repo.path, env=env, capture_output=True, text=True, check=False)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    return run


def test_an_installed_distribution_adds_an_agent_that_works(
    install: Callable[[str, str, str], None], run: Run, repo: Repository
) -> None:
    install("scribe", GOOD, "scribe = scribe:Scribe")
    found = {agent["name"]: agent for agent in json.loads(run("agents", "--json").stdout)["agents"]}
    assert found["scribe"]["about"] == "writes a line, once for each turn"
    assert found["scribe"]["can"]["usage"]
    try:
        run(
            "add", "Scribble", "--agent", "scribe", "--approve", "auto", "--leave-checkout", "--wait", "--timeout", "60"
        )
        assert repo.show("main", "scribe.txt") == "scribbled"
        told = json.loads(run("usage", "--json", "--by", "agent").stdout)
        assert told["by"]["scribe"]["input"] == 41
    finally:
        run("down", "--all", code=None)


BROKEN = {
    "lost": ("import no_such_module", "lost = lost:Lost", "ModuleNotFoundError"),
    "rough": ("raise SystemExit('go away')", "rough = rough:Rough", "SystemExit: go away"),
    "bare": ("class Bare:\n    type = 'bare'\n", "bare = bare:Bare", "it has no `probe`, `launch`, `turn`"),
}


def test_a_broken_distribution_is_refused_with_a_sentence_and_keeps_nobody_else_from_working(
    install: Callable[[str, str, str], None], run: Run, repo: Repository
) -> None:
    for name, (code, entry, _) in BROKEN.items():
        install(name, code, entry)
    found = {agent["name"]: agent for agent in json.loads(run("agents", "--json").stdout)["agents"]}
    assert found["claude"]["can"]["stream"]
    for name, (_, _, said) in BROKEN.items():
        assert f"the package {name} does not provide an agent '{name}' that can be used" in found[name]["missing"]
        assert said in found[name]["missing"]
        assert f"pip uninstall {name}" in found[name]["install"]
    assert "lost · not to be used" in run("agents", "lost").stdout
    rows = {line.split("  ")[0]: line for line in run("agents").stdout.splitlines()}
    assert all("not usable" in rows[name] for name in BROKEN)
    refused = run("add", "x", "--agent", "lost", "--leave-checkout", code=2)
    assert "is not known" in refused.stderr
    (repo.path / "stretto.toml").write_text('schema = 1\n[agents.own]\ntype = "rough"\n[roles.tester]\nagent = "own"\n')
    assert "SystemExit: go away" in run("doctor", code=None).stdout
    assert "SystemExit: go away" in run("agents", "--long").stdout


def test_what_is_wrong_with_an_agent_is_told_in_one_sentence() -> None:
    class Odd(agents.find("command").__class__):  # type: ignore[misc]
        type = "odd"
        declaration = Declaration("other", "x", can=frozenset({"fly"}), models={"strong": "m"})

    (name, can, models) = mistakes("odd", Odd())
    assert name == "its declaration is one of 'other'"
    assert "`fly`" in can
    assert "tiers strong, fast, cheap" in models
    Odd.declaration = "x"  # type: ignore[assignment]  # as somebody may who runs no type checker
    assert mistakes("even", Odd()) == ["its `type` is 'odd'", mistakes("odd", Odd())[0]]
    assert mistakes("command", agents.find("command")) == []
