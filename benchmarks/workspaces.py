"""(b) A workspace is ready, against a bare `git worktree add`; (d) its removal with a snapshot. 2,000 files."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.measure import Figure, cpu_time, quantile, seconds_of
from benchmarks.world import World
from stretto.git.repository import Repository
from stretto.home import open_home
from stretto.workspace.bays import Bays

FILES = 2000
ROUNDS = 15


def run_ready(here: World) -> list[Figure]:
    repo = here.repository("ready", FILES)
    bays, base = _bays(here, repo)
    ours, bare, cpu = [], [], []
    for number in range(ROUNDS):
        place = here.folder / f"bare-{number}"
        argv = ["git", "worktree", "add", "-q", "-b", f"bare-{number}", str(place), base]
        bare.append(seconds_of(argv, repo, here.env) * 1000)
        used, started = cpu_time(), time.perf_counter()
        space = bays.ensure(f"run-abcd/t{number}", "task", base, f"stretto/run-abcd/t{number}/work", dict(here.env))
        ours.append((time.perf_counter() - started) * 1000)
        cpu.append(cpu_time() - used)
        bays.remove(space.owner, space.path, space.branch, "benchmark")
        shutil.rmtree(place)
    median = f"median {quantile(ours, 0.5):.0f} against {quantile(bare, 0.5):.0f}"
    note = f"{median}; processor {min(cpu):.0f} ms; target git + 60"
    return [Figure("b", f"workspace ready, {FILES} files", min(ours), "ms", min(bare), min(bare) + 60, note=note)]


def run_removal(here: World) -> list[Figure]:
    repo = here.repository("removal", FILES)
    git = Repository.open(repo, open_home(here.env).path)  # one for all who work on a repository, as in the daemon
    bays, base = Bays.open(git, here.home, {}), here.git(repo, "rev-parse", "HEAD")
    found: dict[str, list[float]] = {"after a turn was committed": [], "never looked at": []}
    cpu: dict[str, list[float]] = {kind: [] for kind in found}
    for number in range(ROUNDS * 2):
        kind = list(found)[number % 2]
        owner, branch = f"run-abcd/t{number}", f"stretto/run-abcd/t{number}/work"
        space = bays.ensure(owner, "task", base, branch, dict(here.env))
        _edit(space.path, "first")
        if number % 2 == 0:
            time.sleep(1.1)  # a turn takes longer than a second, in which git does not trust the times of files
            git.commit_all(space.path, branch, "A turn\n")
            _edit(space.path, "second")
        used, started = cpu_time(), time.perf_counter()
        bays.remove(owner, space.path, branch, "benchmark")
        found[kind].append((time.perf_counter() - started) * 1000)
        cpu[kind].append(cpu_time() - used)
    return [
        Figure(
            "d", f"removal with a snapshot, {kind}", min(times), "ms", None, 50.0,
            note=f"{FILES} files, 15 changed; median {quantile(times, 0.5):.0f}; processor {min(cpu[kind]):.0f} ms",
        )
        for kind, times in found.items()
    ]  # fmt: skip


def _bays(here: World, repo: Path) -> tuple[Bays, str]:
    home = open_home(here.env).path
    git = Repository.open(repo, home)
    return Bays.open(git, home, {}), here.git(repo, "rev-parse", "HEAD")


def _edit(path: Path, word: str) -> None:
    for number in range(10):
        (path / f"d{number:03}" / f"f{number * 50:05}.txt").write_text(f"{word}\n" * 9)
    for number in range(5):
        (path / f"new-{word}-{number}.txt").write_text(f"{word}\n")
