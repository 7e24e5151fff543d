"""Workspaces without a task: made, adopted, found by name, removed and brought back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stretto import net
from stretto.core.errors import StrettoError
from stretto.core.model import Space
from stretto.reads import read
from stretto.workspace.port_leases import registry
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support.trees import picture
from tests.support.waiting import wait_for
from tests.support.world import STRETTO

CONFIG = """\
[workspace]
copy = [".env"]
[workspace.ports]
api = 2
[workspace.env]
API_URL = "http://127.0.0.1:{port.api}"
"""


@pytest.fixture
def spine(home, make_repo, tmp_path: Path) -> Iterator[Spine]:
    repo = make_repo("repo", {"README.md": "hello\n", ".gitignore": ".env\n*.log\n", "stretto.toml": CONFIG})
    (repo.path / ".env").write_text("KEY=1\n")
    with running(repo, tmp_path) as spine:
        yield spine


def ask(spine: Spine, verb: str, **args: Any) -> dict[str, Any]:
    with spine.engine.store.read() as db:
        return read(verb, db, {"cwd": str(spine.repo.path), "live": True, "now": 0.0, **args})


def new(spine: Spine, name: str = "idea", **args: Any) -> dict[str, Any]:
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    return spine.call("workspace_new", name=name, **{"trust": True, "env": env, **args})


def adopt(spine: Spine, path: Path, **args: Any) -> dict[str, Any]:
    return spine.call("workspace_adopt", path=str(path), **{"trust": True, "env": {}, **args})


def slots(spine: Spine) -> list[str]:
    key = str(spine.repo.path / ".git")
    return sorted(lease.owner.owner for lease in registry().all() if lease.owner.repository == key)


def test_a_workspace_has_worktree_branch_files_ports_and_environment(spine: Spine):
    made = new(spine)
    path = Path(made["path"])
    assert (path / "README.md").read_text() == "hello\n"
    assert (path / ".env").read_text() == "KEY=1\n"
    assert spine.repo.git("symbolic-ref", "HEAD", cwd=path) == "refs/heads/stretto/by-hand/idea/work"
    told = {"schema": 1, "task": "by-hand/idea", "path": str(path), "branch": made["branch"]}
    assert ask(spine, "path", task="idea") == told
    env = ask(spine, "env", task="by-hand/idea")["env"]
    assert env["STRETTO_TASK"] == "idea"
    assert env["API_URL"] == f"http://127.0.0.1:{env['PORT_API']}"
    assert "HOME" not in env
    (listed,) = ask(spine, "workspaces")["workspaces"]
    assert (listed["name"], listed["task"], listed["path"], listed["adopted"]) == ("idea", None, str(path), False)
    assert listed["ports"] == {"PORT": int(env["PORT"]), "PORT_API": int(env["PORT_API"])}
    assert slots(spine) == ["by-hand/idea"]


def test_making_it_again_finds_it(spine: Spine):
    first = new(spine)
    (Path(first["path"]) / "work.txt").write_text("work")
    again = new(spine)
    assert (again["path"], again["fresh"]) == (first["path"], False)
    assert (Path(first["path"]) / "work.txt").read_text() == "work"


def test_a_branch_and_a_base_of_ones_own(spine: Spine):
    old = spine.repo.head
    spine.repo.commit("later", {"later.txt": "x\n"})
    made = new(spine, base=old, branch="PROJ-1/idea")
    assert spine.repo.git("rev-parse", "HEAD", cwd=Path(made["path"])) == old
    assert spine.repo.git("branch", "--show-current", cwd=Path(made["path"])) == "PROJ-1/idea"
    with pytest.raises(StrettoError, match="checked out at"):
        new(spine, "second", branch="PROJ-1/idea")
    assert [w["name"] for w in ask(spine, "workspaces")["workspaces"]] == ["idea"]
    assert slots(spine) == ["by-hand/idea"]


def test_removal_takes_an_empty_branch_along_and_undo_brings_everything_back(spine: Spine):
    path = Path(new(spine)["path"])
    (path / "work.log").write_text("ignored\n")
    before, env = picture(path), ask(spine, "env", task="idea")["env"]
    done = spine.call("workspace_remove", name="idea")
    assert not path.exists()
    assert ask(spine, "workspaces")["workspaces"] == []
    assert slots(spine) == []
    assert not spine.repo.refs("refs/heads/stretto/by-hand/")
    assert done["kept"] is None
    with pytest.raises(StrettoError) as caught:
        ask(spine, "path", task="idea")
    assert caught.value.code == "unknown_task"
    assert [row["id"] for row in spine.call("purge", list=True)["removals"]] == [done["undo"]]
    spine.call("undo", id=done["undo"])
    assert picture(path) == before
    assert ask(spine, "env", task="idea")["env"] == env
    done = spine.call("workspace_remove", name="idea")
    assert spine.call("purge", ids=[done["undo"]])["purged"] == [done["undo"]]
    assert spine.call("purge", list=True)["removals"] == []


def test_a_branch_that_is_left_is_not_taken_for_another_base(spine: Spine):
    path = Path(new(spine, "idea")["path"])
    spine.repo.git("commit", "-q", "--allow-empty", "-m", "own", cwd=path)
    own = spine.repo.git("rev-parse", "HEAD", cwd=path)
    done = spine.call("workspace_remove", name="idea")
    assert done["kept"] == "stretto/by-hand/idea/work"
    spine.repo.commit("goes on", {"later.txt": "1"})
    with pytest.raises(StrettoError) as caught:
        new(spine, "idea", base="HEAD")
    assert caught.value.code == "in_the_way"
    again = new(spine, "idea")
    assert again["continues"] == own
    assert not (Path(again["path"]) / "later.txt").exists()


def test_what_is_asked_of_a_workspace_that_is_there_is_not_passed_over(spine: Spine):
    made = new(spine)
    assert made["continues"] is None
    assert new(spine, branch=made["branch"], base="HEAD")["path"] == made["path"]
    first = spine.repo.head
    spine.repo.commit("goes on", {"later.txt": "1"})
    for words in ({"branch": "other"}, {"base": "HEAD"}):
        with pytest.raises(StrettoError, match="is there already") as caught:
            new(spine, **words)
        assert caught.value.code == "in_the_way"
    assert new(spine, base=first)["path"] == made["path"]
    assert "refs/heads/other" not in spine.repo.refs("refs/heads/")


def test_a_branch_of_ones_own_stays_even_without_commits(spine: Spine):
    spine.repo.git("branch", "mine")
    assert new(spine, branch="mine")["continues"] == spine.repo.head
    assert spine.call("workspace_remove", name="idea")["kept"] == "mine"
    assert "refs/heads/mine" in spine.repo.refs("refs/heads/")


def test_a_removal_that_is_refused_says_that_the_task_is_cancelled(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("one.txt", "1")])}, approve="human")
    spine.wait_item("review")
    inside = subprocess.Popen(["sleep", "600"], cwd=str(spine.task("one").workspace))
    try:
        with pytest.raises(StrettoError, match="one is cancelled, but its workspace could not be removed") as caught:
            spine.call("remove", task="one")
        assert caught.value.code == "busy"
        assert spine.wait_over() == {"one": "cancelled"}
    finally:
        inside.kill()
        inside.wait()
    assert spine.call("remove", task="one")["undo"]


def test_adopting_gives_a_worktree_ports_and_leaves_its_files_alone(spine: Spine, tmp_path: Path):
    path = tmp_path / "Own Tree"
    spine.repo.git("worktree", "add", "-q", "-b", "mine", str(path))
    (path / "work.txt").write_text("mine\n")
    before = picture(path)
    made = adopt(spine, path)
    assert (made["workspace"], made["branch"], made["setup"]) == ("own-tree", "mine", [])
    assert adopt(spine, path)["env"] == made["env"]
    env = ask(spine, "env", task="own-tree")["env"]
    assert (env["STRETTO_WORKSPACE"], env["STRETTO_BRANCH"]) == (str(path), "mine")
    assert env["PORT"] == made["env"]["PORT"]
    assert slots(spine) == ["by-hand/own-tree"]
    done = spine.call("workspace_remove", name="own-tree")
    assert [row["path"] for row in spine.call("purge", list=True)["removals"]] == [None]
    assert picture(path) == before
    assert slots(spine) == []
    assert spine.repo.refs("refs/heads/mine")
    spine.call("undo", id=done["undo"])
    assert ask(spine, "env", task="own-tree")["env"] == env
    assert picture(path) == before


def test_an_adoption_that_cannot_be_completed_leaves_nothing_behind(spine: Spine, tmp_path: Path):
    text = '[workspace.env]\nDB = "{database.url}"\n[database]\nurl = "sqlite:///var/app.db"\n'
    spine.repo.commit("a database", {"stretto.toml": text, ".gitignore": "/var/\n.env\n*.log\n"})
    path = tmp_path / "mine"
    spine.repo.git("worktree", "add", "-q", "-b", "mine", str(path))
    own = path / "var" / "app.db"
    own.parent.mkdir()
    own.write_bytes(b"")
    with pytest.raises(StrettoError, match=r"database\.url"):
        adopt(spine, path)
    assert ask(spine, "workspaces")["workspaces"] == []
    assert slots(spine) == []
    own.unlink()
    assert adopt(spine, path)["env"]["DB"] == f"sqlite:///{own}"


def test_an_adopted_worktree_takes_turns_with_a_database(spine: Spine, tmp_path: Path):
    """Let go of, it has no file of ours; adopted again it gets one; and what it had comes back."""
    text = '[workspace.env]\nDB = "{database.url}"\n[database]\nurl = "sqlite:///var/app.db"\n'
    spine.repo.commit("a database", {"stretto.toml": text, ".gitignore": "/var/\n.env\n*.log\n"})
    source = spine.repo.path / "var" / "app.db"
    source.parent.mkdir()
    with closing(sqlite3.connect(source)) as db, db:
        db.execute("CREATE TABLE lamp (n)")
    path = tmp_path / "mine"
    spine.repo.git("worktree", "add", "-q", "-b", "mine", str(path))
    own = path / "var" / "app.db"
    adopt(spine, path)
    with closing(sqlite3.connect(own)) as db, db:
        db.execute("INSERT INTO lamp VALUES (7)")
    undo = spine.call("workspace_remove", name="mine")["undo"]
    assert not own.exists()
    adopt(spine, path)
    assert own.exists()
    spine.call("workspace_remove", name="mine")
    spine.call("undo", id=undo)
    with closing(sqlite3.connect(own)) as db:
        assert db.execute("SELECT n FROM lamp").fetchall() == [(7,)]


def test_what_cannot_be_adopted_is_left_alone_with_a_reason(spine: Spine, tmp_path: Path):
    space = Path(new(spine)["path"])
    (tmp_path / "plain").mkdir()
    for path, why in (
        (spine.repo.path, "it is the main checkout"),
        (tmp_path / "plain", "no worktree of this repository"),
        (space, "it is the workspace of by-hand/idea"),
    ):
        with pytest.raises(StrettoError, match=why) as caught:
            adopt(spine, path, name="other")
        assert caught.value.code == "not_adoptable"
    assert slots(spine) == ["by-hand/idea"]


def test_an_adopted_worktree_that_is_gone_can_still_be_let_go(spine: Spine, tmp_path: Path):
    path = tmp_path / "own"
    spine.repo.git("worktree", "add", "-q", "-b", "mine", str(path))
    adopt(spine, path)
    shutil.rmtree(path)
    with pytest.raises(StrettoError, match="is gone"):
        ask(spine, "path", task="own")
    done = spine.call("workspace_remove", name="own")
    assert slots(spine) == []
    with pytest.raises(StrettoError, match="no worktree of this repository any more"):
        spine.call("undo", id=done["undo"])


@pytest.mark.parametrize("name", ["../x", "UPPER", "a b", ""])
def test_a_name_that_cannot_be_a_path_is_refused(spine: Spine, name: str):
    with pytest.raises(StrettoError):
        new(spine, name)
    assert ask(spine, "workspaces")["workspaces"] == []


def test_files_that_need_a_filter_are_refused_and_the_checkout_may_be_sparse(spine: Spine):
    spine.repo.commit("more", {"deep/a.txt": "a\n", "other/b.txt": "b\n"})
    spine.repo.git("sparse-checkout", "set", "deep")
    assert not (spine.repo.path / "other").exists()
    made = new(spine, "whole")
    assert (Path(made["path"]) / "other" / "b.txt").read_text() == "b\n"
    spine.call("workspace_remove", name="whole")
    spine.repo.git("sparse-checkout", "disable")
    spine.repo.commit("big files", {".gitattributes": "*.bin filter=lfs\n"})
    with pytest.raises(StrettoError) as caught:
        new(spine, "big")
    assert caught.value.code == "filters"


def test_a_name_means_one_thing(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("one.txt", "1")])}, approve="human")
    with pytest.raises(StrettoError, match="is a task here") as caught:
        new(spine, "one")
    assert caught.value.code == "in_the_way"
    new(spine)
    spine.wait_item("review")
    kinds = {w["name"]: w["task"] for w in ask(spine, "workspaces")["workspaces"]}
    assert kinds == {"idea": None, "one": spine.task("one").uid}


def test_commands_are_not_run_before_they_are_trusted(spine: Spine):
    spine.repo.commit("set up", {"stretto.toml": '[workspace]\nsetup = "touch made.log"\n'})
    with pytest.raises(StrettoError) as caught:
        new(spine, trust=None)
    assert caught.value.code == "untrusted"
    assert ask(spine, "workspaces")["workspaces"] == []
    made = new(spine)
    assert [command["run"] for command in made["setup"]] == ["touch made.log"]
    assert made["ready"] is False
    spine.call("workspace_ready", name="idea")
    again = new(spine)
    assert (again["setup"], again["ready"]) == ([], True)


def test_a_removal_that_could_not_be_written_down_is_known_again(spine: Spine):
    path = Path(new(spine)["path"])
    with spine.engine.store.read() as db:
        space = db.one(Space, "name = 'idea'")
    assert space is not None
    spine.engine.parts.repositories.workspaces(space.root, space.config).remove(space.owner, path, None, "removed")
    spine.call("undo")
    assert ask(spine, "path", task="idea")["path"] == str(path)


# ------------------------------------------------------------------ from the command line


@pytest.fixture
def shell(home, make_repo) -> Iterator[Any]:
    text = '[workspace]\nsetup = ["echo ready-$STRETTO_TASK; touch made.log"]\n'
    repo = make_repo("repo", {"README.md": "hello\n", ".gitignore": "*.log\n", "stretto.toml": text})

    def run(*words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*STRETTO, *words], cwd=repo.path, capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done

    run.repo = repo  # type: ignore[attr-defined]
    yield run
    run("down", "--all")


def test_the_verbs(shell):
    made = shell("workspace", "new", "idea", "--trust")
    path = Path(made.stdout.strip())
    assert (path / "made.log").exists()
    assert "ready-idea" in made.stderr
    assert shell("path", "idea").stdout.strip() == str(path)
    exported = shell("env", "idea", "--export").stdout
    assert f"export STRETTO_WORKSPACE={path}" in exported
    assert shell("exec", "idea", "--", "sh", "-c", "echo $PORT; pwd").stdout.splitlines()[1] == str(path)
    listed = shell("workspace", "list").stdout
    assert listed.startswith("idea  by hand  ")
    assert f"slot {shell('exec', 'idea', '--', 'printenv', 'STRETTO_SLOT').stdout.strip()}" in shell("ports").stdout
    assert "bring it back with: stretto undo" in shell("workspace", "remove", "idea").stdout
    shell("undo")
    assert (path / "made.log").exists()


def test_servers_run_until_they_are_told_to_stop(shell, home):
    text = '[workspace.serve.web]\nrun = "exec python3 -m http.server --bind 127.0.0.1 $PORT"\nready = "/"\n'
    shell.repo.commit("serve", {"stretto.toml": text})
    shell("workspace", "new", "idea", "--trust")
    up = json.loads(shell("serve", "idea", "--detach", "--json").stdout)
    (server,) = up["servers"]
    port = int(shell("exec", "idea", "--", "printenv", "PORT").stdout)
    assert server["url"] == f"http://127.0.0.1:{port}"
    assert net.answers(port, "/README.md")
    (lease,) = json.loads(shell("ports", "--json").stdout)["leases"]
    assert [one["port"] for one in lease["listeners"]] == [port]
    assert "run already" in shell("serve", "idea", ok=False).stderr
    shell("serve", "idea", "--stop")
    assert net.free(port)
    child = subprocess.Popen([*STRETTO, "serve", "idea"], cwd=shell.repo.path, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().startswith(f"web  http://127.0.0.1:{port}")
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    wait_for(lambda: net.free(port))
    shell("serve", "idea", "--detach")
    assert not net.free(port)
    shell("down", "--all")
    assert net.free(port)
    shell("up")


def test_a_set_up_that_fails_says_so_and_is_tried_again(shell):
    shell("workspace", "new", "idea", "--trust", "--no-setup")
    path = Path(shell("path", "idea").stdout.strip())
    (path / "made.log").mkdir()
    (path / "made.log").chmod(0o500)
    assert "(not set up)" in shell("workspace", "list").stdout
    assert '"ready": true' in shell("workspace", "new", "idea", "--json").stdout
    assert "(not set up)" not in shell("workspace", "list").stdout


def test_doctor_tells_what_belongs_to_nobody_and_deletes_nothing(shell, home):
    shell("workspace", "new", "idea", "--trust")
    path = Path(shell("path", "idea").stdout.strip())
    assert "belongs to no task" not in shell("doctor").stdout
    (path.parent / "notes.txt").write_text("somebody's")
    shell("down")
    with sqlite3.connect(home / "stretto.db") as db:
        db.execute("DELETE FROM spaces")
    db.close()
    said = shell("doctor").stdout
    assert f"{path} belongs to no task and no workspace" in said
    assert f"{path.parent / 'notes.txt'} belongs to no task and no workspace" in said
    assert "leased to by-hand/idea, which nobody knows" in said
    assert (path / "README.md").exists()
    assert [lease.owner.owner for lease in registry().all() if lease.path == path] == ["by-hand/idea"]
    shell("up")


def test_an_interrupted_set_up_exits_130_and_leaves_nothing_half_made(shell):
    text = '[workspace]\nsetup = ["echo begun >&2; exec sleep 600"]\n'
    shell.repo.commit("slow", {"stretto.toml": text})
    argv = [*STRETTO, "workspace", "new", "idea", "--trust"]
    child = subprocess.Popen(
        argv, cwd=shell.repo.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    assert child.stderr is not None
    while (line := child.stderr.readline()) != "begun\n":
        assert line, "it ended before its set-up"
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130, said
    assert "idea is not made" in said
    assert "idea" not in shell("workspace", "list").stdout
    assert not shell.repo.refs("refs/heads/stretto/")


def test_init_without_a_terminal_copies_no_ignored_file_and_says_what_to_add(home, make_repo):
    repo = make_repo("repo", {"README.md": "hello\n", ".gitignore": ".env\n"})
    (repo.path / ".env").write_text("KEY=1\n")
    done = subprocess.run([*STRETTO, "init"], cwd=repo.path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not [line for line in (repo.path / "stretto.toml").read_text().splitlines() if line.startswith("copy")]
    assert 'add to [workspace]: copy = [".env"]' in done.stderr


@pytest.mark.faults
def test_the_daemon_dies_while_it_makes_one(home, make_repo):
    repo = make_repo("repo", {"README.md": "hello\n"})
    env = {**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": "daemon.workspace.made=kill"}
    argv = [*STRETTO, "workspace", "new", "idea"]
    died = subprocess.run(argv, cwd=repo.path, env=env, capture_output=True, text=True, timeout=120)
    assert died.returncode != 0
    assert died.returncode != -signal.SIGKILL
    again = subprocess.run(argv, cwd=repo.path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert Path(again.stdout.strip()).joinpath("README.md").exists()
    assert subprocess.run([*STRETTO, "down", "--all"], cwd=repo.path, timeout=60).returncode == 0
