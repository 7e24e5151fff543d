"""(i) What a sandbox costs: an agent that a shim starts, and a command, each against the same without one.

Measured is the time until the agent or command itself runs: it says what time it is. An agent's begins with the start
of its shim.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, quantile
from benchmarks.world import World
from stretto.git.repository import Repository
from stretto.home import open_home
from stretto.shim.constants import HOST
from stretto.workspace import sandbox
from stretto.workspace.bays import Bays
from stretto.workspace.sandbox import etc, places
from stretto.workspace.sandbox.recipe import Recipe

ROUNDS = 30
LIMIT = 15.0
_NOW = ["/bin/date", "+%s%N"]


def run(here: World) -> list[Figure]:
    repo = here.repository("sandbox", 50)
    home = open_home(here.env).path
    git = Repository.open(repo, home)
    space = Bays.open(git, home, {}).ensure(
        "run-abcd/t", "task", str(git.resolve("HEAD")), "stretto/run-abcd/t/work", dict(here.env)
    )
    admin = git.common / "worktrees" / space.path.name
    system, links = places.system(etc=False)
    kept = Recipe(
        str(space.path),
        str(Path(here.env["HOME"])),
        git=places.worktree(git.common, admin, ["refs/heads/stretto/run-abcd/t"]),
        system=system,
        links=links,
        etc=str(etc.folder(home)),
        ports=(20000,),
    )
    found = []
    for what, recipe in {"no network": kept, "with a proxy": replace(kept, allow=("example.org",))}.items():
        words = sandbox.wrapper(recipe, sandbox.require(), sys.executable)
        alone = words[words.index("--") + 1 :]
        rounds = [_round(here, space.path, words, alone) for _ in range(ROUNDS)]
        bare, ours, plain, command, bwrap = (sorted(column) for column in zip(*rounds, strict=True))
        note = f"median {_median(ours) - _median(bare):.1f}; bubblewrap alone {bwrap[0] - plain[0]:.1f}"
        found.append(Figure("i", f"start of an agent, {what}", ours[0] - bare[0], "ms", bare[0], LIMIT, note=note))
        note = f"median {_median(command) - _median(plain):.1f}; a check, a gate, a set-up"
        found.append(Figure("i", f"start of a command, {what}", command[0] - plain[0], "ms", plain[0], note=note))
    return found


def _round(here: World, space: Path, words: list[str], alone: list[str]) -> list[float]:
    """In turn, so that all have the same load: an agent without and with a sandbox, a command so, bubblewrap alone."""
    agents = [_agent(here, space, wrapper) for wrapper in ([], words)]
    return [*agents, *(_command(here, space, wrapper) for wrapper in ([], words, alone))]


def _command(here: World, space: Path, wrapper: list[str]) -> float:
    """Milliseconds from the start to the first moment of the command."""
    began = time.time_ns()
    done = subprocess.run([*wrapper, *_NOW], cwd=space, env=here.env, capture_output=True, check=True)
    return (int(done.stdout) - began) / 1e6


def _agent(here: World, space: Path, wrapper: list[str]) -> float:
    """Milliseconds from the start of a shim to the first moment of its agent."""
    folder = here.folder / f"session-{time.monotonic_ns()}"
    folder.mkdir()
    spec: dict[str, Any] = {
        "schema": 1, "session": "s", "style": "stream", "argv": _NOW, "wrapper": wrapper, "cwd": str(space),
        "launcher": str(sandbox.LAUNCH), "env": dict(here.env), "marker": "STRETTO_SESSION=s",
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "in.jsonl").touch()
    began = time.time_ns()
    subprocess.run(
        [sys.executable, "-I", "-S", str(HOST), str(folder)],
        input=(2).to_bytes(8, "big") + b"{}",
        env=here.env,
        capture_output=True,
        check=True,
    )
    (said,) = folder.glob("out.*")
    return (int(said.read_bytes()) - began) / 1e6


def _median(values: list[float]) -> float:
    return quantile(values, 0.5)
