"""What a task's workspace holds reaches its agent, its checks, the gate, and whoever asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto import proctree
from stretto.checks import servers
from stretto.home import open_home
from stretto.reads import read
from stretto.workspace import home_name
from stretto.workspace.port_leases import SLOTS, Holder, Owner, registry
from tests.engine.spine import Spine, plan, running, task, turns, write

CONFIG = '[workspace.ports]\napi = 3\n[workspace.env]\nAPI_URL = "http://127.0.0.1:{port.api}"\n'


@pytest.fixture
def spine(home, make_repo, tmp_path: Path) -> Iterator[Spine]:
    repo = make_repo("repo", {"README.md": "hello\n", "stretto.toml": CONFIG})
    with running(repo, tmp_path) as spine:
        yield spine


def ask(spine: Spine, verb: str, **args: Any) -> dict[str, Any]:
    with spine.engine.store.read() as db:
        return read(verb, db, {"cwd": str(spine.repo.path), "live": True, "now": 0.0, **args})


def test_ports_reach_agents_checks_gate_and_reader(spine: Spine, tmp_path: Path):
    said = tmp_path / "said"
    check = f"echo $STRETTO_PURPOSE $STRETTO_TASK $PORT $PORT_API $API_URL $STRETTO_SLOT >> {said}"
    spine.run(
        plan(task("one"), task("two"), checks=f'["{check}"]'),
        {id: turns([write(f"{id}.txt", id)]) for id in ("one", "two")},
        approve="human",
        open=2,
    )
    spine.wait(lambda: len([i for i in spine.items() if i.kind.value == "review"]) == 2)
    tasks = {t["id"]: t for t in ask(spine, "status")["tasks"]}
    for id in ("one", "two"):
        space = tasks[id]["workspace"]
        start = 20000 + 20 * space["slot"]
        assert space["ports"] == {"PORT": start, "PORT_API": start + 3}
        env = ask(spine, "env", task=id)["env"]
        assert (env["PORT"], env["API_URL"]) == (str(start), f"http://127.0.0.1:{start + 3}")
        assert env["STRETTO_SLOT"] == str(space["slot"])
        assert f"`PORT_API={start + 3}`" in spine.messages(id)[0].text
    leases = {lease["owner"].rpartition("/")[2]: lease for lease in ask(spine, "ports")["leases"]}
    assert {id: leases[id]["slot"] for id in ("one", "two")} == {id: tasks[id]["workspace"]["slot"] for id in tasks}
    assert all(leases[id]["held"] and leases[id]["own_home"] for id in ("one", "two"))
    for item in spine.items():
        spine.call("answer", item=item.id, answer="approve")
    assert set(spine.wait_over(60).values()) == {"landed"}
    lines = [line.split() for line in said.read_text().splitlines()]
    slots = {(purpose, id): (port, api, url, slot) for purpose, id, port, api, url, slot in lines}
    tasks_ports = {slots["task", id][0] for id in ("one", "two")}
    gate_ports = {found[0] for (purpose, _), found in slots.items() if purpose == "gate"}
    assert len(tasks_ports) == 2
    assert len(gate_ports) == 1
    assert not tasks_ports & gate_ports
    assert all(found[2] == f"http://127.0.0.1:{found[1]}" for found in slots.values())
    spine.wait(lambda: all(t.cleaned for t in spine.tasks()))
    mine = [lease for lease in registry().all() if lease.owner.repository == str(spine.repo.path / ".git")]
    assert [lease.owner.purpose for lease in mine] == ["gate"]


def test_a_task_s_own_variables_reach_its_agent_and_checks_but_not_the_gate(spine: Spine, tmp_path: Path):
    said = tmp_path / "said"
    own = task("one", env='{"API_URL": "own-{slot}", "COLOR": "red"}')
    steps = [{"run": ["sh", "-c", f"echo agent $API_URL $COLOR >> {said}"]}, write("one.txt", "one")]
    check = f"echo $STRETTO_PURPOSE $API_URL $COLOR >> {said}"
    spine.run(plan(own, checks=f'["{check}"]'), {"one": turns(steps)}, approve="human")
    spine.wait_item("review")
    env = ask(spine, "env", task="one")["env"]
    slot = env["STRETTO_SLOT"]
    assert (env["API_URL"], env["COLOR"]) == (f"own-{slot}", "red")
    spine.call("answer", item=spine.items()[0].id, answer="approve")
    assert spine.wait_over(60) == {"one": "landed"}
    agent, checked, gate = said.read_text().splitlines()
    assert (agent, checked) == (f"agent own-{slot} red", f"task own-{slot} red")
    assert gate.split()[0] == "gate"
    assert "own" not in gate
    assert "red" not in gate


SERVED = """
[workspace.ports]
web = 5
[workspace.serve.web]
run = "exec python3 -m http.server --bind 127.0.0.1 $PORT"
port = "web"
ready = "/"
[checks]
page = {run = "python3 ask.py", serve = ["web"]}
also = {run = "python3 ask.py", serve = ["web"]}
"""
ASK = "import os, urllib.request as u\nu.urlopen(f'http://127.0.0.1:{os.environ[\"PORT_WEB\"]}/README.md').read()\n"


def test_checks_have_their_servers_in_tasks_and_in_the_gate(spine: Spine):
    spine.repo.commit("serve", {"stretto.toml": SERVED, "ask.py": ASK})
    text = plan(task("one"), task("two")).replace('checks: ["true"]\n', "")
    spine.run(text, {id: turns([write(f"{id}.txt", id)]) for id in ("one", "two")}, open=2)
    assert set(spine.wait_over(90).values()) == {"landed"}
    with spine.engine.store.read() as db:
        rows = db.rows("SELECT task, purpose, result, output FROM checks")
    assert {(row["purpose"], row["result"]) for row in rows} == {("task", "passed"), ("gate", "passed")}
    said = sorted(path.name for path in Path(rows[0]["output"]).parent.iterdir() if "serve-web" in path.name)
    assert said, "the server's output lies beside that of the checks"
    assert proctree.marked(f"STRETTO_CHECK_HOME={spine.engine.home.path}") == []


def test_pause_and_removal_end_what_serves(spine: Spine):
    spine.repo.commit("serve", {"stretto.toml": SERVED.partition("[checks]")[0]})
    spine.run(plan(task("one"), checks="[]"), {"one": turns([write("one.txt", "1")])}, approve="human")
    spine.wait_item("review")
    for end in ("pause", "remove"):
        told = spine.call("serve", task="one")
        assert told["names"] == ["web"]
        (spec,) = servers.specs({"serve": told["serve"]}, told["names"])
        path = Path(told["path"])
        server = servers.start(spec, path, {**os.environ, **told["env"]}, spine.folder / f"{end}.log")
        servers.wait(server, lambda: False)
        assert str(server.port) == spine.task("one").held["PORT_WEB"]
        spine.call(end, task="one")
        assert servers.running(path) == []


def test_set_up_commands_are_recorded_with_their_time(spine: Spine):
    text = '[workspace]\nsetup = ["echo hello", {run = "exit 3", timeout = 60}]\n'
    spine.repo.commit("set up", {"stretto.toml": text})
    spine.run(plan(task("one"), checks="[]"), {"one": turns([write("one.txt", "1")])}, approve="human")
    item = spine.wait_item("setup")
    assert "set-up command 'exit 3' failed: exit 3" in item.text
    first, second = spine.events("setup.finished")
    assert (first.data["name"], first.data["result"]) == ("setup-1", "passed")
    assert (second.data["name"], second.data["result"]) == ("setup-2", "failed")
    assert first.data["seconds"] >= 0
    assert Path(first.data["output"]).read_text() == "hello\n"


def test_a_new_daemon_holds_the_ports_of_the_one_before(home, make_repo, tmp_path: Path):
    repo = make_repo("repo", {"README.md": "hello\n"})
    owner = Owner(home_name(open_home().path), "somewhere", "plan-abcd/one", "task")
    registry().lease(owner, tmp_path, Holder(1, 1.0, "another boot"), lambda slot: {}, range(1, SLOTS))
    try:
        with running(repo, tmp_path):
            (lease,) = [lease for lease in registry().all() if lease.owner == owner]
            assert lease.holder == Holder.current()
    finally:
        registry().release(owner)


def test_undo_brings_the_ports_back(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("one.txt", "1")])}, approve="human")
    spine.wait_item("review")
    before = spine.task("one").held
    assert before["PORT_API"]
    spine.call("remove", task="one")
    assert spine.task("one").held == {}
    spine.call("undo")
    assert spine.task("one").held == before
    assert ask(spine, "env", task="one")["env"]["PORT"] == before["PORT"]
