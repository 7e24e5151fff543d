"""One file per kind of coding agent: how it is launched, spoken with and understood.

`find("claude")` gives the adapter of a type, `declared("claude")` what it says of itself. The table is read lazily, so
that a face which only names agents imports none; entry points (group `stretto.agents`) are looked up for names that are
not in the table, and only then.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from stretto.core.errors import StrettoError, UsageError

if TYPE_CHECKING:
    from stretto.agents.declaration import Declaration
    from stretto.interfaces import Agent

#: type -> "module:class"
ADAPTERS: dict[str, str] = {
    "acp": "stretto.agents.acp:AcpAgent",
    "aider": "stretto.agents.aider:AiderAgent",
    "claude": "stretto.agents.claude:ClaudeAgent",
    "codex": "stretto.agents.codex:CodexAgent",
    "command": "stretto.agents.command:CommandAgent",
    "gemini": "stretto.agents.gemini:GeminiAgent",
    "mini": "stretto.agents.mini:MiniAgent",
    "opencode": "stretto.agents.opencode:OpencodeAgent",
    "pi": "stretto.agents.pi:PiAgent",
    "qwen": "stretto.agents.qwen:QwenAgent",
    "scripted": "stretto.agents.scripted:ScriptedAgent",
}


def types() -> tuple[str, ...]:
    """The types that come with stretto, sorted."""
    return tuple(sorted(ADAPTERS))


@cache
def provided() -> tuple[str, ...]:
    """The types that other installed packages provide, sorted; one of our own names is never theirs."""
    from stretto.agents import others

    return tuple(name for name in others.provided() if name not in ADAPTERS)


@cache
def broken() -> dict[str, StrettoError]:
    """Those of other packages that cannot be used, and why."""
    found: dict[str, StrettoError] = {}
    for type in provided():
        try:
            find(type)
        except StrettoError as error:
            found[type] = error
    return found


def sound() -> tuple[str, ...]:
    """All types that can be used."""
    return tuple(type for type in (*types(), *provided()) if type not in broken())


@cache
def ready() -> tuple[str, ...]:
    """The types that can be named without being configured: those whose program is known."""
    return tuple(type for type in sound() if declared(type).program is not None)


@cache
def models() -> dict[str, dict[str, str]]:
    """The models of each type by tier, of those that know any."""
    found = {type: dict(declared(type).models) for type in sound()}
    return {type: of_type for type, of_type in found.items() if of_type}


@cache
def find(type: str) -> Agent:
    """The adapter for a type of agent; with `/pane` behind it, for a session in a pane.

    Raises UsageError (`unknown_agent`) for a type that nobody provides, StrettoError (`bad_agent`) for one of another
    package that is none.
    """
    if type.endswith("/pane"):
        from stretto.agents.pane import SUFFIX, PaneAgent

        return PaneAgent(find(type.removesuffix(SUFFIX)))
    if type in ADAPTERS:
        module, _, name = ADAPTERS[type].partition(":")
        return cast("Agent", getattr(import_module(module), name)())
    return _of_others(type)


def declared(type: str) -> Declaration:
    """What a type of agent says of itself; one that says nothing can do nothing. Raises as `find` does."""
    from stretto.agents.declaration import Declaration

    said = getattr(find(type), "declaration", None)
    return said if isinstance(said, Declaration) else Declaration(type, "an agent of another package")


def _of_others(type: str) -> Agent:
    from stretto.agents import others

    found = others.load(type)
    if found is not None:
        return found
    raise UsageError(
        f"there is no type of agent called {type!r}; there are {', '.join((*types(), *provided()))}",
        code="unknown_agent",
        object=type,
        hint="set `type` in [agents.NAME] of stretto.toml, or install the package that provides it",
    )
