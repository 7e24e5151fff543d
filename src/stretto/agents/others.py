"""Types of agents that other installed packages provide, by an entry point of the group `stretto.agents`.

Specification. An entry point names a class (or anything that is called without arguments) which makes an object with
the methods of `stretto.interfaces.Agent`; its `declaration`, if it has one, is a `Declaration`. One that cannot be
loaded or is no such thing is refused with a sentence wherever it is named, and stands in nobody else's way: a broken
package must not keep stretto from working. A name of our own is never another package's.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from stretto.agents.declaration import CAPABILITIES, Declaration
from stretto.core import names
from stretto.core.errors import StrettoError
from stretto.core.who import TIERS

if TYPE_CHECKING:
    from stretto.interfaces import Agent

GROUP = "stretto.agents"
METHODS = ("probe", "launch", "turn", "interrupt", "answer", "refused", "parse")


def provided() -> tuple[str, ...]:
    """The names that other packages give to types of agents, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def load(type: str) -> Agent | None:
    """The adapter of a type that another package provides; None if none does.

    Raises StrettoError (`bad_agent`) if it cannot be loaded, is no agent, or if several packages provide it.
    """
    found = list(entry_points(group=GROUP, name=type))
    if not found:
        return None
    if len(found) > 1:
        packages = " and ".join(sorted(_package(entry) for entry in found))
        raise _bad(type, f"{packages} both provide it", found[0])
    (entry,) = found
    try:
        agent = entry.load()()
    except (Exception, SystemExit) as error:  # whatever the code of others does while it is loaded
        raise _bad(type, f"it cannot be loaded: {error.__class__.__name__}: {error}", entry) from error
    wrong = mistakes(type, agent)
    if wrong:
        raise _bad(type, "; ".join(wrong), entry)
    return cast("Agent", agent)


def mistakes(type: str, agent: Any) -> list[str]:
    """What is wrong with an object that should be an agent of this type, as parts of a sentence."""
    wrong = [] if names.is_plain_name(type) else ["its name is none that stretto.toml could have"]
    missing = [name for name in METHODS if not callable(getattr(agent, name, None))]
    if missing:
        wrong.append(f"it has no {_listed(missing)}")
    if getattr(agent, "type", None) != type:
        wrong.append(f"its `type` is {getattr(agent, 'type', None)!r}")
    said = getattr(agent, "declaration", None)
    return wrong + (_wrongly_declared(type, said) if said is not None else [])


def _wrongly_declared(type: str, said: Any) -> list[str]:
    if not isinstance(said, Declaration):
        return ["its `declaration` is no stretto.agents.declaration.Declaration"]
    wrong = [] if said.type == type else [f"its declaration is one of {said.type!r}"]
    unknown = sorted(set(said.can) - set(CAPABILITIES))
    if unknown:
        wrong.append(f"it declares {_listed(unknown)}, but what an agent can do is {', '.join(CAPABILITIES)}")
    if said.models and set(said.models) != set(TIERS):
        wrong.append(f"its models are not those of the tiers {', '.join(TIERS)}")
    return wrong


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _package(entry: EntryPoint) -> str:
    return str(entry.dist.name) if entry.dist is not None else entry.value


def _bad(type: str, why: str, entry: EntryPoint) -> StrettoError:
    return StrettoError(
        f"the package {_package(entry)} does not provide an agent {type!r} that can be used: {why}"[:1000],
        code="bad_agent",
        object=type,
        hint=f"correct the package, or take it out: python3 -m pip uninstall {_package(entry)}",
    )
