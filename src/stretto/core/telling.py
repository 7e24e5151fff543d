"""A message to an agent as a person reads it: without the lines that only programs need."""

from __future__ import annotations

import re

#: the first line of a message (prompts.header) and the empty lines behind it
_HEADER = re.compile(r"\A<!-- stretto:[^\n]*-->[ ]*(?:\n+|\Z)")
#: text of others in it (prompts.data); its marker never occurs inside
_DATA = re.compile(
    r"^\[data ([0-9a-f]{12}) from ([^\[\]\n]+)\]\n(.*?)\n?^\[end of data \1\]$", re.DOTALL | re.MULTILINE
)


def without_header(text: str) -> str:
    """The message without its first line, which says to programs what it is."""
    return _HEADER.sub("", text)


def for_person(text: str) -> str:
    """The message without its header; what others wrote in it is attributed, each line of theirs behind a `>`."""
    return _DATA.sub(_quoted, without_header(text))


def _quoted(found: re.Match[str]) -> str:
    lines = "\n".join(f"> {line}".rstrip() for line in found[3].split("\n"))
    return f"{found[2]}:\n{lines}"
