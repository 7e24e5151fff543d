"""Run the stages of `make test` one after the other, each timed; say at the end which one failed.

usage: check.py [STAGE…] [-- PYTEST ARGUMENTS]      stages: lint format types layers tests fast (default: all but fast)
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


PYTEST = (sys.executable, "-m", "pytest", "-q", "-n", str(min(8, max(2, _cores()))), "--dist", "worksteal")
STAGES: dict[str, tuple[str, ...]] = {
    "lint": (str(BIN / "ruff"), "check", "--quiet", "."),
    "format": (str(BIN / "ruff"), "format", "--quiet", "--check", "."),
    "types": (sys.executable, "-m", "mypy"),
    "layers": (str(BIN / "lint-imports"), "--no-cache"),
    "tests": (*PYTEST, "--durations=10", "--durations-min=5"),
    "fast": (*PYTEST, "-m", "not e2e and not faults and not agents and not claude and not pi"),
}
DEFAULT = ("lint", "format", "types", "layers", "tests")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one stage ended. `seconds` is wall time."""

    stage: str
    code: int
    seconds: float

    def __str__(self) -> str:
        """One line of the closing table."""
        return f"{self.stage:<8} {'ok' if self.code == 0 else f'FAILED (exit {self.code})':<18} {self.seconds:7.1f} s"


def run(stage: str, extra: list[str]) -> Outcome:
    """Run one stage; its output goes where ours goes."""
    print(f"== {stage}", flush=True)
    started = time.monotonic()
    argv = [*STAGES[stage], *(extra if stage in ("tests", "fast") else [])]
    code = subprocess.run(argv, cwd=ROOT, check=False, stdin=subprocess.DEVNULL).returncode
    return Outcome(stage, code, time.monotonic() - started)


def main(arguments: list[str]) -> int:
    """Run the stages that are named; 0 if all passed, 1 if one failed, 2 for an unknown one."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    stages, extra = arguments[:cut] or list(DEFAULT), arguments[cut + 1 :]
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        print(f"no such stage: {', '.join(unknown)}\n{__doc__}", file=sys.stderr)
        return 2
    outcomes = [run(stage, extra) for stage in stages]
    failed = [outcome.stage for outcome in outcomes if outcome.code != 0]
    print("", *outcomes, sep="\n")
    print(f"failed: {', '.join(failed)}" if failed else "all stages passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
