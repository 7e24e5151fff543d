"""Play random schedules of the pure core against invariants: `python -m stretto.testing.simulator --seeds 2000`.

Specification. One seed is one run of one to four tasks. First chaos: for 200 steps a random actor moves (the
reconciler, an effect, a shim, an agent, the landing queue, the person) or a fault strikes (daemon killed between two
writes, shim killed, delivery lost, look failed, worktree deleted, check or gate red, conflict, target moved). Then the
faults stop and everything runs until nothing moves: each task must be terminal, or wait for the person, for another
task, or for a place. Then a person answers all that is open: each task must end. After every step the invariants hold;
the first that does not is raised with the seed that repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from stretto.core import actions as act
from stretto.core.admission import Candidate, admit
from stretto.core.decide import decide
from stretto.core.decision import Decision
from stretto.core.facts import Limits
from stretto.core.landing import OPEN
from stretto.core.limit_rules import LIMITED, RESTING
from stretto.core.model import (
    TERMINAL,
    CheckSpec,
    Kind,
    MessageKind,
    Run,
    State,
    Task,
)
from stretto.core.wait import stuck
from stretto.core.who import RESOLVER
from stretto.testing.simperson import SENSIBLE, Person, waiting
from stretto.testing.simqueue import Lander
from stretto.testing.simrows import Broken, Life
from stretto.testing.simworld import World

LIMITS = Limits()

RUN = "sim-aaaa"
#: steps of chaos in one schedule
STEPS = 200
#: rounds within which a healed world must come to rest
ROUNDS = 400


def build(rng: random.Random) -> World:
    """A run of one to four tasks with random needs, checks and policy."""
    count = rng.choice((1, 2, 2, 3, 4))
    roles = {"implementer": {"agent": "sim"}, RESOLVER: {"agent": "other", "said": ["agent"]}}
    run = Run(
        id=RUN,
        repo="/r",
        root="/r",
        title="sim",
        context="",
        plan_path=None,
        plan_text="",
        base="base",
        target="main",
        agent="",
        open_limit=rng.randint(1, 3),
        approve="auto" if rng.random() < 0.3 else "human",
        pin_base=False,
        push=False,
        checkout="leave",
        config={"roles": roles if rng.random() < 0.5 else {}},
        env={},
        paused=False,
        created_at=0.0,
    )
    tasks = [_task(rng, n, count) for n in range(count)]
    specs = tuple(CheckSpec(f"c{n}", f"run {n}") for n in range(rng.randint(0, 2)))
    return World(rng, run, tasks, specs)


def _task(rng: random.Random, n: int, count: int) -> Task:
    needs: tuple[str, ...] = ()
    if n == count - 1 and rng.random() < 0.3:
        needs = ("*",)
    elif n and rng.random() < 0.4:
        needs = (f"t{rng.randrange(n)}",)
    return Task(
        uid=f"{RUN}/t{n}",
        run=RUN,
        repo="/r",
        id=f"t{n}",
        position=n,
        title=f"t{n}",
        spec="",
        accept="",
        kind=Kind.FEATURE,
        role="implementer",
        needs=needs,
        files=(),
        tables=(),
        priority=rng.randint(0, 1),
        lands=rng.random() > 0.15,
        fields={},
        created_at=0.0,
    )


class Simulator:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 (a schedule, not a secret)
        self.world = build(self.rng)
        self.lives = list(self.world.lives.values())
        self.faults = self.rng.choice((0.002, 0.01, 0.03))
        self.meddling = self.rng.choice((0.02, 0.05, 0.1))
        self.world.badness = self.rng.choice((0.3, 1.0))
        self.world.scarce = self.rng.random() < 0.1
        self.outcomes: dict[str, State] = {}
        self.lander = Lander(self.world, self.rng)
        self.person = Person(self.world, self.rng, self.outcomes)
        self.steps = 0
        self.checked = -1

    def play(self) -> None:
        """Chaos, healing, rest, a person who answers. Raises Broken."""
        for _ in range(STEPS):
            self._after_step(self._chaos())
        self._heal()
        self._rest()
        self._answer_all()

    def _after_step(self, touched: Sequence[Life]) -> None:
        self.steps += 1
        if self.world.stamp != self.checked:
            self.checked = self.world.stamp
            check_invariants(self.world, touched, self.outcomes)

    # ------------------------------------------------------------ actors

    def _chaos(self) -> Sequence[Life]:
        """One random step; the tasks that it may have changed."""
        rng, world = self.rng, self.world
        world.now += 700.0 if rng.random() < 0.02 else 1.0
        life = rng.choice(self.lives)
        roll = rng.random()
        if roll < self.faults:
            self._fault(life)
            return self.lives
        if roll < self.faults + self.meddling:
            self.person.act(life)
            return self.lives
        if roll < 0.25:
            for _ in range(rng.randint(1, 3)):
                self.lander.step()
            return self.lives
        if roll < 0.5:
            world.shim_step(life)
            world.agent_step(life)
            if roll < 0.48:
                world.pump(life)
        else:
            self.reconcile(life)
            for _ in range(rng.randint(0, 4)):
                self._advance(life)
        return (life,)

    def reconcile(self, life: Life) -> None:
        """Decide for one task, and carry out or start the action."""
        world = self.world
        f = world.facts(life)
        decision = decide(f, LIMITS)
        if decision.state is not life.since[0]:
            life.since = (decision.state, world.now)
        action, before = decision.action, world.stamp
        if isinstance(action, act.Nothing) or self._appended(life, action):
            return
        if isinstance(action, act.Admit):
            self._admit()
        elif action.effect:
            if life.effect is None:
                life.effect, life.name, life.begun = world.effect(life, action), action.name, before
        else:
            self._write(life, action)
            if world.stamp == before:
                raise Broken(f"{life.task.uid}: {action} changed nothing")

    def _write(self, life: Life, action: act.Action) -> None:
        world = self.world
        match action:
            case act.Ask():
                world.ask(life, action)
            case act.Compose():
                world.compose(life, action)
            case act.Approve():
                world.give_approval(life, "auto")
            case act.Finish(outcome=outcome, reason=reason):
                world.end_task(life, outcome, reason)
            case act.Apply():
                world.apply(life, action)
            case _:
                raise Broken(f"nobody carries out {action}")

    def _appended(self, life: Life, action: act.Action) -> bool:
        if not isinstance(action, act.Deliver):
            return False
        message = life.messages[action.n]
        return message.number is not None and (str(message.session), message.number) in self.world.appended

    def _advance(self, life: Life) -> None:
        """One step of the effect that is under way."""
        if life.effect is None:
            return
        try:
            next(life.effect)
        except StopIteration:
            life.effect = None

    def _admit(self) -> None:
        world = self.world
        candidates = [self._candidate(life) for life in self.lives if life.task.outcome is None]
        found = admit(candidates, world.run.open_limit, world.now, LIMITS)
        if found.admitted and found.open + sum(world.lives[u].task.lands for u in found.admitted) > max(
            world.run.open_limit, found.open
        ):
            raise Broken(f"{found.admitted} were admitted beside {found.open} of {world.run.open_limit}")
        for uid in found.admitted:
            world.set_task(world.lives[uid], admitted_at=world.now)

    def _candidate(self, life: Life) -> Candidate:
        t = life.task
        decision = decide(self.world.facts(life), LIMITS)
        wants = isinstance(decision.action, act.Admit)
        started, order = t.admitted_at is not None, (0.0, t.position)
        held = decision.cause in RESTING
        return Candidate(t.uid, RUN, decision.state, wants, started, t.lands, t.priority, order, life.since[1], held)

    def _fault(self, life: Life) -> None:
        rng, world = self.rng, self.world
        roll = rng.random()
        if roll < 0.5:
            world.restart()
            self.lander.effect = None
        elif roll < 0.75:
            folder = world.live_shim(life)
            if folder is not None:
                folder.alive, folder.running = False, None
        elif roll < 0.85:
            life.worktree, life.work = False, life.commits[-1]
        else:
            world.target.append((f"foreign {world.next()}", ""))
        world.stamp += 1

    # ------------------------------------------------------------ what must come of it

    def _heal(self) -> None:
        self.world.chaos = False
        self.world.restart()
        self.lander.effect = None
        self.world.run = replace(self.world.run, paused=False)
        for life in self.lives:
            if life.task.paused:
                self.world.set_task(life, paused=False)

    def _rest(self) -> None:
        """Run until nothing moves. Raises Broken when that takes too long, or when a task then hangs."""
        for _ in range(ROUNDS):
            before = self.world.stamp
            for life in self.lives:
                self.reconcile(life)
                while life.effect is not None:
                    self._advance(life)
                self.world.shim_step(life)
                self.world.agent_step(life)
                self.world.pump(life)
            self.lander.step()
            while self.lander.effect is not None:
                self.lander.step()
            self._after_step(self.lives)
            if self.world.stamp != before:
                continue
            if not self._limited():
                self._none_hangs()
                return
            self.world.now += 7200.0  # each of them goes on by itself
        raise Broken(f"it never comes to rest: {self.describe()}")

    def _limited(self) -> bool:
        """Whether a task waits for its vendor."""
        return any(d.cause == LIMITED for _, d in self.describe())

    def _none_hangs(self) -> None:
        for life in self.lives:
            d = decide(self.world.facts(life), LIMITS)
            ready = d.state is State.READY and self._full()
            if d.state not in {*TERMINAL, State.WAITING, State.BLOCKED} and not ready:
                raise Broken(f"{life.task.uid} hangs: {d}")
            if d.state is State.WAITING and not self.world.facts(life).open_items:
                raise Broken(f"{life.task.uid} waits for nothing: {d}")

    def _full(self) -> bool:
        candidates = [self._candidate(life) for life in self.lives if life.task.outcome is None]
        return not admit(candidates, self.world.run.open_limit, self.world.now, LIMITS).admitted

    def _answer_all(self) -> None:
        """A person who answers sensibly brings every task to its end."""
        for _ in range(60):
            if all(life.task.outcome is not None for life in self.lives):
                return
            self.world.now += LIMITS.long_wait + 1
            for life in self.lives:
                for item in waiting(life):
                    keys = [k for k, _ in item.options]
                    best = next((k for k in SENSIBLE if k in keys), None)
                    self.world.set_item(life, item.id, answer={"key": best, "text": ""}, answered_at=self.world.now)
            self._rest()
        left = {life.task.uid: self.world.facts(life).needs for life in self.lives if life.task.outcome is None}
        if set(left) - stuck(left):
            raise Broken(f"the person's answers do not end it: {self.describe()}")

    def describe(self) -> list[tuple[str, Decision]]:
        """Every task with its decision, for the report of a failure."""
        return [(life.task.uid, decide(self.world.facts(life), LIMITS)) for life in self.lives]


def check_invariants(world: World, touched: Sequence[Life], outcomes: dict[str, State]) -> None:
    """What must hold of these tasks. `outcomes`: what was over before; it stays as it was."""
    for life in touched:
        uid, t = life.task.uid, life.task
        landed = sum(owner == uid for _, owner in world.target)
        if landed > 1:
            raise Broken(f"{uid} landed {landed} times")
        if t.outcome is not None and outcomes.setdefault(uid, t.outcome) is not t.outcome:
            raise Broken(f"{uid} was {outcomes[uid]} and is {t.outcome}")
        if t.outcome is not None and landed != (t.outcome is State.LANDED):
            raise Broken(f"{uid} is {t.outcome}, and {landed} times on the target")
        if sum(e.state in OPEN for e in life.entries.values()) > 1:
            raise Broken(f"{uid} is queued twice")
        if sum(s.alive for s in life.shims.values()) > 1:
            raise Broken(f"{uid} has two sessions")
        for n, role in life.played.items():
            if (role == RESOLVER) != (n in life.conflicts):
                raise Broken(f"turn {n} of {uid} was played by its {role}")
        for n, count in life.received.items():
            if count > 1 and count > 1 + life.resends[n]:
                raise Broken(f"message {n} of {uid} reached the agent {count} times")
        _nothing_lost(life)


def _nothing_lost(life: Life) -> None:
    """When the last turn is settled and nothing works on, what it left is committed or kept."""
    if life.effect is not None or life.work in life.kept or life.work == life.commits[-1]:
        return
    turn = next((m for m in reversed(life.messages.values()) if m.kind is MessageKind.TURN), None)
    folder = next((s for s in life.shims.values() if s.alive), None)
    if turn is None or not turn.settled or (folder is not None and folder.running is not None):
        return
    raise Broken(f"the work {life.work} of {life.task.uid} is neither committed nor kept")


def play(seeds: Sequence[int]) -> int:
    """Play these schedules; the number of steps. Raises Broken, which names the seed."""
    steps = 0
    for seed in seeds:
        simulator = Simulator(seed)
        try:
            simulator.play()
        except Broken as error:
            raise Broken(f"seed {seed}, step {simulator.steps}: {error}") from error
        steps += simulator.steps
    return steps


def main(argv: Sequence[str] | None = None) -> int:
    """Play many schedules and report how fast; exit 1 with the seed of the first that breaks."""
    parser = argparse.ArgumentParser(description="Play random schedules of the pure core against its invariants.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    wanted = parser.parse_args(argv)
    begin = time.monotonic()
    try:
        steps = play(range(wanted.first, wanted.first + wanted.seeds))
    except Broken as error:
        sys.stdout.write(f"{error}\n")
        return 1
    took = max(time.monotonic() - begin, 1e-9)
    rate = wanted.seeds / took * 60
    sys.stdout.write(f"{wanted.seeds} schedules, {steps} steps in {took:.1f} s: {rate:.0f} schedules a minute\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
