"""The person of the simulator: answers, well or anyhow, and meddles."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from stretto.core.model import CheckResult, Delivery, Item, ItemKind, MessageKind, Origin, State
from stretto.testing.simrows import Life
from stretto.testing.simworld import World


class Person:
    """Somebody at the keyboard. `outcomes` is what they know to be over; a retry makes it open again."""

    def __init__(self, world: World, rng: random.Random, outcomes: dict[str, State]) -> None:
        self.world, self.rng, self.outcomes = world, rng, outcomes
        self.lives = list(world.lives.values())

    def act(self, life: Life) -> None:
        """One thing that a person may do, to this task or to one that asks."""
        rng, world = self.rng, self.world
        asked = [other for other in self.lives if waiting(other)]
        life = rng.choice(asked) if asked and rng.random() < 0.7 else life
        t = life.task
        items = waiting(life)
        roll = rng.random()
        if items and not world.run.paused and roll < 0.6:
            item = rng.choice(items)
            keys = [k for k, _ in item.options]
            best = next((k for k in SENSIBLE if k in keys), None)
            key = best if not keys or rng.random() < 0.7 else rng.choice(keys)
            world.set_item(life, item.id, answer={"key": key, "text": "words"}, answered_at=world.now)
        elif world.run.paused or roll < 0.62:
            world.run = replace(world.run, paused=not world.run.paused)
            world.stamp += 1
        elif t.outcome in {State.FAILED, State.CANCELLED}:
            self.retry(life)
        elif t.paused or (t.outcome is None and roll < 0.68):
            world.set_task(life, paused=not t.paused)
        elif t.outcome is None and roll < 0.71:
            world.cancel(life)
        elif t.outcome is None and roll < 0.88 and world.facts(life).turn_running:
            world.set_task(life, interrupt=True)
        elif t.outcome is None and t.admitted_at is not None:
            self.say(life, revoke=roll < 0.94)

    def say(self, life: Life, *, revoke: bool) -> None:
        """The person sends words, or asks for changes."""
        world = self.world
        life.tries = 0
        world.withdraw_entries(life)
        world.close_items(life, keep=(ItemKind.QUESTION, ItemKind.PERMISSION))
        if revoke:
            world.revoke(life)
        for m in list(life.messages.values()):
            if m.state is Delivery.UNDELIVERED:
                world.set_message(life, m.n, state=Delivery.WITHDRAWN)
        world.add_turn(life, Origin.PERSON)

    def retry(self, life: Life) -> None:
        """The person takes a failed or cancelled task up again."""
        world = self.world
        self.outcomes.pop(life.task.uid, None)
        life.tries = 0
        world.close_items(life)
        for item in list(life.items.values()):
            world.set_item(life, item.id, key=f"{item.key}:{item.id}")
        for entry in list(life.entries.values()):
            world.set_entry(life, entry.id, settled=True)
        life.checks = [c for c in life.checks if c.result is CheckResult.PASSED]
        for m in list(life.messages.values()):
            if m.result is None and m.kind is MessageKind.TURN:
                world.set_message(life, m.n, state=Delivery.WITHDRAWN)
        if any(m.delivered_at is not None for m in life.messages.values()):
            world.add_turn(life, Origin.RESUME)
        changes: dict[str, Any] = {
            "outcome": None,
            "outcome_reason": "",
            "ended_at": None,
            "wanted": "run",
            "attempts": {},
        }
        world.set_task(life, paused=False, interrupt=False, **changes)


def waiting(life: Life) -> list[Item]:
    """What the inbox holds of a task."""
    return [i for i in life.items.values() if i.closed_at is None and i.answered_at is None]


#: what a sensible person answers, the first that an item offers
SENSIBLE = ("approve", "allow", "retry", "continue", "accept", "send-back")
