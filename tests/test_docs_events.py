"""docs/events.md is held against the calls of `.event("…")` in the code: same types, same data."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
COLUMNS = {"repo", "run", "task"}


def calls() -> Iterator[tuple[str, set[str], bool]]:
    """Type, names of its data, and whether more data is passed as a mapping."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "event"):
                continue
            names = {k.arg for k in node.keywords if k.arg} - COLUMNS
            for type in literals(node.args[0], path):
                yield type, names, any(k.arg is None for k in node.keywords)


def literals(node: ast.expr, path: Path) -> list[str]:
    if isinstance(node, ast.IfExp):
        return literals(node.body, path) + literals(node.orelse, path)
    assert isinstance(node, ast.Constant), f"{path}:{node.lineno}: the type of an event is a literal"
    assert isinstance(node.value, str)
    return [node.value]


def documented() -> dict[str, set[str]]:
    rows = {}
    for line in (ROOT / "docs" / "events.md").read_text("utf-8").splitlines():
        if match := re.match(r"\| `([a-z]+\.[a-z]+)` \|([^|]*)\|([^|]+)\|$", line):
            assert match[1] not in rows, f"{match[1]} stands twice"
            assert match[3].strip(), f"{match[1]} does not say when"
            rows[match[1]] = set(re.findall(r"`([a-z_]+)`", match[2]))
    return rows


def test_every_event_is_documented_with_its_data():
    known = documented()
    said: dict[str, set[str]] = {}
    open_ended = set()
    for type, names, more in calls():
        said.setdefault(type, set()).update(names)
        if more:
            open_ended.add(type)
    assert set(known) == set(said)
    for type, names in said.items():
        assert names <= known[type], type
        assert type in open_ended or names == known[type], type
    assert len(said) > 40
