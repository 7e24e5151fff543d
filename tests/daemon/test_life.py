"""The daemon's life: one for each home, whatever the last one left behind; prompt ends; nothing of a crash matters."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from stretto.client import Client, NoDaemon
from stretto.core.errors import StrettoError
from stretto.daemon.singleton import read_identity
from stretto.home import Home, open_home
from tests.daemon.conftest import Start
from tests.support.unprivileged import Unprivileged
from tests.support.waiting import wait_for
from tests.support.world import ROOT


def test_it_tells_who_it_is(start: Start, open_one: Home) -> None:
    child = start()
    told = Client(open_one).ping()
    assert told is not None
    assert (told["pid"], told["home"], told["protocol"]) == (child.pid, str(open_one.path), 1)
    assert told["socket"] == str(open_one.path / "daemon.sock")
    assert json.loads(open_one.daemon_file.read_text())["pid"] == child.pid


def test_a_second_one_exits_and_names_the_first(start: Start, open_one: Home) -> None:
    first = start()
    second = start(ready=False)
    assert second.wait(10) == 1
    assert second.stderr is not None
    words = second.stderr.read()
    assert f"process {first.pid}, started 2" in words
    assert "daemon_running" in words
    told = Client(open_one).ping()
    assert told is not None
    assert told["pid"] == first.pid


def test_of_many_started_at_once_one_lives(start: Start, open_one: Home) -> None:
    children = [start(ready=False) for _ in range(5)]
    wait_for(lambda: sum(c.poll() is None for c in children) == 1 and Client(open_one).ping())
    assert sorted(c.poll() or 0 for c in children) == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_promptly(start: Start, open_one: Home, number: signal.Signals) -> None:
    child = start()
    threading.Thread(target=_ignore, args=(Client(open_one), "retry", {"seconds": 30})).start()
    stream = Client(open_one).events(0)
    next(stream)
    child.send_signal(number)
    assert child.wait(8) == 0
    assert not open_one.default_socket.exists()
    assert not open_one.daemon_file.exists()


def _ignore(client: Client, op: str, args: dict[str, object]) -> None:
    try:
        client.call(op, **args)
    except StrettoError:
        return


def test_kill_9_leaves_nothing_that_hinders_the_next(start: Start, open_one: Home) -> None:
    first = start()
    first.kill()
    first.wait()
    assert open_one.default_socket.exists()
    with pytest.raises(NoDaemon) as refused:
        Client(open_one).call("run")
    assert refused.value.code == "no_daemon"
    second = start()
    told = Client(open_one).ping()
    assert told is not None
    assert told["pid"] == second.pid


def test_a_pid_file_with_a_reused_pid_is_not_believed(start: Start, open_one: Home) -> None:
    first = start()
    identity = json.loads(open_one.daemon_file.read_text())
    first.kill()
    first.wait()
    # the pid now belongs to a process that lives, but began at another time
    for path in (open_one.daemon_file, open_one.lock):
        path.write_text(json.dumps({**identity, "pid": os.getpid()}))
    found = read_identity(open_one.lock)
    assert found is not None
    assert not found.living
    with pytest.raises(NoDaemon, match="no daemon runs"):
        Client(open_one).call("run")
    start()


def test_a_daemon_whose_socket_was_removed_is_named(start: Start, open_one: Home) -> None:
    child = start()
    open_one.default_socket.unlink()
    with pytest.raises(NoDaemon, match=rf"process {child.pid}\) runs but its socket"):
        Client(open_one).call("run")


def test_a_foreign_file_at_the_socket_path_is_no_obstacle(start: Start, open_one: Home) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(open_one.default_socket))
    start()


def test_a_long_home_moves_the_socket(home: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    long = home.parent / ("x" * 90) / "home"
    monkeypatch.setenv("STRETTO_HOME", str(long))
    moved = open_home()
    assert not moved.default_socket.is_relative_to(long)
    assert len(str(moved.default_socket)) <= 100
    child = start(ready=False)
    told = wait_for(Client(moved).ping)
    assert told["socket"] == str(moved.default_socket)
    # a caller with another TMPDIR still finds it: the daemon says where it is
    monkeypatch.setenv("TMPDIR", "/nowhere")
    assert Client(moved).ping()
    child.terminate()
    child.wait()


def test_all_files_are_closed_to_others(client: Client, open_one: Home) -> None:
    client.call("run")
    for path in [open_one.path, *open_one.path.rglob("*")]:
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_nothing_secret_is_on_the_command_line(start: Start, open_one: Home) -> None:
    child = start()
    token = open_one.token_file.read_text().strip()
    assert len(token) >= 32
    assert token not in " ".join(psutil.Process(child.pid).cmdline())
    assert token not in open_one.daemon_log.read_text()


def test_an_idle_daemon_sleeps(start: Start) -> None:
    """Once it has come up, there is a second in which it does next to nothing; one that polls never has it."""
    process = psutil.Process(start().pid)

    def sleeps() -> bool:
        before = process.cpu_times()
        time.sleep(1.0)
        after = process.cpu_times()
        return (after.user + after.system) - (before.user + before.system) <= 0.02

    assert wait_for(sleeps)


def test_a_daemon_that_cannot_start_says_why(start: Start, open_one: Home) -> None:
    child = start(ready=False, FAKE_START="fail")
    assert child.wait(10) == 1
    assert child.stderr is not None
    assert "recovery is impossible" in child.stderr.read()
    assert Client(open_one).ping() is None
    start()


def test_nobody_is_answered_before_recovery(start: Start, open_one: Home) -> None:
    start(ready=False, FAKE_START="0.6")
    wait_for(open_one.default_socket.exists)
    with pytest.raises(NoDaemon):
        Client(open_one).call("run")
    wait_for(Client(open_one).ping)


def _knock(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as knocking:
        knocking.connect(path)
        try:
            knocking.sendall(b"POST /v1/ping HTTP/1.1\r\nHost: stretto\r\n\r\n")
            return repr(knocking.recv(100))
        except OSError as error:
            return type(error).__name__


def test_another_user_is_refused(start: Start, open_one: Home, unprivileged: Unprivileged) -> None:
    """Even when the folder and the socket were opened by hand."""
    start()
    open_one.path.chmod(0o711)
    open_one.default_socket.chmod(0o666)
    answer = unprivileged.call(_knock, str(open_one.default_socket))
    if os.geteuid() != 0:
        assert "401" in answer or "400" in answer or "421" in answer or "426" in answer  # the same user
        return
    assert answer in ("b''", "ConnectionResetError", "BrokenPipeError")
    assert "connection of user 65534 refused" in open_one.daemon_log.read_text()


def test_a_launch_that_fails_shows_the_end_of_the_log(
    open_one: Home, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stretto.daemon import launch

    monkeypatch.setattr(launch, "command", lambda: [sys.executable, "-m", "tests.daemon.fake"])
    monkeypatch.setenv("FAKE_START", "fail")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")
    client = Client(open_one)
    with pytest.raises(StrettoError, match="cannot start: recovery is impossible") as failed:
        launch.launch(open_one, client.ping)
    assert (failed.value.code, failed.value.hint) == ("broken", "mend it")
    monkeypatch.delenv("FAKE_START")
    told = launch.launch(open_one, client.ping)
    try:
        assert psutil.Process(told["pid"]).ppid() in (os.getpid(), 1)
        assert os.getsid(told["pid"]) == told["pid"]
        assert psutil.Process(told["pid"]).cwd() == str(open_one.path)
    finally:
        os.kill(told["pid"], signal.SIGTERM)
        wait_for(lambda: client.ping() is None)


def test_a_daemon_that_dies_while_it_works_is_not_taken_for_success(client: Client, open_one: Home) -> None:
    told = client.ping()
    assert told is not None
    connection = client._connection(30)
    connection.request("POST", "/v1/retry", b'{"seconds": 30}', client._headers())
    os.kill(told["pid"], 9)
    with pytest.raises((connection.broken, OSError)):
        connection.getresponse()
    connection.close()
