"""What stands on a screen: the lines that tmux captures with their colours, read as text. Pure.

Hints and placeholders are drawn faint; a composer that shows only those is empty. So each line is kept twice.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

_SGR = re.compile(r"\x1b\[([0-9;:]*)m")
_OTHER = re.compile(r"\x1b(\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9A-B]|[\x20-\x2f]*[\x30-\x7e])|[\x0e\x0f]")
#: what a frame is drawn with: its sides, and what stands on a line that has nothing else
_SIDE = "│┃║╎╏┆┇┊┋"
_INSIDE = re.compile(rf"\s*[{_SIDE}](.*)[{_SIDE}]\s*")
_BAR = re.compile(rf"\s*[{_SIDE}]( ?)")
_RULER = re.compile(r"[\u2500-\u259f\u2010-\u2015\s]++|\s*+[-_=]{8,}+\s*+")
_ENDS = re.compile(r"^\s*[─━┄┅┈┉╌╍═\u2010-\u2015]{3,}\s+|\s+[─━┄┅┈┉╌╍═\u2010-\u2015]{3,}\s*$")
_FAINT, _NORMAL, _RESET = "2", "22", ("", "0")


@dataclass(frozen=True, slots=True)
class Screen:
    """`lines`: all that is to be read; `bright`: the same without what is drawn faint (blanks in its place).

    `title`: what its program calls the terminal. `taken`: its program reads keys; before it does, they are the line's.
    """

    lines: tuple[str, ...]
    bright: tuple[str, ...]
    title: str = ""
    taken: bool = True

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    @property
    def foot(self) -> str:
        """The last twelve lines that hold anything."""
        return "\n".join([line for line in self.lines if line.strip()][-12:])


def unframed(text: str) -> str:
    r"""Words of a screen without what is only drawn there: rulers, and the frames and bars beside the words.

    >>> unframed("╭───╮\n│ Go on? │\n╰───╯\n╌╌╌╌")
    'Go on?'
    """
    lines = text.split("\n")
    while True:
        rows = [found[1] if (found := _INSIDE.fullmatch(line)) else line for line in lines]
        rows = [row for row in rows if not (row.strip() and _RULER.fullmatch(row))]
        said = [row for row in rows if row.strip()]
        if rows == lines and said and all(_BAR.match(row) for row in said):
            rows = [_BAR.sub("", row, count=1) for row in rows]
        if rows == lines:
            break
        lines = rows
    return textwrap.dedent("\n".join(_ENDS.sub("", row).rstrip() for row in lines)).strip("\n")


def read(captured: str, title: str = "", *, taken: bool = True) -> Screen:
    """The screen of `capture-pane -p -e`."""
    plain: list[str] = []
    bright: list[str] = []
    faint = False
    for line in captured.split("\n"):
        whole: list[str] = []
        lit: list[str] = []
        at = 0
        for found in _SGR.finditer(line):
            _put(line[at : found.start()], faint, whole, lit)
            faint = _faint(found.group(1), faint)
            at = found.end()
        _put(line[at:], faint, whole, lit)
        plain.append("".join(whole).rstrip())
        bright.append("".join(lit).rstrip())
    return Screen(tuple(plain), tuple(bright), title, taken)


def _put(text: str, faint: bool, whole: list[str], lit: list[str]) -> None:
    text = _OTHER.sub("", text)
    whole.append(text)
    lit.append(" " * len(text) if faint else text)


def _faint(codes: str, faint: bool) -> bool:
    words = re.split("[;:]", codes)
    at = 0
    while at < len(words):
        word = words[at]
        if word in ("38", "48", "58"):  # a colour: the numbers behind it are its own
            at += 3 if words[at + 1 : at + 2] == ["5"] else 5
            continue
        if word in (*_RESET, _NORMAL):
            faint = False
        elif word == _FAINT:
            faint = True
        at += 1
    return faint
