"""Our quick dataclasses are the standard library's in everything that can be seen."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, astuple, field, replace
from typing import Any

import pytest

from stretto.core import quick


@quick.dataclass(frozen=True, slots=True)
class Quick:
    """A value."""

    one: int
    two: str = "2"
    three: list[int] = field(default_factory=list, compare=False)
    four: dict[str, int] | None = field(default=None, repr=False)

    @property
    def both(self) -> str:
        return f"{self.one}{self.two}"


@dataclasses.dataclass(frozen=True, slots=True)
class Plain:
    """A value."""

    one: int
    two: str = "2"
    three: list[int] = field(default_factory=list, compare=False)
    four: dict[str, int] | None = field(default=None, repr=False)


@quick.dataclass(frozen=True, slots=True)
class Child(Quick):
    """A value with a parent."""

    five: float = 5.0


def test_calls_are_the_same() -> None:
    for words in ({"one": 1}, {"one": 1, "two": "x", "three": [3], "four": {"a": 1}}):
        quick_one, plain = Quick(**words), Plain(**words)
        assert asdict(quick_one) == asdict(plain)
        assert astuple(quick_one) == astuple(plain)
        assert repr(quick_one) == repr(plain).replace("Plain", "Quick")
    assert list(inspect.signature(Quick).parameters) == list(inspect.signature(Plain).parameters)
    assert [f.name for f in dataclasses.fields(Quick)] == [f.name for f in dataclasses.fields(Plain)]
    assert Quick.__match_args__ == Plain.__match_args__
    assert Quick(1).three is not Quick(1).three


@pytest.mark.parametrize(
    ("args", "words"), [((), {}), ((1, "2", [], None, 5), {}), ((1,), {"one": 2}), ((1,), {"x": 2})]
)
def test_wrong_calls_are_refused(args: tuple[Any, ...], words: dict[str, Any]) -> None:
    for kind in (Plain, Quick):
        with pytest.raises(TypeError):
            kind(*args, **words)


def test_equality_hash_and_order_of_matching() -> None:
    assert Quick(1, three=[1]) == Quick(1, three=[2])
    assert Quick(1) != Quick(2)
    assert (Quick(1) == Plain(1)) is False  # type: ignore[comparison-overlap]
    assert len({Quick(1), Quick(1, three=[9]), Quick(2)}) == 2
    with pytest.raises(TypeError):
        hash(Quick(1, four={}))
    match Quick(1, "x"):
        case Quick(one, two):
            assert (one, two) == (1, "x")


def test_it_is_frozen_and_has_slots() -> None:
    value = Quick(1)
    for kind in (value, Child(1)):
        with pytest.raises(FrozenInstanceError, match="cannot assign to field 'one'"):
            kind.one = 2  # type: ignore[misc]
        with pytest.raises(FrozenInstanceError):
            del kind.two
        assert not hasattr(kind, "__dict__")
    assert replace(value, two="y") == Quick(1, "y")
    assert (value.both, Child(1).both) == ("12", "12")


def test_a_child_has_all_fields() -> None:
    assert asdict(Child(1, five=6.0)) == {**asdict(Quick(1)), "five": 6.0}
    assert Child(1) != Quick(1)


def test_copies() -> None:
    value = Quick(1, "x", [1], {"a": 2})
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert asdict(other) == asdict(value)
