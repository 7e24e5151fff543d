"""(j) A workspace with all that a Node project needs, against the script that people use today.

2,000 files, 20,000 of packages, `.env`, an SQLite file, ports. The script (below) makes a worktree, runs `npm install`
and copies `.env` and the database. The install is as quick as it can be today: the lock file is there, all packages lie
on this disk as archives, nothing is asked of the network, audit and funding are off. stretto takes a spare from the
pool, or makes everything anew from the golden copy; what the first workspace of all costs, which installs and keeps a
golden copy, is told besides, and what `cp -a` takes for the packages alone.

All are measured in turn, so that each has the same load. Nothing is deleted before the end, and every tree may begin
where the disk has most room: ext4 without a journal is many times slower where much was deleted a minute ago, for the
script as for stretto.
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
from stretto.workspace.spreading import spread

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
    home = open_home(here.env).path
    git = Repository.open(repo, home)
    bays, base = Bays.open(git, home, CONFIG), here.git(repo, "rev-parse", "HEAD")
    env, trees = dict(here.env), here.folder / "today"
    trees.mkdir()
    spread(trees)
    first, rungs = _ready(bays, "first", base, env)
    (golden,) = (bays.folder.private / "golden").glob("*/0")
    seconds: dict[str, list[float]] = {"today": [], "cold": [], "warm": [], "cp": [], "cp reflink": []}
    for number in range(ROUNDS):
        argv = ["sh", "-c", SCRIPT, "sh", f"today-{number}", str(trees / str(number)), str(repo)]
        seconds["today"].append(seconds_of(argv, repo, here.env))
        for kind, how in (("cp", "never"), ("cp reflink", "auto")):
            copy = ["cp", "-a", f"--reflink={how}", str(golden), str(trees / f"{kind} {number}")]
            seconds[kind].append(seconds_of(copy, repo, here.env))
        for kind in ("cold", "warm"):
            if kind == "warm":
                bays.warm(base, 1, env, lambda owner: True)
            took, more = _ready(bays, f"{kind}-{number}", base, env)
            seconds[kind].append(took)
            rungs += more
    return _figures(seconds, first, rungs)


def _figures(seconds: dict[str, list[float]], first: float, rungs: list[str]) -> list[Figure]:
    what = f"{FILES} files, {PACKAGES * EACH:,} of packages, ports, SQLite"
    least = {kind: min(times) for kind, times in seconds.items()}
    median = {kind: quantile(times, 0.5) for kind, times in seconds.items()}
    today = least["today"]

    def ratio(kind: str) -> str:
        return f"of medians {median['today'] / median[kind]:.1f}"

    note = f"{ratio('warm')}; rungs {' '.join(rungs)}; the script: {', '.join(f'{s:.1f}' for s in seconds['today'])} s"
    return [
        Figure("j", f"workspace ready from the pool: {what}", today / least["warm"], "x", None, 10.0, True, note),
        Figure("j", f"workspace ready, cold: {what}", today / least["cold"], "x", None, 3.0, True, ratio("cold")),
        Figure("j", "from the pool; bare: the script", least["warm"], "s", today, note=f"median {median['warm']:.2f}"),
        Figure("j", "cold; bare: the script", least["cold"], "s", today, note=f"median {median['cold']:.2f}"),
        Figure("j", "cold; bare: cp -a of the packages alone", least["cold"], "s", least["cp"]),
        Figure("j", "cold; bare: cp -a --reflink=auto of the packages alone", least["cold"], "s", least["cp reflink"]),
        Figure("j", "the first of all: install and golden copy; bare: the script", first, "s", today),
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
