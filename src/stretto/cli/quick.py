"""The reads that people, prompts and scripts ask all day long, without click.

Specification. Importing click takes as much of the processor as all else that `stretto status` does. So the plain
forms of a few commands are understood here; of everything else (help, a mistake, an option written otherwise) nothing
is said here, and click has the word. What is understood means exactly what click would have understood: a test compares
the two for words of every kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from typing import Any

#: command -> its options: the argument that each stands for; `run` takes a value, the others are flags
OPTIONS: dict[str, dict[str, str]] = {
    "status": {"--run": "run", "--all": "every", "--json": "as_json"},
    "inbox": {"--all": "every", "--json": "as_json"},
    "next": {"--all": "every", "--json": "as_json"},
    "queue": {"--json": "as_json"},
}


def understood(words: Sequence[str]) -> Callable[[], None] | None:
    """The command that these words call, None if that is for click to say. Imports nothing."""
    if not words or words[0] not in OPTIONS:
        return None
    args = _arguments(OPTIONS[words[0]], list(words[1:]))
    return None if args is None else partial(_call, words[0], args)


def _arguments(options: dict[str, str], rest: list[str]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    while rest:
        name = options.get(rest.pop(0))
        if name is None:
            return None
        if name != "run":
            found[name] = True
        elif rest and rest[0] and not rest[0].startswith("-"):
            found[name] = rest.pop(0)
        else:
            return None
    return found


def _call(command: str, args: dict[str, Any]) -> None:
    from stretto.cli import overview

    getattr(overview, f"show_{command}")(**args)
