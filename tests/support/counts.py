"""Counts that tests state, gathered over all workers and printed at the end of the run."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path


def _folder() -> Path:
    return Path(os.environ["TMPDIR"]) / "counts"


def count(what: str, which: str, number: int = 1) -> None:
    """Add `number` to the count of `what`; the same `which` counts once."""
    folder = _folder() / what
    folder.mkdir(parents=True, exist_ok=True)
    (folder / which.replace("/", "_")).write_text(str(number))


def told(world: Path) -> list[str]:
    """One line for each thing that was counted in this run."""
    totals: Counter[str] = Counter()
    for path in sorted((world / "counts").glob("*/*")):
        totals[path.parent.name] += int(path.read_text())
    return [f"{number} {what}" for what, number in totals.items()]
