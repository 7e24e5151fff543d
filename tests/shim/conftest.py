from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.shim.sessions import Session


@pytest.fixture
def session(short_folder: Path) -> Iterator[Callable[..., Session]]:
    """Build a session; it is ended after the test."""
    made: list[Session] = []

    def make(argv: list[str], style: str = "stream", **spec: Any) -> Session:
        made.append(Session(short_folder, f"s{len(made) + 1}", argv, style, **spec))
        return made[-1]

    yield make
    for one in made:
        if one.folder.exists():
            assert one.shims.end(one.folder, 1.0)
