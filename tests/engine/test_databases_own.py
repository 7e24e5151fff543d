"""The person's own database is migrated when they say so, with a copy that comes back."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.workspace.databases import programs
from tests.engine.spine import Spine, running
from tests.support import migrator
from tests.support.postgres import Cluster
from tests.support.repository import Repository

ENV = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


@dataclass
class Own:
    """The person's database, and how it is asked."""

    spine: Spine
    ask: Callable[[str], list[str]]


@pytest.fixture(params=["sqlite", "postgres"])
def own(
    request: pytest.FixtureRequest, home: Path, make_repo: Callable[..., Repository], tmp_path: Path
) -> Iterator[Own]:
    if request.param == "sqlite":
        path = tmp_path / "repo" / "var" / "app.db"

        def ask(script: str) -> list[str]:
            with closing(sqlite3.connect(path)) as db, db:
                return [str(row[0]) for row in db.execute(script).fetchall()]

        with running(make_repo("repo", migrator.project("sqlite:///var/app.db")), tmp_path) as spine:
            path.parent.mkdir()
            yield Own(spine, ask)
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    name = f"own_{os.urandom(4).hex()}"
    cluster.run(f"CREATE DATABASE {name};", "postgres")
    with running(make_repo("repo", migrator.project(cluster.url(name=name).text())), tmp_path) as spine:
        yield Own(spine, lambda script: [row[0] for row in cluster.run(f"{script};", name)])
    cluster.admin.run(f"DROP DATABASE {name} WITH (FORCE);")


def test_it_is_shown_confirmed_copied_and_comes_back(own: Own, tmp_path: Path) -> None:
    own.ask("CREATE TABLE source (n integer)")
    own.ask("INSERT INTO source VALUES (7)")
    with pytest.raises(StrettoError) as untrusted:
        own.spine.call("db_apply", yes=True, env=ENV)
    assert untrusted.value.code == "untrusted"
    with pytest.raises(StrettoError) as asked:
        own.spine.call("db_apply", trust=True, env=ENV)
    assert asked.value.code == "confirm"
    assert "the command: python3 db.py" in str(asked.value.details["text"])
    with pytest.raises((StrettoError, sqlite3.Error), match="lamp"):
        own.ask("SELECT count(*) FROM lamp")
    done = own.spine.call("db_apply", yes=True, env=ENV)
    assert own.ask("SELECT count(*) FROM lamp") == ["0"]
    kept = Path(done["snapshot"])
    assert kept.stat().st_mode & 0o777 == 0o600
    own.ask("DELETE FROM source")
    restored(own, done)
    assert own.ask("SELECT n FROM source") == ["7"]


def restored(own: Own, done: dict[str, str]) -> None:
    """As the person would do it by the words of the answer; sqlite3's shell is not on every machine."""
    if done["url"].startswith("sqlite"):
        with (
            closing(sqlite3.connect(done["snapshot"])) as old,
            closing(sqlite3.connect(done["url"].removeprefix("sqlite:///"))) as new,
        ):
            old.backup(new)
        return
    folder = programs.client("pg_restore").parent
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["/bin/sh", "-c", done["restore"]], env=env, check=True, capture_output=True)


def test_a_migration_that_fails_says_how_all_comes_back(own: Own) -> None:
    own.ask("CREATE TABLE lamp (n integer)")  # so that the first migration cannot make it
    with pytest.raises(StrettoError) as failed:
        own.spine.call("db_apply", yes=True, trust=True, env=ENV)
    assert failed.value.code == "setup_failed"
    assert "what was there comes back with: " in str(failed.value.hint)
    assert Path(str(failed.value.details["snapshot"])).exists()
