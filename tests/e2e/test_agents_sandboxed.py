"""Every other real agent in the sandbox, as test_sandboxed_real.py has Claude Code and Codex (`make test-agents-all`).

With a part of the repository (recipe W) and in a clone of its own (recipe C): it starts, works, lands, and sees neither
the person's files nor anything of the network but its model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e import real_agents, turn_agents
from tests.e2e.claude_stage import Stage, task
from tests.e2e.real_agents import RealStage
from tests.e2e.test_sandboxed_real import LOOK
from tests.e2e.turn_agents import Turns, TurnStage
from tests.support.repository import Repository
from tests.support.world import ROOT

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

PATIENCE = 240.0
KINDS = {**real_agents.KINDS, **turn_agents.KINDS}
OTHERS = [name for name in KINDS if name not in ("claude", "codex")]
NAMES = [name for name in os.environ.get("STRETTO_AGENTS", "").split() if name in OTHERS] or OTHERS
#: what is told there by files below the person's home, which have to be let in
SETTINGS = {"pi": ["~/pi/models.json"], "codex-acp": ["~/.codex/config.toml"]}
#: a variable that names a file which is not there inside
OUTSIDE = "GIT_CONFIG_GLOBAL"


@pytest.fixture(params=NAMES)
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    """Everything stands but the daemon. Afterwards nothing may be left."""
    kind = KINDS[request.param]
    kind.program()
    led = replace(kind, environment=lambda _, url: kind.environment(Path.home(), url))
    with ModelServer() as server:
        made = TurnStage if isinstance(kind, Turns) else RealStage
        stage = made(repo, tmp_path, server, kind=led)
        yield stage
        stage.end(home)


@pytest.mark.parametrize("recipe", ["worktree", "clone"])
def test_it_works_and_lands_inside(stage: RealStage, recipe: str) -> None:
    confine(stage, recipe)
    (Path.home() / ".ssh").mkdir(exist_ok=True)
    (Path.home() / ".ssh" / "id_rsa").write_text("a key")
    kind = stage.kind
    tools = not isinstance(kind, Turns) or kind.calls > 1
    edit = kind.edit("a.txt", "a") if isinstance(kind, Turns) else '[[write path=a.txt text="a\\n"]] [[say=So.]]'
    look = "[[sh=bash look.sh]] " if tools else ""
    Stage.run(stage, task("one", f"[[as=one]] x {look}{edit}"), approve="auto", words=("--agent", kind.name))
    stage.wait_state("one", "landed", timeout=PATIENCE)
    assert stage.repo.show("main", "a.txt") == "a"
    if tools:
        assert ".ssh" not in stage.repo.show("main", "seen.txt").split()
        assert stage.repo.show("main", "logins.txt") == ""
        assert stage.repo.show("main", "proxy.txt") == "HTTP/1.1 403 Forbidden"
        assert stage.repo.show("main", "git.txt") == "true"
    assert stage.usage_is_right("one")["input"] > 0


def confine(stage: RealStage, recipe: str) -> None:
    """The agent in a sandbox, with what it is told below the person's home."""
    kind = stage.kind
    port = stage.server.url.rpartition(":")[2]
    hosts = ["allowed.invalid", f"localhost:{port}"]
    rules = f'[workspace]\nsandbox = "bubblewrap"\n[sandbox]\nrecipe = "{recipe}"\nnetwork = {json.dumps(hosts)}'
    # programs of node are started here by a script that names two places of ours
    stage.configure("skip", more=f"{rules}\nread = {json.dumps([os.path.realpath(ROOT / '.cache')])}\n")
    path = stage.repo.path / "stretto.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(OUTSIDE)]
    if kind.name in SETTINGS:
        own = f"credentials = {json.dumps(SETTINGS[kind.name])}"
        lines.insert(lines.index(f"[agents.{kind.name}]") + 1, own)
    path.write_text("\n".join(lines) + "\n")
    (stage.repo.path / "look.sh").write_text(LOOK)
    stage.repo.git("add", "look.sh")
    stage.repo.git("commit", "-qam", "Inside")
