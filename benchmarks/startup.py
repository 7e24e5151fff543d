"""(a) What a quick command costs: processor time of the whole process, against a bare interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import Figure, cpu_of
from benchmarks.world import STRETTO, World, plan

ROUNDS = 21
LIMIT = 100.0


def run(here: World) -> list[Figure]:
    repo = here.repository("startup", 50)
    (here.folder / "agent.sh").write_text("echo change > made-$STRETTO_TASK.txt\n")
    (here.folder / "PLAN.md").write_text(plan({f"t{n}": f"made-t{n}.txt" for n in range(8)}))
    words = ["--agent", f"command:sh {here.folder}/agent.sh", "--approve", "auto", "--trust", "--leave-checkout"]
    here.run(*STRETTO, "run", str(here.folder / "PLAN.md"), *words, "--wait", cwd=repo)

    commands = {
        "--help": (*STRETTO, "--help"),
        "status, a daemon answers": (*STRETTO, "status", "--all"),
        "status --json, a daemon answers": (*STRETTO, "status", "--all", "--json"),
    }
    found = _least(here, repo, commands)
    here.run(*STRETTO, "down", cwd=repo)
    found |= _least(here, repo, {"status, no daemon": (*STRETTO, "status", "--all")})
    note = "8 landed tasks"
    bare = found.pop("bare")
    return [Figure("a", what, value, "ms", bare, LIMIT, note=note) for what, value in found.items()]


def _least(here: World, repo: Path, commands: dict[str, tuple[str, ...]]) -> dict[str, float]:
    """The least processor time of each command and of the bare interpreter, taken in turn."""
    commands = {"bare": (sys.executable, "-c", "pass"), **commands}
    least = dict.fromkeys(commands, float("inf"))
    for _ in range(ROUNDS):
        for name, argv in commands.items():
            least[name] = min(least[name], cpu_of(argv, repo, here.env))
    return least
