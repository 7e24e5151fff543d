"""Each fail point raises once instead of killing: the daemon lives on, and everything ends as if nothing had been.

Specification. What an error at a durable step leaves behind is the same as what a crash leaves there, but nobody
restarts: the same process must come back to it by itself. Several points fail in one run, each at its first passage
(and later ones at a later one), so that failures meet each other.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults import invariants
from tests.faults.house import House, Person, drive
from tests.faults.test_faults_points import PASSED
from tests.support.counts import count

pytestmark = pytest.mark.faults

#: points that are passed before the daemon answers; there an error is an end with a reason
STARTING = ("daemon.store.migrate.before", "daemon.store.migrate.after")
#: passages that are needed to come up; the next one is in the middle of work
BOOT = {"daemon.store.commit.before": 3, "daemon.store.commit.after": 3, "daemon.files.replace.before": 5}
BOOT["daemon.files.replace.after"] = 5
DAEMON = [name for name in PASSED if name not in STARTING]
GROUPS = 6


@pytest.mark.parametrize("points", [DAEMON[number::GROUPS] for number in range(GROUPS)], ids=lambda points: points[0])
def test_the_daemon_fails_and_goes_on(make_house: Callable[[], House], points: list[str]) -> None:
    house = make_house()
    armed = ",".join(f"{name}@{BOOT.get(name, 0) + 1}=error" for name in points)
    drive(house, Person(house), env={"STRETTO_TESTING": "1", "STRETTO_FAILPOINT": armed})
    assert house.deaths == []
    invariants.check(house, strict=False)  # a message that the failure kept from its agent says so
    invariants.restarts_change_nothing(house)
    told = (house.folder / "daemon-1.out").read_text()
    for name in points:
        assert f"{name} raises\n" in told
        count("fail points that raised", name)


@pytest.mark.parametrize("point", STARTING)
def test_a_daemon_that_cannot_migrate_says_so_and_the_next_one_starts(house: House, point: str) -> None:
    house.up(STRETTO_TESTING="1", STRETTO_FAILPOINT=f"{point}=error")
    assert house.died()
    assert house.deaths == [1]
    house.up()
    assert house.answers()
