"""Removal, cancel and landing leave no process, port or mount of a task behind; what belongs to others stays."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

import pytest

from stretto import net
from tests.checks.test_keeper import hidden, sleeping
from tests.engine.spine import Spine, plan, running, task, turns, write

SANDBOXES = {"none": "", "bubblewrap": '[workspace]\nsandbox = "bubblewrap"\n'}


@pytest.fixture(params=SANDBOXES)
def spine(request, home, make_repo, tmp_path):
    files = {"README.md": "hello\n", "stretto.toml": SANDBOXES[request.param]}
    with running(make_repo("repo", files), tmp_path) as spine:
        yield spine


def leave(seconds: int) -> dict[str, object]:
    """Leaves a daemon, and something on the task's own port, in a session of its own and without its environment."""
    program = "import socket, time; s = socket.create_server(('127.0.0.1', $PORT)); open('up', 'w')"
    program += f"; time.sleep({seconds})"
    listen = f'setsid env -i /usr/bin/python3 -c "{program}" > /dev/null 2>&1 &'
    return {"run": {"argv": ["sh", "-c", f"{hidden(seconds)}; {listen} until test -e up; do sleep 0.1; done"]}}


def numbers(count: int) -> list[int]:
    first = 1_000_000 + secrets.randbelow(1_000_000_000)
    return [first + n for n in range(count)]


def mounted(path: Path) -> bool:
    return str(path) in Path("/proc/self/mountinfo").read_text()


def test_nothing_of_a_task_stays_and_all_of_another_does(spine: Spine) -> None:
    mine, other, check, person = numbers(4)
    ask = {"ask": {"text": "Go on?"}}
    script = {"mine": turns([leave(mine), ask]), "other": turns([leave(other), ask]), "done": turns([write("x", "1")])}
    checks = json.dumps([f"{hidden(check, deaf=True)}; true"])
    bystander = subprocess.Popen(["/bin/sleep", str(person)])
    spine.run(plan(task("mine"), task("other"), task("done"), checks=checks), script, open=3)
    spine.wait(lambda: len([i for i in spine.items() if i.kind.value == "question"]) == 2, 90)
    ports = {id: int(spine.task(id).held["PORT"]) for id in ("mine", "other")}
    path = Path(str(spine.task("mine").workspace))
    spine.wait(lambda: sleeping(mine) and sleeping(other))
    spine.call("pause", task="mine")
    assert sleeping(mine), "a turn that goes on has what it started"
    spine.call("cancel", task="mine")
    spine.wait(lambda: spine.task("mine").outcome)
    spine.wait(lambda: not sleeping(mine))
    spine.wait(lambda: net.free(ports["mine"]))
    spine.call("remove", task="mine")
    assert not path.exists()
    assert not mounted(path)
    assert ports["mine"] not in [
        port for lease in spine.call_read("ports")["leases"] for port in lease["ports"].values()
    ]
    spine.wait(lambda: spine.task("done").outcome, 90)
    assert spine.task("done").outcome == "landed"
    spine.wait(lambda: not sleeping(check))
    assert sleeping(other)
    spine.wait(lambda: not net.free(ports["other"]))
    assert bystander.poll() is None
    spine.call("cancel", task="other")
    spine.wait(lambda: not sleeping(other))
    spine.wait(lambda: net.free(ports["other"]))
    bystander.kill()
    bystander.wait()
