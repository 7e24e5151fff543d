"""`dataclass(frozen=True, slots=True)` as the standard library has it, made in a fraction of the time.

Specification. Defining forty such classes takes the standard library longer than a whole `stretto status` may take: it
compiles six methods for each. Here all classes share the methods, and `__init__` is compiled when the first value is
made. Everything that can be seen of a value is the same: fields, `replace`, `asdict`, `==`,
hash, repr, matching, copying, pickling; a test compares the two. Type checkers see the standard library's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type], type]:
        """The decorator; `frozen` and `slots` are always True here, and said for the reader and the type checker."""
        assert frozen and slots  # noqa: S101, PT018 — a rule for our own classes
        return _make


def _make(plain: type) -> type:
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(plain)
    made.__init__ = _first_init(made)
    made.__repr__, made.__eq__, made.__hash__ = _repr, _eq, _hash
    made.__setattr__, made.__delattr__ = _frozen_set, _frozen_delete
    made.__getstate__, made.__setstate__ = _get_state, _set_state
    return made  # type: ignore[no-any-return]


def _first_init(made: Any) -> Callable[..., None]:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        made.__init__ = _compiled_init(made)
        made.__init__(self, *args, **kwargs)

    return __init__


def _compiled_init(made: Any) -> Callable[..., None]:
    """The `__init__` that the standard library would make of the same fields."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_absent": dataclasses.MISSING}
    words, steps = ["self"], []
    for each in dataclasses.fields(made):
        value, default = each.name, ""
        if each.default is not dataclasses.MISSING:
            names[f"_default_{each.name}"] = each.default
            default = f"=_default_{each.name}"
        elif each.default_factory is not dataclasses.MISSING:
            names[f"_make_{each.name}"] = each.default_factory
            value, default = f"_make_{each.name}() if {each.name} is _absent else {each.name}", "=_absent"
        words.append(each.name + default)
        steps.append(f" _set(self, {each.name!r}, {value})")
    text = f"def __init__({', '.join(words)}):\n" + ("\n".join(steps) or " pass")
    exec(text, names)  # noqa: S102 — as the standard library does, of our own field names
    return names["__init__"]  # type: ignore[no-any-return]


def _compared(value: Any) -> tuple[Any, ...]:
    return tuple([getattr(value, each.name) for each in dataclasses.fields(value) if each.compare])


def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: object) -> Any:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _frozen_set(self: Any, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _frozen_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)
