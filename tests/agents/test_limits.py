"""When a vendor takes more, as its words say it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.agents.limits import is_limit, told

NOW = 1795324200.0
IN = {
    "Rate limit reached for gpt-5 on tokens per min. Please try again in 1m30s. Visit x": 90.0,
    "Please try again in 6m0s.": 360.0,
    "please try again in 250ms": 0.25,
    "retry in 500 milliseconds": 0.5,
    "You have hit your usage limit (plus plan). Try again in ~45 min.": 2700.0,
    "429 too many requests, retry-after: 20": 20.0,
    "{'retry-after': '30'}": 30.0,
    "Retry after 30 seconds": 30.0,
    "You exceeded your current quota. Please retry in 33.5s.": 33.5,
    '{"retryDelay": "33s"}': 33.0,
    "the window resets in 2 hours 5 minutes": 7500.0,
    "usage limit: available again in 2 days": 172800.0,
    "usage limit reached|1795324260": 60.0,
    '{"type":"usage_limit_reached","resets_at":1795324260}': 60.0,
    "quota used up, try again at 2026-11-22T05:11:00Z": 60.0,
    "quota used up until 2026-11-22T06:11:00+01:00": 60.0,
}
NEVER = (
    "",
    "pretended 429",
    "try again at 5:10 AM",
    "usage limit reached|1795324199",
    "quota used up until 2025-01-01T00:00:00Z",
    "quota used up until 2026-99-99T00:00:00Z",
    "the next try (3 of 5) failed after 7 seconds",
    "it was reset. In 5 minutes we shall see",
)
PIECES = [*'try again in at 1m30s reset |:~"ms9.,', "retry-after", "again in ", "reset ", "179532426"]


@pytest.mark.parametrize("said", IN)
def test_the_moment_is_read(said: str) -> None:
    assert told(said, NOW) == pytest.approx(NOW + IN[said])


@pytest.mark.parametrize("said", NEVER)
def test_what_names_none_is_not_guessed_at(said: str) -> None:
    assert told(said, NOW) is None


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_words_are_survived(said: str) -> None:
    found = told(said, NOW)
    assert found is None or found >= NOW
    assert is_limit(said) in (True, False)


@pytest.mark.parametrize("piece", ["again in ", "reset ", "1m", "try again in 1m ", "retry-after "])
def test_long_words_cost_little(piece: str) -> None:
    assert told(piece * 200_000, NOW) in (None, NOW + 60, NOW + 240)
