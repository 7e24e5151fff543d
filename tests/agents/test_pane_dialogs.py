"""Dialogs on an agent's screen: what is read of them, and what is pressed for an answer."""

from __future__ import annotations

import pytest

from stretto.agents.claude_tui import ClaudeTui
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
