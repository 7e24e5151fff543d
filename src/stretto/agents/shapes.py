"""Values of JSON that others wrote: what is not of the expected type is empty, never an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from stretto.interfaces import Signal

Json = dict[str, Any]


def as_object(value: Any) -> Json:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def parsed(data: bytes | str) -> Json | None:
    """The object that this JSON text is; None for any other text, however broken or deep."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """The value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def as_count(value: Any) -> int:
    """The value if it is a whole number that can be a count, else zero."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0


def amount(cost: Decimal) -> str | None:
    """Dollars as plain digits, to a millionth of a cent; None for nothing."""
    if not cost.is_finite() or cost <= 0:
        return None
    text = format(cost.quantize(Decimal("0.00000001")), "f").rstrip("0").rstrip(".")
    return None if text == "0" else text


def garbage(size: int, state: Json) -> list[Signal]:
    """What to tell of a line that makes no sense: at the first, second, fourth … time, with all bytes so far."""
    lines, total = state.get("garbage_lines", 0) + 1, state.get("garbage_bytes", 0) + size
    state["garbage_lines"], state["garbage_bytes"] = lines, total
    return [Signal("garbage", {"bytes": total, "lines": lines})] if lines & (lines - 1) == 0 else []


def untried(program: str, version: str, tested: Sequence[str], state: Json) -> list[Signal]:
    """What to tell, once a session, of a program whose version no test has driven; it is used all the same."""
    if not version or version in tested or state.get("untried") == version:
        return []
    state["untried"] = version
    return [Signal("notice", {"text": f"{program} {version[:50]} was not tried with this stretto, {tested[-1]} was"})]
