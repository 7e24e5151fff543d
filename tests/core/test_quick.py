"""Our quick dataclasses are the standard library's in everything that can be seen."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, astuple, replace
from typing import Any, ClassVar

import pytest

from stretto.core import quick


@quick.dataclass(frozen=True, slots=True)
class Quick:
    """A value."""

    one: int
    two: str = "2"
    three: list[int] = quick.field(default_factory=list, compare=False)
    four: dict[str, int] | None = quick.field(default=None, repr=False)

    @property
    def both(self) -> str:
        return f"{self.one}{self.two}"


@quick.dataclass(frozen=True, slots=True)
class Untouched:
    """A value of which none was ever made."""

    name: ClassVar[str] = "untouched"
    one: int
    two: list[int] = quick.field(default_factory=list)

    def __repr__(self) -> str:
        return "mine"


@dataclasses.dataclass(frozen=True, slots=True)
class Plain:
    """A value."""

    one: int
    two: str = "2"
    three: list[int] = dataclasses.field(default_factory=list, compare=False)
    four: dict[str, int] | None = dataclasses.field(default=None, repr=False)


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


def test_the_first_values_are_as_the_later_ones() -> None:
    made = [Untouched(n, two=[n]) for n in range(40)]
    assert [asdict(each) for each in made] == [{"one": n, "two": [n]} for n in range(40)]
    for _ in range(20):
        for args, words in (((), {}), ((1, [], 3), {}), ((1,), {"one": 1}), ((1,), {"x": 2})):
            with pytest.raises(TypeError):
                Untouched(*args, **words)  # type: ignore[arg-type]
        assert Untouched(1).two is not Untouched(1).two


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


def test_the_standard_library_knows_the_class_before_there_is_a_value() -> None:
    assert list(inspect.signature(Untouched).parameters) == ["one", "two"]
    assert dataclasses.is_dataclass(Untouched)
    one, two = dataclasses.fields(Untouched)
    assert (one.name, one.type, one.default) == ("one", "int", dataclasses.MISSING)
    assert (two.name, two.default_factory) == ("two", list)
    assert (Untouched.name, repr(Untouched(1)), Untouched(1)) == ("untouched", "mine", Untouched(1, []))


def test_a_class_of_the_standard_library_can_be_a_child() -> None:
    @dataclasses.dataclass(frozen=True)
    class Standard(Quick):
        six: int = 6

    value = Standard(1)
    assert asdict(value) == {**asdict(Quick(1)), "six": 6}
    assert replace(value, six=7) != value


def test_the_standard_library_is_not_imported_for_it() -> None:
    code = (
        "import sys\nfrom stretto.core.model import Usage\nfrom stretto.core.decision import Decision\n"
        "assert Usage(1) == Usage(1) and hash(Usage(2)) and 'input=3' in repr(Usage(3))\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"dataclasses", "inspect"}
