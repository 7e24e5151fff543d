"""The program with the real daemon and the real engine: what a person does from `run` to `purge`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Stretto
from tests.support.repository import Repository
from tests.support.waiting import wait_for
from tests.support.world import STRETTO

AGENT = """#!/bin/sh
echo "turn $STRETTO_TURN of $STRETTO_TASK"
case "$STRETTO_TASK" in
  ask) stretto agent ask "Which colour?" --option red --option blue > colour.txt ;;
  slow) echo started; exec sleep 600 ;;
  *) echo "$STRETTO_TASK" > "$STRETTO_TASK.txt" ;;
esac
"""


@pytest.fixture
def agent(tmp_path: Path) -> str:
    path = tmp_path / "agent.sh"
    path.write_text(AGENT)
    path.chmod(0o755)
    return f"command:{path}"


@pytest.fixture
def write_plan(repo: Repository) -> Callable[..., str]:
    def write(*tasks: str) -> str:
        parts = [f"## {task}: Do {task}\nDo it.\nAccept: it is done.\n- files: {task}.txt\n" for task in tasks]
        (repo.path / "PLAN.md").write_text("# Real\n\n" + "\n".join(parts))
        return "PLAN.md"

    return write


@pytest.fixture
def real(stretto: Stretto) -> Iterator[Stretto]:
    yield stretto
    stretto("down", "--all", "--json")


def run(real: Stretto, plan: str, agent: str, *words: str) -> dict[str, Any]:
    done = real("run", plan, "--agent", agent, "--leave-checkout", "--json", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return found


def item_of(real: Stretto, kind: str) -> str:
    def look() -> str | None:
        items = json.loads(real("inbox", "--json").stdout)["inbox"]
        return next((str(item["id"]) for item in items if item["kind"] == kind), None)

    return wait_for(look, 30, what=f"an inbox item {kind}")


def daemon_pid(real: Stretto) -> int:
    return int(json.loads(real("up", "--json").stdout)["pid"])


def test_from_run_to_landed_with_a_question(
    real: Stretto, repo: Repository, agent: str, write_plan: Callable[..., str]
) -> None:
    uid = run(real, write_plan("ask"), agent)["tasks"][0]
    item = item_of(real, "question")
    assert real("answer", item, "2").returncode == 0
    item_of(real, "review")
    assert "+blue" in real("diff", "ask").stdout
    assert "colour.txt | 1 +" in real("diff", uid, "--stat").stdout
    assert real("wait", "ask", "--for", "landed", "--timeout", "0", "--json").returncode == 4
    assert real("approve", "ask").returncode == 0
    done = real("wait", "ask", "--for", "landed", "--timeout", "30")
    assert done.returncode == 0, done.stderr
    assert repo.git("show", "main:colour.txt") == "blue"
    wait_for(lambda: "2 behind main; before you commit there: stretto update-checkout" in real("status").stdout)
    assert real("update-checkout").returncode == 0
    assert "behind" not in real("status").stdout
    assert (repo.path / "colour.txt").read_text() == "blue\n"
    assert "turn 1 of ask" in real("logs", "ask").stdout
    assert json.loads(real("snapshots", "ask", "--json").stdout)[0]["ref"].startswith("refs/stretto/snap/")
    assert json.loads(real("messages", "ask", "--json").stdout)[0]["state"] == "done"
    assert real("down").returncode == 0


def test_run_and_wait_through_the_death_of_the_daemon(
    real: Stretto, repo: Repository, agent: str, write_plan: Callable[..., str]
) -> None:
    """kill -9 of the daemon ends no follower; it goes on when somebody starts the next one."""
    plan = write_plan("a", "slow")
    child = subprocess.Popen(
        [*STRETTO, "run", plan, "--agent", agent, "--leave-checkout", "--approve", "auto", "--wait"],
        cwd=repo.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: "started" in real("logs", "slow").stdout)
        pid = daemon_pid(real)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        assert json.loads(real("status", "--json").stdout)["daemon"] is None
        assert child.poll() is None
        assert daemon_pid(real) != pid
        wait_for(lambda: _state(real, "a") == "landed")
        assert _state(real, "slow") == "active", "its agent has noticed nothing"
        assert real("cancel", "slow").returncode == 0
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 1, out + err
    assert "slow is cancelled" in err
    assert "/a: landed" in out


def _state(real: Stretto, task: str) -> str:
    return _states(real)[task]


def _states(real: Stretto) -> dict[str, str]:
    return {task["id"]: task["state"] for task in json.loads(real("status", "--json").stdout)["tasks"]}


def test_down_leaves_agents_and_down_all_ends_them(
    real: Stretto, agent: str, write_plan: Callable[..., str], home: Path
) -> None:
    run(real, write_plan("slow"), agent)
    wait_for(lambda: "started" in real("logs", "slow").stdout)
    sleeping = wait_for(lambda: [p for p in _processes(home) if p.name() == "sleep"])
    assert real("down").returncode == 0
    assert all(p.is_running() for p in sleeping)
    daemon_pid(real)
    assert real("down", "--all").returncode == 0
    wait_for(lambda: not [p for p in _processes(home) if p.name() == "sleep"])
    assert real("down", "--json").returncode == 0
    daemon_pid(real)
    assert _states(real)["slow"] in ("waiting", "active")


def test_down_all_ends_what_a_daemon_that_is_gone_has_left(
    real: Stretto, agent: str, write_plan: Callable[..., str], home: Path
) -> None:
    run(real, write_plan("slow"), agent)
    wait_for(lambda: "started" in real("logs", "slow").stdout, 30)
    wait_for(lambda: [p for p in _processes(home) if p.name() == "sleep"])
    os.kill(daemon_pid(real), signal.SIGKILL)
    wait_for(lambda: real("down", "--json").stdout == '{"schema": 1, "pid": null, "all": false}\n')
    done = real("down", "--all")
    assert (done.returncode, done.stdout) == (0, "no daemon runs; 1 agent that it had left running ended\n"), (
        done.stderr
    )
    wait_for(lambda: not _processes(home))
    done = real("down", "--all")
    assert (done.returncode, done.stdout) == (0, "no daemon runs\n"), done.stderr


def _processes(home: Path) -> list[psutil.Process]:
    from tests.support.processes import holding

    return holding(str(home))


def test_workspace_verbs(real: Stretto, program: Stretto, agent: str, write_plan: Callable[..., str]) -> None:
    run(real, write_plan("a"), agent)
    item_of(real, "review")
    path = Path(real("path", "a").stdout.strip())
    assert (path / "a.txt").read_text() == "a\n"
    assert program("exec", "a", "--", "cat", "a.txt").stdout == "a\n"
    (path / "secret.txt").write_text("kept\n")
    removed = json.loads(real("remove", "a", "--json").stdout)
    assert removed["undo"]
    assert not path.exists()
    assert removed["undo"] in real("purge", "--list").stdout
    assert real("purge", removed["undo"], "--json").returncode == 1, "without a yes nothing is deleted"
    assert real("undo", removed["undo"]).returncode == 0
    assert (path / "secret.txt").read_text() == "kept\n"
    again = json.loads(real("remove", "a", "--json").stdout)["undo"]
    assert real("purge", again, "--yes").returncode == 0
    assert json.loads(real("purge", "--list", "--json").stdout)["removals"] == []
    assert real("undo", again).returncode == 1


def test_an_agent_of_a_session_cannot_approve_itself(
    real: Stretto, tmp_path: Path, write_plan: Callable[..., str]
) -> None:
    script = tmp_path / "sly.sh"
    script.write_text(
        "#!/bin/sh\necho work > a.txt\nstretto approve $STRETTO_TASK; echo code=$?\n"
        "env -u STRETTO_AGENT_TOKEN -u STRETTO_SESSION stretto approve $STRETTO_TASK; echo code=$?\n"
        "env -u STRETTO_AGENT_TOKEN -u STRETTO_SESSION STRETTO_HOME=$SLY stretto approve $STRETTO_TASK; echo code=$?\n"
    )
    script.chmod(0o755)
    run(real, write_plan("a"), f"command:env SLY={os.environ['STRETTO_HOME']} {script}")
    item_of(real, "review")
    text = real("logs", "a").stdout
    assert "code=0" not in text
    assert text.count("code=1") == 3, text
    assert "an agent cannot steer" in text


def test_what_run_refuses(real: Stretto, repo: Repository, agent: str, write_plan: Callable[..., str]) -> None:
    plan = write_plan("a")

    def refused(*words: str, cwd: Path | None = None) -> str:
        done = real("run", plan, "--json", *words, cwd=cwd)
        assert done.returncode in (1, 2), done.stdout
        error = json.loads(done.stdout)["error"]
        assert error["hint"], error
        return str(error["code"])

    assert refused("--agent", agent) == "checkout_choice"
    assert refused("--agent", "command:/no/such/program", "--leave-checkout") == "agent_missing"
    assert refused("--agent", agent, "--leave-checkout", "--target", "nowhere") == "no_target"
    assert refused("--agent", agent, "--leave-checkout", "--base", "nowhere") == "no_base"
    (repo.path / "stretto.toml").write_text('schema = 1\n[checks]\nunit = "true"\n')
    assert refused("--agent", agent, "--leave-checkout") == "untrusted"
    found = json.loads(real("trust", "--json").stdout)
    assert found["error"]["code"] == "untrusted"
    assert real("trust", "--hash", found["error"]["details"]["hash"]).returncode == 0
    assert real("run", plan, "--agent", agent, "--leave-checkout", "--json").returncode == 0
