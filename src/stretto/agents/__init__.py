"""One file per kind of coding agent: how it is launched, spoken with and understood.

`find("claude")` gives the adapter of a type. The table is read lazily, so that a face which only names agents imports
none; entry points (group `stretto.agents`) are looked up for names that are not in the table, and only then.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from stretto.core.errors import UsageError

if TYPE_CHECKING:
    from stretto.interfaces import Agent

#: type -> "module:class"
ADAPTERS: dict[str, str] = {
    "claude": "stretto.agents.claude:ClaudeAgent",
    "command": "stretto.agents.command:CommandAgent",
    "scripted": "stretto.agents.scripted:ScriptedAgent",
}
ENTRY_POINTS = "stretto.agents"


def types() -> tuple[str, ...]:
    """The types that come with stretto, sorted."""
    return tuple(sorted(ADAPTERS))


@cache
def find(type: str) -> Agent:
    """The adapter for a type of agent. Raises UsageError (`unknown_agent`) for a type that nobody provides."""
    if type in ADAPTERS:
        module, _, name = ADAPTERS[type].partition(":")
        return cast("Agent", getattr(import_module(module), name)())
    return _from_entry_point(type)


def _from_entry_point(type: str) -> Agent:
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=type):
        return cast("Agent", entry.load()())
    raise UsageError(
        f"there is no type of agent called {type!r}; there are {', '.join(types())}",
        code="unknown_agent",
        object=type,
        hint="set `type` in [agents.NAME] of stretto.toml, or install the package that provides it",
    )
