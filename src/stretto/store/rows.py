"""Rows to values and back: one column for each field of a dataclass, by the field's type."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, cast

from stretto.core.model import Approval, Check, Entry, Event, Item, Message, Run, Session, Space, Task

T = TypeVar("T")
_HALVES = re.compile("[\ud800-\udfff]")

#: which table holds which value
TABLES: dict[type, str] = {
    Run: "runs",
    Task: "tasks",
    Session: "sessions",
    Message: "messages",
    Item: "items",
    Check: "checks",
    Approval: "approvals",
    Entry: "queue",
    Event: "events",
    Space: "spaces",
}

#: primary key columns, for updates
KEYS: dict[type, tuple[str, ...]] = {
    Run: ("id",),
    Task: ("uid",),
    Session: ("id",),
    Message: ("task", "n"),
    Item: ("id",),
    Check: ("id",),
    Entry: ("id",),
    Space: ("repo", "name"),
}


def storable(text: str) -> str:
    """The text with a mark in the place of each half of a surrogate pair, which UTF-8 cannot write.

    Programs cut texts in the middle of a character, and JSON lets them say so.
    """
    if text.isascii():
        return text
    return _HALVES.sub("\ufffd", text)


def encode(value: Any) -> Any:
    """A Python value as SQLite stores it."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return storable(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, dict | tuple | list):
        return storable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _decoder(text: str, names: Mapping[str, Any]) -> Callable[[Any], Any]:
    """How a column of this type, as its field is written down, becomes a value."""
    inner = text.removesuffix(" | None")
    decode = _present(inner, names)
    return decode if inner == text or decode is _same else lambda v: None if v is None else decode(v)


def _present(text: str, names: Mapping[str, Any]) -> Callable[[Any], Any]:
    if text.startswith("tuple["):
        return lambda v: _tuples(json.loads(v))
    if text.startswith("dict["):
        return json.loads
    if text == "bool":
        return bool
    if text in ("str", "int", "float"):
        return _same
    found = names.get(text)
    if isinstance(found, type) and issubclass(found, Enum):
        return found
    raise TypeError(f"no column can hold {text}")


@cache
def _decoders(kind: Any) -> dict[str, Callable[[Any], Any]]:
    # not typing.get_type_hints: evaluating the words takes as long as the queries of `stretto status`
    names = vars(sys.modules[kind.__module__])
    return {name: _decoder(text, names) for name, text in kind.__annotations__.items()}


def decode(kind: type[T], row: Iterable[Any]) -> T:
    """A row with the columns of the value's table, in the order of `columns`, as the value."""
    values = list(row)
    for place, decoder in _translated(cast("Any", kind)):
        values[place] = decoder(values[place])
    return kind(*values)


@cache
def _translated(kind: Any) -> tuple[tuple[int, Callable[[Any], Any]], ...]:
    """The columns that are not what SQLite gives, by their places: most are."""
    decoders = _decoders(kind)
    return tuple((place, decoder) for place, decoder in enumerate(decoders.values()) if decoder is not _same)


def _same(value: Any) -> Any:
    return value


def columns(kind: Any) -> tuple[str, ...]:
    """Column names in the order of the fields."""
    return tuple(_decoders(kind))
