"""Sequences by which a text acts on a terminal, taken out whole. Pure, in time linear in the text.

Specification. What a terminal would take for one sequence vanishes with all that belongs to it: control sequences
(CSI), strings (OSC, DCS, SOS, PM, APC, ended by BEL or ST), shorter ones. A string goes to the end of its line at the
most, whatever comes below: what is written there stays to be read. The single characters that Unicode has for
beginnings of sequences (C1) vanish alone, for a shell and a compiler take them for words. Nothing that remains begins a
sequence. Other control characters are left. What a person is to consent to does not belong here: nothing of that may
vanish (cli/text.py `seen`).
"""

from __future__ import annotations

import re

#: a string holds no character that would break it off; so each is looked through once, however many have no end
_STRING = r"[^\n\r\x07\x18\x1a\x1b\x80-\x9f]*+(?:\x07|\x1b\\|\x9c)?"
_SEQUENCE = re.compile(rf"\x1b\[[ -?]*+[@-~]?|\x1b[\]PX^_]{_STRING}|\x1b[ -/]*+[0-~]?|[\x80-\x9f]")
#: what any sequence begins with
_BEGINS = re.compile(r"[\x1b\x80-\x9f]")


def without_sequences(text: str) -> str:
    r"""The text without its sequences.

    >>> without_sequences("\x1b[31mred\x1b[0m \x1b]0;title\x07and \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\")
    'red and link'
    """
    return _SEQUENCE.sub("", text) if _BEGINS.search(text) else text
