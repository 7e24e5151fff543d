"""`dataclass(frozen=True, slots=True)` as the standard library has it, made in a fraction of the time.

Specification. Importing the standard library's `dataclasses` (it brings `inspect`) and defining forty classes with it
takes longer than a whole `stretto status` may take: it compiles six methods for each. Here all classes share the
methods, `__init__` is compiled when some values were made, and what `fields`, `replace` and `asdict` look at is made
when one of them asks. Everything that can be seen of a value is the same: fields, `replace`, `asdict`, `==`, hash,
repr, matching, copying, pickling; a test compares the two. Type checkers see the standard library's own.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["dataclass", "field"]

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from dataclasses import dataclass, field
    from typing import Any
else:

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type], type]:
        """The decorator; `frozen` and `slots` are always True here, and said for the reader and the type checker."""
        assert frozen and slots  # noqa: S101, PT018 — a rule for our own classes
        return _make

    def field(**words: Any) -> Any:
        """A field with a `default_factory`, or one that `repr` or `compare` leave out."""
        assert words.keys() <= {"default", "default_factory", "repr", "compare"}  # noqa: S101 — a rule for our own
        return _Field(words)


class _Field:
    """What a class says of one of its fields, in the words of `dataclasses.field`."""

    __slots__ = ("words",)

    def __init__(self, words: dict[str, Any]) -> None:
        self.words = words

    def counts(self, word: str) -> bool:
        return bool(self.words.get(word, True))


class _Standard:
    """An attribute by which the standard library knows a dataclass; made when it looks."""

    def __init__(self, kind: Any, name: str) -> None:
        self._kind, self._name = kind, name

    def __get__(self, value: object, owner: Any) -> Any:
        from dataclasses import dataclass as standard
        from dataclasses import field as standard_field
        from inspect import signature

        made = self._kind
        body = {name: standard_field(**each.words) for name, each in made._quick_fields.items()}
        names = {"__module__": made.__module__, "__annotations__": _annotations(made)}
        twin: Any = standard(frozen=True)(type(made.__name__, (), {**body, **names}))
        for name in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(made, name, getattr(twin, name))
        made.__signature__ = signature(twin)
        return getattr(made, self._name)


def _annotations(made: Any) -> dict[str, Any]:
    found = {
        name: text for base in reversed(made.__mro__) for name, text in vars(base).get("__annotations__", {}).items()
    }
    return {name: found[name] for name in made._quick_fields}


def _make(plain: Any) -> type:
    own = {
        name: _field_of(plain, name)
        for name, text in plain.__annotations__.items()
        if not str(text).startswith(("ClassVar", "typing.ClassVar"))
    }
    known = {
        name: each for base in reversed(plain.__mro__[1:]) for name, each in getattr(base, "_quick_fields", {}).items()
    }
    left = {*own, "__dict__", "__weakref__"}
    body = _METHODS | {name: value for name, value in vars(plain).items() if name not in left}
    body |= {
        "__slots__": tuple(name for name in own if name not in known),
        "__match_args__": tuple(known | own),
        "_quick_fields": known | own,
    }
    made: Any = type(plain)(plain.__name__, plain.__bases__, body)
    made.__init__ = _first_init(made)
    for name in ("__dataclass_fields__", "__dataclass_params__", "__signature__"):
        setattr(made, name, _Standard(made, name))
    return made  # type: ignore[no-any-return]


def _field_of(plain: Any, name: str) -> _Field:
    value = vars(plain).get(name, _Field({}))
    assert not hasattr(value, "default_factory")  # noqa: S101 — a field of the standard library is not known here
    return value if isinstance(value, _Field) else _Field({"default": value})


#: so many values of a class are made without compiling anything: one or two are all that a short command makes
_FEW = 12


def _first_init(made: Any) -> Callable[..., None]:
    left = _FEW

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0 or not _filled(self, args, kwargs):
            made.__init__ = _compiled_init(made)
            made.__init__(self, *args, **kwargs)

    return __init__


def _filled(value: Any, args: tuple[Any, ...], given: dict[str, Any]) -> bool:
    """Set the fields from the words of a call; False if those are wrong, or not for this simple way."""
    fields = value._quick_fields
    if len(args) > len(fields):
        return False
    found = dict(zip(fields, args, strict=False))
    if found.keys() & given.keys() or given.keys() - fields.keys():
        return False
    found |= given
    for name, each in fields.items():
        if name in found:
            continue
        if "default" in each.words:
            found[name] = each.words["default"]
        elif "default_factory" in each.words:
            found[name] = each.words["default_factory"]()
        else:
            return False
    for name, word in found.items():
        object.__setattr__(value, name, word)
    return True


def _compiled_init(made: Any) -> Callable[..., None]:
    """The `__init__` that the standard library would make of the same fields."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_absent": _ABSENT}
    words, steps = ["self"], []
    for name, each in made._quick_fields.items():
        value, default = name, ""
        if "default" in each.words:
            names[f"_default_{name}"] = each.words["default"]
            default = f"=_default_{name}"
        elif "default_factory" in each.words:
            names[f"_make_{name}"] = each.words["default_factory"]
            value, default = f"_make_{name}() if {name} is _absent else {name}", "=_absent"
        words.append(name + default)
        steps.append(f" _set(self, {name!r}, {value})")
    text = f"def __init__({', '.join(words)}):\n" + ("\n".join(steps) or " pass")
    exec(text, names)  # noqa: S102 — as the standard library does, of our own field names
    return names["__init__"]  # type: ignore[no-any-return]


_ABSENT: Any = object()


def _compared(value: Any) -> tuple[Any, ...]:
    return tuple([getattr(value, name) for name, each in value._quick_fields.items() if each.counts("compare")])


def _repr(self: Any) -> str:
    shown = (f"{name}={getattr(self, name)!r}" for name, each in self._quick_fields.items() if each.counts("repr"))
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: object) -> Any:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _frozen_set(self: Any, name: str, value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _frozen_delete(self: Any, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self._quick_fields]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self._quick_fields, state, strict=True):
        object.__setattr__(self, name, value)


#: what all classes share
_METHODS: dict[str, Any] = {
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _frozen_set,
    "__delattr__": _frozen_delete,
    "__getstate__": _get_state,
    "__setstate__": _set_state,
}
