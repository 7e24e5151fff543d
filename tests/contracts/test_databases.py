"""What every provider of databases promises, asked of each with the real thing: `Branches` over it, as workspaces do.

Specification. A `Kind` says how a provider is set up and how statements reach a database through the address that a
workspace gets. Every test here runs for every kind that keeps what one process writes; what only one provider has is in
tests/workspace/test_databases_*.py.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.workspace.databases import Branch, Branches, connect
from tests.support.postgres import Cluster, query

START, LATER = "migrations of the first commit", "migrations of a later commit"
TABLE = "CREATE TABLE lamp (id integer PRIMARY KEY, name text)"


@dataclass
class Kind:
    """A provider with a source that has a table `source` of three rows, and its workspaces."""

    given: dict[str, Any]
    folder: Path
    source: Callable[[str], list[str]]
    homes: dict[str, Branches] = field(default_factory=dict)

    def branches(self, home: str = "home-a") -> Branches:
        if home not in self.homes:
            found = connect(
                self.given, root=self.root, folder=self.folder / "ours", home=home, ignored=lambda path: True
            )
            assert found is not None
            self.homes[home] = found
        return self.homes[home]

    @property
    def root(self) -> Path:
        return self.folder / "shop"

    def worktree(self, owner: str) -> Path:
        path = self.folder / owner.replace("/", "_")
        path.mkdir(exist_ok=True)
        return path

    def ensure(self, owner: str, start: str = START, home: str = "home-a", **more: Any) -> Branch:
        branches = self.branches(home)
        return branches.ensure(owner, "task", branches.place(self.worktree(owner)), start, **more)

    def settled(self, owner: str, start: str = START) -> None:
        self.branches().settled(owner, "task", self.branches().place(self.worktree(owner)), start)

    def sql(self, row: Branch, script: str) -> list[str]:
        """Rows of a statement, through the address of a workspace only. Raises AssertionError if it is refused."""
        branches = self.branches(row.home)
        branches.wake(row.owner, row.purpose, branches.place(Path(row.worktree)))
        address = branches.address(row, branches.place(Path(row.worktree)))
        if address.url.startswith("sqlite:///"):
            return through_sqlite(Path(address.url.removeprefix("sqlite:///")), script)
        done = query(address.url, address.env, script)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[:-1]


def through_sqlite(path: Path, script: str) -> list[str]:
    with closing(sqlite3.connect(path)) as db, db:
        return ["|".join(map(str, row)) for row in db.execute(script).fetchall()]


FREEZING = ["sqlite-inside", "sqlite-outside", "postgres-database", "postgres-schema", "postgres-cluster"]
#: those that make golden templates; the project's own commands may clone from whatever they like
freezing = pytest.mark.parametrize("kind", FREEZING, indirect=True)


@pytest.fixture(params=[*FREEZING, "command"])
def kind(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Kind]:
    tmp_path = short_folder
    (tmp_path / "shop").mkdir()
    if request.param.startswith("sqlite"):
        source = tmp_path / ("shop/var/app.db" if request.param == "sqlite-inside" else "elsewhere/app.db")
        source.parent.mkdir()
        url = "sqlite:///var/app.db" if request.param == "sqlite-inside" else f"sqlite:///{source}"
        made = Kind({"url": url}, tmp_path, lambda script: through_sqlite(source, script))
        fill(made)
        yield made
        return
    if request.param == "command":
        made = by_commands(tmp_path)
        fill(made)
        yield made
        for branches in made.homes.values():
            for row in branches.known():
                branches._drop(row, branches.place(Path(row.worktree)))
        assert sorted(path.name for path in (tmp_path / "service").iterdir()) == ["source"]
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    name = f"dev_{os.urandom(4).hex()}"
    cluster.run(f"CREATE DATABASE {name};", "postgres")
    url = cluster.url(name=name).text()
    made = Kind(
        {"provider": request.param, "url": url},
        tmp_path,
        lambda script: ["|".join(row) for row in cluster.run(f"{script};", name)],
    )
    fill(made)
    yield made
    for branches in made.homes.values():
        for row in branches.known():
            branches._drop(row, branches.place(Path(row.worktree)))
    cluster.admin.run(f"DROP DATABASE {name} WITH (FORCE);")


def by_commands(folder: Path) -> Kind:
    """A service whose databases are files in a folder, made and dropped by commands that know nothing of stretto."""
    service = folder / "service"
    service.mkdir()
    at = f'"{service}/$STRETTO_DATABASE"'
    given = {
        "provider": "command",
        "create": f'cp "{service}/source" {at} && echo made it && echo "sqlite:///{service}/$STRETTO_DATABASE"',
        "drop": f"rm -f {at}",
    }
    return Kind(given, folder, lambda script: through_sqlite(service / "source", script))


def fill(kind: Kind) -> None:
    kind.source("CREATE TABLE source (n integer)")
    kind.source("INSERT INTO source VALUES (1), (2), (3)")


def test_a_branch_has_what_the_source_has_and_changes_nothing_of_it(kind: Kind) -> None:
    row = kind.ensure("run-aaaa/one")
    assert kind.sql(row, "SELECT count(*) FROM source") == ["3"]
    kind.sql(row, "DELETE FROM source WHERE n > 1")
    kind.sql(row, TABLE)
    assert kind.source("SELECT count(*) FROM source") == ["3"]
    assert kind.sql(row, "SELECT count(*) FROM source") == ["1"]


def test_ensure_can_be_repeated_and_keeps_what_was_written(kind: Kind) -> None:
    row = kind.ensure("run-aaaa/one")
    kind.sql(row, TABLE)
    assert kind.ensure("run-aaaa/one") == row
    assert kind.sql(row, "SELECT count(*) FROM lamp") == ["0"]


def test_tasks_purposes_and_homes_have_databases_of_their_own(kind: Kind) -> None:
    rows = [kind.ensure("run-aaaa/one"), kind.ensure("run-aaaa/two"), kind.ensure("run-aaab/one")]
    branches = kind.branches()
    rows.append(branches.ensure("run-aaaa/one", "gate", branches.place(kind.worktree("gate")), START))
    rows.append(
        kind.branches("home-b").ensure("run-aaaa/one", "task", branches.place(kind.worktree("other-home")), START)
    )
    for number, row in enumerate(rows):
        kind.sql(row, f"UPDATE source SET n = {number}")
    assert [kind.sql(row, "SELECT DISTINCT n FROM source") for row in rows] == [[str(n)] for n in range(len(rows))]
    assert len({row.name for row in rows}) == len(rows)


@freezing
def test_what_is_settled_becomes_the_template_of_its_start(kind: Kind) -> None:
    first = kind.ensure("run-aaaa/one")
    kind.sql(first, TABLE)
    kind.sql(first, "INSERT INTO lamp VALUES (1, 'seeded')")
    kind.settled("run-aaaa/one")
    kind.sql(first, "DELETE FROM lamp")
    second, third = kind.ensure("run-aaaa/two"), kind.ensure("run-aaaa/three", LATER)
    assert second.template is not None
    assert kind.sql(second, "SELECT name FROM lamp") == ["seeded"]
    kind.sql(second, "ALTER TABLE lamp ADD COLUMN watts integer")  # what another task made is this one's to change
    assert third.template is None
    with pytest.raises((AssertionError, sqlite3.Error), match="lamp"):
        kind.sql(third, "SELECT name FROM lamp")
    kind.settled("run-aaaa/one")  # again: nothing more happens
    assert [row.name for row in kind.branches().templates()] == [second.template]


@freezing
def test_a_template_is_of_the_schema_that_the_source_had(kind: Kind) -> None:
    kind.ensure("run-aaaa/one")
    kind.settled("run-aaaa/one")
    kind.source("ALTER TABLE source ADD COLUMN later integer")
    row = kind.ensure("run-aaaa/two")
    assert row.template is None
    assert kind.sql(row, "SELECT count(later) FROM source") == ["0"]


@freezing
def test_only_the_newest_templates_are_kept(kind: Kind) -> None:
    for number in range(4):
        kind.ensure(f"run-aaaa/t{number}", f"start {number}")
        kind.settled(f"run-aaaa/t{number}", f"start {number}")
    assert sorted(row.owner for row in kind.branches().templates()) == ["start 1", "start 2", "start 3"]
    found = [one for one in kind.branches().provider.found().values() if one.kind == "template"]
    assert len(found) == 3


@freezing
def test_a_lost_template_costs_only_time(kind: Kind) -> None:
    kind.ensure("run-aaaa/one")
    kind.settled("run-aaaa/one")
    branches = kind.branches()
    (template,) = branches.templates()
    branches.provider.drop(template.name, branches.place(kind.root))
    row = kind.ensure("run-aaaa/two")
    assert row.template is None
    assert kind.sql(row, "SELECT count(*) FROM source") == ["3"]


def test_reset_begins_again(kind: Kind) -> None:
    row = kind.ensure("run-aaaa/one")
    kind.sql(row, "DELETE FROM source")
    branches = kind.branches()
    again = branches.reset("run-aaaa/one", "task", branches.place(kind.worktree("run-aaaa/one")), START)
    assert kind.sql(again, "SELECT count(*) FROM source") == ["3"]
    with pytest.raises(StrettoError) as refused:
        branches.reset("run-aaaa/none", "task", branches.place(kind.root), START)
    assert refused.value.code == "no_database"


def test_made_anew_and_swapped_back(kind: Kind) -> None:
    row = kind.ensure("run-aaaa/one")
    kind.sql(row, "DELETE FROM source WHERE n = 2")
    branches, owner = kind.branches(), "run-aaaa/one"
    place = branches.place(kind.worktree(owner))
    again = branches.renew(owner, "task", "d111111", place, START)
    assert kind.sql(again, "SELECT count(*) FROM source") == ["3"]
    kind.sql(again, "DELETE FROM source")
    branches.swap(owner, "task", "d111111", "d222222", place)
    assert kind.sql(row, "SELECT count(*) FROM source") == ["2"]
    branches.swap(owner, "task", "d222222", "d333333", place)
    assert kind.sql(row, "SELECT count(*) FROM source") == ["0"]
    for _ in range(2):
        branches.purge("d333333", place)
    with pytest.raises(StrettoError, match="d333333"):
        branches.swap(owner, "task", "d333333", "d444444", place)
    assert kind.sql(row, "SELECT count(*) FROM source") == ["0"]
    branches.drop(owner, "task", place)
    assert (branches.known(), branches.provider.found()) == ([], {})


def test_aside_back_and_gone(kind: Kind) -> None:
    row = kind.ensure("run-aaaa/one")
    kind.sql(row, "DELETE FROM source WHERE n = 2")
    branches, tree = kind.branches(), kind.worktree("run-aaaa/one")
    place, away = branches.place(tree), kind.folder / "quarantine"
    for _ in range(2):
        if tree.exists():
            tree.rename(away)
        branches.set_aside("run-aaaa/one", "task", "r123456", place)
    assert branches.find("run-aaaa/one", "task") is None
    with pytest.raises((AssertionError, sqlite3.Error, StrettoError)):
        kind.sql(row, "SELECT count(*) FROM source")
    away.rename(tree)
    for _ in range(2):
        branches.bring_back("r123456", place)
    assert kind.sql(row, "SELECT count(*) FROM source") == ["2"]
    tree.rename(away)
    branches.set_aside("run-aaaa/one", "task", "r123457", place)
    for _ in range(2):
        branches.purge("r123457", place)
    subprocess.run(["rm", "-rf", str(away)], check=True)  # the tree is somebody else's to purge
    assert branches.known() == []
    assert branches.provider.found() == {}
    assert list((kind.folder / "ours").glob("*.pgpass")) == []


def test_a_new_workspace_while_a_removal_holds_the_old_one(kind: Kind) -> None:
    old = kind.ensure("run-aaaa/one")
    kind.sql(old, "DELETE FROM source")
    branches, tree = kind.branches(), kind.worktree("run-aaaa/one")
    tree.rename(kind.folder / "quarantine")
    branches.set_aside("run-aaaa/one", "task", "r123456", branches.place(tree))
    new = kind.ensure("run-aaaa/one")
    assert kind.sql(new, "SELECT count(*) FROM source") == ["3"]
    branches.purge("r123456", branches.place(tree))
    assert kind.sql(new, "SELECT count(*) FROM source") == ["3"]


def test_drop_leaves_nothing(kind: Kind) -> None:
    kind.ensure("run-aaaa/one")
    branches = kind.branches()
    place = branches.place(kind.worktree("run-aaaa/one"))
    for _ in range(2):
        branches.drop("run-aaaa/one", "task", place)
    assert (branches.known(), branches.provider.found()) == ([], {})
    assert kind.source("SELECT count(*) FROM source") == ["3"]


def test_what_is_not_ours_is_never_dropped(kind: Kind) -> None:
    branches = kind.branches()
    place = branches.place(kind.worktree("run-aaaa/one"))
    name = branches._name("run-aaaa/one", "task")
    stranger(kind, name, place.worktree)
    for act in (
        lambda: kind.ensure("run-aaaa/one"),
        lambda: branches.provider.drop(name, place),
        lambda: kind.ensure("run-aaaa/one"),
    ):
        with pytest.raises(StrettoError) as refused:
            act()
        assert refused.value.code == "database_taken"
    assert branches.find("run-aaaa/one", "task") is None
    assert is_there(kind, name, place.worktree)


def stranger(kind: Kind, name: str, worktree: Path) -> None:
    """Something of somebody else that has the name of the database to be made."""
    if in_folders(kind):
        for path in (worktree / "var/app.db", kind.folder / "ours" / name / "app.db"):
            path.parent.mkdir(parents=True)
            path.write_text("precious")
        return
    kind.source(f"CREATE {thing(kind)} {name}")


def thing(kind: Kind) -> str:
    return "SCHEMA" if kind.given["provider"] == "postgres-schema" else "DATABASE"


def in_folders(kind: Kind) -> bool:
    return kind.given.get("provider") in (None, "postgres-cluster", "command")


def is_there(kind: Kind, name: str, worktree: Path) -> bool:
    if in_folders(kind):
        return (worktree / "var/app.db").exists() and (kind.folder / "ours" / name / "app.db").exists()
    kind.source(f"DROP {thing(kind)} {name}")
    return True


def test_what_a_crash_left_half_made_is_made_anew(kind: Kind) -> None:
    """The row says `making`, the database is there with what somebody began to put into it."""
    row = kind.ensure("run-aaaa/one")
    kind.sql(row, "DELETE FROM source")
    branches = kind.branches()
    branches._rows.put(row.name, Branch(**{**vars_of(row), "state": "making"}))
    again = kind.ensure("run-aaaa/one")
    assert again.state == "made"
    assert kind.sql(again, "SELECT count(*) FROM source") == ["3"]


def vars_of(row: Branch) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Branch.__slots__}


def test_what_cannot_be_made_leaves_nothing(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    branches = kind.branches()

    def broken(*_: object, **__: object) -> None:
        raise StrettoError("the cable was cut")

    for step in ("_find_way", "_copy", "_start", "_address_in"):
        if hasattr(branches.provider, step):
            monkeypatch.setattr(branches.provider, step, broken)
    with pytest.raises(StrettoError, match="cable"):
        kind.ensure("run-aaaa/one")
    monkeypatch.undo()
    assert (branches.known(), branches.provider.found()) == ([], {})
    assert kind.sql(kind.ensure("run-aaaa/one"), "SELECT count(*) FROM source") == ["3"]


def test_leftovers_are_told_and_not_touched(kind: Kind) -> None:
    row = kind.ensure("run-aaaa/one")
    branches = kind.branches()
    branches._rows.drop(row.name)
    assert branches.leftovers() == [row.name]
    assert kind.branches("home-b").leftovers() == []
    assert row.name in branches.provider.found()
    branches._rows.put(row.name, row)
    assert branches.leftovers() == []
