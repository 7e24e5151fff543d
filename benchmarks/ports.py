"""(g) 10,000 leases of ports by 8 processes at once: how long one takes, and whether a slot was ever had twice.

All of them want the lowest free slot, and do nothing but lease it and give it back: the worst that can happen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Figure, quantile
from benchmarks.world import World
from stretto.workspace.port_leases import Holder, Owner, Registry, block

RACERS, LEASES = 8, 1250


def run(here: World) -> list[Figure]:
    here.folder.joinpath("marks").mkdir()
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ports", str(here.folder), f"home-{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for n in range(RACERS)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    found = [json.loads(racer.communicate()[0]) for racer in racers]
    times = [ms for each in found for ms in each["ms"]]
    twice = sum(each["twice"] for each in found)
    note = f"{RACERS} processes on {os.cpu_count()} cores; longest {max(times):.0f} ms, least {min(times):.2f} ms"
    return [
        Figure("g", "lease of a slot with 20 ports, p99", quantile(times, 0.99), "ms", None, 10.0, note=note),
        Figure("g", "lease of a slot with 20 ports, median", quantile(times, 0.5), "ms"),
        Figure("g", f"slots that were had twice, in {len(times):,} leases", float(twice), "", None, 0.0),
    ]


def race(folder: Path, home: str) -> None:
    """Lease and give back, again and again; a file that exists only while a slot is held shows what is had twice."""
    import time

    registry, me = Registry(folder / "leases" / "ports.db"), Holder.current()
    ms, twice = [], 0
    sys.stdin.readline()
    for n in range(LEASES):
        owner = Owner(home, "repo", f"run-abcd/t{n}", "task")
        started = time.perf_counter()
        lease = registry.lease(owner, folder, me, lambda slot: {"PORT": block(slot).start}, range(1, 601))
        ms.append((time.perf_counter() - started) * 1000)
        mark = folder / "marks" / str(lease.slot)
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            twice += 1
        else:
            mark.unlink()
        registry.release(owner)
    print(json.dumps({"ms": ms, "twice": twice}))


if __name__ == "__main__":
    race(Path(sys.argv[1]), sys.argv[2])
