"""The warm pool is filled in the background, while agents work and there are tasks to come.

Specification. Looked at after each pass, for runs that have work to begin: when the tasks that were begun have their
workspaces, spares are made for those to come, as many as `[workspace] pool` says at most, at the target's tip. Done
again when a workspace was taken or given back, or the target has moved. One thread for each repository. It is a saving
of time and nothing else: a task without a spare gets a workspace as ever, and what fails here is logged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from stretto.core.errors import StrettoError
from stretto.core.model import Run
from stretto.core.who import SKIP
from stretto.engine import environment
from stretto.engine.parts import Parts
from stretto.landing.target import LocalTarget
from stretto.store.sqlite import Reader

_log = logging.getLogger(__name__)

_TO_COME = (
    "SELECT t.run, COUNT(*) AS number FROM tasks t JOIN runs r ON r.id = t.run"
    " WHERE t.outcome IS NULL AND t.workspace IS NULL AND t.admitted_at IS NULL AND r.paused = 0"
    " AND COALESCE(json_extract(t.fields, '$.workspace'), 'own') = 'own' GROUP BY t.run"
)
_BEGUN = "SELECT 1 FROM tasks WHERE run = ? AND admitted_at IS NOT NULL"
_UNPREPARED = "SELECT 1 FROM tasks WHERE run = ? AND admitted_at IS NOT NULL AND workspace IS NULL AND outcome IS NULL"
_MOVED = "SELECT COUNT(admitted_at) + SUM(cleaned) FROM tasks WHERE run = ?"


@dataclass(frozen=True, slots=True)
class Want:
    """Spares that a run wants."""

    run: Run
    count: int


class Spares:
    """Knows for which runs spares were made, and as of when."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, int, str | None]] = {}
        self._busy: set[str] = set()

    def wanted(self, db: Reader) -> list[Want]:
        """What is to be made now; each want is named once until something has moved."""
        found = []
        for row in db.rows(_TO_COME):
            run = db.one(Run, "id = ?", str(row["run"]))
            if run is None or not run.config.get("pool") or not db.value(_BEGUN, run.id):
                continue
            if db.value(_UNPREPARED, run.id) or self._parts.secrets.missing(run):
                continue
            count = min(int(run.config["pool"]), int(row["number"]))
            tip = self._parts.repositories.git(run.root).read_ref(f"refs/heads/{run.target}")
            stand = (count, int(db.value(_MOVED, run.id) or 0), tip)
            with self._lock:
                if self._seen.get(run.id) != stand and run.repo not in self._busy:
                    self._seen[run.id] = stand
                    self._busy.add(run.repo)
                    found.append(Want(run, count))
        return found

    def make(self, want: Want, owner_of: Callable[[str], Run | None]) -> None:
        """Make them. `owner_of`: the run of a task."""
        run = want.run
        try:
            repository = self._parts.repositories.of(run)
            repository.workspaces.warm(
                LocalTarget(repository.git, run.target).tip(),
                want.count,
                environment.captured(self._parts, run),
                lambda uid: asks(owner_of(uid)),
            )
        except StrettoError as error:
            _log.info("the warm pool for %s: %s", run.id, error.message)
        finally:
            with self._lock:
                self._busy.discard(run.repo)


def asks(run: Run | None) -> bool:
    """Whether every agent of a run had to ask before it did what it liked; a run that nobody knows had none."""
    if run is None:
        return False
    given = [*run.config.get("roles", {}).values(), *run.config.get("agents", {}).values()]
    return all((one.get("permissions") or "") != SKIP for one in given)
