"""Rows to values and back: one column for each field of a dataclass, by the field's type."""

from __future__ import annotations

import json
import sqlite3
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from stretto.core.model import Approval, Check, Entry, Event, Item, Message, Run, Session, Task

T = TypeVar("T")

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
}


def encode(value: Any) -> Any:
    """A Python value as SQLite stores it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, dict | tuple | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _decoder(hint: Any) -> Callable[[Any], Any]:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        inner = next(a for a in typing.get_args(hint) if a is not type(None))
        decode = _decoder(inner)
        return lambda v: None if v is None else decode(v)
    if origin is tuple:
        return lambda v: _tuples(json.loads(v))
    if origin is dict:
        return json.loads
    if hint is bool:
        return bool
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return lambda v: v


@cache
def _decoders(kind: Any) -> dict[str, Callable[[Any], Any]]:
    return {name: _decoder(hint) for name, hint in typing.get_type_hints(kind, include_extras=True).items()}


def decode(kind: type[T], row: sqlite3.Row) -> T:
    """A row of the value's table as the value."""
    decoders = _decoders(typing.cast(Any, kind))
    return kind(**{name: decoders[name](row[name]) for name in decoders})


def columns(kind: Any) -> tuple[str, ...]:
    """Column names in the order of the fields."""
    return tuple(_decoders(kind))
