"""Text that others wrote, marked so that an agent can tell it from what stretto and the person say.

    [data 5f0c… from output of check unit]
    …
    [end of data 5f0c…]

The marker depends on the text and never occurs in it, so no text can close its own block or open another one that
counts. Escape sequences and control characters are taken out, and long texts are cut with a note that says how much.
"""

from __future__ import annotations

import hashlib
import re

from stretto.core.escapes import without_sequences

#: characters of one block unless told otherwise
LIMIT = 8000
#: control characters, line and direction controls of Unicode; tab and newline stay
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def data_block(text: str, source: str, limit: int = LIMIT, keep: str = "head") -> str:
    """`text` between markers that it cannot close; `keep` says which part survives a cut: head, tail or both."""
    body = shortened(plain(text), limit, keep)
    marker = _marker(body)
    return f"[data {marker} from {label(source)}]\n{body}\n[end of data {marker}]"


def plain(text: str) -> str:
    """The text without escape sequences and control characters, lines ended by a newline only."""
    text = without_sequences(text.replace("\r\n", "\n")).replace("\r", "\n")
    return _CONTROLS.sub("", text).strip("\n")


def label(text: str) -> str:
    """A name that others chose, as one short line without brackets."""
    return re.sub(r"[\s\[\]]+", " ", plain(text)).strip()[:80] or "unknown"


def shortened(text: str, limit: int, keep: str = "head") -> str:
    """At most `limit` characters of the text and a note where something was left out."""
    left_out = len(text) - limit
    if left_out <= 0:
        return text
    note = f"[… {left_out} characters left out …]"
    if keep == "head":
        return f"{text[:limit]}\n{note}"
    if keep == "tail":
        return f"{note}\n{text[left_out:]}"
    half = limit // 2
    return f"{text[:half]}\n{note}\n{text[len(text) - (limit - half) :]}"


def _marker(text: str) -> str:
    marker = ""
    while not marker or marker in text:
        marker = hashlib.sha256(f"{marker}{text}".encode()).hexdigest()[:12]
    return marker
