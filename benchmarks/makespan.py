"""(c) Eight independent tasks of twenty seconds: stretto, against the ideal and against the usual script."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.measure import Figure
from benchmarks.world import STRETTO, World, plan

TASKS, SECONDS, GATE = 8, 20.0, 0.1
FILES = 2000
SCRIPT = Path(__file__).with_name("today.sh")


def run(here: World) -> list[Figure]:
    repo = here.repository("makespan", FILES)
    other = here.folder / "today"
    shutil.copytree(repo, other)
    agent = here.folder / "agent.sh"
    agent.write_text(f'sleep {SECONDS:g}\necho "$STRETTO_TASK" > "made-$STRETTO_TASK.txt"\n')
    ids = [f"t{n}" for n in range(TASKS)]
    today = _script(here, other, agent, ids)
    ours = _stretto(here, repo, agent, ids)
    for place in (repo, other):
        missing = {f"made-{id}.txt" for id in ids} - set(here.git(place, "ls-tree", "--name-only", "main").split())
        if missing:
            raise RuntimeError(f"{place} lacks {missing}")
    ideal = SECONDS + TASKS * GATE
    what = f"{TASKS} tasks of {SECONDS:g} s"
    return [
        Figure(
            "c", f"{what}: ideal / makespan", 100 * ideal / ours, "%", None, 85.0, True, f"{ours:.1f} s, gate {GATE} s"
        ),
        Figure("c", f"{what}: makespan against the script", ours, "s", today, note="the script: benchmarks/today.sh"),
    ]


def _script(here: World, repo: Path, agent: Path, ids: list[str]) -> float:
    started = time.monotonic()
    here.run("bash", str(SCRIPT), str(agent), f"sleep {GATE}", *ids, cwd=repo)
    return time.monotonic() - started


def _stretto(here: World, repo: Path, agent: Path, ids: list[str]) -> float:
    text = here.folder / "PLAN.md"
    text.write_text(plan({id: f"made-{id}.txt" for id in ids}, f"sleep {GATE}"))
    words = ["--agent", f"command:sh {agent}", "--approve", "auto", "--trust", "--leave-checkout", "--no-fetch"]
    here.stretto(repo, "up")
    started = time.monotonic()
    here.run(*STRETTO, "run", str(text), *words, "--open", str(TASKS), "--wait", cwd=repo)
    return time.monotonic() - started
