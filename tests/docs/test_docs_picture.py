"""The picture of the board is what stretto shows today."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.support.world import ROOT


def lines(picture: Path) -> list[str]:
    """The lines of the board, without what is another each time."""
    drawn = ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")
    texts = ["".join(line.itertext()) for line in drawn]
    return [_plain(text) for text in texts]


def _plain(text: str) -> str:
    text = re.sub(r"shelf-release-\w{4}", "RUN", text)
    text = re.sub(r"\b[0-9a-f]{9}\b", "OID", text)
    text = re.sub(r"stretto answer \w+", "stretto answer ITEM", text)
    return re.sub(r" *\d+(s|m| s old)\b", " N", text)


@pytest.mark.e2e
def test_the_picture_is_what_a_run_shows(home: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "board.svg"
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "picture.py", fresh],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines(ROOT / "docs" / "pictures" / "board.svg") == lines(fresh), "make it again: scripts/picture.py"
