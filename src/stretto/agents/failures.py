"""What is told of a tool of an agent that failed, in one form for all agents: which, its exit code, its first words.

Agents tell the end of a call by its id alone; what it was is remembered from its beginning, for the last `CALLS`.
"""

from __future__ import annotations

import re

from stretto.agents.shapes import Json, as_list, as_object, as_text
from stretto.core.escapes import without_sequences
from stretto.interfaces import Signal

#: calls that are remembered, and characters of what is kept and told of one
CALLS, KEPT, TOLD = 20, 200, 300
#: characters of a tool's output that are looked at: its beginning and its end
LOOKED_AT = 2000
#: how programs say the exit code of a command, on a line of its own in the midst of its output
_CODE = re.compile(
    r"(?i)\W*+(?:error: )?(?:command |process )?(?:exited with |finished with )?(?:exit )?code:? (-?\d{1,5})\W*+"
)


def called(id: str, name: str, detail: str, state: Json) -> None:
    """Remember a call that began."""
    calls = state.setdefault("calls", {})
    calls.pop(id[:KEPT], None)
    calls[id[:KEPT]] = [name[:KEPT], detail[:KEPT]]
    while len(calls) > CALLS:
        del calls[next(iter(calls))]


def ended(id: str, state: Json, said: str | None = None, code: object = None) -> list[Signal]:
    """A remembered call is over, and failed if anything is `said` of that (also nothing: "")."""
    known = as_list(state.get("calls", {}).pop(id[:KEPT], None))
    if not state.get("calls"):
        state.pop("calls", None)
    if said is None:
        return []
    name, detail = (as_text(known[0]), as_text(known[1])) if len(known) == 2 else ("tool", "")
    return [failed(name, detail, said, code)]


def failed(name: str, detail: str, said: str, code: object = None) -> Signal:
    """The signal for a tool that failed. `code`: its exit code; else it is looked for in what is said."""
    told = said if len(said) <= 2 * LOOKED_AT else f"{said[:LOOKED_AT]}\n{said[-LOOKED_AT:]}"
    lines = [line.strip() for line in without_sequences(told).splitlines()]
    codes = [int(found[1]) for line in lines if (found := _CODE.fullmatch(line))]
    known = code if isinstance(code, int) and not isinstance(code, bool) else codes[0] if codes else None
    first = next((line for line in lines if line and not _CODE.fullmatch(line)), "")
    return Signal("tool_failed", {"name": name[:100], "detail": detail[:500], "code": known, "said": first[:TOLD]})


def text_of(content: object) -> str:
    """The words in a result: a text, or pieces of one."""
    parts = [as_object(part) for part in as_list(content)]
    words = [as_text(part.get("text")) or as_text(as_object(part.get("content")).get("text")) for part in parts]
    return as_text(content) or "\n".join(words)
