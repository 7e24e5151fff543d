"""What the engine can be told to do: one frozen value for each action.

Actions with `effect = True` touch the world and run in the pool, one at a time for each task; the others only write
rows.
Every action may be carried out twice and ends in the same place.
"""

from __future__ import annotations

from typing import Any, ClassVar

from stretto.core.model import ItemKind, Origin, State
from stretto.core.quick import dataclass, field


@dataclass(frozen=True, slots=True)
class Action:
    """Base of all actions."""

    effect: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The word for logs and `explain`."""
        return type(self).__name__.lower()


@dataclass(frozen=True, slots=True)
class Nothing(Action):
    """There is nothing to do until something happens."""


@dataclass(frozen=True, slots=True)
class Admit(Action):
    """May start as far as it goes itself; admission decides whether there is a place."""


@dataclass(frozen=True, slots=True)
class Prepare(Action):
    """Make the workspace: worktree, environment, set-up."""

    effect: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Compose(Action):
    """Write the next turn's message. `after`: only while that turn is the last one."""

    origin: Origin
    counter: str | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class FallBack(Action):
    """The task's agent would not do: the next one of its role takes up the work."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Deliver(Action):
    """Bring the session up and hand it message `n`."""

    effect: ClassVar[bool] = True
    n: int = 0


@dataclass(frozen=True, slots=True)
class Recover(Action):
    """The shim died: end what is left of the agent, keep its work, mark its turn."""

    effect: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Settle(Action):
    """Turn `n` ended: commit (or snapshot) what it left, and record the new head."""

    effect: ClassVar[bool] = True
    n: int = 0


@dataclass(frozen=True, slots=True)
class RunChecks(Action):
    """Run these checks on the committed tree."""

    effect: ClassVar[bool] = True
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interrupt(Action):
    """Interrupt the running turn."""

    effect: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Apply(Action):
    """Let the answer of an item take effect."""

    item: str = ""


@dataclass(frozen=True, slots=True)
class Ask(Action):
    """Put something before the person."""

    kind: ItemKind = ItemKind.FAILURE
    key: str = ""
    text: str = ""
    payload: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Warn(Action):
    """Tell the person of a budget, once for each key; nothing waits for it."""

    key: str = ""
    text: str = ""
    scope: str = ""
    measure: str = ""
    used: float = 0.0
    limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Approve(Action):
    """Approve by policy."""


@dataclass(frozen=True, slots=True)
class Enqueue(Action):
    """Take a place in the landing queue, if the worktree still holds exactly what was approved."""

    effect: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Stop(Action):
    """End the session."""

    effect: ClassVar[bool] = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Finish(Action):
    """The task is over."""

    outcome: State = State.FAILED
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CleanUp(Action):
    """A landed task: end its session, keep its state, free its bay, delete its branch."""

    effect: ClassVar[bool] = True


NOTHING = Nothing()
