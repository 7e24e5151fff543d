"""docs/reference.md is held against the code: error codes, and the keys of every answer."""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stretto.core.model import CheckResult, ItemKind
from stretto.reads import READS, read
from stretto.store.sqlite import Store
from tests.support import rows

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "reference.md").read_text("utf-8")


def codes() -> Iterator[str]:
    """The literal words of `code=…`, of `default_code = …` and of the daemon's refusals."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Assign) and "default_code" in [
                t.id for t in node.targets if isinstance(t, ast.Name)
            ]:
                yield from words(node.value)
            if isinstance(node, ast.Call):
                refusal = isinstance(node.func, ast.Name) and node.func.id == "Refused"
                for value in [k.value for k in node.keywords if k.arg == "code"] + node.args[1:2] * refusal:
                    yield from words(value)


def words(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return words(node.body) + words(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def table(heading: str) -> dict[str, str]:
    section = TEXT.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    found = re.findall(r"^\| `?([a-z0-9_]+)`? \| (.*) \|$", section, re.MULTILINE)
    assert len({name for name, _ in found}) == len(found), "a row stands twice"
    return dict(found)


def test_every_error_code_is_documented():
    known = table("code")
    assert set(known) == set(codes())
    assert list(known) == sorted(known)
    assert all(known.values())


@pytest.fixture
def answers(tmp_path, repo):
    """Every read operation, asked about a task that has something of everything."""
    store = Store(tmp_path / "stretto.db", lambda: 1000.0)
    home = {"repo": str(repo.path / ".git"), "root": str(repo.path)}
    head = repo.head
    commits = {"head": head, "base": head, "tree": repo.git("rev-parse", "HEAD^{tree}"), "workspace": str(repo.path)}
    with store.write() as tx:
        tx.insert(rows.run(**home))
        task = rows.started(repo=home["repo"], **commits)
        tx.insert(replace(task, held={**task.held, "DATABASE_URL": "sqlite:///app"}))
        for value in (rows.session(), rows.turn(), rows.check(CheckResult.PASSED), rows.entry()):
            tx.insert(value)
        tx.insert(rows.item(ItemKind.REVIEW, "review:1", options=(("approve", "let it land"),)))
        tx.event("task.state", task=rows.UID)
    said = {}
    with store.read() as db:
        for verb in READS:
            args = {"cwd": str(repo.path), "task": "one", "now": 1000.0, "live": True, "home": str(tmp_path)}
            said[verb] = read(verb, db, args)
    store.close()
    return said


def keys(cell: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", cell)


def test_every_answer_has_the_documented_keys(answers):
    known = table("question")
    assert set(known) == set(READS)
    for verb, answer in answers.items():
        assert answer["schema"] == 1
        assert set(answer) - {"schema"} == set(keys(known[verb])), verb


def test_every_part_has_the_documented_keys(answers):
    known = table("part")
    status = answers["status"]
    (task,) = status["tasks"]
    parts = {
        "task": task,
        "session": task["session"],
        "item": status["inbox"][0],
        "entry": status["queue"][0],
        "check": task["checks"][0],
        "run": status["runs"][0],
        "message": answers["messages"]["messages"][0],
        "usage": task["usage"],
        "event": answers["events"]["events"][0],
    }
    assert set(known) == set(parts)
    for name, part in parts.items():
        assert list(part) == keys(known[name]), name
