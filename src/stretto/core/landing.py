"""What the landing queue does next, decided from rows and from what the refs say.

Specification. One queue per target. Entries are tested as a *batch*: a list of entries whose candidates are chained
(the first parent of the first is the tip that was read, `Entry.old`; of each other the candidate before it). Only the
last tree of the batch is gated and only the last candidate is swapped in, so a batch lands whole or not at all.
Batches have length one until `limit` says otherwise; every rule below is written for a list.

- Order: priority (higher first, inherited by the entries that a higher one needs), then dependency, then age.
- A batch in work is finished before another is begun: the order of waiting entries never changes under a gate.
- The tip moved under a batch (somebody else's commit): unless the last candidate is already in the target's history,
  the batch is released, and merged again on the new tip. What was tested for another tip is never swapped in.
- A crash between swap and record is decided by the refs alone: a candidate in the target's history has landed.
- An entry whose head or approval changed after it was queued is released or dropped before anything else happens to
  it, but never once it is in the target's history.
- A red gate ejects a batch of one. A longer one gives up its later half, and the shorter batch is gated next.
- A gate that could not run (error) is no verdict on the work: the queue holds and says why.
- A frozen queue starts nothing new; an entry that is already in the target's history is still recorded.

Accepted races: the target may move between the reading of `World.tip` and the swap; the compare-and-swap refuses it,
and the next pass releases the batch.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

from stretto.core.model import CheckResult, Entry, QueueState
from stretto.core.quick import dataclass, field

#: states of an entry that belongs to the batch in work
IN_WORK = frozenset({QueueState.TESTING, QueueState.LANDING})
#: states of an entry that the queue still has to deal with
OPEN = IN_WORK | {QueueState.WAITING}


class Act(StrEnum):
    """The one thing that the queue needs next."""

    IDLE = "idle"
    """Nothing is queued."""
    HOLD = "hold"
    """Something stands in the way; `reason` says what."""
    DROP = "drop"
    """Take these entries out of the queue: what was queued is no longer what is wanted."""
    RELEASE = "release"
    """Put these entries back to waiting: their candidates are void."""
    MERGE = "merge"
    """Build the candidates of these entries on the tip, in this order."""
    GATE = "gate"
    """Run the checks on the last tree of these entries."""
    EJECT = "eject"
    """The gate is red for this entry: back to its agent with the output."""
    SWAP = "swap"
    """Compare-and-swap the target from the first entry's `old` to the last candidate."""
    RECORD = "record"
    """The last candidate is in the target's history: verify and record the landing of these entries."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, to which entries (in the order of the batch), and why."""

    act: Act
    entries: tuple[Entry, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """What was observed for one queue.

    `contained`: candidates that are in the target's history. `gates`: result by tested tree. `withdrawn`: entry id ->
    why it is no longer what was approved (`withdrawn()`); `frozen`: why nothing may start, or None.
    """

    tip: str
    contained: frozenset[str] = frozenset()
    gates: Mapping[str, CheckResult] = field(default_factory=dict)
    withdrawn: Mapping[int, str] = field(default_factory=dict)
    frozen: str | None = None


def order(entries: Iterable[Entry], priorities: Mapping[str, int], needs: Mapping[str, Sequence[str]]) -> list[Entry]:
    """The waiting order: priority (higher first) > dependency > age > id. `needs` maps a task's uid to uids.

    An entry never comes before one that it needs; the needed one inherits the higher priority. Entries in a cycle
    (which the plan's lint refuses) come last rather than never; so does a second entry of one task.
    """
    by_task: dict[str, Entry] = {}
    again: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: (entry.enqueued_at, entry.id)):
        if by_task.setdefault(entry.task, entry) is not entry:
            again.append(entry)
    wants = {uid: {need for need in needs.get(uid, ()) if need in by_task and need != uid} for uid in by_task}
    urgency = _inherited({uid: priorities.get(uid, 0) for uid in by_task}, wants)

    def key(uid: str) -> tuple[int, float, int]:
        return (-urgency[uid], by_task[uid].enqueued_at, by_task[uid].id)

    return [*(by_task[uid] for uid in _topological(wants, key)), *again]


def _topological(wants: Mapping[str, set[str]], key: Callable[[str], tuple[int, float, int]]) -> list[str]:
    waiting = {uid: len(found) for uid, found in wants.items()}
    dependents: dict[str, list[str]] = {uid: [] for uid in wants}
    for uid, found in wants.items():
        for need in found:
            dependents[need].append(uid)
    ready = [(key(uid), uid) for uid, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    result: list[str] = []
    while ready:
        _, uid = heapq.heappop(ready)
        result.append(uid)
        for dependent in dependents[uid]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                heapq.heappush(ready, (key(dependent), dependent))
    return [*result, *sorted(wants.keys() - set(result), key=key)]


def _inherited(own: dict[str, int], wants: Mapping[str, set[str]]) -> dict[str, int]:
    """Give each task the highest priority of those that need it, directly or not."""
    result = dict(own)
    for start in sorted(own, key=lambda uid: -own[uid]):
        stack = list(wants[start])
        while stack:
            uid = stack.pop()
            if result[uid] < own[start]:
                result[uid] = own[start]
                stack.extend(wants[uid])
    return result


def withdrawn(
    entry: Entry, head: str | None, approved: bool, *, cancelled: bool = False, working: bool = False
) -> str | None:
    """Why a queued entry is no longer what was approved, or None. `head`: the task's head now.

    `cancelled`: the task is over or is to be; `working`: a turn of it is under way or waits to be.
    """
    if cancelled:
        return "its task was cancelled"
    if working:
        return "its agent works on it again"
    if head != entry.head:
        return "the branch has moved since it was queued"
    if not approved:
        return "the approval no longer holds"
    return None


def batch_in_work(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The batch that is being tested or landed, in the order of its chain of candidates."""
    left = {entry.id: entry for entry in entries if entry.state in IN_WORK}
    followers = {entry.old: entry for entry in left.values()}
    candidates = {entry.candidate for entry in left.values()}
    first = next((entry for entry in left.values() if entry.old not in candidates), None)
    chain: list[Entry] = []
    while first is not None and first.id in left:
        chain.append(left.pop(first.id))
        first = followers.get(first.candidate)
    return (*chain, *sorted(left.values(), key=lambda entry: entry.id))


def step(
    entries: Sequence[Entry],
    world: World,
    priorities: Mapping[str, int] | None = None,
    needs: Mapping[str, Sequence[str]] | None = None,
    *,
    limit: int = 1,
) -> Step:
    """The one next thing that this queue needs. `limit` is the length of a batch.

    Pure and level-triggered: called again with the same rows and world it says the same, whatever was interrupted.
    """
    batch = batch_in_work(entries)
    if batch and batch[-1].candidate in world.contained:
        return Step(Act.RECORD, batch, "the target contains the candidate")
    gone = [entry for entry in entries if entry.state in OPEN and entry.id in world.withdrawn]
    if gone:
        return _withdraw(batch, gone[0], world.withdrawn[gone[0].id])
    held = tuple(entry for entry in entries if entry.state in OPEN)
    if world.frozen is not None and held:
        return Step(Act.HOLD, held, world.frozen)
    if batch:
        return _batch_step(batch, world)
    waiting = [entry for entry in entries if entry.state is QueueState.WAITING]
    if not waiting:
        return Step(Act.IDLE)
    chosen = order(waiting, priorities or {}, needs or {})[: max(1, limit)]
    return Step(Act.MERGE, tuple(chosen), f"on {world.tip[:12]}")


def _withdraw(batch: tuple[Entry, ...], entry: Entry, reason: str) -> Step:
    """Free the others of the batch first: their candidates contain what is withdrawn."""
    others = tuple(other for other in batch if other.id != entry.id)
    if others and entry.id in {member.id for member in batch}:
        return Step(Act.RELEASE, others, f"{entry.task} left the batch: {reason}")
    return Step(Act.DROP, (entry,), reason)


def _batch_step(batch: tuple[Entry, ...], world: World) -> Step:
    if not _chained(batch):
        return Step(Act.RELEASE, batch, "its candidates do not follow each other")
    if batch[0].old != world.tip:
        return Step(Act.RELEASE, batch, f"the target moved to {world.tip[:12]}")
    result = world.gates.get(batch[-1].tree or "")
    if result is CheckResult.PASSED:
        return Step(Act.SWAP, batch, "the gate passed")
    if result is CheckResult.ERROR:
        return Step(Act.HOLD, batch, "the gate could not run")
    if result is CheckResult.FAILED:
        if len(batch) == 1:
            return Step(Act.EJECT, batch, "the gate failed")
        return Step(Act.RELEASE, batch[(len(batch) + 1) // 2 :], "the gate failed: half of the batch is tried")
    return Step(Act.GATE, batch, "")


def _chained(batch: tuple[Entry, ...]) -> bool:
    whole = all(entry.old and entry.candidate and entry.tree for entry in batch)
    return whole and all(after.old == before.candidate for before, after in itertools.pairwise(batch))
