"""(j) A workspace with all that a Node project needs, against the script that people use today.

2,000 files, 20,000 of packages, `.env`, an SQLite file, ports. The script makes a worktree, runs `npm install` from
a warm cache and copies `.env` and the database. stretto takes a spare from the pool, or makes everything anew from the
golden copy; what the first workspace of all costs, which installs and keeps a golden copy, is told besides.
"""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tarfile
import time
from pathlib import Path

from benchmarks.measure import Figure, quantile, seconds_of
from benchmarks.world import World
from stretto.checks import packages
from stretto.checks.run import CheckRunner
from stretto.git.repository import Repository
from stretto.home import open_home
from stretto.workspace.bays import Bays

FILES, PACKAGES, EACH = 2000, 40, 500
ROUNDS = 3
SCRIPT = """set -e
git worktree add -q -b "$1" "$2"
cd "$2"
npm install --prefer-offline --no-audit --no-fund >/dev/null 2>&1
cp "$3/.env" .env
mkdir -p var
cp "$3/var/shop.db" var/shop.db
"""
CONFIG = {
    "copy": [".env"],
    "dependencies": {"folders": None, "online": True},
    "database": {"url": "sqlite:///var/shop.db"},
    "ports": {"web": 0},
}


def run(here: World) -> list[Figure]:
    repo = _project(here)
    today = []
    for number in range(ROUNDS):
        place = here.folder / "today" / str(number)
        argv = ["sh", "-c", SCRIPT, "sh", f"today-{number}", str(place), str(repo)]
        today.append(seconds_of(argv, repo, here.env))
        shutil.rmtree(place)
    home = open_home(here.env).path
    git = Repository.open(repo, home)
    bays, base = Bays.open(git, home, CONFIG), here.git(repo, "rev-parse", "HEAD")
    env = dict(here.env)
    first, rungs = _ready(bays, "first", base, env)
    cold, warm = [], []
    for number in range(ROUNDS):
        seconds, more = _ready(bays, f"cold-{number}", base, env)
        cold.append(seconds)
        rungs += more
    for number in range(ROUNDS):
        bays.warm(base, 1, env, lambda owner: True)
        seconds, more = _ready(bays, f"warm-{number}", base, env)
        warm.append(seconds)
        rungs += more
    what = f"{FILES} files, {PACKAGES * EACH:,} of packages, ports, SQLite"
    least = min(today)
    note = f"rungs {' '.join(rungs)}; the script: {', '.join(f'{each:.1f}' for each in today)} s"
    return [
        Figure("j", f"workspace ready from the pool: {what}", least / min(warm), "x", None, 10.0, True, note),
        Figure("j", f"workspace ready, cold: {what}", least / min(cold), "x", None, 3.0, True, "from the golden copy"),
        Figure("j", "from the pool", min(warm), "s", least, note=f"median {quantile(warm, 0.5):.2f}"),
        Figure("j", "cold", min(cold), "s", least, note=f"median {quantile(cold, 0.5):.2f}"),
        Figure("j", "the first of all: install and golden copy", first, "s", least),
    ]


def _ready(bays: Bays, id: str, base: str, env: dict[str, str]) -> tuple[float, list[str]]:
    """Seconds until a workspace has everything; the rungs by which its packages came."""
    uid, runner = f"bench-abcd/{id}", CheckRunner("benchmark")
    told: list[packages.Brought] = []
    began = time.perf_counter()
    space = bays.ensure(uid, "task", base, f"stretto/{uid}/work", env)
    output = space.path.parent / f"{id}.log"
    lost = packages.bring(
        bays,
        space.path,
        space.env,
        lambda spec: runner.run(spec, space.path, space.env, output, lambda: False),
        told.append,
        keep=True,
    )
    seconds = time.perf_counter() - began
    output.unlink(missing_ok=True)
    assert lost is None, lost
    assert (space.path / ".env").exists()
    assert (space.path / "var" / "shop.db").exists()
    assert sum(1 for _ in (space.path / "node_modules").glob("*/*")) >= PACKAGES * EACH
    return seconds, [one.rung for one in told]


def _project(here: World) -> Path:
    """A repository whose lock file names packages that lie in it as archives, and a checkout without them."""
    repo = here.repository("shop", FILES)
    (repo / "archives").mkdir()
    for number in range(PACKAGES):
        with tarfile.open(repo / "archives" / f"p{number}.tgz", "w:gz") as archive:
            about = {"name": f"p{number}", "version": "1.0.0", "main": "m0.js"}
            _add(archive, "package/package.json", json.dumps(about).encode())
            for part in range(EACH):
                _add(archive, f"package/m{part}.js", b"module.exports = %d\n" % part * (1 + part % 100))
    wanted = {f"p{number}": f"file:archives/p{number}.tgz" for number in range(PACKAGES)}
    (repo / "package.json").write_text(json.dumps({"name": "shop", "version": "1.0.0", "dependencies": wanted}))
    (repo / ".gitignore").write_text("node_modules/\n.env\n/var/\n")
    (repo / ".env").write_text("KEY=1\n")
    (repo / "var").mkdir()
    with sqlite3.connect(repo / "var" / "shop.db") as db:
        db.execute("CREATE TABLE lamp (name text)")
    here.run("npm", "install", "--no-audit", "--no-fund", cwd=repo)
    shutil.rmtree(repo / "node_modules")
    here.git(repo, "add", "-A")
    here.git(repo, "commit", "-qm", "Packages")
    return repo


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
