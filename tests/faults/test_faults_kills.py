"""Deaths without a fail point: at random moments, in the middle of a turn, of everything at once; and two daemons."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stretto.core.model import State
from tests.faults import invariants
from tests.faults.house import PATIENCE, House, Person
from tests.support.counts import count
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

KILLS, SEED = 25, 20261121
TASKS = ("one", "two", "left", "right", "five", "slow")
SIX = "---\nchecks: ['test ! -e bad']\n---\n# Six\n\n".replace("'", '"') + "\n".join(
    f"## {id}: Do {id}\nWrite its file.\nAccept: it is there.\n" for id in TASKS
)
SLOW = (
    "---\nchecks: ['true']\n---\n# One\n\n## slow: Takes its time\nWork for a while.\nAccept: it is there.\n".replace(
        "'", '"'
    )
)


def agent_of(house: House, task: str) -> int:
    """The pid of the agent that works on a task, once it has begun."""
    rows = wait_for(lambda: house.played(task), PATIENCE, what=house.story)
    return int(rows[-1]["pid"])


def wait_over(house: House) -> dict[str, State | None]:
    wait_for(lambda: all(task.outcome for task in house.tasks().values()), PATIENCE, what=house.story)
    return {id: task.outcome for id, task in house.tasks().items()}


def wait_settled(house: House) -> None:
    """Until nothing is left to be cleaned up or paid."""

    def settled() -> bool:
        rows = house.tasks().values()
        cleaned = all(task.cleaned for task in rows if task.outcome is State.LANDED)
        return cleaned and not house.owed() and not [s for s in house.sessions() if s.ended_at is None]

    wait_for(settled, PATIENCE, what=house.story)


def begins(house: House, task: str) -> int:
    return sum(row["event"] == "begin" for row in house.played(task))


def test_a_run_survives_kills_at_random_moments(house: House) -> None:
    """kill -9 of the daemon at moments of a fixed seed, while six tasks are worked on: each lands, once."""
    chance = random.Random(SEED)
    house.up()
    while not house.tasks():
        assert house.run(SIX, approve="auto"), house.said
    for number in range(KILLS):
        time.sleep(chance.choice((0.0, 0.02, 0.1, 0.3, 0.6, 1.0)) * chance.random())  # the moment is what is tested
        assert not house.died(), house.story()
        house.kill()
        count("random kills of the daemon", str(number))
        house.up()
        assert not house.died(), house.story()
    house.release()
    assert wait_over(house) == dict.fromkeys(TASKS, State.LANDED), house.story()
    wait_settled(house)
    invariants.check(house)
    invariants.restarts_change_nothing(house)


def test_a_shim_killed_in_mid_turn_goes_to_the_person(house: House) -> None:
    house.up()
    house.run(SLOW)
    agent = agent_of(house, "slow")
    [(folder, shim, lives)] = house.shims()
    assert lives
    os.kill(shim, signal.SIGKILL)
    item = wait_for(lambda: next(iter(house.items()), None), PATIENCE, what=house.story)
    assert item.kind.value == "interrupted"
    assert "died" in item.text
    assert not house.runs(agent), "its agent is ended"
    house.kill()
    house.up()  # nor does a restart send it again
    assert [i.id for i in house.items()] == [item.id]
    assert begins(house, "slow") == 1
    assert house.call("answer", item=item.id, answer="continue"), house.said
    wait_for(lambda: begins(house, "slow") == 2, PATIENCE, what=house.story)
    first, second = (row["text"] for row in house.played("slow") if row["event"] == "begin")
    assert first != second, "it is told to go on, not asked again"
    assert "origin=resume" in second
    house.release()
    review = wait_for(lambda: next(iter(house.items()), None), PATIENCE, what=house.story)
    house.call("answer", item=review.id, answer="approve")
    assert wait_over(house) == {"slow": State.LANDED}
    wait_settled(house)
    assert [s.generation for s in house.sessions()] == [1, 2]
    assert folder.exists()
    invariants.check(house, strict=False)


def test_a_shim_killed_with_nobody_there_fails_its_task(house: House) -> None:
    house.up()
    house.run(SLOW, approve="auto")
    agent_of(house, "slow")
    os.kill(house.shims()[0][1], signal.SIGKILL)
    assert wait_over(house) == {"slow": State.FAILED}
    task = house.tasks()["slow"]
    assert "interrupted" in task.outcome_reason
    assert begins(house, "slow") == 1
    wait_settled(house)
    invariants.check(house, strict=False)


def test_a_daemon_that_is_stopped_and_continued_misses_nothing(house: House) -> None:
    house.up()
    house.run(SLOW, approve="auto")
    agent = agent_of(house, "slow")
    assert house.daemon is not None
    house.daemon.send_signal(signal.SIGSTOP)
    house.release()
    wait_for(lambda: not house.runs(agent), PATIENCE, what="the end of the agent's turn")
    assert house.tasks()["slow"].outcome is None
    house.daemon.send_signal(signal.SIGCONT)
    assert wait_over(house) == {"slow": State.LANDED}
    wait_settled(house)
    invariants.check(house)


def test_a_second_daemon_names_the_first_and_leaves(house: House) -> None:
    house.up()
    assert house.daemon is not None
    second = subprocess.run([sys.executable, "-m", "stretto.daemon"], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "daemon_running" in second.stderr
    assert f"process {house.daemon.pid}" in second.stderr
    house.run(SLOW, approve="auto")
    house.release()
    assert wait_over(house) == {"slow": State.LANDED}


def test_after_a_reboot_work_is_taken_up_and_no_stranger_is_harmed(house: House) -> None:
    """All our processes are gone, their files say another boot, and their pids belong to others."""
    house.up()
    house.run(SLOW)
    agent = agent_of(house, "slow")
    [(folder, shim, _)] = house.shims()
    house.kill()
    for pid in (shim, agent):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not house.runs(pid), what="its end")  # type: ignore[misc]
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            for path in (folder / "shim.json", folder / "agent.json", house.home.daemon_file):
                reborn(path, stranger.pid)
            assert house.home.nudge.exists()
            house.up()
            item = wait_for(lambda: next(iter(house.items()), None), PATIENCE, what=house.story)
            assert item.kind.value == "interrupted"
            person = Person(house, SLOW)
            house.release()
            wait_for(person.step, PATIENCE, what=house.story)
            assert stranger.poll() is None, "a process that is not ours was ended"
        finally:
            stranger.kill()
    assert wait_over(house) == {"slow": State.LANDED}
    invariants.check(house, strict=False)


def reborn(path: Path, pid: int) -> None:
    """Let a file tell of a process of an earlier boot whose pid now belongs to somebody else."""
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "pid": pid, "pgid": pid, "boot_id": "an-earlier-boot"}))
