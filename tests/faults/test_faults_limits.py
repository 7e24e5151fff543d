"""The daemon dies again and again around a wait for a vendor: the task goes on once, by itself, when its time has come.

Specification. The agent's vendor takes no more and says for how long. From the start of the run on every life of the
daemon ends at the next point of a list; the last one lives. Each turn is begun once, and none before its time.
"""

from __future__ import annotations

import json
import os

import pytest

from tests.faults.house import House, armed
from tests.support.counts import count
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

PLAN = '---\nchecks: ["true"]\n---\n# A plan\n\n## one: Do one\nDo it.\nAccept: it is done.\n'
COMMIT = "daemon.store.commit.after"
#: the waits end in the lives after the first ones: each of these is some commits, or a step, after a start
POINTS = (
    *(f"{COMMIT}@{n}" for n in (12, 3, 1)),
    "daemon.store.commit.before@2",
    "daemon.shim.append.before",
    "daemon.shim.append.after",
)
TURNS = 3
SCRIPT = f"""\
echo "$STRETTO_TURN $(date +%s%3N)" >> "$1/turns"
if [ "$(wc -l < "$1/turns")" -lt {TURNS} ]; then echo "429: try again in 2 s"; exit 75; fi
echo done > one.txt
"""


def test_a_wait_goes_on_through_every_death(house: House) -> None:
    (house.folder / "busy.sh").write_text(SCRIPT)
    (house.folder / "PLAN.md").write_text(PLAN)
    command = json.dumps(["sh", str(house.folder / "busy.sh"), str(house.folder)])
    (house.repo.path / "stretto.toml").write_text(f"schema = 1\n[agents.busy]\ncommand = {command}\n")
    house.repo.git("add", "stretto.toml")
    house.repo.git("commit", "--quiet", "--amend", "--no-edit")
    house.repo.git("push", "--quiet", "--force", "origin", "main")
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG")}
    words = {"agent": "busy", "approve": "auto", "push": False, "checkout": "leave", "trust": True, "fetch": False}
    begun, waited = 0, False

    def step() -> bool:
        """Whether all is over; a daemon that has died is started with the next point."""
        nonlocal begun, waited
        if house.died():
            house.up(**armed(POINTS[begun : begun + 1]))
            begun += 1
        tasks = house.tasks()
        if not tasks:
            house.call("run", plan_path=str(house.folder / "PLAN.md"), plan_text=PLAN, env=env, **words)
        # the second wait would grow to a minute: the person is there
        turns = [m for m in house.turns() if m.settled] if tasks else []
        if len(turns) == TURNS - 1 and tasks["one"].outcome is None:
            waited = True
            house.call("retry", task="one")
        return bool(tasks) and tasks["one"].outcome is not None

    wait_for(step, 150, what=house.story, interval=0.1)
    assert house.tasks()["one"].outcome == "landed", house.story()
    assert waited
    first, second, *more = house.turns()
    assert [m.origin.value for m in (first, second, *more)] == ["start", "resume", "resume"], house.story()
    assert [str(m.result) for m in (first, second, *more)] == ["limited", "limited", "ok"]
    lines = [line.split() for line in (house.folder / "turns").read_text().splitlines()]
    assert [int(turn) for turn, _ in lines] == [1, 2, 3], "each turn was begun once"
    assert first.until is not None
    assert int(lines[1][1]) / 1000 >= first.until, "not before its time"
    died = len(house.deaths)
    assert died >= 3, f"it was over after {died} deaths"
    for point in POINTS[:died]:
        count("fail points killed", point)
        count("fail points recovered", point)
