"""The daemon dies again and again while a conflict is handed over to its resolver: one agent gets it, once.

Specification. `left` lands, `right` conflicts with it, and another agent resolves that. From the approval of `right` on
every life of the daemon ends at the next point of a list: after a few commits of its rows, or between the steps by
which a session begins and gets its message. Then the rest goes on as ever, and the invariants must hold.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

import pytest

from stretto.core.model import Item, Task
from tests.faults import invariants
from tests.faults.house import PLAN, PLAYER, House, Person, drive
from tests.support.counts import count
from tests.support.waiting import wait_for
from tests.support.world import SOURCES

pytestmark = pytest.mark.faults

PAIR = PLAN[: PLAN.index("## first")] + PLAN[PLAN.index("## left") : PLAN.index("## asker")]
COMMIT = "daemon.store.commit.after"
POINTS = (
    *(f"{COMMIT}@{n}" for n in (2, 3, 4, 5, 2, 3)),
    "daemon.shim.spawn.after",
    "daemon.shim.append.before",
    "daemon.shim.append.after",
    *(f"{COMMIT}@{n}" for n in (2, 3, 4)),
)


class Handover(Person):
    """Two agents of the configuration instead of one of the call; the second one resolves.

    `free`: whether `right` may get its consent.
    """

    free = False

    def answer(self, item: Item, tasks: Mapping[str, Task]) -> None:
        if self.free or not item.task.endswith("/right"):
            super().answer(item, tasks)

    def step(self) -> bool:
        house = self.house
        if house.tasks():
            return super().step()
        path = house.folder / "PLAN.md"
        path.write_text(PAIR)
        env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG")}
        words = {"approve": "human", "open": 2, "push": True, "checkout": "update", "trust": True, "fetch": True}
        house.call("run", plan_path=str(path), plan_text=PAIR, env=env, **words)
        return False


def configure(house: House) -> None:
    command = json.dumps([sys.executable, "-I", "-S", str(PLAYER), str(SOURCES), str(house.log)])
    agents = "".join(f"[agents.{name}]\ncommand = {command}\n" for name in ("writer", "solver"))
    roles = '[roles.implementer]\nagent = "writer"\n[roles.resolver]\nagent = "solver"\n'
    (house.repo.path / "stretto.toml").write_text(f"schema = 1\n{agents}{roles}")
    house.repo.git("add", "stretto.toml")
    house.repo.git("commit", "--quiet", "--amend", "--no-edit")
    house.repo.git("push", "--quiet", "--force", "origin", "main")


def test_a_conflict_is_handed_over_through_every_death(house: House) -> None:
    configure(house)
    person = Handover(house, PAIR)
    house.up()

    def met() -> bool:
        """Whether `left` has landed and `right` waits for consent, which it does not get yet."""
        tasks = house.tasks()
        person.step()
        asked = {i.task for i in house.items() if i.kind.value == "review"} if tasks else set()
        return bool(tasks) and tasks["left"].outcome is not None and tasks["right"].uid in asked

    wait_for(met, 120, what=house.story)
    house.kill()
    person.free = True
    reached = drive(house, person, points=POINTS)
    assert len(reached) >= 4, f"it was over after {reached}"
    for point in reached:
        count("fail points killed", point)
    invariants.check(house)
    invariants.restarts_change_nothing(house)
    right = house.tasks()["right"].uid
    roles = {s.id: (s.role, s.agent) for s in house.sessions() if s.task == right}
    (conflict,) = [m for m in house.turns() if m.task == right and m.origin.value == "conflict"]
    assert roles[str(conflict.session)] == ("resolver", "solver")
    assert [role for role, _ in roles.values()] == ["implementer", "resolver"]
    assert house.repo.show("main", "shared.txt") == "left and right"
    for point in reached:
        count("fail points recovered", point)
