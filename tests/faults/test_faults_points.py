"""The daemon, or a shim, dies at each fail point in turn; after a restart everything ends as if nothing had been.

Specification. For every name in the registry: a real daemon on a real repository is driven through a plan that passes
every point (a failing check, a conflict, a question, a report, a removal with undo, restore and purge, a worktree that
is lost, a push), with the point told to kill (`STRETTO_FAILPOINT=name@n=kill`). It must die there; the daemon is
started again, everything must end, and the invariants must hold. To have it in minutes several points share a run, one
for each life of the daemon; a point that was not reached after the others gets a run of its own, and one that is not
reached there fails the test. `STRETTO_FAULTS=each` gives every point a run of its own. How many did is printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from stretto.failpoints import POINTS
from tests.faults import invariants
from tests.faults.house import PATIENCE, SMALL, House, Person, armed, drive
from tests.support.counts import count
from tests.support.waiting import wait_for
from tests.support.world import STRETTO

pytestmark = pytest.mark.faults

#: later passages of the points that are passed most often: other steps of the same kind
LATER = {
    "daemon.store.commit.before": (9, 25, 48, 90),
    "daemon.store.commit.after": (12, 30, 60),
    "daemon.git.update_ref.after": (9, 20, 35),
    "daemon.git.delete_ref.after": (3,),
    "daemon.files.replace.before": (6, 17),
    "daemon.files.replace.after": (11, 30),
    "daemon.files.rename.before": (2, 5),
    "daemon.files.move_over.after": (20,),
    "daemon.workspace.remove.renamed": (2, 3),
    "daemon.landing.swap.after": (3,),
    "daemon.shim.append.after": (5,),
}
#: what only happens towards the end of a run, in its order there
LATE = ("landing", "push", "git.checkout", "worktree_forget", "remove", "undo", "restore", "purge")
GROUPS = 14


def late(point: str) -> int:
    """The place of a point in the course of a run, roughly."""
    return max((place for place, word in enumerate(LATE, 1) if word in point), default=0)


#: points with kill tests of their own, nearer to what they guard (layers, servers, databases, packages)
NEAR = (
    *("daemon.workspace.layer.", "daemon.serve.", "daemon.database.", "daemon.golden.", "daemon.dependencies."),
    *("daemon.pool.", "daemon.git.worktree_turn.", "daemon.git.clone."),
    "daemon.git.checkout_switch.",
)
OWN = {name for name in POINTS if name.startswith(NEAR)}
PASSED = [name for name in POINTS if name.startswith("daemon.") and name not in OWN]
DAEMON = sorted(
    (f"{name}@{n}" for name in PASSED for n in (1, *LATER.get(name, ()))),
    key=lambda point: (late(point), "migrate" not in point),
)
CHAINS = (
    [[point] for point in DAEMON]
    if os.environ.get("STRETTO_FAULTS") == "each"
    else [DAEMON[number::GROUPS] for number in range(GROUPS)]
)
SHIM = [name for name in POINTS if name.startswith("shim.")]
CLI = [name for name in POINTS if name.startswith("cli.")]


def test_every_point_has_its_test() -> None:
    assert {point.partition("@")[0] for chain in CHAINS for point in chain} | {*SHIM, *CLI} | OWN == set(POINTS)


@pytest.mark.parametrize("points", CHAINS, ids=lambda points: points[0])
def test_the_daemon_dies_and_everything_ends_as_it_should(make_house: Callable[[], House], points: list[str]) -> None:
    left = list(points)
    while left:
        house = make_house()
        reached = drive(house, Person(house), points=left)
        assert reached, f"{left[0]} is never reached"
        for point in reached:
            count("fail points killed", point)
        invariants.check(house)
        invariants.restarts_change_nothing(house)
        for point in reached:
            count("fail points recovered", point)
        left = left[len(reached) :]


@pytest.mark.parametrize("point", SHIM)
def test_a_shim_dies_and_its_task_is_taken_up_again(house: House, point: str) -> None:
    person = Person(house, SMALL)
    if point == "shim.segment.rotated":
        (house.log / "loud").touch()
    house.up(**armed([point]))
    end = time.monotonic() + PATIENCE
    over = False
    while not house.dead_shims(after_exit=point == "shim.exit.after"):
        assert time.monotonic() < end, f"no shim died at {point}: {house.story()}"
        assert not house.died()
        assert not over, f"no shim passed {point}"
        over = person.step()
        time.sleep(0.05)
    count("fail points killed", point)
    house.kill()
    house.release()
    drive(house, person)
    invariants.check(house, strict=False)
    invariants.restarts_change_nothing(house, 1)
    count("fail points recovered", point)


@pytest.mark.parametrize("point", CLI)
def test_the_command_line_dies_and_the_next_one_goes_on(house: House, point: str) -> None:
    died = house.shell(*STRETTO, "up", "--json", **armed([point]))
    assert died.returncode == -9
    count("fail points killed", point)
    if point.endswith("after"):
        assert wait_for(house.answers)
    again = house.shell(*STRETTO, "up", "--json")
    assert again.returncode == 0, again.stderr
    assert house.shell(*STRETTO, "down").returncode == 0
    invariants.no_orphans(house)
    count("fail points recovered", point)


def test_without_a_crash(house: House) -> None:
    """The same run undisturbed: what the invariants say of it is what they mean."""
    drive(house, Person(house))
    invariants.check(house)
    assert house.deaths == []
