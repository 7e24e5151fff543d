"""Servers of checks: started once, ready before the check begins, and gone after it, whatever happens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from stretto import net, proctree
from stretto.checks import CheckRunner, servers
from stretto.checks.servers import Fleet
from stretto.core.errors import StrettoError
from stretto.core.model import CheckResult, CheckSpec
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
#: answers /health with 200 after it was asked three times, everything else with 404; forks a child of another session
SERVER = """
import http.server, os, subprocess, sys
asked = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += self.path == "/health"
        good = self.path == "/health" and asked > 3
        self.send_response(200 if good else 503 if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *a): pass
subprocess.Popen(["sleep", "600"], start_new_session=True)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
print("started", os.environ["PORT"], flush=True)
server.serve_forever()
"""
ASK = "import os, urllib.request as u; print(u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT_WEB\"]}/health').read())"


def never() -> bool:
    return False


def some_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Bench:
    """A workspace with one named port, and a server in it."""

    def __init__(self, folder: Path) -> None:
        self.cwd = folder / "tree"
        self.cwd.mkdir()
        (self.cwd / "server.py").write_text(SERVER)
        (self.cwd / "ask.py").write_text(ASK)
        self.out = folder / "out"
        self.port = some_port()
        self.runner = CheckRunner(f"home-{folder.name}", grace=0.5)
        self.env = {name: os.environ[name] for name in ("PATH", "STRETTO_TEST_RUN")}
        self.env |= {"PORT": "1", "PORT_WEB": str(self.port)}

    def config(self, run: str = f"{sys.executable} server.py", **more: Any) -> dict[str, Any]:
        return {"serve": {"web": {"run": run, "port": "web", "ready": "/health", "timeout": 20.0, **more}}}

    def fleet(self, config: dict[str, Any] | None = None, stop: Any = never) -> Fleet:
        said = self.config() if config is None else config
        return Fleet(self.runner, said, self.cwd, self.env, lambda n: self.out / f"{n}.log", stop, grace=0.5)

    def check(self, fleet: Fleet, name: str = "ask", run: str = f"{sys.executable} ask.py") -> Any:
        return fleet.run(CheckSpec(name, run, 60.0, ("web",)), self.out / f"{name}.log")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_check_has_its_server_ready_and_nothing_of_it_stays(bench: Bench):
    with bench.fleet() as fleet:
        outcome = bench.check(fleet)
        assert outcome.result is CheckResult.PASSED, (bench.out / "ask.log").read_text()
        assert len(servers.running(bench.cwd)) >= 2
    assert servers.running(bench.cwd) == []
    assert net.free(bench.port)
    assert (bench.out / "serve-web.log").read_text() == f"started {bench.port}\n"
    assert (bench.out / "serve-web.log").stat().st_mode & 0o777 == 0o600


def test_checks_that_run_together_share_one_server(bench: Bench):
    (bench.cwd / "once.sh").write_text(f"echo one more >> starts; exec {sys.executable} server.py")
    found: list[Any] = []
    with bench.fleet(bench.config("sh once.sh")) as fleet:
        threads = [threading.Thread(target=lambda n=n: found.append(bench.check(fleet, f"ask{n}"))) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [outcome.result for outcome in found] == [CheckResult.PASSED] * 3
    assert (bench.cwd / "starts").read_text() == "one more\n"


def test_a_check_without_servers_starts_none(bench: Bench):
    with bench.fleet() as fleet:
        outcome = fleet.run(CheckSpec("plain", "true"), bench.out / "plain.log")
        assert (outcome.result, servers.running(bench.cwd)) == (CheckResult.PASSED, [])


@pytest.mark.parametrize(
    ("run", "more", "why"),
    [
        ("echo no luck; exit 3", {}, "ended before it answered"),
        ("exec sleep 600", {"timeout": 0.3}, "did not answer within 0.3 s on port"),
        ("echo up; exec sleep 600", {"ready": "listening on", "timeout": 0.3}, "'listening on' is not in its output"),
    ],
)
def test_a_server_that_does_not_come_up_fails_its_check(bench: Bench, run: str, more: dict[str, Any], why: str):
    with bench.fleet(bench.config(run, **more)) as fleet:
        outcome = bench.check(fleet)
        assert outcome.result is CheckResult.FAILED
        assert why in outcome.reason
        assert bench.check(fleet, "again").reason == outcome.reason
    said = (bench.out / "ask.log").read_text()
    assert why in said
    assert said.endswith("no luck\n") is ("no luck" in run)
    assert servers.running(bench.cwd) == []


def test_a_port_that_is_taken_is_no_verdict(bench: Bench):
    with socket.create_server(("127.0.0.1", bench.port)), bench.fleet() as fleet:
        outcome = bench.check(fleet)
        assert outcome.result is CheckResult.ERROR
        assert f"needs port {bench.port}, where something listens already" in outcome.reason
        assert servers.running(bench.cwd) == []


def test_an_unknown_server_is_no_verdict(bench: Bench):
    with bench.fleet({}) as fleet:
        assert bench.check(fleet).result is CheckResult.ERROR


def test_a_text_of_its_output_says_that_it_is_ready(bench: Bench):
    with bench.fleet(bench.config(ready="started")) as fleet:
        assert bench.check(fleet, run="true").result is CheckResult.PASSED


def test_without_ready_it_must_accept_connections(bench: Bench):
    config = bench.config()
    del config["serve"]["web"]["ready"]
    with bench.fleet(config) as fleet:
        assert (
            bench.check(
                fleet,
                run=f"{sys.executable} -c 'import socket, os; "
                'socket.create_connection(("127.0.0.1", int(os.environ["PORT_WEB"])))\'',
            ).result
            is CheckResult.PASSED
        )


def test_who_is_stopped_does_not_wait_for_a_server(bench: Bench):
    stopped = threading.Event()
    with bench.fleet(bench.config("exec sleep 600", timeout=600.0), stopped.is_set) as fleet:
        threading.Timer(0.3, stopped.set).start()
        outcome = bench.check(fleet)
    assert (outcome.result, outcome.reason) == (CheckResult.ERROR, "cancelled")


def test_all_servers_of_a_workspace_end_by_its_mark_and_no_others(bench: Bench, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    spec = servers.specs({"serve": {"idle": {"run": "exec sleep 600"}}}, ["idle"])[0]
    mine = servers.start(spec, bench.cwd, {**bench.env, "PORT": ""}, bench.out / "a.log")
    theirs = servers.start(spec, other, {**bench.env, "PORT": ""}, bench.out / "b.log")
    assert servers.end(bench.cwd, 0.5)
    assert mine.start_time is not None
    assert theirs.start_time is not None
    assert not proctree.alive(mine.pid, mine.start_time)
    assert proctree.alive(theirs.pid, theirs.start_time)
    assert servers.end(other, 0.5)


def test_a_wrong_name_is_a_sentence(bench: Bench):
    with pytest.raises(StrettoError, match="no server is called api") as caught:
        servers.specs(bench.config(), ["api"])
    assert caught.value.hint == "known: web"


DYING = """
import sys
from pathlib import Path
from tests.checks.test_servers import Bench
bench = Bench.__new__(Bench)
bench.__dict__.update(eval(sys.argv[1], {"PosixPath": Path, "Path": Path}))
from stretto.checks import CheckRunner
bench.runner = CheckRunner(sys.argv[2])
with bench.fleet() as fleet:
    bench.check(fleet)
"""


@pytest.mark.faults
@pytest.mark.parametrize("point", ["daemon.serve.spawn.before", "daemon.serve.spawn.after", "daemon.check.spawn.after"])
def test_the_next_daemon_ends_what_a_dead_one_had_started(bench: Bench, point: str, tmp_path: Path):
    values = repr({"cwd": bench.cwd, "out": bench.out, "port": bench.port, "env": bench.env})
    died = subprocess.run(
        [sys.executable, "-c", DYING, values, f"home-{tmp_path.name}"],
        env={**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"{point}=kill"},
        cwd=ROOT,
    )
    assert died.returncode == -9
    if point != "daemon.serve.spawn.before":
        wait_for(lambda: servers.running(bench.cwd))
    assert CheckRunner(f"home-{tmp_path.name}", grace=0.5).end_leftovers()
    assert servers.running(bench.cwd) == []
