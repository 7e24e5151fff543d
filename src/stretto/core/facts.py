"""All that is known of one task at one moment: its rows, and what the world was seen to be."""

from __future__ import annotations

from collections.abc import Mapping

from stretto.core.landing import OPEN
from stretto.core.limited import TurnedAway
from stretto.core.model import (
    SATISFIES_NEED,
    Approval,
    Check,
    CheckSpec,
    Delivery,
    Entry,
    Item,
    Message,
    MessageKind,
    Run,
    Session,
    State,
    Task,
)
from stretto.core.quick import dataclass, field
from stretto.core.usage import Spent


@dataclass(frozen=True, slots=True)
class Need:
    """A task that must be landed or finished first. `outcome` None: not over yet."""

    uid: str
    id: str
    outcome: State | None
    any_end: bool = False

    @property
    def satisfied(self) -> bool:
        """Whether the dependent may start as far as this need goes."""
        return self.outcome in SATISFIES_NEED

    @property
    def broken(self) -> bool:
        """Whether this need can never be satisfied as things stand."""
        return self.outcome is not None and not self.satisfied


@dataclass(frozen=True, slots=True)
class Observed:
    """What a look at the world said. None means that nobody could tell: never "gone", never "done".

    `checkout`: for a task that works in the main checkout, whether that is on its branch.
    """

    worktree: bool | None = None
    checkout: bool | None = None
    shim: bool | None = None
    running: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts after which the person decides instead of the machine."""

    check_rounds: int = 3
    conflict_rounds: int = 2
    long_wait: float = 600.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Rows about one task, read in one transaction.

    `now`: the moment for which they are judged; at 0.0 no time has come yet.
    `ahead`: the id of the task that has the main checkout, or comes before this one, which wants it, too.
    `turned_away`: after a turn for which the vendor took no more, the agents that would not do up to now, in order.
    """

    task: Task
    run: Run
    needs: tuple[Need, ...] = ()
    session: Session | None = None
    messages: tuple[Message, ...] = ()
    items: tuple[Item, ...] = ()
    checks: tuple[Check, ...] = ()
    specs: tuple[CheckSpec, ...] = ()
    approval: Approval | None = None
    entry: Entry | None = None
    keep_landed: bool = False
    spent: Spent | None = None
    ahead: str | None = None
    turned_away: tuple[TurnedAway, ...] = ()
    now: float = 0.0
    observed: Observed = field(default_factory=Observed)

    @property
    def auto(self) -> bool:
        """Whether nobody is there to decide (`--approve auto`)."""
        return self.run.approve == "auto"

    @property
    def turns(self) -> tuple[Message, ...]:
        """Messages that are turns, withdrawn ones left out."""
        return tuple(m for m in self.messages if m.kind is MessageKind.TURN and m.state is not Delivery.WITHDRAWN)

    @property
    def turn(self) -> Message | None:
        """The first turn that is not over, else the last one."""
        turns = self.turns
        return next((m for m in turns if m.result is None and m.state is not Delivery.UNDELIVERED), None) or (
            turns[-1] if turns else None
        )

    @property
    def turn_running(self) -> bool:
        """Whether a turn was given to the agent and has not ended as far as the rows say."""
        turn = self.turn
        return turn is not None and turn.result is None and turn.state in {Delivery.WRITTEN, Delivery.DELIVERED}

    @property
    def handshake(self) -> bool:
        """Whether the live session has not said yet that it takes turns."""
        session = self.session
        return session is not None and session.ended_at is None and bool(session.parser.get("handshake"))

    @property
    def controls(self) -> tuple[Message, ...]:
        """Answers and interrupts that are on their way to the live session."""
        session = self.session
        if session is None or session.ended_at is not None:
            return ()
        under_way = {Delivery.QUEUED, Delivery.WRITTEN}
        return tuple(
            m
            for m in self.messages
            if m.kind is not MessageKind.TURN and m.state in under_way and m.session == session.id
        )

    @property
    def open_items(self) -> tuple[Item, ...]:
        """Items that wait for the person, oldest first."""
        return tuple(i for i in self.items if i.closed_at is None and i.answered_at is None and not is_note(i))

    @property
    def notes(self) -> tuple[Item, ...]:
        """Open items that tell the person something and hold nothing up."""
        return tuple(i for i in self.items if i.closed_at is None and i.answered_at is None and is_note(i))

    @property
    def answered_items(self) -> tuple[Item, ...]:
        """Items whose answer has not taken effect yet and waits for us to let it.

        The agent API hands out the answers to its own questions as long as their turn runs.
        """
        return tuple(i for i in self.items if _unapplied(i) and not self._asked_here(i))

    def _asked_here(self, item: Item) -> bool:
        turn, session = self.turn, self.session
        running = self.turn_running and turn is not None and item.payload.get("turn") == turn.n
        return item.payload.get("source") == "socket" and running and session is not None and session.ended_at is None

    def item(self, key: str) -> Item | None:
        """The item with this key, open or closed; keys are unique in a task."""
        return next((i for i in self.items if i.key == key), None)

    def accepted(self, key: str, *answers: str) -> bool:
        """Whether the person answered the item with one of these words, when it was put the last time.

        A second question about the same thing has the same key with `+1` behind it.
        """
        asked = [i for i in self.items if i.key == key or i.key.startswith(f"{key}+")]
        answer = asked[-1].answer if asked else None
        return answer is not None and answer.get("key") in answers

    def check(self, spec: CheckSpec) -> Check | None:
        """The latest execution of this check on the task's committed tree."""
        found = [c for c in self.checks if c.tree == self.task.tree and c.command == spec.run and c.name == spec.name]
        return found[-1] if found else None

    @property
    def unsettled(self) -> Message | None:
        """The turn that ended and whose work is neither committed nor kept; None while there is no worktree."""
        turn = self.turn
        ended = turn is not None and turn.result is not None and not turn.settled
        there = self.task.workspace is not None and self.observed.worktree is not False
        return turn if ended and there else None

    @property
    def queued(self) -> bool:
        """Whether the landing queue holds an entry of this task that it still has to deal with."""
        return self.entry is not None and self.entry.state in OPEN


def is_note(item: Item) -> bool:
    """Whether an item only tells something: its task goes on."""
    return bool(item.payload.get("note"))


def _unapplied(item: Item) -> bool:
    return item.answered_at is not None and item.applied_at is None and item.closed_at is None


def expand_needs(task: Task, siblings: Mapping[str, Task]) -> tuple[Need, ...]:
    """The needs of a task among the tasks of its run, `*` expanded to all others (DECISIONS 11)."""
    if "*" in task.needs:
        others = [t for t in siblings.values() if t.uid != task.uid]
        return tuple(Need(t.uid, t.id, t.outcome, any_end=True) for t in sorted(others, key=lambda t: t.position))
    found = []
    for need in task.needs:
        other = siblings.get(need)
        found.append(Need(f"{task.run}/{need}", need, other.outcome if other else None))
    return tuple(found)


def limits_of(run: Run, task: Task) -> Limits:
    """The limits of a task: its own `rounds`, else what the run's configuration says, else ours."""
    usual, config = Limits(), run.config
    rounds = task.fields.get("rounds")
    return Limits(
        check_rounds=int(config.get("check_rounds", usual.check_rounds) if rounds is None else rounds),
        conflict_rounds=int(config.get("conflict_rounds", usual.conflict_rounds)),
        long_wait=float(config.get("long_wait", usual.long_wait)),
    )
