"""A message to an agent as a person reads it: without the lines that only programs need."""

from __future__ import annotations

import re

#: the first line of a message (prompts.header) and the empty lines behind it
_HEADER = re.compile(r"\A<!-- stretto:[^\n]*-->[ ]*(?:\n+|\Z)")
#: where text of others begins in it (prompts.data); its mark never occurs inside
_BEGIN = re.compile(r"\[data ([0-9a-f]{12}) from ([^\[\]\n]+)\]")


def without_header(text: str) -> str:
    """The message without its first line, which says to programs what it is."""
    return _HEADER.sub("", text)


def for_person(text: str) -> str:
    """The message without its header; what others wrote in it is attributed, each line of theirs behind a `>`."""
    lines = without_header(text).split("\n")
    ends = {line: place for place, line in enumerate(lines) if line.startswith("[end of data ")}
    told: list[str] = []
    place = 0
    while place < len(lines):
        found = _BEGIN.fullmatch(lines[place])
        end = ends.get(f"[end of data {found[1]}]", 0) if found else 0
        if found and end > place:
            told += [f"{found[2]}:", *(f"> {line}".rstrip() for line in lines[place + 1 : end] or [""])]
            place = end + 1
        else:
            told.append(lines[place])
            place += 1
    return "\n".join(told)
