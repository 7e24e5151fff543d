"""What pg_dump wrote of one schema, as a script that makes the same under another name.

Specification.
- The text is read in tokens, as the server reads it: strings, quoted names, dollar quotes, comments, and the rows of
  COPY, which are passed on as they are. Only what leads to an object of the copied schema is changed: `old.name`, where
  `name` is one of `own`, in statements and in the strings that become regclass and its kin. So `old.citext` of an
  extension stays where it is, and a column of a table that is called like the schema stays, too.
- What functions and procedures hold as text is not read: a body that says `old.name` goes on meaning the old one.
  Their `SET search_path` is changed.
- Comments are left out, and a backslash outside of quotes is refused (psql would take it for a command to itself):
  names in a database may be anything that somebody wished to see there.
- Settings that only a newer server knows are left out, and so is what makes or describes the schema itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import IO

from stretto.core.errors import StrettoError

#: settings of a dump that every server knows and that change what its statements mean
_KEPT = frozenset(
    {
        "client_encoding",
        "standard_conforming_strings",
        "check_function_bodies",
        "xmloption",
        "client_min_messages",
        "row_security",
    }
)
_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*\n)
      | (?P<string>'(?:[^']|'')*')
      | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<dollar>\$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?)\$.*?\$(?P=tag)\$)
      | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
      | (?P<number>\d[\w.]*)
      | (?P<space>\s+)
      | (?P<end>;)
      | (?P<point>\.)
      | (?P<operator>(?:(?!--|/\*)[-+*/<>=~!@\#%^&|`?])+)
      | (?P<other>[^\\'"$])
      | (?P<parameter>\$\d+)
    """,
    re.VERBOSE | re.DOTALL,
)
#: what begins something that may go on in the next line
_OPEN = re.compile(r"[eE]?'|\"|\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$")
_REG = frozenset({"regclass", "regtype", "regproc", "regprocedure", "regoper", "regoperator", "regconfig"})
_NAMES = ("word", "quoted")
#: characters of a statement that say what it makes
_HEAD = 400
_MAKES = re.compile(
    r"""(?:COPY|(?:CREATE|ALTER|REFRESH)\s+(?:OR\s+REPLACE\s+|UNLOGGED\s+|FOREIGN\s+)*
        (?P<kind>MATERIALIZED\s+VIEW|[A-Z]+))\s+(?:ONLY\s+)?
        (?P<schema>"[^"]+"|\w+)\.(?P<name>"(?:[^"]|"")*"|[^\s(;]+)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def renamed(lines: Iterable[str], old: str, new: str, own: Collection[str]) -> Iterator[str]:
    """The lines of a plain dump of the schema `old`, as statements that make its objects in `new`.

    `own`: the names of the objects that are copied. Raises StrettoError (`database_failed`) for a text that is not one
    of pg_dump.
    """
    rename = _Rename(old, new, frozenset(own))
    given = iter(lines)
    text, closing = "", ""
    inside: list[str] = []
    found: list[_Token] = []
    for line in given:
        if not found and not text.strip() and line.startswith(("\\restrict ", "\\unrestrict ")):
            continue
        inside.append(line)
        if closing not in line:
            continue  # a long text is looked at when it may end, not at each of its lines
        known = len(found)
        text = _read(text + "".join(inside), found)
        inside, closing = [], _closing(text)
        while (end := _ending(found, known)) is not None:
            known = 0
            statement, found = found[: end + 1], _without_space(found[end + 1 :])
            said = rename.statement(statement)
            if said is not None:
                yield said
            if _copies(statement):
                yield from _rows(given)
    if text.strip() or inside or found:
        raise _refused("it ends within a statement")


def write(statements: Iterable[str], file: IO[str]) -> list[tuple[int, str]]:
    """Write what `renamed` gives; the number of the line in which each statement begins, from 1, and its beginning."""
    begins: list[tuple[int, str]] = []
    line, rows = 1, False
    for said in statements:
        if not rows:
            begins.append((line, said[:_HEAD]))
        rows = said != "\\.\n" and (rows or (said.startswith("COPY ") and said.rstrip().endswith("FROM stdin;")))
        file.write(said)
        line += said.count("\n")
    return begins


def made_at(begins: Sequence[tuple[int, str]], line: int, schema: str) -> tuple[str, str] | None:
    """Kind and name (as SQL writes them) of the object that the statement around a line makes in a schema."""
    said = next((text for at, text in reversed(begins) if at <= line), "")
    found = _MAKES.match(said)
    if found is None or found["schema"].strip('"') != schema:
        return None
    return (found["kind"] or "TABLE"), found["name"]


def _rows(given: Iterator[str]) -> Iterator[str]:
    for line in given:
        yield line
        if line == "\\.\n":
            return
    raise _refused("the rows of a table have no end")


def _read(text: str, found: list[_Token]) -> str:
    """Add the tokens of a text to `found`; gives what needs the next line to be one."""
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or token.lastgroup is None:
            if _OPEN.match(text, at):
                return text[at:]
            raise _refused(f"{text[at : at + 20]!r} stands outside of quotes")
        kind = "dollar" if token.lastgroup == "tag" else token.lastgroup
        if kind == "other" and text.startswith("/*", at):
            raise _refused("it holds a comment that pg_dump does not write")
        if kind != "comment" and (found or kind != "space"):
            found.append(_Token(kind, token[0]))
        at = token.end()
    return ""


def _without_space(tokens: Sequence[_Token]) -> list[_Token]:
    """Tokens without the space that they begin with."""
    return list(dropwhile(lambda token: token.kind == "space", tokens))


def _closing(text: str) -> str:
    """What must stand in a line with which a token could end that began before it."""
    opened = _OPEN.match(text)
    return opened[0].lstrip("eE") if opened else ""


def _ending(found: Sequence[_Token], known: int) -> int | None:
    """Where a statement ends; the first `known` tokens end none."""
    return next((n for n in range(known, len(found)) if found[n].kind == "end"), None)


def _copies(statement: Sequence[_Token]) -> bool:
    words = [token.text for token in statement if token.kind != "space"]
    return words[:1] == ["COPY"] and words[-3:] == ["FROM", "stdin", ";"]


class _Rename:
    def __init__(self, old: str, new: str, own: frozenset[str]) -> None:
        self._old, self._new, self._own = old, new, own

    def statement(self, tokens: Sequence[_Token]) -> str | None:
        """A statement in its new words; None for one that is left out."""
        words = [token.text for token in tokens if token.kind != "space"]
        if words[:1] == ["SET"] and words[1] not in _KEPT:
            return None
        if "SCHEMA" in words[1:3] and words[0] in ("CREATE", "ALTER", "COMMENT"):
            return None
        path = words[0] == "CREATE" and not {"FUNCTION", "PROCEDURE"}.isdisjoint(words[1:4])
        return "".join(self._words(self._path(list(tokens)) if path else tokens)) + "\n"

    def _words(self, tokens: Sequence[_Token]) -> Iterator[str]:
        for n, token in enumerate(tokens):
            if token.kind in _NAMES and self._leads(tokens, n):
                yield f'"{self._new}"'
            elif token.kind == "string" and self._is_object(tokens, n):
                yield self._within(token.text)
            else:
                yield token.text

    def _leads(self, tokens: Sequence[_Token], n: int) -> bool:
        """Whether the name at `n` is that of the schema, before the name of something that is copied."""
        if _plain(tokens[n]) != self._old or n + 2 >= len(tokens) or tokens[n + 1].kind != "point":
            return False
        if n and tokens[n - 1].kind == "point":
            return False
        return tokens[n + 2].kind in (*_NAMES, "operator") and _plain(tokens[n + 2]) in self._own

    def _is_object(self, tokens: Sequence[_Token], n: int) -> bool:
        """Whether a string names an object: it is cast to such a type, or is what setval is told."""
        after = "".join(token.text for token in tokens[n + 1 : n + 6])
        cast = re.match(r"::(?:pg_catalog\.)?(\w+)", after)
        if cast is not None:
            return cast[1] in _REG
        return "".join(token.text for token in tokens[max(0, n - 4) : n]).endswith("pg_catalog.setval(")

    def _within(self, text: str) -> str:
        found: list[_Token] = []
        if _read(text[1:-1].replace("''", "'"), found):
            return text
        return "'" + "".join(self._words(found)).replace("'", "''") + "'"

    def _path(self, tokens: list[_Token]) -> list[_Token]:
        """The header of a function whose search_path names the schema: it is to name the new one."""
        changed = list(tokens)
        words = [n for n, token in enumerate(tokens) if token.kind != "space"]
        said = [tokens[n].text for n in words]
        for n in range(len(words) - 3):
            if said[n : n + 2] != ["SET", "search_path"] or said[n + 2] not in ("TO", "="):
                continue
            at = n + 3
            while at < len(words):
                token = tokens[words[at]]
                if token.kind in ("string", *_NAMES) and _plain(token) == self._old:
                    changed[words[at]] = _Token("quoted", f'"{self._new}"')
                if at + 1 >= len(words) or said[at + 1] != ",":
                    break
                at += 2
        return changed


def _plain(token: _Token) -> str:
    """What a name means, whatever quotes it stands in."""
    if token.kind == "string":
        return token.text[1:-1].replace("''", "'")
    return token.text[1:-1].replace('""', '"') if token.kind == "quoted" else token.text


def _refused(why: str) -> StrettoError:
    return StrettoError(
        f"what pg_dump wrote of the schema cannot be copied: {why}",
        code="database_failed",
        hint='use provider "postgres-database" or "postgres-cluster"',
    )
