"""Which files are migrations, and which of two tasks cannot both be applied."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.core.migrations import Migration, clashes, from_plain, is_migration, read
from stretto.core.migrations import plain as as_plain


def django(name: str, *follows: str, app: str = "shop") -> Migration:
    links = ", ".join(f'("{app}", "{one}")' for one in follows)
    text = f"class Migration(migrations.Migration):\n    dependencies = [{links}, ('auth', '0001_initial')]\n"
    found = read(f"{app}/migrations/{name}.py", text)
    assert found is not None
    return found


def alembic(name: str, *follows: str) -> Migration:
    down = repr(follows[0]) if len(follows) == 1 else repr(follows) if follows else "None"
    text = f'revision: str = "{name}"\ndown_revision = {down}\n\n\ndef upgrade():\n    pass\n'
    found = read(f"migrations/versions/{name}_x.py", text)
    assert found is not None
    return found


def plain(path: str) -> Migration:
    found = read(path, "ALTER TABLE lamp ADD COLUMN watts integer;")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "tool", "group", "name"),
    [
        ("shop/migrations/0002_lamp.py", "django", "shop", "0002_lamp"),
        ("src/apps/shop/migrations/0012_a.py", "django", "src/apps/shop", "0012_a"),
        ("prisma/migrations/20260101120000_lamp/migration.sql", "prisma", "prisma/migrations", "20260101120000_lamp"),
        ("db/migrate/20260101120000_add_lamp.rb", "rails", "db/migrate", "20260101120000"),
        ("db/V2.1__lamp.sql", "flyway", "db", "2.1"),
        ("migrations/003_lamp.sql", "sql", "migrations", "3"),
        ("db/migrations/000003_lamp.up.sql", "sql", "db/migrations.up", "3"),
        ("migrations/20260101_lamp.ts", "sql", "migrations", "20260101"),
    ],
)
def test_files_that_are_migrations(path: str, tool: str, group: str, name: str) -> None:
    found = read(path, "")
    assert found is not None
    assert (found.tool, found.group, found.name) == (tool, group, name)
    assert is_migration(path)


@pytest.mark.parametrize(
    "path",
    ["shop/models.py", "shop/migrations/__init__.py", "docs/migrations.md", "README.md", "V2_lamp.sql", "versions.py"],
)
def test_files_that_are_none(path: str) -> None:
    assert not is_migration(path)
    assert read(path, "revision = 'a'") is None


def test_links_are_read_from_the_text() -> None:
    assert django("0002_lamp", "0001_initial").follows == ("0001_initial",)
    assert alembic("b2", "a1").follows == ("a1",)
    assert alembic("m", "a1", "b2").follows == ("a1", "b2")
    assert alembic("a1").follows == ()


def test_plain_values_come_back_as_they_were() -> None:
    for one in (django("0002_lamp", "0001_initial"), alembic("m", "a1", "b2"), plain("db/V3__lamp.sql")):
        assert from_plain(json.loads(json.dumps(as_plain(one)))) == one


BASE = (django("0001_initial"),)


def test_django_two_leaf_nodes() -> None:
    one, other = django("0002_lamp", "0001_initial"), django("0002_chair", "0001_initial")
    (found,) = clashes(BASE, {"a": [one], "b": [other]})
    assert (found.one, found.other, found.tool) == ("a", "b", "django")
    assert found.text == "both follow the same migration: shop would have two leaf nodes"
    assert found.paths == (one.path, other.path)


def test_django_apps_of_their_own_and_merged_leaves_are_fine() -> None:
    one = django("0002_lamp", "0001_initial")
    assert clashes(BASE, {"a": [one], "b": [django("0002_x", "0001_initial", app="users")]}) == []
    chain = [one, django("0003_more", "0002_lamp")]
    assert clashes(BASE, {"a": [one], "b": chain}) == [], "the second builds on the same file"
    merged = [django("0002_chair", "0001_initial"), django("0003_merge", "0002_lamp", "0002_chair")]
    assert clashes((*BASE, one), {"a": [], "b": merged}) == []


def test_alembic_two_heads() -> None:
    (found,) = clashes([alembic("a1")], {"x": [alembic("b2", "a1")], "y": [alembic("c3", "a1")]})
    assert found.text == "both follow the same migration: migrations/versions would have two heads"
    assert clashes([alembic("a1")], {"x": [alembic("b2", "a1")], "y": [alembic("c3", "b2")]}) == []


def test_one_number_twice() -> None:
    for one, other in (
        ("db/V3__lamp.sql", "db/V3__chair.sql"),
        ("migrations/003_lamp.sql", "migrations/3_chair.sql"),
        ("m/migrations/3_lamp.up.sql", "m/migrations/3_chair.up.sql"),
    ):
        (found,) = clashes([], {"x": [plain(one)], "y": [plain(other)]})
        assert found.text.startswith("both have the number 3")
    assert clashes([], {"x": [plain("db/V3__lamp.sql")], "y": [plain("db/V4__chair.sql")]}) == []
    assert clashes([], {"x": [plain("a/V3__lamp.sql")], "y": [plain("b/V3__chair.sql")]}) == []
    stamped = "db/migrate/20260101120000_a.rb", "db/migrate/20260101120000_b.rb"
    assert clashes([], {"x": [plain(stamped[0])], "y": [plain(stamped[1])]}) == []


def test_a_pair_of_files_for_up_and_down_is_told_once() -> None:
    ours = [plain("migrations/3_lamp.up.sql"), plain("migrations/3_lamp.down.sql")]
    theirs = [plain("migrations/3_chair.up.sql"), plain("migrations/3_chair.down.sql")]
    assert len(clashes([], {"x": ours, "y": theirs})) == 1


def test_three_tasks_are_three_pairs() -> None:
    added = {name: [django(f"0002_{name}", "0001_initial")] for name in "abc"}
    assert [(one.one, one.other) for one in clashes(BASE, added)] == [("a", "b"), ("a", "c"), ("b", "c")]


@given(st.text(max_size=200))
def test_no_text_is_too_strange(text: str) -> None:
    for path in ("shop/migrations/0002_x.py", "migrations/versions/x.py", "migrations/1_x.sql"):
        read(path, text)
