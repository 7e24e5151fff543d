"""`stretto agents`: a line for each, in 80 columns; everything of one that is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stretto.cli import agents, app
from stretto.core.errors import UsageError
from tests.support.repository import Repository

Run = Callable[..., str]
PROGRAM = "#!/bin/sh\necho codex-cli 0.0.1\n"


@pytest.fixture
def run(home: Any, repo: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Calls `agents` in a repository, where codex is an untested version and nothing else is found."""
    program = tmp_path / "bin" / "codex"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    more = "".join(f'[agents.own-{n}]\ncommand = ["sh"]\n' for n in range(2))
    (repo.path / "stretto.toml").write_text(f"schema = 1\n{more}")
    monkeypatch.chdir(repo.path)
    for name in ("sh", "git"):
        (program.parent / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(agents, "terminal_width", lambda: 80)

    def call(*words: str) -> str:
        done = CliRunner().invoke(app.cli, ["agents", *words])
        if done.exception is not None:
            raise done.exception
        return done.output

    return call


def test_ten_agents_fit_a_terminal_of_80x24(run: Run) -> None:
    found = json.loads(run("--json"))["agents"]
    lines = run().splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert len(found) >= 10
    assert {agent["name"] for agent in found} <= set(rows)
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    assert "not found" in rows["claude"]
    assert "0.0.1, untested" in rows["codex"]
    assert rows["codex"].endswith("all but fork, budget")
    assert rows["aider"].endswith("usage, model")


def test_one_that_is_named_is_told_whole(run: Run) -> None:
    told = run("claude")
    assert "claude · Claude Code" in told
    assert "install:  npm install -g @anthropic-ai/claude-code" in told
    assert "codex" not in told
    assert "codex · Codex" in run("--long")
    assert [agent["name"] for agent in json.loads(run("--json", "codex", "claude"))["agents"]] == ["codex", "claude"]


def test_an_agent_that_there_is_not_is_refused_with_the_nearest(run: Run) -> None:
    with pytest.raises(UsageError, match="there is no agent 'claud' here") as refused:
        run("claud")
    assert refused.value.hint == "did you mean claude?"
