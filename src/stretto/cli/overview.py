"""What `status`, `inbox`, `next` and `queue` print. Imports nothing beyond the client: these are asked all day long."""

from __future__ import annotations

import time

from stretto.cli.asking import echo, emit, read, together
from stretto.cli.board import Canvas, board, item_block
from stretto.cli.text import age, clean, clip, coloured, pad, paint, terminal_width, unicode_ok
from stretto.client import Json
from stretto.core.errors import StrettoError

NOTHING: Json = {"schema": 1, "cursor": 0, "daemon": None, "tasks": [], "inbox": [], "queue": []}

#: more tasks than this are folded unless all are asked for
MANY = 60

#: state of an entry -> state whose sign it has
_GLYPHS = {"testing": "active", "landing": "active", "landed": "landed", "ejected": "failed"}


def show_status(run: str | None = None, every: bool = False, as_json: bool = False) -> None:
    """The board, once."""
    one_run_or_all(run, every)
    status = read_status(run=run, all=every or None)
    if as_json:
        emit(status)
        return
    for line in board(status, canvas(rows=MANY if len(status["tasks"]) > MANY and not every else None)):
        echo(line)


def show_inbox(every: bool = False, as_json: bool = False) -> None:
    """What waits for the person, most urgent first."""
    result = _ask("inbox", {"inbox": []}, every)
    if as_json:
        emit(result)
        return
    items = result["inbox"]
    if not items:
        echo("Nothing waits for you.")
    for number, item in enumerate(items):
        echo("\n".join([""] * (number > 0) + item_block(item, canvas())))


def show_next(every: bool = False, as_json: bool = False) -> None:
    """The one thing that waits for the person most, or what goes on meanwhile."""
    found = _ask("next", {"next": None, "others": 0}, every)
    first = found["next"]
    if as_json:
        emit(found)
    elif first is None:
        echo(f"Nothing waits for you. {_meanwhile()}")
    elif "id" in first:
        echo("\n".join(item_block(first, canvas())))
        if found.get("others"):
            echo(f"  then {found['others']} more: stretto inbox")
    else:
        echo(f"{clean(first['text'])}\n  next: {first['command']}")


def show_queue(as_json: bool = False) -> None:
    """The landing queue, and what it landed or ejected last."""
    result = _ask("queue", {"queue": [], "in_work": [], "frozen": None, "notices": []})
    if as_json:
        emit(result)
        return
    for notice in result["notices"]:
        words = (
            f"{clean(notice['text'])}; next: {notice['next']}" if notice["kind"] == "frozen" else clean(notice["text"])
        )
        echo(paint(words, "red" if notice["kind"] == "frozen" else "yellow", coloured()))
    if not result["queue"]:
        echo("The landing queue is empty.")
    for entry in result["queue"]:
        reason = clean(str(entry.get("reason") or ""))
        view = canvas()
        glyph = view.glyph(_GLYPHS.get(entry["state"], "queued"))
        words = f"{pad(entry['state'], 8)} {clean(entry['task'])}  {age(entry['age_s'])}  {reason}"
        echo(f"{glyph} {clip(words.rstrip(), view.columns and view.columns - 2)}")


def one_run_or_all(run: str | None, every: bool) -> None:
    """Refuse `--run` beside `--all`. Raises UsageError."""
    together(("--run", run), ("--all", every), why="one is a single run, the other all of them", hint="say one of them")


def read_status(run: str | None = None, all: bool | None = None) -> Json:
    """The status; an empty one while the user has no home yet."""
    try:
        return read("status", run=run, all=all)
    except StrettoError as error:
        if error.code != "empty" or run is not None:
            raise
        return dict(NOTHING)


def canvas(rows: int | None = None) -> Canvas:
    """What standard output can show now."""
    return Canvas(
        now=time.time(),
        columns=terminal_width(),
        rows=rows,
        colour=coloured(),
        unicode=unicode_ok(),
    )


def _ask(op: str, empty: Json, every: bool = False) -> Json:
    try:
        return read(op, all=every or None)
    except StrettoError as error:
        if error.code != "empty":
            raise
        return empty


def _meanwhile() -> str:
    states: dict[str, int] = {}
    for task in read_status()["tasks"]:
        states[task["state"]] = states.get(task["state"], 0) + 1
    if not states:
        return "Start with: stretto run PLAN.md"
    return "Tasks: " + ", ".join(f"{count} {state}" for state, count in states.items()) + "."
