"""The text of a plan file cut into lines, sections and blocks; knows Markdown's code fences and nothing of fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_FENCE = re.compile(r" {0,3}(`{3,}(?!.*`)|~{3,})")
_TITLE = re.compile(r" {0,3}#[ \t]+(\S.*)")
_TASK = re.compile(r" {0,3}##[ \t]+(?P<id>[^:]*):(?P<title>.*)")
_SUBHEADING = re.compile(r" {0,3}##[ \t]+(?P<text>[^:]+)")
_FIELD = re.compile(r" {0,3}-[ \t]+(?P<key>[A-Za-z][A-Za-z_-]*)[ \t]*:(?P<value>.*)")
_ACCEPT = re.compile(r" {0,3}Accept:.*")
_STARRED = re.compile(r" {0,3}[*+][ \t]+(?P<key>[A-Za-z][A-Za-z_-]*)[ \t]*:(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file: its number from 1, its text, and whether it belongs to a code fence."""

    number: int
    text: str
    fenced: bool

    @property
    def blank(self) -> bool:
        """Whether nothing stands on it."""
        return not self.text.strip()

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The whole line against a pattern; lines in a fence match nothing."""
        return None if self.fenced else pattern.fullmatch(self.text)


@dataclass(frozen=True, slots=True)
class Section:
    """A task's part of the file: its heading as written, and the lines below."""

    id: str
    title: str
    line: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A plan file in parts. `front` is None without front matter; `unclosed`: lines whose `---` or fence has no end."""

    front: tuple[Line, ...] | None
    title: str
    title_line: int
    preamble: tuple[Line, ...]
    sections: tuple[Section, ...]
    unclosed_front: bool = False
    unclosed_fence: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the form `- key: value`."""

    line: int
    key: str
    raw: str


def split_lines(text: str) -> list[str]:
    """Lines of a text with any line ends; byte order marks and NUL are removed wherever they are."""
    return text.replace("\ufeff", "").replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read(text: str) -> Document:
    """Cut a file into its parts."""
    raw = split_lines(text)
    end = _front_end(raw)
    front = None if end is None else tuple(Line(n, raw[n - 1], False) for n in range(2, end + 1))
    start = 0 if end is None else end + 1
    lines, unclosed = mark_fences(raw[start:], start + 1)
    starts = [at for at, line in enumerate(lines) if line.match(_TASK)]
    sections = tuple(_section(lines[a:b]) for a, b in pairwise([*starts, len(lines)]))
    preamble = lines[: starts[0]] if starts else lines
    at, title = _title(preamble)
    rest = tuple(line for n, line in enumerate(preamble) if n != at)
    opened = bool(raw) and raw[0].rstrip() == "---" and end is None
    return Document(front, title, 0 if at is None else preamble[at].number, rest, sections, opened, unclosed)


def _front_end(raw: Sequence[str]) -> int | None:
    """Index of the line that closes the front matter that begins on the first line."""
    if not raw or raw[0].rstrip() != "---":
        return None
    return next((n for n in range(1, len(raw)) if raw[n].rstrip() == "---"), None)


def mark_fences(raw: Sequence[str], first: int = 1) -> tuple[list[Line], int | None]:
    """Lines with their fences; a fence without end is closed behind the last line, and its line is returned."""
    lines: list[Line] = []
    fence, opened = "", 0
    for number, text in enumerate(raw, first):
        mark = _FENCE.match(text)
        if fence:
            lines.append(Line(number, text, True))
            if mark and mark[1].startswith(fence) and not text[mark.end() :].strip():
                fence = ""
        else:
            if mark:
                fence, opened = mark[1], number
            lines.append(Line(number, text, bool(mark)))
    if fence:
        while lines[-1].blank:
            lines.pop()
        lines.append(Line(lines[-1].number, fence, True))
    return lines, opened if fence else None


def _section(lines: Sequence[Line]) -> Section:
    head = lines[0].match(_TASK)
    assert head is not None  # noqa: S101 - the caller found it by the same pattern
    return Section(head["id"].strip(), head["title"].strip(), lines[0].number, tuple(lines[1:]))


def _title(preamble: Sequence[Line]) -> tuple[int | None, str]:
    for at, line in enumerate(preamble):
        if found := line.match(_TITLE):
            return at, found[1].strip()
    return None, ""


def body(lines: Sequence[Line]) -> str:
    """Lines as text, without blank lines at either end."""
    kept = list(lines)
    while kept and kept[0].blank:
        kept.pop(0)
    while kept and kept[-1].blank:
        kept.pop()
    return "\n".join(line.text for line in kept)


def blocks(lines: Sequence[Line]) -> list[tuple[int, int, tuple[Row, ...]]]:
    """All contiguous blocks of `- key: value` lines: index of the first line, behind the last, the rows."""
    return _blocks(lines, _FIELD)


def starred_blocks(lines: Sequence[Line]) -> list[tuple[int, int, tuple[Row, ...]]]:
    """The same with `*` or `+` as bullet: not fields, but probably meant to be."""
    return _blocks(lines, _STARRED)


def _blocks(lines: Sequence[Line], pattern: re.Pattern[str]) -> list[tuple[int, int, tuple[Row, ...]]]:
    found: list[tuple[int, int, tuple[Row, ...]]] = []
    rows: list[Row] = []
    for at, line in enumerate(lines):
        if hit := line.match(pattern):
            rows.append(Row(line.number, hit["key"], hit["value"]))
        elif rows:
            found.append((at - len(rows), at, tuple(rows)))
            rows = []
    if rows:
        found.append((len(lines) - len(rows), len(lines), tuple(rows)))
    return found


def subheadings(lines: Sequence[Line]) -> list[tuple[int, str]]:
    """Number and text of level-2 headings without a colon: not tasks, but perhaps meant to be."""
    hits = ((line.number, line.match(_SUBHEADING)) for line in lines)
    return [(number, hit["text"].strip()) for number, hit in hits if hit and hit["text"].strip()]


def begins_accept(line: Line) -> bool:
    """Whether the line is the first of an acceptance block."""
    return line.match(_ACCEPT) is not None
