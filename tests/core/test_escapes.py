"""Sequences for terminals vanish whole, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stretto.core.escapes import without_sequences

#: text that begins no sequence, and whose beginning none would swallow
WORDS = st.text(
    st.characters(exclude_characters="\x07\x18\x1a\x1b", codec="utf-8").filter(lambda c: not "\x80" <= c <= "\x9f")
)
BODY = st.text(st.sampled_from("ab;:\t0é/[]"), max_size=12)
BEGIN, END = st.sampled_from, st.sampled_from(("\x07", "\x1b\\", "\x9c"))
CONTROL = st.builds(
    "{}{}{}{}".format,
    BEGIN(("\x1b[",)),
    st.text(st.sampled_from("0123456789:;<=>?"), max_size=6),
    st.text(st.sampled_from(" !\"#$%&'()*+,-./"), max_size=3),
    st.characters(min_codepoint=0x40, max_codepoint=0x7E),
)
STRING = st.builds(
    "{}{}{}".format,
    BEGIN(("\x1b]", "\x1bP", "\x1bX", "\x1b^", "\x1b_")),
    BODY,
    END,
)
SHORT = st.builds(
    "\x1b{}{}".format,
    st.text(st.sampled_from(" #%()*+-./"), max_size=2),
    st.characters(min_codepoint=0x30, max_codepoint=0x7E, exclude_characters="[]PX^_"),
)
SINGLE = st.characters(min_codepoint=0x80, max_codepoint=0x9F)
SEQUENCE = CONTROL | STRING | SHORT | SINGLE
#: sequences that are broken off, each with what a terminal would show of the text behind it
UNENDED = [
    "\x1b]0;title",
    "\x1bPq#0;2",
    "\x1b_Gi=1",
    "\x1b^x",
    "\x1bXx",
    "\x1b[31",
    "\x1b",
    "\x1b(",
]


@given(st.lists(st.tuples(WORDS, SEQUENCE)), WORDS)
@example([("", "\x1b[31m")], "[31m")
@example([("a", "\x1b]52;c;aGk=\x1b\\")], "b")
def test_whole_sequences_vanish_and_the_words_between_them_stay(parts: list[tuple[str, str]], last: str) -> None:
    assert (
        without_sequences("".join(word + sequence for word, sequence in parts) + last)
        == "".join(word for word, _ in parts) + last
    )


@given(st.text(st.sampled_from("\x1b\x07\x9b\x9d\x90\x9c[]P\\^_X(;0m \nä\x18")))
def test_what_remains_begins_no_sequence(text: str) -> None:
    left = without_sequences(text)
    assert not any(char == "\x1b" or "\x80" <= char <= "\x9f" for char in left)
    assert without_sequences(left) == left


@pytest.mark.parametrize("begun", UNENDED)
def test_what_has_no_end_goes_with_its_line_at_the_most(begun: str) -> None:
    assert without_sequences(f"before {begun}\nafter") == "before \nafter"
    assert without_sequences(f"before {begun}") == "before "
    assert without_sequences(f"{begun}\x1b[1mshown") == "shown"


@pytest.mark.parametrize("begin", ["\x1b]0;t", "\x1bP", "\x9d0;t"])
def test_no_end_further_down_takes_lines_away(begin: str) -> None:
    assert without_sequences(f"a{begin}\nAssertionError: x\n\x07b").endswith("\nAssertionError: x\n\x07b")


def test_what_a_shell_takes_for_words_stays() -> None:
    assert without_sequences("ls \x9d; rm x\x9b0;y") == "ls ; rm x0;y"


@pytest.mark.parametrize("begun", [*UNENDED, "\x1b]0;\n", "\x1bP\x9b", "\x1b[" + "0" * 50, "\x9d\x1b"])
def test_it_takes_time_as_the_text_is_long(begun: str) -> None:
    """A megabyte of what never ends; what is not linear takes minutes."""
    assert without_sequences(begun * (1_000_000 // len(begun))).strip("\n") == ""
