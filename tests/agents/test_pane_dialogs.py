"""Dialogs on an agent's screen: what is read of them, and what is pressed for an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.agents.claude_tui import ClaudeTui
from stretto.agents.gemini_tui import GeminiTui
from stretto.agents.tui import Dialog, numbered, permitting, steered
from stretto.terminal.screen import Screen, read

RULE = "─" * 40
PERMISSION = f"""
{RULE}
 Bash command
   touch yes
 Do you want to proceed?
 ❯ 1. Yes
   2. Yes, and don't ask again for: touch *
   3. No
 Esc to cancel
"""
SEVERAL = f"""
{RULE}
 Which sizes?
 ❯ 1. [ ] Small
   2. [x] Large
   3. Submit
 Enter to select · ↑/↓ to navigate · Esc to cancel
"""
LIST = f"""
{RULE}
 Choose the text style
   Dark mode
 ❯ Light mode
 Enter to confirm · Esc to cancel
"""
WORKING = """
✽ Mulling… (7s)
  esc to interrupt
"""


GOLDEN = Path(__file__).parent / "golden" / "gemini_pane"
DRAWN = set("─━│┃╭╮╰╯╌═║▄▀▔▁")


@pytest.mark.parametrize("name", ["permission", "question", "edit"])
def test_a_recorded_dialog_is_told_without_what_is_drawn_around_it(name: str) -> None:
    """As if nobody had known its frames: all that stands at the foot of the screen."""
    recorded = read((GOLDEN / f"{name}.screen").read_text().partition("\n")[2])
    assert DRAWN & set(recorded.foot)
    told = Dialog(recorded.foot, ()).told
    assert not DRAWN & set(told)
    assert told.split() == "".join(" " if char in DRAWN else char for char in recorded.foot).split()
    dialog = GeminiTui().view(recorded).dialog
    assert dialog is not None
    assert dialog.told == dialog.text.strip()


@pytest.mark.parametrize(
    ("drawn", "told"),
    [
        ("╌╌╌╌╌\nEdit a.txt\n 1 + one\n╌╌╌╌╌\nGo on?", "Edit a.txt\n 1 + one\nGo on?"),
        ("──── Overwrite? ────\nyes", "Overwrite?\nyes"),
        ("┃ Permission required\n┃   rm -rf x\n┃", "Permission required\n  rm -rf x"),
        ("║ │ nested │ ║", "nested"),
        ("--------\n========\n- one\n---", "- one\n---"),
        ("src\n│   ├── a │ b\n└── c", "src\n│   ├── a │ b\n└── c"),
        ("a │ b\n──┼──\n1 │ 2", "a │ b\n1 │ 2"),
        ("a\n\nb", "a\n\nb"),
        ("──────", "──────"),
    ],
)
def test_rulers_frames_and_bars_are_left_out_and_nothing_else(drawn: str, told: str) -> None:
    assert Dialog(drawn, ()).told == told


@given(st.text(st.sampled_from("│─╭╮ab \n-é")))
def test_no_letter_is_left_out_with_a_frame(drawn: str) -> None:
    assert [c for c in Dialog(drawn, ()).told if c.isalnum()] == [c for c in drawn if c.isalnum()]


def screen(text: str) -> Screen:
    return read(text)


def test_a_permission_of_claude_is_allowed_or_denied_by_its_own_keys() -> None:
    dialog = ClaudeTui().view(screen(PERMISSION)).dialog
    assert dialog is not None
    assert dialog.permission
    assert dialog.options == (("allow", "Yes"), ("deny", "No"))
    assert dialog.keys == {"allow": ("1",), "deny": ("3",)}


@pytest.mark.parametrize("shown", [SEVERAL, LIST])
def test_what_a_digit_does_not_answer_is_a_question_for_its_own_terminal(shown: str) -> None:
    view = ClaudeTui().view(screen(shown))
    assert not view.working
    assert view.dialog is not None
    assert view.dialog.options == ()
    assert view.dialog.words is None
    assert shown.strip().splitlines()[1].strip() in view.dialog.text


def test_work_is_no_dialog() -> None:
    view = ClaudeTui().view(screen(WORKING))
    assert view.working
    assert view.dialog is None


def test_the_answer_in_between_allows_for_longer_if_it_is_the_only_one() -> None:
    found = numbered(screen(PERMISSION))
    assert found is not None
    assert [key for key, _ in permitting(found, always=True).options] == ["allow", "always", "deny"]
    more = Dialog(
        "x", (("1", "Yes"), ("2", "Yes, all"), ("3", "Yes, for ever"), ("4", "No")), keys={k: (k,) for k in "1234"}
    )
    assert permitting(more, always=True).keys == {"allow": ("1",), "deny": ("4",)}


def test_a_cursor_is_moved_from_where_it_is() -> None:
    dialog = Dialog("x", (("1", "a"), ("2", "b"), ("3", "c")))
    assert steered(dialog, 1).keys == {"1": ("Up", "Enter"), "2": ("Enter",), "3": ("Down", "Enter")}
    assert steered(dialog, 1) == dialog, "where the cursor stands makes it no other dialog"
