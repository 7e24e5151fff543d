"""The landing queue: a table for each rule, and a simulated queue that must never land what was not tested."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.core.landing import OPEN, Act, World, batch_in_work, order, step, withdrawn
from stretto.core.model import CheckResult, Entry, QueueState

TIP = "tip0"


def entry(id: int, state: QueueState = QueueState.WAITING, **values: Any) -> Entry:
    return Entry(
        id=id,
        task=values.pop("task", f"r/t{id}"),
        repo="repo",
        target="main",
        head=f"head{id}",
        patch=f"sha256:{id}",
        state=state,
        reason="",
        enqueued_at=values.pop("enqueued_at", float(id)),
        updated_at=0.0,
        **values,
    )


def under_test(id: int, old: str = TIP, state: QueueState = QueueState.TESTING) -> Entry:
    return entry(id, state, old=old, candidate=f"cand{id}", tree=f"tree{id}")


# ------------------------------------------------------------------ order


@pytest.mark.parametrize(
    ("ids", "priorities", "needs", "expected"),
    [
        ([3, 1, 2], {}, {}, [1, 2, 3]),
        ([1, 2, 3], {"r/t3": 5}, {}, [3, 1, 2]),
        ([1, 2, 3], {"r/t1": -1}, {}, [2, 3, 1]),
        ([1, 2], {}, {"r/t1": ["r/t2"]}, [2, 1]),
        ([1, 2, 3], {"r/t3": 5}, {"r/t3": ["r/t2"]}, [2, 3, 1]),
        ([1, 2, 3, 4], {"r/t4": 5}, {"r/t4": ["r/t3"], "r/t3": ["r/t2"]}, [2, 3, 4, 1]),
        ([1, 2], {}, {"r/t1": ["r/elsewhere"]}, [1, 2]),
        ([1, 2, 3], {}, {"r/t1": ["r/t2"], "r/t2": ["r/t1"]}, [3, 1, 2]),
        ([1], {}, {"r/t1": ["r/t1"]}, [1]),
    ],
)
def test_order_is_priority_then_dependency_then_age(ids, priorities, needs, expected):
    assert [item.id for item in order([entry(id) for id in ids], priorities, needs)] == expected


def test_a_second_entry_of_one_task_comes_last_and_is_not_lost():
    double = [entry(1, task="r/a"), entry(2, task="r/a"), entry(3, task="r/b")]
    assert [item.id for item in order(double, {}, {})] == [1, 3, 2]


@st.composite
def queues(draw):
    ids = draw(st.lists(st.integers(1, 12), unique=True))
    uids = [f"r/t{id}" for id in ids]
    priorities = {uid: draw(st.integers(-2, 2)) for uid in uids}
    needs = {uid: [other for other in uids if other < uid and draw(st.booleans())] for uid in uids}
    ages = {id: draw(st.integers(0, 3)) for id in ids}
    return [entry(id, enqueued_at=float(ages[id])) for id in ids], priorities, needs


@given(queues())
def test_order_is_a_permutation_that_respects_dependencies(queue):
    entries, priorities, needs = queue
    result = [item.task for item in order(entries, priorities, needs)]
    assert sorted(result) == sorted(item.task for item in entries)
    assert all(result.index(need) < result.index(uid) for uid in needs for need in needs[uid])


@given(queues(), st.randoms())
def test_order_does_not_depend_on_the_order_of_the_rows(queue, random):
    entries, priorities, needs = queue
    shuffled = entries[:]
    random.shuffle(shuffled)
    assert order(shuffled, priorities, needs) == order(entries, priorities, needs)


@given(queues())
def test_without_dependencies_no_entry_waits_behind_a_lower_priority(queue):
    entries, priorities, _ = queue
    result = [priorities[item.task] for item in order(entries, priorities, {})]
    assert result == sorted(result, reverse=True)


# ------------------------------------------------------------------ next step

LANDING = under_test(1, state=QueueState.LANDING)


@pytest.mark.parametrize(
    ("entries", "world", "act", "ids"),
    [
        ([], World(TIP), Act.IDLE, []),
        ([entry(1, QueueState.LANDED), entry(2, QueueState.EJECTED)], World(TIP), Act.IDLE, []),
        ([entry(2), entry(1)], World(TIP), Act.MERGE, [1]),
        ([under_test(1), entry(2)], World(TIP), Act.GATE, [1]),
        ([under_test(1)], World(TIP, gates={"tree1": CheckResult.PASSED}), Act.SWAP, [1]),
        ([under_test(1)], World(TIP, gates={"tree1": CheckResult.FAILED}), Act.EJECT, [1]),
        ([under_test(1)], World(TIP, gates={"tree1": CheckResult.ERROR}), Act.HOLD, [1]),
        ([under_test(1)], World(TIP, gates={"other": CheckResult.PASSED}), Act.GATE, [1]),
        ([under_test(1)], World("moved", gates={"tree1": CheckResult.PASSED}), Act.RELEASE, [1]),
        ([LANDING], World(TIP, gates={"tree1": CheckResult.PASSED}), Act.SWAP, [1]),
        ([LANDING], World("cand1", contained=frozenset({"cand1"})), Act.RECORD, [1]),
        ([LANDING], World("later", contained=frozenset({"cand1"})), Act.RECORD, [1]),
        ([LANDING], World("later"), Act.RELEASE, [1]),
        ([LANDING], World("cand1", contained=frozenset({"cand1"}), withdrawn={1: "edited"}), Act.RECORD, [1]),
        ([LANDING], World("cand1", contained=frozenset({"cand1"}), frozen="refused push"), Act.RECORD, [1]),
        ([under_test(1)], World(TIP, withdrawn={1: "edited"}), Act.DROP, [1]),
        ([entry(1), entry(2)], World(TIP, withdrawn={2: "edited"}), Act.DROP, [2]),
        ([entry(1), entry(2)], World(TIP, frozen="refused push"), Act.HOLD, [1, 2]),
        ([under_test(1)], World(TIP, gates={"tree1": CheckResult.PASSED}, frozen="x"), Act.HOLD, [1]),
        ([], World(TIP, frozen="refused push"), Act.IDLE, []),
        ([entry(1, QueueState.TESTING, old=TIP)], World(TIP), Act.RELEASE, [1]),
    ],
)
def test_next_step(entries, world, act, ids):
    result = step(entries, world)
    assert (result.act, [item.id for item in result.entries]) == (act, ids)
    assert result.reason or act in {Act.IDLE, Act.GATE}


CHAIN = [under_test(1), under_test(2, "cand1"), under_test(3, "cand2")]


@pytest.mark.parametrize(
    ("entries", "world", "act", "ids"),
    [
        ([entry(1), entry(2), entry(3)], World(TIP), Act.MERGE, [1, 2]),
        (CHAIN, World(TIP), Act.GATE, [1, 2, 3]),
        (CHAIN, World(TIP, gates={"tree3": CheckResult.PASSED}), Act.SWAP, [1, 2, 3]),
        (CHAIN, World(TIP, gates={"tree3": CheckResult.FAILED}), Act.RELEASE, [3]),
        (CHAIN[:2], World(TIP, gates={"tree2": CheckResult.FAILED}), Act.RELEASE, [2]),
        (CHAIN[:1], World(TIP, gates={"tree3": CheckResult.FAILED}), Act.GATE, [1]),
        (CHAIN, World(TIP, withdrawn={2: "edited"}), Act.RELEASE, [1, 3]),
        (CHAIN, World("cand3", contained=frozenset({"cand1", "cand2", "cand3"})), Act.RECORD, [1, 2, 3]),
        ([under_test(1), under_test(2)], World(TIP), Act.RELEASE, [1, 2]),
    ],
)
def test_next_step_of_a_batch(entries, world, act, ids):
    result = step(entries, world, limit=2)
    assert (result.act, sorted(item.id for item in result.entries)) == (act, ids)


def test_the_batch_is_read_in_the_order_of_its_candidates():
    chain = [under_test(9), under_test(2, "cand9"), under_test(5, "cand2")]
    assert [item.id for item in batch_in_work(sorted(chain, key=lambda item: item.id))] == [9, 2, 5]


@pytest.mark.parametrize(
    ("head", "approved", "reason"),
    [
        ("head1", True, None),
        ("head2", True, "the branch has moved since it was queued"),
        (None, True, "the branch has moved since it was queued"),
        ("head1", False, "the approval no longer holds"),
    ],
)
def test_withdrawn(head, approved, reason):
    assert withdrawn(entry(1), head, approved) == reason


# ------------------------------------------------------------------ a whole queue, simulated


class Simulation:
    """Rows, refs and gate of one queue as values; `act` does what a step asks, as the engine would."""

    def __init__(self, entries: list[Entry], red: set[int], limit: int) -> None:
        self.rows = {item.id: item for item in entries}
        self.red = red
        self.limit = limit
        self.history = [TIP]
        self.gates: dict[str, CheckResult] = {}
        self.contents: dict[str, tuple[int, ...]] = {}
        self.merged = 0

    def world(self) -> World:
        return World(self.history[-1], frozenset(self.history), self.gates)

    def set(self, item: Entry, state: QueueState, **values: Any) -> None:
        self.rows[item.id] = replace(item, state=state, **values)

    def act(self, priorities: dict[str, int], needs: dict[str, list[str]]) -> Act:
        now = step(list(self.rows.values()), self.world(), priorities, needs, limit=self.limit)
        getattr(self, f"on_{now.act}")(now.entries)
        return now.act

    def on_idle(self, entries: tuple[Entry, ...]) -> None:
        assert not entries

    def on_merge(self, entries: tuple[Entry, ...]) -> None:
        old = self.history[-1]
        inside: tuple[int, ...] = ()
        for item in entries:
            self.merged += 1
            inside = (*inside, item.id)
            candidate, tree = f"c{self.merged}", f"{self.history[-1]}+{inside}"
            self.contents[tree] = inside
            self.set(item, QueueState.TESTING, old=old, candidate=candidate, tree=tree)
            old = candidate

    def on_gate(self, entries: tuple[Entry, ...]) -> None:
        tree = entries[-1].tree or ""
        assert tree not in self.gates, "a tree is gated once"
        bad = any(id in self.red for id in self.contents[tree])
        self.gates[tree] = CheckResult.FAILED if bad else CheckResult.PASSED

    def on_swap(self, entries: tuple[Entry, ...]) -> None:
        assert self.gates[entries[-1].tree or ""] is CheckResult.PASSED
        assert entries[0].old == self.history[-1]
        for item in entries:
            self.set(item, QueueState.LANDING)
        self.history.extend(item.candidate or "" for item in entries)

    def on_record(self, entries: tuple[Entry, ...]) -> None:
        for item in entries:
            self.set(item, QueueState.LANDED)

    def on_eject(self, entries: tuple[Entry, ...]) -> None:
        assert [item.id in self.red for item in entries] == [True], "only the culprit is ejected"
        self.set(entries[0], QueueState.EJECTED)

    def on_release(self, entries: tuple[Entry, ...]) -> None:
        for item in entries:
            self.set(item, QueueState.WAITING, old=None, candidate=None, tree=None)


@given(queues(), st.sets(st.integers(1, 12)), st.integers(1, 5), st.lists(st.integers(0, 40), max_size=3))
def test_every_entry_lands_or_is_ejected_whatever_happens_to_the_target(queue, red, limit, moves):
    entries, priorities, needs = queue
    simulation = Simulation(entries, red, limit)
    for number in range(400):
        if number in moves:
            simulation.history.append(f"foreign{number}")
        if simulation.act(priorities, needs) is Act.IDLE:
            break
    assert not [item for item in simulation.rows.values() if item.state in OPEN]
    landed = [item.id for item in simulation.rows.values() if item.state is QueueState.LANDED]
    assert sorted(landed) == sorted(item.id for item in entries if item.id not in red)
    assert len(simulation.history) == len(set(simulation.history))
