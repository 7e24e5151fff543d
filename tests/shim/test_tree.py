"""Everything that an agent started ends with it; nothing else is touched."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from stretto import proctree
from tests.shim.sessions import Session, python, shell
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

#: a child, one in its own session, and a daemon: double fork, own session, environment cleared, descriptors closed
ESCAPES = """
import os, signal, sys, time
def note():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
def fork(then):
    if os.fork() == 0:
        then()
        os._exit(0)
def rest():
    if sys.argv[2] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note()
    time.sleep(600)
def apart():
    os.setsid()
    rest()
def daemon():
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(0, 64)
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[3], *sys.argv[1:]], {})
if len(sys.argv) == 4:
    fork(rest); fork(apart); fork(daemon)
    note()
    print("up", flush=True)
    if os.environ.get("LEAVE"):
        while len(open(sys.argv[1]).readlines()) < 4:
            time.sleep(0.01)
        sys.exit(0)
    rest()
"""
DAEMON = """
import os, signal, sys, time
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""


def start(session, folder: Path, name: str, *, deaf: bool, style: str = "stream", **spec) -> Session:
    argv = [*python(ESCAPES), str(folder / name), "deaf" if deaf else "polite", DAEMON]
    one: Session = session(argv, style, **spec).start()
    if style == "turns":
        one.send("x")
    one.said(b"up\n")
    return one


def family(path: Path) -> list[tuple[int, float]]:
    """Everybody who signed in: the agent, its child, the one apart, the daemon."""
    wait_for(lambda: path.exists() and len(set(path.read_text().split())) >= 4, what=lambda: path.read_text())
    pids = [int(line) for line in set(path.read_text().split())]
    return [(pid, start) for pid in pids if (start := proctree.start_time(pid)) is not None]


def living(members: list[tuple[int, float]]) -> list[int]:
    return [pid for pid, start in members if proctree.alive(pid, start)]


@pytest.mark.parametrize("deaf", [False, True])
def test_stop_ends_daemons_and_orphans_and_nobody_else(session, short_folder, deaf):
    one = start(session, short_folder, "one", deaf=deaf, stop_seconds=5 if not deaf else 1)
    other = start(session, short_folder, "other", deaf=deaf)
    ours, theirs = family(short_folder / "one"), family(short_folder / "other")
    assert len(living(ours)) == 4
    one.send("", "stop")
    one.over()
    assert living(ours) == []
    assert len(living(theirs)) == 4
    assert other.state.alive


def test_the_end_of_the_agent_is_the_end_of_its_daemons(session, short_folder):
    one = start(session, short_folder, "one", deaf=False, env={"LEAVE": "1"})
    ended = one.over()
    assert (ended["code"], ended["reason"]) == (0, "exited")
    assert living(family_of(short_folder / "one")) == []


def test_the_end_of_a_turn_is_the_end_of_its_daemons(session, short_folder):
    one = start(session, short_folder, "one", deaf=True, style="turns", env={"LEAVE": "1"}, stop_seconds=0.3)
    assert one.turn_over(1)["code"] == 0
    assert living(family_of(short_folder / "one")) == []
    assert one.state.alive


def family_of(path: Path) -> list[tuple[int, float]]:
    """Who of those that signed in is still a process (whatever its start)."""
    pids = [int(line) for line in set(path.read_text().split())]
    assert len(pids) == 4
    return [(pid, start) for pid in pids if (start := proctree.start_time(pid)) is not None]


def test_term_to_the_shim_is_a_stop(session, short_folder):
    one = start(session, short_folder, "one", deaf=False)
    ours = family(short_folder / "one")
    assert one.shims.end(one.folder, 5)
    assert living(ours) == []
    assert one.state.exit
    assert one.state.exit["reason"] == "terminated"
    assert one.shims.end(one.folder, 5), "ending twice is ending once"


def test_end_kills_a_shim_that_does_not_answer(session, short_folder):
    one = start(session, short_folder, "one", deaf=True, stop_seconds=600)
    ours = family(short_folder / "one")
    assert one.shims.end(one.folder, 0.5)
    assert living(ours) == []
    assert one.state.alive is False


def test_end_reaches_a_suspended_shim(session, short_folder):
    one = start(session, short_folder, "one", deaf=False)
    ours = family(short_folder / "one")
    os.kill(one.shim, signal.SIGSTOP)
    assert one.shims.end(one.folder, 5)
    assert living(ours) == []


@pytest.mark.parametrize("point", ["shim.delivered", "shim.spawn.after", "shim.segment.rotated"])
def test_a_shim_that_fails_ends_its_agent_and_says_why(session, short_folder, monkeypatch, point):
    monkeypatch.setenv("STRETTO_TESTING", "1")
    monkeypatch.setenv("STRETTO_FAILPOINT", f"{point}=error")
    one = session(shell("echo 0123456789; setsid sleep 600 & cat"), segment_bytes=4).start()
    one.send("a")
    ended = one.over()
    assert ended["reason"] == f"the shim failed: RuntimeError('fail point {point}')"
    assert one.processes() == []
    assert "Traceback" in one.log()


def test_stopped_processes_are_ended_too(session):
    one = session(shell("sleep 600 & kill -STOP $!; echo up; wait")).start()
    one.said(b"up\n")
    one.send("", "stop")
    one.over(5)
    assert one.processes() == []


def test_a_shim_whose_folder_is_removed_ends_its_agent_and_itself(session, short_folder):
    one, idle = start(session, short_folder, "one", deaf=False), session(shell("true"), "turns").start()
    ours = family(short_folder / "one")
    shims = [(each.shim, proctree.start_time(each.shim) or 0.0) for each in (one, idle)]
    for each in (one, idle):
        each.folder.rename(short_folder / each.folder.name)
    wait_for(lambda: living(shims) == [], what="the shims to notice")
    assert living(ours) == []
    assert not one.folder.exists()
