"""Who would touch the same files or tables.

A glob counts from the root of the repository: `*` and `?` stay within one name, `**` crosses folders, `[abc]` and
`{a,b}` choose. A pattern whose last name has no extension, or that ends in `/`, names a folder and covers all below it.
Two globs overlap if one path could match both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

MAX_ALTERNATIVES = 64
_STAR = "*"
_ANY = "?"
_WILD = re.compile(r"[*?\[{]")
_FILE = re.compile(r"[^/]\.[^./\[\]]*[A-Za-z0-9*?}]$")
Token = str | frozenset[str]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two tasks and what both claim: pairs of globs, or names of tables."""

    one: str
    other: str
    shared: tuple[tuple[str, str], ...]


@lru_cache(maxsize=65536)
def overlap(one: str, other: str) -> bool:
    """Whether a path could match both globs."""
    return any(_meet(a, b) for a in _compile(one) for b in _compile(other))


def matches(glob: str, path: str) -> bool:
    """Whether a path of the repository is one that the glob covers."""
    segments = tuple(tuple(name) for name in path.strip("/").split("/"))
    return any(_meet(pattern, segments, literal=True) for pattern in _compile(glob))


def is_everything(glob: str) -> bool:
    """Whether a glob covers the whole repository or nearly so."""
    return _plain(glob) in {"", "*", "**", "**/*", "**/**", "*.*", "**/*.*"}


@lru_cache(maxsize=8192)
def _compile(glob: str) -> tuple[tuple[tuple[Token, ...], ...], ...]:
    """A glob as alternatives of segments of tokens."""
    below = () if _FILE.search(glob.strip()) else (("**",),)
    return tuple(
        (*(("**",) if name == "**" else _tokens(name) for name in part.split("/") if name), *below)
        for part in _braces(_plain(glob))
    )


def _plain(glob: str) -> str:
    """A glob from the root of the repository, without empty names and `.`."""
    return "/".join(name for name in glob.strip().split("/") if name not in ("", "."))


def _braces(text: str) -> list[str]:
    """`a{b,c}` as `ab` and `ac`; too many alternatives become a star, which only widens."""
    done, work = [], [text]
    while work:
        part = work.pop()
        found = re.search(r"\{([^{}]*,[^{}]*)\}", part)
        if found is None:
            done.append(part)
        elif len(done) + len(work) > MAX_ALTERNATIVES:
            work.append(part[: found.start()] + "*" + part[found.end() :])
        else:
            work.extend(part[: found.start()] + choice + part[found.end() :] for choice in found[1].split(","))
    return done


def _tokens(name: str) -> tuple[Token, ...]:
    tokens: list[Token] = []
    at = 0
    while at < len(name):
        chosen = re.match(r"\[[^\]]+\]", name[at:]) if name[at] == "[" else None
        if chosen:
            tokens.append(_class(chosen[0][1:-1]))
            at += chosen.end()
        else:
            tokens.append(name[at] if name[at] in "*?" else frozenset(name[at]))
            at += 1
    return tuple(tokens)


def _class(inside: str) -> Token:
    """The letters of `[…]`; a negated or very wide class is any letter, which only widens."""
    if inside[0] in "!^":
        return _ANY
    letters = set(inside)
    for low, high in re.findall(r"(.)-(.)", inside):
        if ord(high) - ord(low) > 256:
            return _ANY
        letters.update(chr(code) for code in range(ord(low), ord(high) + 1))
    return frozenset(letters)


def _meet(one: Sequence[Sequence[Token]], other: Sequence[Sequence[Token]], *, literal: bool = False) -> bool:
    """Whether two sequences of segments can be the same path. With `literal` the other is a path, without wildcards."""
    reached = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        a, b = todo.pop()
        if a == len(one) and b == len(other):
            return True
        step = []
        star_a = a < len(one) and tuple(one[a]) == ("**",)
        star_b = not literal and b < len(other) and tuple(other[b]) == ("**",)
        if star_a:
            step.append((a + 1, b))
        if star_b:
            step.append((a, b + 1))
        if a < len(one) and b < len(other):
            if star_a:
                step.append((a, b + 1))
            if star_b:
                step.append((a + 1, b))
            if not star_a and not star_b and _same_name(tuple(one[a]), tuple(other[b]), literal):
                step.append((a + 1, b + 1))
        for state in step:
            if state not in reached:
                reached.add(state)
                todo.append(state)
    return False


@lru_cache(maxsize=65536)
def _same_name(one: tuple[Token, ...], other: tuple[Token, ...], literal: bool) -> bool:
    """Whether two patterns of one name can be the same name."""
    reached = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        a, b = todo.pop()
        if a == len(one) and b == len(other):
            return True
        star_a = a < len(one) and one[a] == _STAR
        star_b = not literal and b < len(other) and other[b] == _STAR
        step = []
        if star_a:
            step.append((a + 1, b))
        if star_b:
            step.append((a, b + 1))
        if a < len(one) and b < len(other):
            if star_a:
                step.append((a, b + 1))
            if star_b:
                step.append((a + 1, b))
            if not star_a and not star_b and _same_letter(one[a], frozenset(other[b]) if literal else other[b]):
                step.append((a + 1, b + 1))
        for state in step:
            if state not in reached:
                reached.add(state)
                todo.append(state)
    return False


def _same_letter(one: Token, other: Token) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return True
    return not one.isdisjoint(other)


# ---------------------------------------------------------------- tasks


Together = Callable[[str, str], bool]


def claims(files: Mapping[str, Iterable[str]], together: Together, most: int) -> list[Overlap]:
    """Pairs of tasks that may run together and whose globs overlap, in the order of the mapping, with the globs.

    A task is named as the later one of at most `most` pairs, so that a thousand tasks on one folder stay readable.
    """
    owned = [(task, glob, _literal_start(glob)) for task, globs in files.items() for glob in dict.fromkeys(globs)]
    found = _Pairs(files, together, most)
    for (one, glob, _), (other, second, _) in _near_pairs(owned):
        if found.wants(one, other) and overlap(glob, second):
            found.add(one, other, (glob, second))
    return found.sorted()


def shared_names(names: Mapping[str, Iterable[str]], together: Together, most: int) -> list[Overlap]:
    """The same for tasks that name the same table, compared without case."""
    owners: dict[str, list[str]] = {}
    for task, given in names.items():
        for name in dict.fromkeys(one.casefold() for one in given):
            owners.setdefault(name, []).append(task)
    found = _Pairs(names, together, most)
    for name, tasks in owners.items():
        for one, other in combinations(tasks, 2):
            if found.wants(one, other):
                found.add(one, other, (name, name))
    return found.sorted()


class _Pairs:
    """Collects what pairs of tasks share, up to a number of partners for the later task of a pair."""

    def __init__(self, order: Iterable[str], together: Together, most: int) -> None:
        self._position = {task: n for n, task in enumerate(order)}
        self._together = together
        self._most = most
        self._shared: dict[str, dict[str, list[tuple[str, str]]]] = {task: {} for task in self._position}

    def wants(self, one: str, other: str) -> bool:
        """Whether this pair is one to look at."""
        partners = self._shared[other]
        if one in partners:
            return True
        return len(partners) < self._most and one != other and self._together(one, other)

    def add(self, one: str, other: str, shared: tuple[str, str]) -> None:
        """Note that both claim something."""
        self._shared[other].setdefault(one, []).append(shared)

    def sorted(self) -> list[Overlap]:
        """All pairs, in the order of the tasks."""
        pairs = [
            Overlap(one, other, tuple(shared)) for other, ones in self._shared.items() for one, shared in ones.items()
        ]
        return sorted(pairs, key=lambda pair: (self._position[pair.one], self._position[pair.other]))


Owned = tuple[str, str, str]


def _near_pairs(owned: Sequence[Owned]) -> Iterator[tuple[Owned, Owned]]:
    """Pairs whose literal beginnings do not contradict each other (sorted by them, so that most are never met)."""
    by_start = sorted(enumerate(owned), key=lambda one: one[1][2])
    for n, (position, one) in enumerate(by_start):
        for later, other in by_start[n + 1 :]:
            if not other[2].startswith(one[2]):
                break
            yield (one, other) if position < later else (other, one)


def _literal_start(glob: str) -> str:
    """What every path that matches must begin with."""
    plain = _plain(glob)
    return plain[: found.start()] if (found := _WILD.search(plain)) else plain
