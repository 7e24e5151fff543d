"""Bills, prices and budgets as values."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto.core.model import Item, ItemKind, Usage
from stretto.core.usage import Level, Part, Price, Spent, amount, bill, budgets, due, exceeded, granted
from tests.support import rows

PRICES = {"m": Price("3", "15", "0.3", "3.75"), "plain": Price("1", "2")}
COUNTS = st.integers(0, 10**9)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
MONEY = st.sampled_from([None, "0", "0.000001", "12.5", "999.999999"])
PARTS = st.builds(Part, st.just("r/t"), st.sampled_from(["m", "plain", "other", ""]), USAGES, MONEY)


def test_a_price_counts_each_kind_of_tokens() -> None:
    used = Usage(1_000_000, 2_000_000, 10_000_000, 4_000_000, reasoning=1_500_000)
    assert PRICES["m"].of(used) == Decimal("51")  # 3 + 30 + 3 + 15; reasoning is part of the output
    assert PRICES["plain"].of(used) == Decimal("19"), "cached tokens without a price cost as much as input"


def test_the_agents_own_figure_holds_for_its_part_and_the_table_for_the_rest() -> None:
    used = Usage(1_000_000)
    own, priced, unknown = Part("t", "m", used, "0.5"), Part("t", "m", used), Part("t", "x", used)
    assert bill([own], PRICES).cost == Decimal("0.5")
    assert bill([own], PRICES).source == "agent"
    assert (bill([own, priced], PRICES).cost, bill([own, priced], PRICES).source) == (Decimal("3.5"), "table")
    assert (bill([unknown], PRICES).cost, bill([unknown], PRICES).unknown) == (None, ("x",))
    assert bill([Part("t", "x", Usage())], PRICES).unknown == (), "what used nothing lacks no price"


@given(st.lists(PARTS, max_size=4), st.lists(PARTS, max_size=4))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_bills_add_up_and_unknown_is_never_zero(some: list[Part], more: list[Part]) -> None:
    one, two, both = bill(some, PRICES), bill(more, PRICES), bill([*some, *more], PRICES)
    assert both.usage.tokens == one.usage.tokens + two.usage.tokens
    assert (both.cost or 0) == (one.cost or 0) + (two.cost or 0)
    assert set(both.unknown) == {*one.unknown, *two.unknown}
    if both.cost is None:
        assert not any(p.told is not None or p.model in PRICES for p in [*some, *more])


def test_which_budgets_hold_for_a_task() -> None:
    limits = {"tokens": 5, "cost": None, "open": 3, "task": {"tokens": 9, "minutes": 1}, "day": {"cost": 2.5}}
    assert budgets(limits, {"tokens": 7}) == {
        "task": {"tokens": 7.0, "minutes": 1.0},
        "run": {"tokens": 5.0},
        "day": {"cost": 2.5},
    }
    assert budgets({}, {}) == {}


def level(used: float, limit: float = 100, scope: str = "run", **more: tuple[str, ...]) -> Level:
    return Level(scope, "tokens", used, limit, f"{scope}:tokens", **more)


def test_a_budget_is_told_at_four_fifths_and_used_up_at_all_of_it() -> None:
    assert due(Spent((level(79.9),))) is None
    assert due(Spent((level(80),))) == (level(80), "run:tokens")
    assert due(Spent((level(80),), frozenset({"run:tokens"}))) is None
    assert exceeded(Spent((level(99.9),)), ()) is None
    assert exceeded(Spent((level(50, scope="task"), level(100))), ()) == level(100)
    unknown = level(0, unknown=("x",))
    assert due(Spent((unknown,))) == (unknown, "run:tokens:unknown")
    assert exceeded(None, ()) is None
    assert due(None) is None


def test_the_person_grants_as_much_again_from_where_it_stood() -> None:
    def item(key: str, used: float, answer: str) -> Item:
        return rows.item(ItemKind.BUDGET, key, payload={"used": used}, answer={"key": answer}, closed_at=1.0)

    first, second = item("budget:run:tokens", 120, "continue"), item("budget:run:tokens+1", 230, "continue")
    assert granted(level(0), [first]) == 220
    assert granted(level(0), [first, second]) == 330
    assert granted(level(0), [item("budget:run:tokens", 120, "cancel")]) == 0
    assert granted(level(0), [item("budget:task:tokens", 120, "continue")]) == 0
    assert exceeded(Spent((level(219),)), [first]) is None
    assert exceeded(Spent((level(220),)), [first]) is not None


def test_amounts_have_their_units() -> None:
    assert amount("cost", 1.5) == "1.50 USD"
    assert [amount("cost", value) for value in (0.0, 0.25, 0.0015)] == ["0.00 USD", "0.25 USD", "0.0015 USD"]
    assert [amount("minutes", value) for value in (2, 0.05)] == ["2.0 minutes", "3 seconds"]
    assert amount("tokens", 1234567) == "1 234 567 tokens"
