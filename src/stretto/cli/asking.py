"""Ask the client and print, without click: what a quick command is made of (see `quick`)."""

from __future__ import annotations

import json
import sys

from stretto.client import Json, connect, folder

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from typing import Any


def read(op: str, **args: Any) -> Json:
    """A read, with or without a daemon."""
    return connect().call(op, cwd=folder(), **given(args))


def together(*words: tuple[str, object], why: str, hint: str) -> None:
    """Refuse words of a call of which one would be passed over: at most one of them may be said. Raises UsageError."""
    said = [name for name, value in words if value]
    if len(said) > 1:
        from stretto.core.errors import UsageError

        raise UsageError(f"{said[0]} and {said[1]} do not go together: {why}", object=said[1], hint=hint)


def given(args: Json) -> Json:
    """The arguments that were given."""
    return {name: value for name, value in args.items() if value is not None}


def emit(value: Any) -> None:
    """Print JSON; an object says its schema."""
    if isinstance(value, dict):
        value = {"schema": 1, **value}
    echo(json.dumps(value, ensure_ascii=False))


def echo(text: str) -> None:
    """Print a line. What standard output cannot encode is printed as click does it."""
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:
        import click

        click.echo(text)
