"""SQLite branches: copies of a database that is being written to, and files that lead elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stretto import files
from stretto.core.errors import StrettoError
from stretto.workspace.databases import Branches, connect
from tests.support.waiting import wait_for

_WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
db.execute("PRAGMA wal_autocheckpoint = 50")
n = 0
while True:
    n += 1
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO pair VALUES (?, 'left')", (n,))
    db.execute("INSERT INTO pair VALUES (?, 'right')", (n,))
    db.execute("COMMIT")
    if n == 200:
        print("going", flush=True)
"""


def branches(root: Path, url: str = "sqlite:///var/app.db", ignored: bool = True) -> Branches:
    found = connect({"url": url}, root=root, folder=root.parent / "ours", home="h", ignored=lambda path: ignored)
    assert found is not None
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "var").mkdir(parents=True)
    return tmp_path / "shop"


def test_copies_under_two_live_writers_in_wal_mode_are_whole(root: Path, tmp_path: Path) -> None:
    """Every copy passes SQLite's own check, has all that was committed before, and no half of a transaction."""
    source = root / "var" / "app.db"
    with closing(sqlite3.connect(source)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE pair (n integer, side text)")
    words = [sys.executable, "-c", _WRITER, str(source)]
    writers = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"going\n"
        for number in range(5):
            with closing(sqlite3.connect(source)) as db:
                before = db.execute("SELECT count(*) FROM pair").fetchone()[0]
            tree = tmp_path / f"tree{number}"
            tree.mkdir()
            found = branches(root)
            row = found.ensure(f"run-aaaa/t{number}", "task", found.place(tree), "start")
            with closing(sqlite3.connect(tree / "var" / "app.db")) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert db.execute("SELECT count(*) FROM pair").fetchone()[0] >= before
                sides = dict(db.execute("SELECT side, count(*) FROM pair GROUP BY side").fetchall())
                assert sides["left"] == sides["right"]
            assert row.state == "made"
        assert all(writer.poll() is None for writer in writers), "a writer was disturbed"
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()


def test_a_source_that_stays_locked_is_told(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stretto.workspace.databases.sqlite.PATIENCE", 0.2)
    source = root / "var" / "app.db"
    with closing(sqlite3.connect(source, isolation_level=None)) as db:
        db.execute("CREATE TABLE t (n)")
        db.execute("BEGIN EXCLUSIVE")
        found = branches(root)
        with pytest.raises(StrettoError) as refused:
            found.ensure("run-aaaa/one", "task", found.place(tmp_path), "start")
        assert refused.value.code in ("database_in_use", "database_failed")
        assert "app.db" in refused.value.message
    assert found.known() == []
    assert not (tmp_path / "var").joinpath("app.db").exists()


def test_a_file_that_git_would_commit_is_refused(root: Path) -> None:
    with pytest.raises(StrettoError) as refused:
        branches(root, ignored=False).check()
    assert refused.value.code == "database_tracked"
    assert refused.value.hint == "echo '/var/app.db*' >> .gitignore, and commit that"


@pytest.mark.parametrize("url", ["sqlite:///../app.db", "sqlite:///:memory:"])
def test_a_path_that_is_no_file_of_the_checkout_is_refused(root: Path, url: str) -> None:
    with pytest.raises(StrettoError) as refused:
        branches(root, url).check()
    assert refused.value.code == "database_url"


def test_a_folder_that_leads_out_of_the_worktree_is_not_written(root: Path, tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    outside.mkdir()
    (tree / "var").symlink_to(outside)
    found = branches(root)
    with pytest.raises(StrettoError) as refused:
        found.ensure("run-aaaa/one", "task", found.place(tree), "start")
    assert refused.value.code == "database_link"
    assert list(outside.iterdir()) == []
    assert found.known() == []


def test_what_is_no_database_is_told(root: Path, tmp_path: Path) -> None:
    (root / "var" / "app.db").write_text("not a database, only called so" * 100)
    found = branches(root)
    with pytest.raises(StrettoError) as refused:
        found.ensure("run-aaaa/one", "task", found.place(tmp_path), "start")
    assert refused.value.code == "database_failed"
    assert wait_for(lambda: found.known() == [])


def test_without_a_source_migrations_begin_with_nothing(root: Path, tmp_path: Path) -> None:
    found = branches(root)
    row = found.ensure("run-aaaa/one", "task", found.place(tmp_path), "start")
    assert row.state == "made"
    assert not (tmp_path / "var" / "app.db").exists()
    assert found.address(row, found.place(tmp_path)).url == f"sqlite:///{tmp_path}/var/app.db"


def test_copies_are_for_their_owner_only(root: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(root / "var" / "app.db")) as db, db:
        db.execute("CREATE TABLE t (n)")
    (root / "var" / "app.db").chmod(0o644)
    found = branches(root)
    tree = tmp_path / "tree"
    tree.mkdir()
    found.ensure("run-aaaa/one", "task", found.place(tree), "start")
    assert (tree / "var" / "app.db").stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------------ links that an agent commits

_NAMES = ("app.db", "app.db-wal", "app.db-shm", "app.db-journal")


class Linked:
    """A gate's database in a tree, and the person's own files, to which a link will lead."""

    def __init__(self, root: Path, tmp_path: Path) -> None:
        with closing(sqlite3.connect(root / "var" / "app.db")) as db, db:
            db.execute("CREATE TABLE t (n)")
        self.tree, self.theirs = tmp_path / "tree", tmp_path / "theirs"
        self.tree.mkdir()
        self.theirs.mkdir()
        for name in _NAMES:
            (self.theirs / name).write_text(f"mine: {name}")
        self.branches = branches(root)
        self.place = self.branches.place(self.tree)
        self.branches.ensure("landing-gate/gate", "gate", self.place, "start")
        assert (self.tree / "var" / "app.db").exists()

    def put(self, kind: str) -> None:
        """As a checkout of the agent's commit does: what git ignores goes for what it knows."""
        for path in (self.tree / "var").iterdir():
            path.unlink()
        if kind == "folder":
            (self.tree / "var").rmdir()
            (self.tree / "var").symlink_to(self.theirs)
            return
        for name in _NAMES[:1] if kind == "file" else _NAMES[1:]:
            (self.tree / "var" / name).symlink_to(self.theirs / name)

    def untouched(self) -> bool:
        return {path.name: path.read_text() for path in self.theirs.iterdir()} == {n: f"mine: {n}" for n in _NAMES}


@pytest.fixture
def linked(root: Path, tmp_path: Path) -> Linked:
    return Linked(root, tmp_path)


@pytest.mark.parametrize("kind", ["folder", "file", "sides"])
def test_no_database_is_made_anew_through_a_link(linked: Linked, kind: str) -> None:
    linked.put(kind)
    with pytest.raises(StrettoError) as refused:
        linked.branches.ensure("landing-gate/gate", "gate", linked.place, "start", anew=True)
    assert refused.value.code == "database_link"
    assert "var/app.db is reached through a link" in refused.value.message
    assert linked.untouched()
    assert linked.branches.known() == []
    links = [linked.tree / "var", *(linked.tree / "var" / name for name in _NAMES)]
    assert [path for path in links if path.is_symlink()], "what the agent committed stays"
    for path in links[1:] if kind != "folder" else links[:1]:
        path.unlink(missing_ok=True)
    assert linked.branches.ensure("landing-gate/gate", "gate", linked.place, "start", anew=True).state == "made"
    assert (linked.tree / "var" / "app.db").exists(), "the next candidate has its own again"


@pytest.mark.parametrize("kind", ["folder", "file", "sides"])
def test_nothing_is_dropped_or_put_aside_through_a_link(linked: Linked, kind: str) -> None:
    linked.put(kind)
    linked.branches.set_aside("landing-gate/gate", "gate", "r1", linked.place)
    assert linked.untouched()
    with contextlib.suppress(StrettoError):
        linked.branches.bring_back("r1", linked.place)
    linked.branches.drop("landing-gate/gate", "gate", linked.place)
    assert linked.untouched()
    assert linked.branches.known() == []


def test_what_comes_back_is_not_put_behind_a_link(linked: Linked) -> None:
    linked.branches.set_aside("landing-gate/gate", "gate", "r1", linked.place)
    for path in linked.theirs.iterdir():
        path.unlink()
    linked.put("folder")
    with pytest.raises(StrettoError) as refused:
        linked.branches.bring_back("r1", linked.place)
    assert refused.value.code == "database_link"
    assert list(linked.theirs.iterdir()) == []
    (linked.tree / "var").unlink()
    linked.branches.bring_back("r1", linked.place)
    with closing(sqlite3.connect(linked.tree / "var" / "app.db")) as db:
        assert db.execute("SELECT * FROM t").fetchall() == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_no_template_is_made_of_what_a_link_leads_to(linked: Linked, kind: str) -> None:
    for path in linked.theirs.iterdir():
        path.unlink()
    with closing(sqlite3.connect(linked.theirs / "app.db")) as db, db:
        db.execute("CREATE TABLE secret (n)")
    linked.put(kind)
    linked.branches.settled("landing-gate/gate", "gate", linked.place, "start")
    assert linked.branches.templates() == []


def test_a_database_crosses_to_another_file_system_and_back(linked: Linked, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = files.rename_in

    def far(old_folder: int, old: str, new_folder: int, new: str) -> None:
        if old_folder != new_folder:
            raise OSError(errno.EXDEV, "another file system")
        moved(old_folder, old, new_folder, new)

    monkeypatch.setattr(files, "rename_in", far)
    linked.branches.set_aside("landing-gate/gate", "gate", "r1", linked.place)
    assert list((linked.tree / "var").iterdir()) == []
    linked.branches.bring_back("r1", linked.place)
    assert [path.name for path in (linked.tree / "var").iterdir()] == ["app.db"]
    with closing(sqlite3.connect(linked.tree / "var" / "app.db")) as db:
        assert db.execute("SELECT * FROM t").fetchall() == []


def test_what_a_crash_left_is_taken_away_where_it_was(root: Path, tmp_path: Path) -> None:
    """A deletion that was cut off: whoever comes next completes it, and touches neither its own place nor another's."""
    with closing(sqlite3.connect(root / "var" / "app.db")) as db, db:
        db.execute("CREATE TABLE t (n)")
    found, trees = branches(root), {name: tmp_path / name for name in ("cut", "recycled", "adopted", "next")}
    for name in ("cut", "recycled"):
        trees[name].mkdir()
        row = found.ensure(f"run-aaaa/{name}", "task", found.place(trees[name]), "start")
        found._rows.put(row.name, dataclasses.replace(row, state="dropping"))
    theirs = trees["adopted"] / "var" / "app.db"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("somebody's own")
    # somebody else works by now where the second one was
    (trees["recycled"] / "var" / "app.db").unlink()
    settled = dataclasses.replace(row, name="stretto_shop_other_0123456789", owner="run-aaaa/other", state="made")
    found._rows.put(settled.name, settled)
    (trees["recycled"] / "var" / "app.db").write_text("the other task's")
    with pytest.raises(StrettoError) as refused:
        found.ensure("run-aaaa/adopted", "task", found.place(trees["adopted"]), "start")
    assert refused.value.code == "database_taken"
    assert theirs.read_text() == "somebody's own"
    assert (trees["recycled"] / "var" / "app.db").read_text() == "the other task's"
    assert list((trees["cut"] / "var").iterdir()) == []
    assert [row.owner for row in found.known()] == ["run-aaaa/other"]
