"""opencode and Gemini CLI in the sandbox, the real programs; the model server is the judge of their usage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import Stage, task
from tests.e2e.real_agents import KINDS, RealStage, chosen
from tests.support.repository import Repository
from tests.support.world import ROOT

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

#: seconds: programs of 600 MB take their time on a machine that does much else
PATIENCE = 240.0
#: files of a login, below the home
LOGIN = {"opencode": ".local/share/opencode/auth.json", "gemini": ".gemini/oauth_creds.json"}


@pytest.fixture(params=[name for name in LOGIN if name in chosen()])
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    """Everything stands but the daemon. Afterwards nothing may be left."""
    KINDS[request.param].program()
    with ModelServer() as server:
        stage = RealStage(repo, tmp_path, server, kind=KINDS[request.param])
        yield stage
        stage.end(home)


def test_in_a_sandbox_it_has_its_login_and_its_model_and_nothing_else(stage: RealStage) -> None:
    name = stage.kind.name
    stage.configure("skip", more='[workspace]\nsandbox = "bubblewrap"\n')
    path = stage.repo.path / "stretto.toml"
    port = stage.server.url.rpartition(":")[2]
    outside = ("XDG_", "HOME", "GIT_")
    kept = [line for line in path.read_text().splitlines() if not line.startswith(outside)]
    hosts = [f"localhost:{port}"] if name == "opencode" else []  # Gemini CLI's is named by its variable
    node = str(ROOT / ".cache")  # what its launcher names, and the node that it names
    path.write_text(
        "\n".join([*kept, "[sandbox]", f"network = {json.dumps(hosts)}", f"read = [{json.dumps(node)}]", ""])
    )
    look = (
        "ls -A ~ > seen.txt; cat ~/.local/share/opencode/auth.json ~/.gemini/oauth_creds.json > logins.txt 2> /dev/null"
    )
    (stage.repo.path / "look.sh").write_text(f"{look}; true\n")
    stage.repo.git("add", "look.sh")
    stage.repo.git("commit", "-qam", "Look")
    for each, login in LOGIN.items():
        (Path.home() / login).parent.mkdir(parents=True, exist_ok=True)
        (Path.home() / login).write_text(json.dumps({}) if each == "opencode" else f'{{"login": "of {each}"}}')
    (Path.home() / ".ssh").mkdir(exist_ok=True)
    spec = "[[as=one]] Do it. [[sh=sh look.sh]] [[commit=Look]] [[say=So.]]"
    Stage.run(stage, task("one", spec), approve="auto", words=("--agent", name))
    stage.wait_state("one", "landed", timeout=PATIENCE)
    assert stage.repo.show("main", "logins.txt") == (Path.home() / LOGIN[name]).read_text()
    assert ".ssh" not in stage.repo.show("main", "seen.txt").split()
    stage.usage_is_right("one")
