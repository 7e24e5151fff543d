"""Prices: the person's own win, the installed table comes next, and what neither has is not known."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from stretto.reads.prices import prices, source

OWN = {"prices": {"claude-sonnet-4-5": {"input": 7, "output": 8.5, "date": "2026-11-01"}}}


def test_your_own_price_wins() -> None:
    found = prices(OWN, ["claude-sonnet-4-5", "nobody-knows-this", ""])
    assert set(found) == {"claude-sonnet-4-5"}
    price = found["claude-sonnet-4-5"]
    assert (price.input, price.output, price.cache_read) == ("7", "8.5", None)
    assert source(found.items()) == [{"model": "claude-sonnet-4-5", "source": "yours", "date": "2026-11-01"}]


def test_words_of_agents_are_looked_up_by_the_names_of_vendors() -> None:
    pytest.importorskip("genai_prices", reason="the extra stretto[prices] is not installed here")
    found = prices({}, ["opus", "sonnet", "openai/gpt-5", "gpt-5", "mystery/opus-of-mine"])
    assert set(found) == {"opus", "sonnet", "openai/gpt-5", "gpt-5"}
    assert found["openai/gpt-5"] == found["gpt-5"]
    assert found["opus"].model.startswith("claude-opus-")
    assert prices({}, [found["opus"].model])[found["opus"].model] == found["opus"]
    assert date.fromisoformat(found["opus"].date) <= date.today(), "when the table was installed"
    own = prices({"prices": {"opus": {"input": 1, "output": 2}}}, ["opus"])
    assert (own["opus"].input, own["opus"].source) == ("1", "yours")


def test_the_installed_table_comes_next() -> None:
    pytest.importorskip("genai_prices", reason="the extra stretto[prices] is not installed here")
    found = prices({}, ["claude-sonnet-4-5", "nobody-knows-this"])
    assert set(found) == {"claude-sonnet-4-5"}
    price = found["claude-sonnet-4-5"]
    assert price.source.startswith("genai-prices ")
    assert price.cache_read is not None
    assert price.cache_write is not None
    kinds = [Decimal(one) for one in (price.cache_read, price.input, price.cache_write, price.output)]
    assert Decimal(0) < kinds[0] < kinds[1] < kinds[2] < kinds[3], "dollars for a million of each kind"
