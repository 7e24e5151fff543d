"""kill -9 at every step of making, keeping, taking away and bringing back a database: nothing is lost, nothing leaks.

Specification. A process of its own goes through the whole life of a database and is killed at one point of it; the same
life is then lived again, from the start, by a process that is left alone. It must end as if nothing had happened: what
was written is there after `bring_back`, and after `purge` the server has no database, no role and no passfile of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stretto.failpoints import POINTS
from tests.support.counts import count
from tests.support.postgres import Cluster
from tests.support.processes import holding
from tests.support.world import ROOT, SOURCES

pytestmark = pytest.mark.faults

#: later passages: other steps of the same kind
LATER = {
    "daemon.database.psql.after": (9, 14, 20, 26, 32),
    "daemon.files.replace.before": (2, 5),
    "daemon.files.replace.after": (4, 6, 8),
}
#: what only a server of its own passes, or passes otherwise
SERVED = ["spawn.before", "spawn.after", "stop", "copy", "aside"]
OURS = [
    name
    for name in POINTS
    if name.startswith("daemon.database.") and not any(word in name for word in ("spawn", "stop", "command"))
]
PASSAGES = sorted(f"{name}@{n}" for name in {*OURS, *LATER} for n in {1, *LATER.get(name, ())})

#: where a life with a schema of its own is cut off: the points are the same, their order is another
SCHEMA = [
    *(f"daemon.database.{n}@1" for n in ("create.before", "create.after", "freeze.before", "freeze.after")),
    *(f"daemon.database.{n}@1" for n in ("aside", "back", "drop")),
    *(f"daemon.database.copy@{n}" for n in (1, 2, 4)),
    *(f"daemon.database.psql.after@{n}" for n in (9, 27, 40)),
    "daemon.files.replace.after@4",
]

_LIFE = """
import json, sys
from pathlib import Path
from stretto.workspace.databases import connect
from stretto.core.database_url import parse
from stretto.workspace.databases.psql import Server

given, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
branches = connect(given, root=folder / sys.argv[3], folder=folder / "ours", home="h", ignored=lambda path: True)
tree, owner = folder / "tree", "run-aaaa/one"
tree.mkdir(exist_ok=True)
place = branches.place(tree)
done = folder / "done"


def sql(script):
    row = branches.find(owner, "task")
    branches.wake(owner, "task", place)
    address = branches.address(row, place)
    there = parse(address.url)
    return Server(there, secret=dict(address.env)).run(script, database=there.name)


if not done.exists():
    if not (folder / "written").exists():
        branches.ensure(owner, "task", place, "start")
        sql("CREATE TABLE IF NOT EXISTS lamp (name text);")
        branches.settled(owner, "task", place, "start")
        sql("DELETE FROM lamp; INSERT INTO lamp VALUES ('precious');")
        (folder / "written").touch()
    if not (folder / "back").exists():
        branches.set_aside(owner, "task", "r123456", place)
        branches.bring_back("r123456", place)
        assert sql("SELECT name FROM lamp;") == [["precious"]]
        (folder / "back").touch()
    branches.set_aside(owner, "task", "r123457", place)
    branches.purge("r123457", place)
    branches.ensure("run-aaaa/next", "task", place, "start")  # whoever comes next takes away what is half-made
    branches.drop("run-aaaa/next", "task", place)
    for row in branches.templates():
        branches._drop(row, place)
    done.touch()
print(json.dumps([branches.leftovers(), [row.name for row in branches.known()]]))
"""


@pytest.mark.parametrize("passage", PASSAGES)
def test_killed_and_lived_again(passage: str, postgres: Cluster, tmp_path: Path) -> None:
    root = f"s{os.urandom(4).hex()}"
    source = f"dev_{root}"
    postgres.run(f"CREATE DATABASE {source};", "postgres")
    postgres.run("CREATE TABLE source (n integer); INSERT INTO source VALUES (1);", source)
    given = {"url": postgres.url(name=source).text()}
    holder = None
    if passage.startswith("daemon.database.copy"):  # only a source in use is copied by pg_dump
        words = [str(postgres.programs / "psql"), "-Xq", "-d", source, "-c", "SELECT pg_sleep(600)"]
        holder = subprocess.Popen(words, env={**os.environ, "PGHOST": str(postgres.folder), "PGUSER": "ann"})
        while not postgres.admin.sessions(source):
            assert holder.poll() is None
    try:
        first = live(given, tmp_path, root, STRETTO_TESTING="1", STRETTO_FAILPOINT=f"{passage}=kill")
        assert first.returncode == -9, f"{passage} is never reached: {first.stderr}"
        count("fail points killed", passage)
        again = live(given, tmp_path, root)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout) == [[], []]
        count("fail points recovered", passage)
    finally:
        if holder is not None:
            holder.kill()
            holder.wait()
    left = f"SELECT datname FROM pg_database WHERE datname LIKE 'stretto\\_{root}%';"
    assert postgres.admin.run(left) == []
    roles = f"SELECT rolname FROM pg_roles WHERE rolname LIKE 'stretto\\_{root}\\_one%';"
    assert postgres.admin.run(roles) == []
    assert list((tmp_path / "ours").glob("*.pgpass")) == []
    postgres.admin.run(f"DROP DATABASE {source} WITH (FORCE);")


@pytest.mark.parametrize("passage", SCHEMA)
def test_a_schema_is_killed_and_lived_again(passage: str, postgres: Cluster, tmp_path: Path) -> None:
    root = f"s{os.urandom(4).hex()}"
    source = f"dev_{root}"
    postgres.run(f"CREATE DATABASE {source};", "postgres")
    postgres.run("CREATE TABLE source (n integer); INSERT INTO source VALUES (1);", source)
    given = {"provider": "postgres-schema", "url": postgres.url(name=source).text()}
    first = live(given, tmp_path, root, STRETTO_TESTING="1", STRETTO_FAILPOINT=f"{passage}=kill")
    assert first.returncode == -9, f"{passage} is never reached: {first.stderr}"
    count("fail points killed", passage)
    again = live(given, tmp_path, root)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == [[], []]
    count("fail points recovered", passage)
    assert postgres.run("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'stretto%';", source) == []
    assert postgres.run(f"SELECT rolname FROM pg_roles WHERE rolname LIKE 'stretto\\_{root}%';", source) == []
    assert list((tmp_path / "ours").glob("*.pgpass")) == []
    assert postgres.run("SELECT n FROM source;", source) == [["1"]]
    postgres.admin.run(f"DROP DATABASE {source} WITH (FORCE);")


@pytest.mark.parametrize("point", SERVED)
def test_a_server_of_its_own_is_killed_and_lived_again(point: str, short_folder: Path) -> None:
    """Whatever died, no process is left at the end, and no two servers ever worked on one database."""
    given = {"provider": "postgres-cluster"}
    passage = f"daemon.database.{point}"
    first = live(given, short_folder, "shop", STRETTO_TESTING="1", STRETTO_FAILPOINT=f"{passage}=kill")
    assert first.returncode == -9, f"{passage} is never reached: {first.stderr}"
    count("fail points killed", passage)
    again = live(given, short_folder, "shop")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == [[], []]
    count("fail points recovered", passage)
    assert holding(str(short_folder)) == []
    assert [path.name for path in (short_folder / "ours").iterdir() if not path.name.endswith(".lock")] == ["rows"]


@pytest.mark.parametrize("passage", ["command.before@1", "command.after@1", "command.before@2", "command.after@2"])
def test_a_command_is_killed_and_its_database_lived_again(passage: str, tmp_path: Path) -> None:
    """Killed around `create` and `drop`: the service has no database of ours at the end."""
    at = f"{tmp_path}/service/$STRETTO_DATABASE"
    given = {"provider": "command", "create": f'touch "{at}" && echo file://{at}', "drop": f'rm -f "{at}"'}
    (tmp_path / "service").mkdir()
    (tmp_path / "shop").mkdir()
    for env in ({"STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"daemon.database.{passage}=kill"}, {}):
        done = subprocess.run(
            [sys.executable, "-c", _COMMANDED, json.dumps(given), str(tmp_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCES), str(ROOT))), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (-9 if env else 0), done.stderr
    count("fail points killed", f"daemon.database.{passage}")
    count("fail points recovered", f"daemon.database.{passage}")
    assert list((tmp_path / "service").iterdir()) == []


_COMMANDED = """
import json, sys
from pathlib import Path
from stretto.workspace.databases import connect

folder = Path(sys.argv[2])
branches = connect(json.loads(sys.argv[1]), root=folder / "shop", folder=folder / "ours", home="h", ignored=bool)
place = branches.place(folder)
row = branches.ensure("run-aaaa/one", "task", place, "start")
assert Path(branches.address(row, place).url.removeprefix("file://")).exists()
branches.drop("run-aaaa/one", "task", place)
assert branches.known() == []
"""


def live(given: dict[str, str], folder: Path, root: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _LIFE, json.dumps(given), str(folder), root],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCES), str(ROOT))), **env},
        capture_output=True,
        text=True,
        check=False,
    )
