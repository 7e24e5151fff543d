"""Words on a terminal: what is safe to print, how wide it is, how long something took.

Texts from agents, plans and repositories are data: control characters, escape sequences and characters that turn the
direction of text never reach the terminal. Colour never carries a meaning alone.
"""

from __future__ import annotations

import os
import sys
import unicodedata

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from typing import IO, Any

_TURNING = {0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "bold": "1", "dim": "2"}


def clean(text: str, lines: bool = False) -> str:
    """The text without what would act on a terminal, whole sequences; line ends become spaces unless `lines`."""
    if text.isprintable() and text.isascii():
        return text
    from stretto.core.escapes import without_sequences  # most texts hold none

    text = without_sequences(text)
    kept = []
    for char in text.expandtabs(4) if lines else text:
        if char == "\n" and lines:
            kept.append(char)
        elif char in "\n\r\t\v\f\u2028\u2029":
            kept.append("" if lines and char == "\r" else " ")
        elif unicodedata.category(char) not in ("Cc", "Cs", "Co") and ord(char) not in _TURNING:
            kept.append(char)
    return "".join(kept)


def seen(text: str, lines: bool = False) -> str:
    """The text as `clean` makes it, but with a mark for each character that would act on a terminal, and all the rest.

    For what a person consents to: nothing of that may be hidden.
    """
    acts = ("Cc", "Cs", "Co")
    marked = (
        "\ufffd" if char not in "\n\r\t" and (unicodedata.category(char) in acts or ord(char) in _TURNING) else char
        for char in text.replace("\r\n", "\n")
    )
    return clean("".join(marked), lines)


def width(text: str) -> int:
    """Columns that a clean text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def clip(text: str, columns: int | None) -> str:
    """The text in at most so many columns, with an ellipsis where something was cut."""
    if columns is None or width(text) <= columns:
        return text
    return _head(text, columns - 1).rstrip() + "…" if columns > 0 else ""


def _head(text: str, columns: int) -> str:
    """As much of the beginning as takes at most so many columns."""
    used = 0
    for at, char in enumerate(text):
        used += _columns(char)
        if used > columns:
            return text[:at]
    return text


def pad(text: str, columns: int) -> str:
    """The text clipped and filled to exactly so many columns."""
    text = clip(text, columns)
    return text + " " * (columns - width(text))


def wrap(text: str, columns: int | None, indent: str = "") -> list[str]:
    """The text in lines of at most so many columns, broken at spaces where possible."""
    if columns is None:
        return [indent + line for line in text.split("\n")]
    room, out = max(8, columns - width(indent)), []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            while width(word) > room:
                head = _head(word, room)
                out += [indent + part for part in (line, head) if part]
                line, word = "", word[len(head) :]
            joined = f"{line} {word}" if line else word
            if width(joined) > room:
                out.append(indent + line)
                line = word
            else:
                line = joined
        out.append(indent + line)
    return out


def hang(text: str, columns: int | None, indent: str = "    ") -> list[str]:
    """One line, its own indentation kept, as lines of at most so many columns; what hangs over is indented further."""
    words = text.lstrip(" ")
    lead = text[: len(text) - len(words)]
    if columns is None or width(text) <= columns:
        return [text]
    first, *rest = wrap(words, columns - width(lead) - width(indent))
    return [(lead + first).rstrip(), *((lead + indent + line).rstrip() for line in rest)]


def duration(seconds: float) -> str:
    """`8s`, `4m12s`, `2h05m`, `3d04h`: at most six columns."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def age(seconds: float) -> str:
    """How long ago, in one unit."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def timestamp(value: Any) -> float | None:
    """Seconds since the epoch of an ISO time or a number; None for anything else."""
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    from datetime import datetime

    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def local_time(value: Any) -> str:
    """An instant in the person's own time, to the second; nothing for none."""
    import time

    at = timestamp(value)
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def coloured(stream: IO[str] | None = None) -> bool:
    """Whether colour is wanted there: a terminal, and no NO_COLOR; FORCE_COLOR wins."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None, on: bool) -> str:
    """The text in a colour, or as it is."""
    code = _COLOURS.get(colour or "")
    return f"\x1b[{code}m{text}\x1b[0m" if on and code and text else text


def unicode_ok(stream: IO[str] | None = None) -> bool:
    """Whether the stream can show more than ASCII."""
    return str(getattr(stream or sys.stdout, "encoding", None) or "").lower().replace("-", "") in (
        "utf8",
        "utf16",
        "utf32",
    )


def terminal_width(stream: IO[str] | None = None) -> int | None:
    """Columns of the terminal; None where there is none and lines need no end."""
    if not (stream or sys.stdout).isatty():
        return None
    import shutil

    return max(30, shutil.get_terminal_size((80, 24)).columns)


def quota(one: dict[str, Any]) -> str:
    """How full a vendor's window is, and when it begins anew."""
    share = "used up" if one["exhausted"] else "unknown" if one["used"] is None else f"{one['used']:.0%} used"
    resets = "" if one["resets_at"] is None else f", begins anew at {one['resets_at']}"
    return f"{clean(str(one['window']))} {share}{resets}"
