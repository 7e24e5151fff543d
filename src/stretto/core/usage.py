"""What work costs and what it may cost: prices, sums, shares of a budget. Values in, values out.

Specification. Tokens are counted once: `input` without cached ones, `output` with the reasoning. Money is US dollars,
in exact decimals. The figure that an agent gives for a model's part of a turn holds for that part; else the tokens are
priced, and what has no price has no cost: unknown is never zero. A budget has a scope (task, run, day) and a measure
(tokens, cost, minutes). It is told at `WARN` of it, and used up at all of it; the person may grant as much again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from stretto.core.model import Item, Usage
from stretto.core.quick import dataclass, field

if TYPE_CHECKING:
    from decimal import Decimal

MEASURES = ("tokens", "cost", "minutes")
SCOPES = ("task", "run", "day")
#: the share of a budget at which the person is told
WARN = 0.8
#: what stands for a model that nobody named
NAMELESS = "unknown"
_MILLION = 1_000_000
_NO_PRICES: Mapping[str, Price] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens of each kind, as decimal texts.

    `date`: when it was true; `source`: who says so; `model`: what it is called there.
    """

    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None
    date: str = ""
    source: str = "yours"
    model: str = ""

    def of(self, usage: Usage) -> Decimal:
        """What these tokens cost; cached ones without a price of their own cost as much as any input."""
        from decimal import Decimal  # costs as much as a whole `status`, which prices nothing

        read, write = self.cache_read or self.input, self.cache_write or self.input
        parts = ((usage.input, self.input), (usage.output, self.output), (usage.cache_read, read))
        return sum((n * Decimal(price) for n, price in (*parts, (usage.cache_write, write))), Decimal(0)) / _MILLION


@dataclass(frozen=True, slots=True)
class Part:
    """What one model used in one turn, which is message `n` of its task.

    `told`: the sum of what its agent says that cost; None if it says nothing. `price`: a price of its own, if any.
    """

    task: str
    model: str
    usage: Usage
    told: str | None = None
    session: str | None = None
    day: str = ""
    n: int | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """A sum of parts. `cost` None: nothing of it has a known cost; `unknown`: models of parts without one."""

    usage: Usage
    cost: Decimal | None = None
    source: str | None = None
    unknown: tuple[str, ...] = ()


def bill(parts: Iterable[Part], prices: Mapping[str, Price] = _NO_PRICES) -> Bill:
    """Add parts up. The source is `agent` if every known cost is an agent's own figure, else `table`."""
    from decimal import Decimal

    cost, sources, unknown = Decimal(0), set[str](), set[str]()
    found = list(parts)
    for part in found:
        if part.told is not None:
            cost += Decimal(part.told)
            sources.add("agent")
        elif (price := part.price or prices.get(part.model)) is not None:
            cost += price.of(part.usage)
            sources.add("table")
        elif part.usage.tokens:
            unknown.add(part.model or NAMELESS)
    source = None if not sources else "agent" if sources == {"agent"} else "table"
    used = Usage(*(sum(getattr(part.usage, kind) for part in found) for kind in _KINDS))
    return Bill(used, cost if sources else None, source, tuple(sorted(unknown)))


_KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")


@dataclass(frozen=True, slots=True)
class Level:
    """How far a budget is used. `key` names it among the items of a task; `unknown`: models that it cannot count."""

    scope: str
    measure: str
    used: float
    limit: float
    key: str
    unknown: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """1 is all of it."""
        return self.used / self.limit if self.limit > 0 else 1.0

    @property
    def text(self) -> str:
        """The level as a person reads it."""
        used, limit = amount(self.measure, self.used), amount(self.measure, self.limit)
        return f"{used} of {limit} for the {self.scope}"


@dataclass(frozen=True, slots=True)
class Spent:
    """The budgets that hold for a task, and which notes about them there are already."""

    levels: tuple[Level, ...] = ()
    noted: frozenset[str] = field(default_factory=frozenset)


def budgets(limits: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The budgets that hold for a task: scope -> measure -> limit. `limits`: the configuration's, `own`: the task's."""
    found = {
        "task": {**(limits.get("task") or {}), **own},
        "run": {name: limits.get(name) for name in MEASURES},
        "day": limits.get("day") or {},
    }
    told = {scope: {m: float(v) for m, v in given.items() if v is not None} for scope, given in found.items()}
    return {scope: given for scope, given in told.items() if given}


def amount(measure: str, value: float) -> str:
    """A quantity with its unit: a small one as finely as it takes to tell it from none."""
    if measure == "cost":
        return f"{value:.2f} USD" if value >= 1 or round(value, 2) == value else f"{value:.4f} USD"
    if measure == "minutes":
        return f"{value:.1f} minutes" if value >= 1 else f"{value * 60:.0f} seconds"
    return f"{value:,.0f} tokens".replace(",", " ")


def exceeded(spent: Spent | None, items: Sequence[Item]) -> Level | None:
    """The first budget that is used up, what the person granted counted in."""
    for level in spent.levels if spent is not None else ():
        if level.used >= max(level.limit, granted(level, items)):
            return level
    return None


def granted(level: Level, items: Sequence[Item]) -> float:
    """Up to where the person let this task go on: as much again as the budget, from where it was stopped."""
    asked = [i for i in items if i.key.split("+")[0] == f"budget:{level.key}"]
    yes = [i for i in asked if (i.answer or {}).get("key") == "continue"]
    return max((float(i.payload.get("used", 0)) + level.limit for i in yes), default=0.0)


def due(spent: Spent | None) -> tuple[Level, str] | None:
    """The next thing that the person should be told of a budget, and the key of that note."""
    if spent is None:
        return None
    for level in spent.levels:
        if level.unknown and f"{level.key}:unknown" not in spent.noted:
            return level, f"{level.key}:unknown"
        if level.share >= WARN and level.key not in spent.noted:
            return level, level.key
    return None
