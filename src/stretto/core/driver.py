"""What a driver's session may do besides reading: hand over work, and write to agents (DECISIONS 21).

The driver is the agent with whom the person plans. What it is told may come from anywhere, so it can neither allow
commands nor decide what lands: those words of a call are the person's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stretto.core.errors import StrettoError

#: the variable that a driver's session, and whatever it starts, has in its environment
MARKER = "STRETTO_DRIVER"
#: operation -> the words of a call that a driver may say
_MAY = {
    "add": frozenset({"cwd", "env", "text", "title", "kind", "files", "needs", "role", "accept", "run", "fetch"}),
    "send": frozenset({"cwd", "task", "text"}),
}
#: the fields that a task's own text may say when a driver hands it over
_FIELDS = frozenset({"kind", "needs", "files", "tables", "role", "accept", "Accept"})
#: set by the daemon, never by a caller
BY = "by"


def admit(op: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The call of a driver as it may be carried out. Raises StrettoError (`agent_refused`) for one that is not its."""
    known = _MAY.get(op)
    if known is None:
        raise StrettoError(
            f"a driver cannot {op.replace('_', ' ')}: that is for the person",
            code="agent_refused",
            object=op,
            hint="ask the person to do it; a driver may read, add and send",
        )
    said = sorted(name for name, value in args.items() if name not in known and value)
    if said:
        raise StrettoError(
            f"a driver cannot say {said[0].replace('_', ' ')} with {op}: that is for the person",
            code="agent_refused",
            object=said[0],
            hint="leave it out, or ask the person to do it",
        )
    return {**{name: value for name, value in args.items() if name in known}, BY: "driver"}


def by_driver(args: Mapping[str, Any]) -> bool:
    """Whether a call that was admitted is a driver's."""
    return args.get(BY) == "driver"


def require_plain(fields: Iterable[str]) -> None:
    """Raise StrettoError (`agent_refused`) if a task's text says, as fields, what is the person's to say."""
    said = sorted(set(fields) - _FIELDS)
    if said:
        raise StrettoError(
            f"a driver cannot say {said[0]} in a task: that is for the person",
            code="agent_refused",
            object=said[0],
            hint="leave the field out, or write a plan for the person to run",
        )
