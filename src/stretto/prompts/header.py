"""The first line of every message: what it is, for programs that play an agent.

`<!-- stretto: origin=conflict merge=3f2a… -->`. It is invisible in rendered Markdown, says nothing that the text below
does not say, and stands before all data: what issues or logs contain cannot forge it.
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"<!-- stretto:((?: [a-z]+=[\w./-]+)+) -->")


def header(**values: str) -> str:
    """The line for these values. Raises ValueError for a value that would not survive it."""
    line = "<!-- stretto:" + "".join(f" {name}={value}" for name, value in values.items()) + " -->"
    if not _HEADER.fullmatch(line):
        raise ValueError(f"not fit for a header: {values}")
    return line


def read_header(message: str) -> dict[str, str]:
    """The values of a message's first line; none if it has no header."""
    found = _HEADER.fullmatch(message.partition("\n")[0].rstrip())
    return dict(pair.split("=", 1) for pair in found[1].split()) if found else {}
