"""`make bench [ONLY=LETTERS]`: run the benchmarks, print a table, keep the figures in benchmarks/results/."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, machine
from benchmarks.world import world

RESULTS = Path(__file__).resolve().parent / "results"
#: letter -> module and function; each gets a world of its own
BENCHES = {
    "a": ("benchmarks.startup", "run"),
    "b": ("benchmarks.workspaces", "run_ready"),
    "c": ("benchmarks.makespan", "run"),
    "d": ("benchmarks.workspaces", "run_removal"),
    "e": ("benchmarks.idle", "run"),
    "f": ("benchmarks.latency", "run"),
    "g": ("benchmarks.ports", "run"),
    "h": ("benchmarks.databases", "run"),
    "i": ("benchmarks.sandbox", "run"),
    "j": ("benchmarks.dependencies", "run"),
    "k": ("benchmarks.streams", "run"),
    "l": ("benchmarks.panes", "run"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="letters of the benchmarks to run (default: all)")
    parser.add_argument("--dry", action="store_true", help="print the table, keep nothing")
    asked = parser.parse_args()
    unknown = set(asked.only) - BENCHES.keys()
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    for letter in asked.only or BENCHES:
        found = _measure(letter)
        print("\n".join(_lines(found)), flush=True)
        if not asked.dry:
            _keep(letter, found)
    if not asked.dry:
        _write_table()
    return 0


def _measure(letter: str) -> dict[str, Any]:
    module, function = BENCHES[letter]
    before = dict(os.environ)
    try:
        with world() as here:
            figures: list[Figure] = getattr(importlib.import_module(module), function)(here)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return {"schema": 1, "bench": letter, "machine": machine(), "figures": [each.json() for each in figures]}


def _keep(letter: str, found: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{letter}.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _write_table() -> None:
    """One table of the newest figures of every benchmark."""
    kept = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("[a-z].json"))]
    head = [
        "# Benchmarks",
        "",
        "Made by `make bench` (`make bench ONLY=a` for one). Least of several rounds where not said otherwise; `bare`",
        "is the same without stretto, measured in the same run. Times grow with the load: the last table",
        "says what a bare interpreter took of the processor just then (9 ms where nothing else runs).",
        "",
        "| | what | value | bare | ratio | target | met | notes |",
        "|---|---|---:|---:|---:|---:|---|---|",
    ]
    rows = [_row(figure) for each in kept for figure in each["figures"]]
    machines = ["", "| | when | system | cores | load | python | git | command |", "|---|---|---|---|---|---|---|---|"]
    machines += [_machine_row(each) for each in kept]
    (RESULTS / "README.md").write_text("\n".join([*head, *rows, *machines]) + "\n")


def _row(f: dict[str, Any]) -> str:
    bare = "" if f["bare"] is None else f"{f['bare']:.3g}"
    ratio = "" if f["ratio"] is None else f"{f['ratio']:.2f}"
    target = "" if f["target"] is None else f"{'≥' if f['at_least'] else '≤'} {f['target']:.4g}"
    cells = (f["bench"], f["what"], f"{f['value']:.3g} {f['unit']}", bare, ratio, target, f["met"] or "", f["note"])
    return f"| {' | '.join(cells)} |"


def _machine_row(each: dict[str, Any]) -> str:
    m = each["machine"]
    load = "/".join(str(value) for value in m["load"])
    command = f"`{m['command'].strip()}`"
    cells = (
        each["bench"],
        m["at"],
        m["system"],
        str(m["cores"]),
        load,
        f"{m['python']}, {m['python_ms']} ms",
        m["git"],
        command,
    )
    return f"| {' | '.join(cells)} |"


def _lines(found: dict[str, Any]) -> Sequence[str]:
    load = found["machine"]["load"]
    return [f"load {load}", *(_row(figure) for figure in found["figures"])]


if __name__ == "__main__":
    sys.exit(main())
