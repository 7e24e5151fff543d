"""Which live tasks have migrations that cannot be applied together, told before either of them lands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from stretto.core.model import Task
from stretto.reads.shapes import Json


def clashes_of(tasks: Iterable[Task]) -> dict[str, list[Json]]:
    """For each task that has some: with whom, by which files, why, and what is to be done. Tasks of one repository."""
    live = {task.uid: task for task in tasks if task.outcome is None and task.diff.get("migrations")}
    found: dict[str, list[Json]] = defaultdict(list)
    if len(live) < 2:
        return found
    from stretto.core import migrations

    added = {uid: [migrations.from_plain(one) for one in task.diff["migrations"]] for uid, task in live.items()}
    for clash in migrations.clashes((), added):
        if live[clash.one].repo != live[clash.other].repo:
            continue
        for mine, theirs, paths in (
            (clash.one, clash.other, clash.paths),
            (clash.other, clash.one, clash.paths[::-1]),
        ):
            found[mine].append(
                {
                    "task": theirs,
                    "paths": list(paths),
                    "text": clash.text,
                    "remedy": migrations.REMEDY[clash.tool],
                }
            )
    return found
