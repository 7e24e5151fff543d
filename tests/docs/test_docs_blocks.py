"""Every code block of README and guide works, in the order in which it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from tests.support import pages
from tests.support.repository import Repository

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: page.stem)
def test_the_blocks_work(page: Path, home: Path, make_repo: Callable[..., Repository], short_folder: Path) -> None:
    reader = pages.Reader(make_repo("shelf", {"README.md": "# Shelf\n"}), short_folder / "bin")
    try:
        for block in pages.blocks(page):
            reader.play(block)
    finally:
        reader.leave()


@pytest.mark.parametrize(
    ("language", "words", "body", "complaint"),
    [
        ("sh", "", "true\nfalse\n", "exit 1"),
        ("console", "", "$ echo a; echo b\na\nc\n", "is not"),
        ("markdown", "", "# No tasks\n", "no task"),
        ("markdown", "", "## a: b\n- needs: z\n", "unknown-need"),
        ("toml", "", "[limit]\n", "`limit` is not known"),
        ("json", '$ echo \'{"a": {"b": 1}}\'', '{"a": {"c": 1}}', "a.c is not there"),
        ("python", "", "raise SystemExit('no')\n", "no"),
        ("text", "", "anything\n", "no test can run"),
    ],
)
def test_a_block_that_does_not_work_is_found(
    language: str, words: str, body: str, complaint: str, home: Path, repo: Repository, short_folder: Path
) -> None:
    reader = pages.Reader(repo, short_folder / "bin")
    with pytest.raises(AssertionError, match=complaint):
        reader.play(pages.Block("page", 1, language, words, body))


def test_a_script_that_is_none_is_found(home: Path, repo: Repository, short_folder: Path) -> None:
    body = "[[tasks.a.turns]]\nsteps = [{ nothing = 1 }]\n"
    with pytest.raises(StrettoError, match="nothing"):
        pages.Reader(repo, short_folder / "bin").play(pages.Block("page", 1, "toml", "script.toml", body))


@pytest.mark.parametrize(
    ("actual", "expected", "same"),
    [
        ("run two-notes-ab2c: 2 tasks, 3 s old\n", "run two-notes-zz77: 2 tasks, 41 s old\n", True),
        ("run two-notes-ab2c: 3 tasks\n", "run two-notes-zz77: 2 tasks\n", False),
        ("a\nb\nc\n", "a\n…\nc\n", True),
        ("a\nb\nd\n", "a\n…\nc\n", False),
        ("✓ hello landed      ce958242c\n", "✓ hello landed ee13caaf4\n", True),
    ],
)
def test_output_is_compared_but_for_what_differs_each_time(actual: str, expected: str, same: bool) -> None:
    assert pages.matches(actual, expected) is same
