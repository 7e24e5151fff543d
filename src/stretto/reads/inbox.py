"""`inbox` and `next`: what needs the person, and the one thing that needs them first."""

from __future__ import annotations

from typing import Any

from stretto.core.model import Item
from stretto.reads.answering import answer_command, look_command
from stretto.reads.picture import Place, now_of, places
from stretto.reads.shapes import Json
from stretto.reads.status import inbox_json, notices, open_items, runs_of
from stretto.store.sqlite import Reader


def inbox(db: Reader, args: dict[str, Any]) -> Json:
    """Open items of the repository (or of `all`), ranked: what blocks a live agent and most others comes first."""
    now = now_of(args)
    runs = runs_of(db, args, now)
    return {"schema": 1, "inbox": inbox_json(places(db, [r.id for r in runs], now), now)}


def next_step(db: Reader, args: dict[str, Any]) -> Json:
    """The one thing that needs the person, with the exact command; null when nothing does."""
    now = now_of(args)
    runs = runs_of(db, args, now)
    found = places(db, [r.id for r in runs], now)
    items = open_items(found)
    if items:
        first = _step(items[0], found[items[0].task])
        return {"schema": 1, "next": {**first, **_entry(found, items[0], now)}, "others": len(items) - 1}
    held = [r for r in runs if r.paused]
    if held and any(p.task.outcome is None for p in found.values()):
        text = f"the run {held[0].id} is paused"
        return {"schema": 1, "next": {"kind": "paused", "text": text, "command": f"stretto resume --run {held[0].id}"}}
    for notice in notices(db, runs):
        step = {"kind": notice["kind"], "text": notice["text"], "command": notice["next"]}
        return {"schema": 1, "next": step, "others": 0}
    return {"schema": 1, "next": None, "others": 0}


def _entry(found: dict[str, Place], item: Item, now: float) -> Json:
    return next(e for e in inbox_json({item.task: found[item.task]}, now) if e["id"] == item.id)


def _step(item: Item, place: Place) -> Json:
    return {"command": answer_command(item), "look": look_command(item, place)}
