"""Real agents inside the sandbox: with a part of the repository (recipe W) and in a clone of their own (recipe C).

Their home inside is the task's own, empty at first; of the network they have the model server and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import FREE, Stage, task
from tests.e2e.real_agents import KINDS, RealStage
from tests.e2e.test_attach import LEAVE, Screen
from tests.support.repository import Repository

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

#: what an agent's variables say of places that are not there inside
OUTSIDE = ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "HOME")


@pytest.fixture
def staged(home: Path, repo: Repository, tmp_path: Path) -> Iterator[RealStage]:
    with ModelServer() as server:
        stage = RealStage(repo, tmp_path, server)
        yield stage
        stage.end(home)


#: what it finds inside, left where it is committed; bash, for only that can speak to a port by itself
LOOK = """
ls -A ~ | tr '\\n' ' ' > seen.txt
cat ~/.claude/.credentials.json ~/.codex/auth.json ~/.ssh/id_rsa > logins.txt 2> /dev/null
exec 3<> /dev/tcp/127.0.0.1/3128
printf 'CONNECT elsewhere.invalid:443 HTTP/1.1\\r\\n\\r\\n' >&3
head -n 1 <&3 | tr -d '\\r' > proxy.txt
git rev-parse --is-inside-work-tree > git.txt
(setsid env -i sleep 3600 > /dev/null 2>&1 &)
"""
LOGINS = {
    "claude": (".claude/.credentials.json", '{"login": "of claude"}'),
    "codex": (".codex/auth.json", '{"OPENAI_API_KEY": "dummy", "login": "of codex"}'),
    "ssh": (".ssh/id_rsa", "a key"),
}


def confine(stage: RealStage, name: str, recipe: str, permissions: str) -> None:
    """The agent in a sandbox, with nothing said of places that are not there inside; logins in the person's home."""
    stage.kind = KINDS[name]
    stage.kind.program()
    port = stage.server.url.rpartition(":")[2]
    hosts = ["allowed.invalid", *([f"localhost:{port}"] if name == "codex" else [])]
    stage.configure(
        permissions,
        more=f'[workspace]\nsandbox = "bubblewrap"\n[sandbox]\nrecipe = "{recipe}"\nnetwork = {json.dumps(hosts)}\n',
    )
    path = stage.repo.path / "stretto.toml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(OUTSIDE)]
    path.write_text("\n".join(kept) + "\n")
    (stage.repo.path / "look.sh").write_text(LOOK)
    stage.repo.git("add", "look.sh")
    stage.repo.git("commit", "-qam", "Nothing of places that are not there inside")
    for file, text in LOGINS.values():
        (Path.home() / file).parent.mkdir(parents=True, exist_ok=True)
        (Path.home() / file).write_text(text)


@pytest.mark.parametrize(
    ("name", "recipe", "permissions"),
    [
        ("claude", "worktree", FREE),
        ("claude", "clone", "skip"),
        ("codex", "worktree", "skip"),
        ("codex", "auto", "skip"),
    ],
)
def test_it_starts_asks_edits_commits_and_leaves_nothing(
    staged: RealStage, name: str, recipe: str, permissions: str
) -> None:
    confine(staged, name, recipe, permissions)
    before = {path: path.read_text() for file, _ in LOGINS.values() if (path := Path.home() / file)}
    spec = (
        '[[as=one]] Do it. [[ask q="Which colour?" options="Blue|Red"]] [[sh=bash look.sh]] [[commit=Look]] [[say=So.]]'
    )
    Stage.run(staged, task("one", spec), approve="auto", words=("--agent", name))
    staged.stretto("answer", staged.wait_item("question")["id"], "2")
    staged.wait_state("one", "landed")
    assert staged.task("one")["workspace"] is None
    assert staged.usage_is_right("one")["input"] > 0
    found = {file: staged.repo.show("main", file) for file in ("seen.txt", "logins.txt", "proxy.txt", "git.txt")}
    assert found["logins.txt"] == LOGINS[name][1]
    assert found["proxy.txt"] == "HTTP/1.1 403 Forbidden"
    assert found["git.txt"] == "true"
    assert not {".ssh", *({".codex", ".claude"} - {f".{name}"})} & set(found["seen.txt"].split())
    assert {path: path.read_text() for path in before} == before, "the person's own files are left alone"
    kept = staged.home.path / "houses"
    assert not [path for path in Path.home().rglob(".claude.json") if not path.is_relative_to(kept)]


def test_claude_shows_its_own_interface_in_its_empty_home_and_can_be_taken_over(staged: RealStage) -> None:
    confine(staged, "claude", "worktree", FREE)
    spec = '[[as={0}]] Do it. [[write path={0}.txt text="{0}\\n"]] [[commit=Add {0}]] [[say=Added {0}.]]'
    Stage.run(staged, task("one", spec.format("one"), mode="pane"), task("two", spec.format("two")))
    staged.wait(lambda: len([item for item in staged.inbox() if item["kind"] == "review"]) == 2)
    screen = Screen(("attach", "two"), staged.repo.path, {})
    screen.shows("❯".encode())
    screen.shows(b"shortcuts")
    screen.keys(LEAVE)
    assert screen.ends() == 0
    assert [one["mode"] for one in staged.told("two")["sessions"]] == ["stream", "pane"]
    assert len(set(staged.conversations("two"))) == 1
