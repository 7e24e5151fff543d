"""(h) A database branch of 100 MB on PostgreSQL against `pg_dump | pg_restore`; one of SQLite beside it.

Needs PostgreSQL's programs (the development environment has them); `STRETTO_BENCH_MB` makes the database larger.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import Figure
from benchmarks.world import World
from stretto.workspace.databases import Branches, connect, programs
from tests.support.postgres import Cluster
from tests.support.world import RUN_VARIABLE

ROUNDS = 3
#: bytes that a row of the test table takes, index included
_ROW = 130


def run(here: World) -> list[Figure]:
    megabytes = int(os.environ.get("STRETTO_BENCH_MB", "100"))
    os.environ.setdefault(RUN_VARIABLE, here.folder.name)
    here.folder.chmod(0o755)
    cluster = Cluster(programs.servers()[0], here.folder / "pg")
    try:
        return _measured(here, cluster, megabytes)
    finally:
        cluster.stop()


def _measured(here: World, cluster: Cluster, megabytes: int) -> list[Figure]:
    cluster.run("CREATE DATABASE dev;", "postgres")
    rows = megabytes * 1_000_000 // _ROW
    cluster.run(
        f"CREATE TABLE big AS SELECT n, repeat(md5(n::text), 2) AS text FROM generate_series(1, {rows}) AS n;"
        " ALTER TABLE big ADD PRIMARY KEY (n); CHECKPOINT;",
        "dev",
        user="admin",
    )
    cluster.admin.run("ALTER TABLE big OWNER TO ann;", database="dev")
    size = int(cluster.admin.value("SELECT pg_database_size('dev');") or 0) / 1e6
    found = connect({"url": cluster.url(name="dev").text()}, root=here.folder / "shop", folder=here.folder / "ours",
                    home="h", ignored=lambda path: True)  # fmt: skip
    assert found is not None
    place = found.place(here.folder)
    found.ensure("run-aaaa/first", "task", place, "start")
    found.settled("run-aaaa/first", "task", place, "start")
    clone = min(_seconds(_one(found, number, here.folder)) for number in range(ROUNDS))
    dump = min(_seconds(partial(_dumped, cluster, number)) for number in range(2))
    version = cluster.admin.version() // 10000
    note = f"{size:.0f} MB, PostgreSQL {version}; role, rights and log-in included; bare: pg_dump -Fc, then pg_restore"
    faster = Figure("h", "database branch against dump and restore", dump / clone, "x", None, 10.0, at_least=True)
    return [
        Figure("h", "a database branch from the golden template", clone, "s", dump, note=note),
        faster,
        _sqlite(here),
    ]


def _dumped(cluster: Cluster, number: int) -> None:
    cluster.run(f"CREATE DATABASE copy{number};", "postgres")
    from stretto.workspace.databases.psql import Server

    Server(cluster.url()).pipe("dev", f"copy{number}")


def _sqlite(here: World) -> Figure:
    import sqlite3

    root = here.folder / "lite"
    root.mkdir()
    db = sqlite3.connect(root / "app.db")
    db.execute("CREATE TABLE big (n integer PRIMARY KEY, text text)")
    db.executemany("INSERT INTO big VALUES (?, ?)", ((n, f"{n:064x}") for n in range(300_000)))
    db.commit()
    db.close()
    size = (root / "app.db").stat().st_size / 1e6
    found: Branches | None = connect({"url": "sqlite:///app.db"}, root=root, folder=here.folder / "theirs", home="h",
                                     ignored=lambda path: True)  # fmt: skip
    assert found is not None
    times = []
    for number in range(ROUNDS):
        tree = here.folder / f"tree{number}"
        tree.mkdir()
        times.append(_seconds(_one(found, number, tree)))
    return Figure("h", "a branch of an SQLite file", min(times), "s", note=f"{size:.0f} MB, by the backup interface")


def _one(found: Branches, number: int, tree: Path) -> Callable[[], object]:
    return lambda: found.ensure(f"run-aaaa/t{number}", "task", found.place(tree), "start")


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started
