"""Which files are migrations, and which migrations of two branches cannot both be applied as they are.

Told from paths and texts alone, for the tools that number or link their migrations: Django and Alembic link each to the
one before (two that follow the same one leave two ends), Flyway, golang-migrate, dbmate, sqlx and plain SQL files have
numbers (two of one number cannot be told apart). Prisma's and Rails' are stamped with the time and do not clash by
name. What two migrations *do* to each other only the gate can tell, which applies them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

_DJANGO = re.compile(r"(?:(?P<where>.*)/)?migrations/(?P<name>\d{4}_\w+)\.py")
_ALEMBIC = re.compile(r"(?P<where>(?:.*/)?versions)/(?P<name>\w+)\.py")
_PRISMA = re.compile(r"(?P<where>(?:.*/)?migrations)/(?P<name>\d{14}_[^/]+)/migration\.sql")
_RAILS = re.compile(r"(?P<where>(?:.*/)?db/migrate)/(?P<name>\d{14})_\w+\.rb")
_FLYWAY = re.compile(r"(?P<where>.*/)?[VU](?P<name>\d+(?:[._]\d+)*)__[^/]*\.(?:sql|java)")
_NUMBERED = re.compile(
    r"(?P<where>(?:.*/)?(?:migrations?|migrate))/(?P<name>\d+)[_.-][^/]*?(?P<half>\.(?:up|down))?\.(?:sql|js|ts)"
)
_TOOLS = (
    ("django", _DJANGO),
    ("alembic", _ALEMBIC),
    ("prisma", _PRISMA),
    ("rails", _RAILS),
    ("flyway", _FLYWAY),
    ("sql", _NUMBERED),
)
#: tools whose migrations name those that they follow
LINKED = ("django", "alembic")
#: what the person or the agent does about it
REMEDY = {
    "django": "python manage.py makemigrations --merge",
    "alembic": "alembic merge heads",
    "flyway": "give the later one the next number",
    "sql": "give the later one the next number",
}


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration file. `group`: what it is numbered within (an app, a folder). `follows`: names before it."""

    tool: str
    path: str
    group: str
    name: str
    follows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clash:
    """Two tasks whose migrations cannot both be applied as they are. `paths`: one of each."""

    one: str
    other: str
    tool: str
    text: str
    paths: tuple[str, str]


def is_migration(path: str) -> bool:
    """Whether a path of the repository is that of a migration.

    >>> [is_migration(path) for path in ("shop/migrations/0002_lamp.py", "db/V3__lamp.sql", "shop/models.py")]
    [True, True, False]
    """
    return any(pattern.fullmatch(path) for _, pattern in _TOOLS)


def read(path: str, text: str) -> Migration | None:
    """The migration that a file is, or None. A text that cannot be read as its tool's has no links."""
    for tool, pattern in _TOOLS:
        found = pattern.fullmatch(path)
        if found is None:
            continue
        group, name = (found["where"] or "").strip("/"), found["name"]
        if tool == "alembic":
            return _alembic(path, group, text)
        follows = _django_links(text, group) if tool == "django" else ()
        if tool == "sql" and found["half"]:
            group = f"{group}{found['half']}"
        return Migration(tool, path, group, name.lstrip("0") or "0" if tool == "sql" else name, follows)
    return None


def planned(paths: Iterable[str]) -> list[Migration]:
    """The migrations that a task says it will add, as far as it names them: globs tell nothing."""
    named = [path for path in paths if not any(letter in path for letter in "*?[")]
    found = [read(path, "") for path in named]
    return [one for one in found if one is not None]


def plain(migration: Migration) -> list[Any]:
    """A migration as JSON; `from_plain` is the way back."""
    return [migration.tool, migration.path, migration.group, migration.name, list(migration.follows)]


def from_plain(value: Iterable[Any]) -> Migration:
    """The migration that `plain` wrote."""
    tool, path, group, name, follows = value
    return Migration(str(tool), str(path), str(group), str(name), tuple(map(str, follows)))


def _django_links(text: str, group: str) -> tuple[str, ...]:
    """Names of the migrations of the same app that this one depends on."""
    app = group.rpartition("/")[2]
    for node in ast.walk(_tree(text)):
        if isinstance(node, ast.Assign) and any(_is_name(target, "dependencies") for target in node.targets):
            pairs = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else []
            said = [_texts(pair) for pair in pairs]
            return tuple(pair[1] for pair in said if len(pair) == 2 and (pair[0] == app or not app))
    return ()


def _alembic(path: str, group: str, text: str) -> Migration | None:
    values: dict[str, tuple[str, ...]] = {}
    for node in ast.walk(_tree(text)):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and node.value is not None:
            values.setdefault(target.id, _texts(node.value))
    if not values.get("revision"):
        return None
    return Migration("alembic", path, group, values["revision"][0], values.get("down_revision", ()))


def _tree(text: str) -> ast.AST:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _texts(node: ast.expr) -> tuple[str, ...]:
    """The strings of a literal: of one, or of a tuple or list of some."""
    parts = node.elts if isinstance(node, ast.Tuple | ast.List) else [node]
    return tuple(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))


def clashes(base: Iterable[Migration], added: Mapping[str, Iterable[Migration]]) -> list[Clash]:
    """Pairs of tasks whose added migrations leave two ends, or share a number, in the order of the mapping.

    `base`: the migrations that all of them start from.
    """
    before = list(base)
    new = {task: list(given) for task, given in added.items()}
    found = []
    for (one, ours), (other, theirs) in combinations(new.items(), 2):
        found += [_clash(one, other, *pair) for pair in _linked(before, ours, theirs)]
        found += [_clash(one, other, *pair) for pair in _numbered(ours, theirs)]
    return found


def _clash(one: str, other: str, ours: Migration, theirs: Migration) -> Clash:
    if ours.tool in LINKED:
        words = "leaf nodes" if ours.tool == "django" else "heads"
        text = f"both follow the same migration: {ours.group or 'the app'} would have two {words}"
    else:
        text = (
            f"both have the number {ours.name} in {ours.group.removesuffix('.up').removesuffix('.down') or 'the root'}"
        )
    return Clash(one, other, ours.tool, text, (ours.path, theirs.path))


def _linked(
    before: list[Migration], ours: list[Migration], theirs: list[Migration]
) -> Iterable[tuple[Migration, Migration]]:
    """Ends that exist only because both are there: each side alone has one end in its group."""
    for tool, group in sorted({(m.tool, m.group) for m in ours if m.tool in LINKED}):
        mine, others = ([m for m in side if (m.tool, m.group) == (tool, group)] for side in (ours, theirs))
        known = [m for m in before if (m.tool, m.group) == (tool, group)]
        shared = {m.path for m in mine} & {m.path for m in others}
        if not others or shared:
            continue
        ends = _ends([*known, *mine, *others])
        left, right = [m for m in ends if m in mine], [m for m in ends if m in others]
        if left and right:
            yield left[0], right[0]


def _ends(migrations: list[Migration]) -> list[Migration]:
    followed = {name for one in migrations for name in one.follows}
    return [one for one in migrations if one.name not in followed]


def _numbered(ours: list[Migration], theirs: list[Migration]) -> Iterable[tuple[Migration, Migration]]:
    for mine in ours:
        for other in theirs:
            same = (mine.tool, mine.group, mine.name) == (other.tool, other.group, other.name)
            if same and mine.tool in ("flyway", "sql") and mine.path != other.path and not mine.group.endswith(".down"):
                yield mine, other
