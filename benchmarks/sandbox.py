"""(i) What the start of a command in a sandbox costs, against the same command without one."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Figure, quantile, seconds_of
from benchmarks.world import World
from stretto.git.repository import Repository
from stretto.home import open_home
from stretto.workspace import sandbox
from stretto.workspace.bays import Bays
from stretto.workspace.sandbox import places
from stretto.workspace.sandbox.recipe import Recipe

ROUNDS = 40
LIMIT = 15.0


def run(here: World) -> list[Figure]:
    repo = here.repository("sandbox", 50)
    home = open_home(here.env).path
    git = Repository.open(repo, home)
    space = Bays.open(git, home, {}).ensure(
        "run-abcd/t", "task", str(git.resolve("HEAD")), "stretto/run-abcd/t/work", dict(here.env)
    )
    admin = git.common / "worktrees" / space.path.name
    system, links = places.system()
    kept = Recipe(
        str(space.path),
        str(Path(here.env["HOME"])),
        git=places.worktree(git.common, admin, ["refs/heads/stretto/run-abcd/t"]),
        system=system,
        links=links,
    )
    true = shutil.which("true") or "/bin/true"
    bare = [seconds_of([true], space.path, here.env) * 1000 for _ in range(ROUNDS)]
    found = []
    for what, recipe in {"no network": kept, "with a proxy": kept_with_proxy(kept)}.items():
        words = sandbox.wrapper(recipe, sandbox.require(), sys.executable)
        ours = [seconds_of([*words, true], space.path, here.env) * 1000 for _ in range(ROUNDS)]
        alone = [
            seconds_of([*words[words.index("--") + 1 :], true], space.path, here.env) * 1000 for _ in range(ROUNDS)
        ]
        note = f"median {quantile(ours, 0.5):.1f}; bubblewrap alone {min(alone):.1f}, median {quantile(alone, 0.5):.1f}"
        cost = min(ours) - min(bare)
        found.append(Figure("i", f"start in a sandbox, {what}", cost, "ms", min(bare), LIMIT, note=note))
    return found


def kept_with_proxy(recipe: Recipe) -> Recipe:
    return replace(recipe, allow=("example.org",))
