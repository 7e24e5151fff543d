"""kill -9 of the shim at every fail point: the agent's tree ends, and nothing is said of a message that is not so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stretto import proctree, spawn
from stretto.core.errors import Conflict
from stretto.shim import host_system
from stretto.shim.recover import recover
from tests.shim.sessions import Session, python, shell
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

#: it notes each message in `log`, has a child, and prints enough to rotate segments of 64 bytes
STREAM = 'sleep 600 & while read -r line; do echo "$line" >> log; echo "a line of some thirty-two bytes $line"; done'
TURNS = (
    'sleep 600 & cat "$STRETTO_PROMPT_FILE" >> log; echo >> log; for i in 1 2 3; do echo "some thirty bytes $i"; done'
)
ARGV = {"stream": shell(STREAM), "turns": shell(TURNS)}

CASES = [
    (style, point)
    for style in ("stream", "turns")
    for point in host_system.POINTS
    if style == "turns" or point not in ("shim.turn.recorded", "shim.prompt.written")
    if point != "shim.exit.after"  # nothing is left to be recovered then
]


@pytest.mark.parametrize(("style", "point"), CASES)
def test_kill_at(session, monkeypatch, short_folder, style, point):
    monkeypatch.setenv("STRETTO_TESTING", "1")
    monkeypatch.setenv("STRETTO_FAILPOINT", f"{point}=kill")
    one: Session = session(ARGV[style], style, segment_bytes=64)
    one.start()
    for text in ("a", "b", "c"):
        one.send(text)
    if point == "shim.exit.before":
        one.delivered(3)
        one.send("", "stop")
    wait_for(lambda: one.state.alive is False, what=lambda: f"death at {point}: {one.state}")
    assert one.state.exit is None

    first = recover(one.folder, grace=2.0)

    assert first.ended
    # a child that was between fork and exec when we looked carries no mark yet; it ends with its closed standard input
    wait_for(lambda: one.processes() == [], what="the end of the last process")
    assert recover(one.folder, grace=2.0) == first
    check_claims(first, received(short_folder), point)

    monkeypatch.delenv("STRETTO_FAILPOINT")
    one.start()  # a new life of the folder
    last = one.send("new")
    wait_for(lambda: "new" in received(short_folder), what="the next message")
    one.delivered(last)
    got = received(short_folder)
    assert sorted(set(got)) == sorted(got), "a message was given to an agent twice"
    unsent = {text for n, text in enumerate(("a", "b", "c"), 1) if n in first.unsent}
    assert unsent <= set(got), "what was surely not sent is sent by the next life"
    one.kill_shim()
    assert recover(one.folder, grace=2.0).uncertain == first.uncertain, "what is uncertain stays so"


def received(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().split() if log.exists() else []


def check_claims(found, got: list[str], point: str) -> None:
    texts = {1: "a", 2: "b", 3: "c"}
    for n in found.unsent:
        assert texts.get(n) not in got
    if point == "shim.attempting":
        assert (found.delivered, found.uncertain, found.unsent) == (0, (1,), (2, 3))
    if point == "shim.delivered":
        assert (found.delivered, found.uncertain, found.unsent) == (1, (), (2, 3))
    if point == "shim.turn.recorded":
        assert (found.delivered, found.uncertain, found.unfinished) == (1, (), ())


def test_a_turn_whose_shim_died_is_unfinished(session):
    one = session(shell("echo up; sleep 600"), "turns").start()
    one.send("a")
    one.said(b"up\n")
    one.send("b")
    one.kill_shim()
    found = recover(one.folder)
    assert (found.delivered, found.uncertain, found.unfinished, found.unsent) == (1, (), (1,), (2,))


def test_the_agent_does_not_hold_the_lock_of_the_shim(session):
    one = session(shell("echo up; sleep 600")).start()
    one.said(b"up\n")
    held = [fd.readlink() for fd in Path(f"/proc/{one.agent}/fd").iterdir()]
    assert one.folder / "lock" not in held
    one.kill_shim()
    assert one.processes()
    assert recover(one.folder).ended


def test_a_living_shim_is_not_recovered(session):
    one = session(shell("cat")).start()
    with pytest.raises(Conflict, match="is alive"):
        recover(one.folder)


def test_recovery_ends_only_what_is_its_own(session):
    deaf = "trap '' TERM; (trap '' TERM; setsid sleep 600) & echo up; while :; do sleep 0.05; done"
    one, other = session(shell(deaf)).start(), session(shell(deaf)).start()
    one.said(b"up\n")
    other.said(b"up\n")
    before = other.processes()
    one.kill_shim()
    assert recover(one.folder, grace=0.2).ended
    assert one.processes() == []
    assert set(before) & set(other.processes()) >= {other.agent}
    assert other.state.alive


def test_after_a_reboot_old_pids_mean_nothing(session):
    one = session(shell("echo up; sleep 600")).start()
    one.said(b"up\n")
    one.kill_shim()
    bystander = spawn.detached(["sleep", "600"], cwd=Path("/"), env=dict(os.environ))
    start = proctree.start_time(bystander)
    assert start
    (one.folder / "agent.json").write_text(
        f'{{"pid": {bystander}, "start_time": {start}, "pgid": {bystander}, "boot_id": "an earlier boot"}}'
    )
    assert recover(one.folder).ended
    assert proctree.alive(bystander, start)
    proctree.end_tree(bystander, start, None, 1.0)


def test_a_reused_pid_is_not_touched(session):
    one = session(shell("true")).start()
    one.over()
    bystander = spawn.detached(["sleep", "600"], cwd=Path("/"), env=dict(os.environ))
    start = proctree.start_time(bystander)
    assert start
    (one.folder / "agent.json").write_text(f'{{"pid": {bystander}, "start_time": {start - 5}, "pgid": {bystander}}}')
    assert recover(one.folder).ended
    assert proctree.alive(bystander, start)
    proctree.end_tree(bystander, start, None, 1.0)


def test_kill_nine_of_the_agent_is_an_exit_with_its_signal(session):
    one = session(python("import time; print('up', flush=True); time.sleep(600)")).start()
    one.said(b"up\n")
    os.kill(one.agent, 9)
    ended = one.over()
    assert (ended["signal"], ended["reason"]) == (9, "exited")
