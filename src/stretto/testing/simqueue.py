"""The landing queue of the simulator: `core.landing` decides, each step of it can be cut short."""

from __future__ import annotations

import random

from stretto.core.approval import holds
from stretto.core.landing import Act, Step, step, withdrawn
from stretto.core.landing import World as Queue
from stretto.core.model import CheckResult, QueueState, State
from stretto.testing.simrows import Broken, Effect, Life
from stretto.testing.simworld import World


class Lander:
    """Lands what is queued, one step at a time."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.effect: Effect | None = None

    def step(self) -> None:
        """One step of the landing queue, or of the effect that it has under way."""
        if self.effect is None:
            found = list(self.world.entries())
            self.effect = self._do(self._queue_step()) if found else None
        if self.effect is not None:
            try:
                next(self.effect)
            except StopIteration:
                self.effect = None

    def _queue_step(self) -> Step:
        world = self.world
        gone, trees = {}, {}
        for life, entry in world.entries():
            f = world.facts(life)
            why = withdrawn(
                entry,
                life.task.head,
                holds(f.approval, entry.patch),
                cancelled=life.task.wanted == "cancelled" or life.task.outcome is not None,
                working=f.turn is not None and f.turn.result is None,
            )
            if why:
                gone[entry.id] = why
            if entry.tree in world.gates:
                trees[str(entry.tree)] = world.gates[str(entry.tree)]
        landed = frozenset(commit for commit, _ in world.target)
        state = Queue(tip=world.target[-1][0], contained=landed, gates=trees, withdrawn=gone)
        needs = {life.task.uid: [n.uid for n in world.facts(life).needs] for life in self.world.lives.values()}
        priorities = {life.task.uid: life.task.priority for life in self.world.lives.values()}
        return step([entry for _, entry in world.entries()], state, priorities, needs)

    def _do(self, decided: Step) -> Effect:
        world = self.world
        for entry in decided.entries:
            life = world.lives[entry.task]
            match decided.act:
                case Act.DROP:
                    world.set_entry(life, entry.id, state=QueueState.EJECTED, cause="withdrawn", settled=True)
                case Act.RELEASE:
                    world.set_entry(life, entry.id, state=QueueState.WAITING, candidate=None, tree=None, old=None)
                case Act.MERGE:
                    yield from self._merge(life, entry.id)
                case Act.GATE:
                    yield
                    bad = CheckResult.ERROR if self.rng.random() < 0.2 else CheckResult.FAILED
                    world.gates[str(entry.tree)] = bad if world.odds(0.25) else CheckResult.PASSED
                    world.stamp += 1
                case Act.EJECT:
                    world.set_entry(life, entry.id, state=QueueState.EJECTED, cause="gate", reason="red")
                case Act.HOLD:
                    del world.gates[str(entry.tree)]
                    world.set_entry(life, entry.id, state=QueueState.EJECTED, cause="gate-error", reason="cannot run")
                case Act.SWAP:
                    yield from self._swap(life, entry.id)
                case Act.RECORD:
                    yield
                    self._record(life, entry.id)
        return
        yield

    def _merge(self, life: Life, number: int) -> Effect:
        world, tip = self.world, self.world.target[-1][0]
        head = life.entries[number].head
        if world.conflicts.setdefault((head, tip), world.odds(0.4)):
            changes = {"cause": "conflict", "files": ("a",), "old": tip}
            world.set_entry(life, number, state=QueueState.EJECTED, **changes)
            return
        yield
        if life.entries[number].state is QueueState.WAITING:
            made = {"old": tip, "candidate": f"c {head} {tip}", "tree": f"t {head} {tip}"}
            world.set_entry(life, number, state=QueueState.TESTING, **made)

    def _swap(self, life: Life, number: int) -> Effect:
        world, entry = self.world, life.entries[number]
        if entry.state not in {QueueState.TESTING, QueueState.LANDING}:
            return
        require_fit(world, life, number)
        world.set_entry(life, number, state=QueueState.LANDING)
        yield
        if world.target[-1][0] == entry.old:
            world.target.append((str(entry.candidate), life.task.uid))
            world.stamp += 1
        yield

    def _record(self, life: Life, number: int) -> None:
        world, entry = self.world, life.entries[number]
        world.set_entry(life, number, state=QueueState.LANDED, settled=True)
        world.set_task(life, landed={"commit": entry.candidate})
        world.end_task(life, State.LANDED, "landed on main")


def require_fit(world: World, life: Life, number: int) -> None:
    """Nothing is swapped in that was not checked, approved at this patch and tested as merged."""
    entry, f = life.entries[number], world.facts(life)
    if not holds(f.approval, entry.patch):
        raise Broken(f"{life.task.uid} would land {entry.patch}, which is not approved")
    if entry.head != life.task.head or entry.patch != life.task.patch:
        raise Broken(f"{life.task.uid} would land {entry.head}, and not its head {life.task.head}")
    for spec in life.specs:
        row = f.check(spec)
        if row is None or row.result is not CheckResult.PASSED:
            raise Broken(f"{life.task.uid} would land unchecked: {spec.name}")
    if world.gates.get(str(entry.tree)) is not CheckResult.PASSED:
        raise Broken(f"{life.task.uid} would land {entry.tree}, which the gate did not pass")
