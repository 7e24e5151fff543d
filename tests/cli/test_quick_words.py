"""What is understood without click means what click would have understood; everything else is left to it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto import __main__
from stretto.cli import overview
from stretto.cli.app import COMMANDS
from stretto.cli.quick import OPTIONS, understood

WORDS = st.sampled_from(
    ["--all", "--json", "--run", "--run=x", "--run=", "--js", "--help", "-h", "--", "-", "", "x", "demo-abcd", "status"]
)


def calls(words: list[str], clicked: bool) -> list[tuple[str, dict[str, Any]]] | None:
    """The functions that are called, each with all its arguments; None if these words are left to click."""
    found: list[tuple[str, dict[str, Any]]] = []

    def recorder(name: str) -> Any:
        signature = inspect.signature(getattr(overview, name))

        def record(*args: Any, **given: Any) -> None:
            bound = signature.bind(*args, **given)
            bound.apply_defaults()
            found.append((name, dict(bound.arguments)))

        return record

    with pytest.MonkeyPatch.context() as patch:
        for command in OPTIONS:
            patch.setattr(overview, f"show_{command}", recorder(f"show_{command}"))
        if clicked:
            assert __main__._clicked(words) == 0, words
        elif (call := understood(words)) is None:
            return None
        else:
            call()
    return found


@given(st.sampled_from([*OPTIONS, "watch", "run", "plan"]), st.lists(WORDS, max_size=5))
def test_it_means_the_same(command: str, rest: list[str]) -> None:
    quick = calls([command, *rest], clicked=False)
    if quick is not None:
        assert quick == calls([command, *rest], clicked=True)
        assert len(quick) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["status", "--json"], ["status", "--all", "--json"], ["status", "--run", "demo-abcd"],
        ["inbox", "--json"], ["next", "--all"], ["queue"], ["queue", "--json"],
    ],
)  # fmt: skip
def test_the_plain_forms_are_understood(words: list[str]) -> None:
    assert calls(words, clicked=False) == calls(words, clicked=True)


@pytest.mark.parametrize(
    "words",
    [
        [], ["--help"], ["status", "--help"], ["status", "--run"], ["status", "--run", "--all"], ["status", "x"],
        ["queue", "--all"], ["inbox", "--run", "x"], ["watch"], ["statu"], ["status", "--run", ""], ["--", "status"],
    ],
)  # fmt: skip
def test_the_rest_is_for_click(words: list[str]) -> None:
    assert understood(words) is None


def test_it_knows_only_commands_that_there_are() -> None:
    assert OPTIONS.keys() <= COMMANDS.keys()
