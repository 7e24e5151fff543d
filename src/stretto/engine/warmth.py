"""The gate's workspace is made ready while agents still work, so that the first entry of a queue does not wait for it.

Specification. Once for each run: when a task of it that will land has a session, none of its tasks is still waiting
for a workspace, and none has been queued yet. It is a saving of time and nothing else: the gate makes whatever is
missing by itself, and what fails here is logged and left to it. The lock of the landing queue is held meanwhile, as the
gate's bay belongs to whoever lands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from stretto.core.errors import StrettoError
from stretto.core.model import Run
from stretto.engine import environment, sandboxing
from stretto.engine.parts import Parts
from stretto.files import lock
from stretto.landing import gate
from stretto.landing.target import LocalTarget
from stretto.store.sqlite import Reader

_log = logging.getLogger(__name__)

_AT_WORK = (
    "SELECT t.run, MIN(t.uid) AS uid FROM sessions s JOIN tasks t ON t.uid = s.task"
    " WHERE s.ended_at IS NULL AND t.lands = 1 AND t.outcome IS NULL GROUP BY t.run"
)
_UNPREPARED = "SELECT 1 FROM tasks WHERE run = ? AND admitted_at IS NOT NULL AND workspace IS NULL AND outcome IS NULL"
_QUEUED = "SELECT 1 FROM queue q JOIN tasks t ON t.uid = q.task WHERE t.run = ?"


class Warmth:
    """Knows for which runs the gate's workspace was made ready."""

    def __init__(self, parts: Parts, stopping: Callable[[], bool]) -> None:
        self._parts = parts
        self._stopping = stopping
        self._done: set[str] = set()

    def cold(self, db: Reader) -> list[tuple[Run, str]]:
        """Runs that want it now, each with one of its tasks; each run is named once."""
        found = []
        for row in db.rows(_AT_WORK):
            name = str(row["run"])
            if name in self._done or db.value(_UNPREPARED, name):
                continue
            self._done.add(name)
            run = db.one(Run, "id = ?", name)
            if run is not None and not db.value(_QUEUED, name) and not self._parts.secrets.missing(run):
                found.append((run, str(row["uid"])))
        return found

    def warm(self, run: Run, uid: str) -> None:
        """Make it ready for a run. `uid`: the task under which output of the set-up is kept."""
        repository = self._parts.repositories.of(run)
        try:
            with lock(repository.git.common / "stretto-landing.lock", wait=0.0):
                gate.warm(
                    repository.workspaces,
                    self._parts.checks,
                    run.config,
                    commit=LocalTarget(repository.git, run.target).tip(),
                    env={**environment.captured(self._parts, run), **self._parts.secrets.of(run)},
                    output=lambda name: environment.output_path(self._parts, uid, f"gate-{name}"),
                    stop=self._stopping,
                    confine=sandboxing.for_gate(self._parts, run, ()),
                )
        except StrettoError as error:
            _log.info("the gate's workspace for %s: %s", run.id, error.message)
