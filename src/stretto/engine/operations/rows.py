"""From a plan's task to its row."""

from __future__ import annotations

from stretto.core import names
from stretto.core.model import Run, Task
from stretto.core.plan import PlanTask


def task_row(run: Run, t: PlanTask, position: int, now: float) -> Task:
    """The row of a task that has not started."""
    return Task(
        uid=names.uid(run.id, t.id),
        run=run.id,
        repo=run.repo,
        id=t.id,
        position=position,
        title=t.title,
        spec=t.spec,
        accept=t.accept,
        kind=t.kind,
        role=t.role,
        needs=t.needs,
        files=t.files,
        tables=t.tables,
        priority=t.priority,
        lands=t.lands,
        fields=t.extra(),
        created_at=now,
    )
