"""Full disks, for real: small file systems of our own as home and as folder of the worktrees.

A machine that cannot mount one fails these tests: a promise that was not tested is not kept.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from stretto.core.model import State
from tests.faults import invariants
from tests.faults.house import PATIENCE, House
from tests.faults.test_faults_kills import agent_of, wait_over, wait_settled
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults
ONE = "# One\n\n## one: Does one thing\nWrite its file.\nAccept: it is there.\n"
HUNGRY = "---\nchecks: {}\n---\n" + ONE
#: needs thirty megabytes for a moment
CHECK = '["head -c 30000000 /dev/zero > big.log && rm big.log"]'
TWO = '---\nchecks: ["true"]\n---\n# Two\n\n' + "\n".join(
    f"## {id}: Do {id}\nWrite its file.\nAccept: it is there.\n" for id in ("slow", "two")
)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of this size at `path`."""
    path.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"these tests need to mount a file system: {done.stderr}"
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def full(path: Path, leave: int = 0) -> Iterator[None]:
    """Take all space but `leave` bytes for the block, by a file that has no name."""
    with tempfile.TemporaryFile(dir=path, buffering=0) as file:
        status = os.statvfs(path)
        left = status.f_bavail * status.f_frsize - leave
        with suppress(OSError):
            while left > 0:
                left -= os.write(file.fileno(), bytes(min(left, 1 << 18)))
        yield


def reason(house: House, task: str) -> str:
    with house.rows() as db:
        return str(db.value("SELECT reason FROM views WHERE uid LIKE '%/' || ?", task) or "")


def held_up(house: House) -> bool:
    """Whether a task waits for space and says so."""
    return any(reason(house, id).startswith("disk") for id in house.tasks())


def test_no_room_for_a_worktree(house: House) -> None:
    bays = house.repo.path.with_name("repo.worktrees")
    with small_disk(bays, "48m"):
        with full(bays, leave=8 << 20):
            house.up()
            house.run(ONE, approve="auto")
            wait_for(lambda: reason(house, "one").startswith("disk"), PATIENCE, what=house.story)
            assert str(bays) in reason(house, "one")
            assert house.tasks()["one"].outcome is None
            assert house.items() == []
            assert [path.name for path in bays.glob("[0-9]*")] == []
            assert house.repo.refs("refs/heads/") == {"refs/heads/main": house.repo.oid("main")}
        assert wait_over(house) == {"one": State.LANDED}
        wait_settled(house)
        assert house.repo.show("main", "one.txt") == "one"
        house.kill()


def test_a_check_on_a_full_disk_is_no_verdict(house: House) -> None:
    bays = house.repo.path.with_name("repo.worktrees")
    with small_disk(bays, "80m"):
        house.up()
        (house.log / "hold").touch()
        house.run(HUNGRY.format(CHECK), approve="auto")
        wait_for(lambda: house.played("one"), PATIENCE, what=house.story)
        with full(bays):
            (house.log / "hold").unlink()
            wait_for(lambda: reason(house, "one").startswith("disk"), PATIENCE, what=house.story)
            assert house.tasks()["one"].outcome is None
            assert house.tasks()["one"].attempts.get("repair", 0) == 0, "nobody is asked to repair a full disk"
        assert wait_over(house) == {"one": State.LANDED}
        assert len([row for row in house.played("one") if row["event"] == "begin"]) == 1
        wait_settled(house)
        house.kill()


def test_a_home_that_is_full(home: Path, make_house: Callable[[], House]) -> None:
    with small_disk(home, "32m"):
        house = make_house()
        house.up()
        house.run(TWO, approve="auto", open=1)
        agent = agent_of(house, "slow")
        assert (home / "reserve").stat().st_blocks * 512 >= 4 << 20
        with full(home):
            house.release()
            wait_for(lambda: not house.runs(agent), PATIENCE, what="the end of the agent's turn")
            wait_for(lambda: held_up(house), PATIENCE, what=house.story)
            assert house.answers()
            assert not house.died()
            assert not [task for task in house.tasks().values() if task.outcome is State.FAILED]
        assert wait_over(house) == {"slow": State.LANDED, "two": State.LANDED}
        wait_settled(house)
        wait_for(lambda: (home / "reserve").exists(), PATIENCE, what="the reserve")
        invariants.check(house)
        house.kill()


def test_a_daemon_that_starts_on_a_full_disk_goes_on_when_there_is_space(
    home: Path, make_house: Callable[[], House]
) -> None:
    with small_disk(home, "32m"):
        house = make_house()
        house.up()
        house.run(TWO, approve="auto", open=1)
        agent_of(house, "slow")
        house.kill()
        with full(home):
            house.up()
            house.release()
            house.died()
        if house.daemon is None:
            house.up()
        assert wait_over(house) == {"slow": State.LANDED, "two": State.LANDED}
        wait_settled(house)
        invariants.check(house)
        house.kill()
