"""(e) What the daemon costs while nothing happens: memory, and processor time with sixty idle sessions."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.measure import Figure, cpu_seconds, memory
from benchmarks.world import STRETTO, World, plan

SESSIONS = 60
SECONDS = 60.0


def run(here: World) -> list[Figure]:
    repo = here.repository("idle", 50)
    daemon = int(here.stretto(repo, "up")["pid"])
    empty = memory(daemon)
    _sixty(here, repo)
    time.sleep(3.0)
    before, started = cpu_seconds(daemon), time.monotonic()
    time.sleep(SECONDS)
    share = 100 * (cpu_seconds(daemon) - before) / (time.monotonic() - started)
    full = memory(daemon)
    shims = [memory(pid) for pid in _shims(here)]
    if len(shims) != SESSIONS:
        raise RuntimeError(f"{len(shims)} shims live, not {SESSIONS}")
    mean = {kind: sum(each[kind] for each in shims) / len(shims) for kind in ("Rss", "Pss")}
    return [
        _resident("no session", empty),
        _resident(f"{SESSIONS} sessions", full),
        Figure("e", "one shim resident", mean["Rss"], "MB", note=f"proportional {mean['Pss']:.1f}; {SESSIONS} live"),
        Figure("e", f"daemon, {SESSIONS} idle sessions", share, "% of a core", None, 2.0, note=f"over {SECONDS:g} s"),
    ]


def _resident(when: str, found: dict[str, float]) -> Figure:
    note = f"proportional {found['Pss']:.0f}"
    return Figure("e", f"daemon resident, {when}", found["Rss"], "MB", None, 60.0, note=note)


def _sixty(here: World, repo: Path) -> None:
    """Sixty tasks whose turn is over and whose change waits for approval: each session lives and is idle."""
    agent = here.folder / "agent.sh"
    agent.write_text('echo "$STRETTO_TASK" > "made-$STRETTO_TASK.txt"\n')
    text = here.folder / "PLAN.md"
    text.write_text(plan({f"t{n}": f"made-t{n}.txt" for n in range(SESSIONS)}))
    words = ["--agent", f"command:sh {agent}", "--approve", "human", "--trust", "--leave-checkout", "--no-fetch"]
    here.run(*STRETTO, "run", str(text), *words, "--open", str(SESSIONS), cwd=repo)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if len(here.stretto(repo, "inbox")["inbox"]) == SESSIONS:
            return
        time.sleep(0.5)
    raise RuntimeError("sixty tasks did not come to wait for approval")


def _shims(here: World) -> list[int]:
    sessions = str(here.home / "sessions").encode()
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                words = (place / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.endswith(b"shim/host.py") for word in words) and any(w.startswith(sessions) for w in words):
                found.append(int(place.name))
    return found
