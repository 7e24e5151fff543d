"""Figures: the processor time of whole processes, quantiles, what the machine was, and the result of one benchmark."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `bare`: the equivalent without stretto in the same run; `limit`: what `value` may be."""

    bench: str
    what: str
    value: float
    unit: str
    bare: float | None = None
    limit: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.bare if self.bare else None

    @property
    def verdict(self) -> str:
        """`yes`, `NO`, or nothing when there is no target."""
        if self.limit is None:
            return ""
        good = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "yes" if good else "NO"

    def json(self) -> dict[str, Any]:
        return {
            "bench": self.bench, "what": self.what, "value": round(self.value, 4), "unit": self.unit,
            "bare": None if self.bare is None else round(self.bare, 4),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "target": self.limit, "at_least": self.at_least, "met": self.verdict or None, "note": self.note,
        }  # fmt: skip


def cpu_of(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> float:
    """User and system time of one process with all that it waited for, in milliseconds."""
    process = subprocess.Popen(argv, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} exited {process.returncode}")
    return (usage.ru_utime + usage.ru_stime) * 1000


def cpu_time() -> float:
    """User and system time of this process and of all that it waited for so far, in milliseconds."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in found) * 1000


def seconds_of(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run(argv, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return time.perf_counter() - started


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of all lie (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(part * len(ranked)))]


def memory(pid: int) -> dict[str, float]:
    """Resident and proportional memory of a process in MB (Linux)."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in {"Rss", "Pss"}:
            found[name] = int(rest.split()[0]) / 1024
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    bare = min(cpu_of([sys.executable, "-c", "pass"], Path.cwd(), os.environ) for _ in range(15))
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    return {
        "system": f"{platform.system()} {platform.release()}", "cores": os.cpu_count(),
        "python": platform.python_version(), "python_ms": round(bare, 1), "git": git, "sqlite": sqlite3.sqlite_version,
        "load": [round(each, 1) for each in os.getloadavg()], "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": "python -m benchmarks " + " ".join(sys.argv[1:]),
    }  # fmt: skip
