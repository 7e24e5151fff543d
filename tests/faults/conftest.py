"""A house with a real daemon for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.house import House, build


@pytest.fixture
def make_house(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], House]]:
    """Builds one house after the other; whatever runs for them is ended afterwards."""
    made: list[House] = []
    numbers = itertools.count()

    def make() -> House:
        for old in made:
            old.kill()
        number = next(numbers)
        monkeypatch.setenv("STRETTO_HOME", str(home if number == 0 else home.with_name(f"h{number}")))
        made.append(build(tmp_path / f"house{number}"))
        return made[-1]

    yield make
    for house in made:
        house.release()
        house.kill()


@pytest.fixture
def house(make_house: Callable[[], House]) -> House:
    """A repository, a remote and a home."""
    return make_house()
