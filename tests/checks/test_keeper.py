"""What a command leaves behind ends with it, whatever it did to hide; nobody else's processes are touched."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stretto import proctree
from stretto.checks import keeper, servers
from stretto.checks.run import CheckRunner
from stretto.core.model import CheckResult, CheckSpec
from tests.support.waiting import wait_for

ENV = {name: os.environ[name] for name in ("PATH", "STRETTO_TEST_RUN")}


def hidden(seconds: int, *, deaf: bool = False) -> str:
    """Shell text: a daemon with two parents gone, its own session, folder and empty environment, no descriptor open."""
    trap = 'trap "" TERM HUP; ' if deaf else ""
    run = f"cd /; {trap}/bin/sleep {seconds} & wait" if deaf else f"cd /; exec /bin/sleep {seconds}"
    return f"(setsid env -i /bin/sh -c '{run}' <&- >&- 2>&- &)"


def sleeping(seconds: int) -> list[int]:
    """Who sleeps so long; zombies left out. A number that only one test has names its processes anywhere."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            pid = int(path.parent.name)
            named = path.read_bytes().rstrip(b"\0").endswith(f"sleep\0{seconds}".encode())
            if named and (process := proctree.look(pid)) is not None and not process.zombie:
                found.append(pid)
    return found


@pytest.fixture
def seconds() -> int:
    return 1_000_000 + secrets.randbelow(1_000_000_000)


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Something that the person runs in the very same folder."""
    person = subprocess.Popen(["/bin/sleep", "3600"], cwd=tmp_path, start_new_session=True)
    yield person
    assert person.poll() is None
    person.kill()
    person.wait()


@pytest.mark.parametrize("deaf", [False, True])
def test_what_hides_ends_with_a_check_that_ends_by_itself(
    tmp_path: Path, bystander: subprocess.Popen[bytes], seconds: int, deaf: bool
) -> None:
    text = f"{hidden(seconds, deaf=deaf)}; {hidden(seconds)}; exit 3"
    done = CheckRunner("home", grace=0.5).run(CheckSpec("c", text, 60.0), tmp_path, ENV, tmp_path / "o", lambda: False)
    assert (done.result, done.exit_code) == (CheckResult.FAILED, 3)
    assert sleeping(seconds) == []


@pytest.mark.parametrize("how", ["time out", "cancelled"])
def test_what_hides_ends_with_a_check_that_is_ended(
    tmp_path: Path, bystander: subprocess.Popen[bytes], seconds: int, how: str
) -> None:
    text = f"{hidden(seconds)}; /bin/sleep 600"
    timeout, stop = (60.0, lambda: bool(sleeping(seconds))) if how == "cancelled" else (2.0, lambda: False)
    done = CheckRunner("home", grace=0.5).run(CheckSpec("c", text, timeout), tmp_path, ENV, tmp_path / "o", stop)
    assert done.result is CheckResult.ERROR
    assert sleeping(seconds) == []


def test_the_end_of_a_command_is_told_as_it_was(tmp_path: Path) -> None:
    keeper = Path(servers.__file__).with_name("keeper.py")
    for text, code in (("exit 7", 7), ("kill -TERM $$", -15), ("kill -KILL $$", -9), ("true", 0)):
        words = [sys.executable, "-I", "-S", str(keeper), "end", "/bin/sh", "-c", text]
        assert subprocess.run(words, check=False, timeout=30).returncode == code
    words = [sys.executable, "-I", "-S", str(keeper), "end", str(tmp_path / "nothing")]
    done = subprocess.run(words, check=False, timeout=30, capture_output=True)
    assert done.returncode == 126
    assert b"cannot be started" in done.stderr


def test_a_server_that_becomes_a_daemon_serves_and_ends_by_its_workspace(tmp_path: Path, seconds: int) -> None:
    spec = servers.specs({"serve": {"idle": {"run": hidden(seconds)}}}, ["idle"])[0]
    server = servers.start(spec, tmp_path, {**ENV, "PORT": ""}, tmp_path / "a.log")
    other = subprocess.Popen(["/bin/sleep", "3600"], env={**ENV, "STRETTO_SERVE": f"{tmp_path}-other"})
    wait_for(lambda: sleeping(seconds))
    assert server.start_time is not None
    assert proctree.alive(server.pid, server.start_time), "its keeper waits for it"
    assert servers.end(tmp_path, 0.5)
    wait_for(lambda: not sleeping(seconds))
    assert other.poll() is None
    other.kill()
    other.wait()


def test_what_became_another_users_is_left_and_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["/bin/sleep", "3600"])
    try:

        def refused(pid: int, number: int) -> None:
            raise PermissionError

        with monkeypatch.context() as patched:
            patched.setattr(os, "kill", refused)
            assert keeper._tell(set(), signal.SIGKILL) is True
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
