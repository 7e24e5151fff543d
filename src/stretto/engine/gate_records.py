"""The executions of one gate as rows: written when a check begins, and again when it ended."""

from __future__ import annotations

from pathlib import Path

from stretto.checks.run import environment_key
from stretto.core.model import Check, CheckSpec, Entry
from stretto.engine.acts.work import record_check
from stretto.engine.parts import Parts
from stretto.interfaces import CheckOutcome


class GateRecords:
    """Writes the executions of one gate as they begin and end."""

    def __init__(self, parts: Parts, entry: Entry) -> None:
        self._parts = parts
        self._entry = entry
        self._numbers: dict[str, int] = {}

    def started(self, name: str, command: str, env: dict[str, str], output: Path) -> None:
        """A check begins."""
        entry = self._entry
        with self._parts.store.write() as tx:
            self._numbers[name] = tx.insert(
                Check(
                    task=entry.task,
                    name=name,
                    purpose="gate",
                    command=command,
                    tree=str(entry.tree),
                    environment=environment_key(env),
                    result=None,
                    started_at=tx.now,
                    head=entry.candidate,
                    output=str(output),
                )
            )
            tx.event("check.started", task=entry.task, name=name, tree=entry.tree, purpose="gate")

    def finished(self, spec: CheckSpec, outcome: CheckOutcome) -> None:
        """A check ended."""
        record_check(self._parts, self._entry.task, self._numbers[spec.name], spec, outcome, "gate")
