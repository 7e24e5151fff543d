"""What to do with the folder of a session whose shim is dead.

Specification.
- Only a folder whose lock is free is recovered, and the lock is held meanwhile: no new shim can start on it.
- The agent's tree is ended by what cannot belong to anyone else: pid + start time of this boot from `agent.json`, its
  descendants, and every process with exactly this session's marker in its environment. The shim's lock is inherited
  until the agent has its environment (host.py, property 5): a free lock means that the marker finds it.
- Nothing is written into the folder; recovery can be repeated and always says the same.
- Accepted: what cleared its environment *and* lost its parents before we looked cannot be told from a stranger and is
  left. Its output ends with the shim's pipe; a sandbox with a pid namespace closes this.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stretto import files, proctree
from stretto.core.errors import Conflict
from stretto.shim import folder as folders
from stretto.shim.constants import STOP_SECONDS


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of a session's records, and whether its agent is gone.

    `delivered`: the last one that reached the agent. `uncertain`: these may have, and must not be sent again by
    themselves. `unfinished`: turns (style turns) that began and have no record of their end. `unsent`: records in
    `in.jsonl` that surely never reached the agent. `ended` False: processes were left (`left`, their pids).
    """

    delivered: int
    uncertain: tuple[int, ...]
    unfinished: tuple[int, ...]
    unsent: tuple[int, ...]
    ended: bool
    left: tuple[int, ...] = ()


def recover(folder: Path, grace: float = STOP_SECONDS) -> Recovery:
    """End what a dead shim left and report its records. Raises Conflict (`shim_alive`) if a shim holds the folder."""
    lock = files.try_lock(folder / "lock")
    if lock is None:
        raise Conflict(f"the shim of {folder.name} is alive", object=str(folder), code="shim_alive")
    try:
        return recover_locked(folder, grace)
    finally:
        os.close(lock)


def recover_locked(folder: Path, grace: float) -> Recovery:
    """The same for a caller that holds the lock."""
    spec = folders.read_json(folder / "spec.json") or {}
    marker, known = str(spec.get("marker") or "") or None, folders.identity(folder, "agent.json")
    pid, start = known or (None, None)
    ended = proctree.end_tree(pid, start, marker, grace)
    left = () if ended or not marker else tuple(pid for pid, _ in proctree.marked(marker))
    done = folders.progress(folder)
    numbers = record_numbers(folder)
    return Recovery(
        delivered=done.delivered,
        uncertain=done.uncertain,
        unfinished=_unfinished(folder, spec, done),
        unsent=tuple(n for n in numbers if n > done.attempting),
        ended=ended,
        left=left,
    )


def record_numbers(folder: Path) -> list[int]:
    """Numbers of the valid records in `in.jsonl`."""
    numbers: list[int] = []
    for line in folders.whole_lines(folder / "in.jsonl"):
        record = folders.parse_record(line)
        if record is None or record.n != len(numbers) + 1:
            break
        numbers.append(record.n)
    return numbers


def _unfinished(folder: Path, spec: dict[str, object], done: folders.Progress) -> tuple[int, ...]:
    if spec.get("style") != "turns":
        return ()
    begun = {int(path.stem) for path in (folder / "turns").glob("*.prompt") if path.stem.isdigit()}
    return tuple(
        sorted(n for n in begun - folders.turns(folder).keys() if n <= done.attempting and n not in done.uncertain)
    )
