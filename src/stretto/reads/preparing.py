"""What is being done just now to make a task's workspace, by the events that tell it."""

from __future__ import annotations

import json

from stretto.store.sqlite import Reader

#: how packages came, in words
RUNGS = {
    "kept": "were there already",
    "reflink": "shared with a golden copy until written",
    "copy": "copied from a golden copy",
    "offline": "installed from the cache",
    "online": "installed from the network",
}
_LAST = (
    "SELECT at, type, data FROM events WHERE task = ? AND at >= ?"
    " AND type IN ('setup.started', 'setup.finished', 'dependencies.ready') ORDER BY id DESC LIMIT 1"
)


def said(db: Reader, uid: str, reason: str, since: float, now: float) -> str:
    """The reason of a task whose workspace is made since `since`, with the step that was told last.

    A command that runs is named with its seconds so far. Before the first step it is the reason only.
    """
    found = db.rows(_LAST, uid, since)
    if not found:
        return reason
    row = found[0]
    data = json.loads(row["data"])
    if row["type"] == "setup.started":
        return f"{reason}: {data['name']} runs for {max(0.0, now - float(row['at'])):.0f} s"
    if row["type"] == "setup.finished":
        return f"{reason}: {data['name']} {data['result']} in {data['seconds']:.1f} s"
    return f"{reason}: {data['name']} {RUNGS[data['rung']]} in {data['seconds']:.1f} s"
