"""`usage`: what the work used, what that cost, and how far the budgets are used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from stretto.cli.common import complete_tasks, emit, json_option, read, together
from stretto.cli.follow import carrying_on, statuses
from stretto.cli.text import clean, coloured, hang, pad, paint, quota, terminal_width, width
from stretto.client import Json, connect
from stretto.core.usage import NAMELESS, amount

KEYS = ("task", "run", "role", "agent", "model", "day", "session", "turn")
_COLUMNS = ("input", "output", "cache_read", "cache_write", "reasoning")
_HEADS = ("input", "output", "cache read", "cache write", "reasoning", "cost")
_SHORT_HEADS = ("input", "output", "cached", "to cache", "reasoning", "cost")
_PAUSE = 1.0


@click.command("usage")
@click.argument("task", required=False, shell_complete=complete_tasks)
@click.option("--by", type=click.Choice(KEYS), default="task", show_default=True, help="What the rows are.")
@click.option("--run", metavar="RUN", help="Only this run.")
@click.option("--all", "every", is_flag=True, help="Runs of all repositories.")
@click.option("--watch", is_flag=True, help="Again after each change, until Ctrl-C.")
@json_option
def usage_command(task: str | None, by: str, run: str | None, every: bool, watch: bool, as_json: bool) -> None:
    """Tokens and cost, in all and by task, run, role, agent, model, day, session or turn; budgets, rates."""
    words = (("TASK", task), ("--run", run), ("--all", every))
    together(*words, why="each says of whom the usage is", hint="say one of them")
    asked = {"task": task, "by": by, "run": run, "all": every or None}
    if not watch:
        _show(read("usage", **asked), by, as_json)
        return
    in_place = not as_json and sys.stdout.isatty()
    last: Any = None
    with carrying_on():
        for found in statuses(connect(), lambda: read("usage", **asked), None, _PAUSE, _PAUSE):
            now = None if found is None else _lasting(found) if as_json else lines(found, by)
            if found is not None and now != last:
                click.echo("\x1b[H\x1b[2J" if in_place else "", nl=False)
                _show(found, by, as_json)
                sys.stdout.flush()
                last = now


def _lasting(found: Json) -> Json:
    """An answer without what changes though nothing happens."""
    quotas = [{**one, "age_s": None} for one in found["quotas"]]
    return {**found, "cursor": None, "daemon": None, "quotas": quotas}


def _show(found: Json, by: str, as_json: bool) -> None:
    if as_json:
        emit(found)
    else:
        click.echo("\n".join(lines(found, by)))


def lines(found: Json, by: str) -> list[str]:
    """The answer as a table, and what there is to say about it."""
    if not found["by"]:
        return ["Nothing was used yet."]
    columns = terminal_width()
    table = _table(found, by, _HEADS, _counted)
    if columns is not None and width(table[0]) > columns:
        table = _table(found, by, _SHORT_HEADS, _rounded, columns)
    table[0] = paint(table[0], "bold", coloured())
    return [*table, *(part for line in _remarks(found) for part in hang(line, columns))]


def _table(
    found: Json, by: str, heads: Sequence[str], told: Callable[[int], str], columns: int | None = None
) -> list[str]:
    """A head and a row for each key. With `columns` the beginnings of names make room."""
    rows = [(clean(key) or "unknown", _cells(one, told)) for key, one in found["by"].items()]
    if len(rows) > 1:
        rows.append(("in all", _cells({**found["total"], "unpriced": found["unpriced"]}, told)))
    first = max(len(by), *(width(name) for name, _ in rows))
    widths = [max(len(head), *(len(cells[n]) for _, cells in rows)) for n, head in enumerate(heads)]
    if columns is not None:
        first = max(len(by), min(first, columns - sum(widths) - 2 * len(widths)))
    lines = [(by, heads), *rows]
    return [
        f"{_named(name, first)}  " + "  ".join(cell.rjust(size) for cell, size in zip(cells, widths, strict=True))
        for name, cells in lines
    ]


def _named(name: str, room: int) -> str:
    """The end of a long name: there it differs from its neighbours."""
    while width(name) > room:
        name = "…" + name[2:] if name.startswith("…") else "…" + name[1:]
    return pad(name, room)


def _counted(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _rounded(number: int) -> str:
    """In at most six columns: `999`, `12.3k`, `4.56M`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}" if number < 999.5 * size else f"{number / size:.0f}{unit}"
    return str(number)


def _cells(one: dict[str, Any], said: Callable[[int], str]) -> list[str]:
    cost = one["cost"]
    told = "unknown" if cost is None else f"{float(cost['amount']):.4f} {cost['currency']}"
    if cost is not None and one.get("unpriced"):
        told = f"> {told}"
    return [*(said(one[name]) for name in _COLUMNS), told]


def _remarks(found: Json) -> list[str]:
    said = []
    for one in found["budgets"]:
        said.append(
            f"budget of {one['scope']} {clean(str(one['of']))}: {one['share']:.0%} of"
            f" {amount(one['measure'], one['limit'])}"
        )
    for one in found.get("quotas", ()):
        said.append(f"quota of {clean(str(one['agent']))}: {quota(one)}")
    if found["rate"]["tokens_per_s"]:
        by = ", ".join(f"{clean(agent)} {rate:g}" for agent, rate in found["rate"]["agents"].items())
        said.append(f"now {found['rate']['tokens_per_s']:g} tokens per second ({by})")
    if found["unpriced"]:
        said += _unpriced(found["unpriced"])
    if found["total"]["cost"] is not None and found["total"]["cost"]["source"] == "table":
        dated = {f"{one['source']} ({one['date'] or 'no date'})" for one in found["prices"]}
        said.append(clean(f"prices: {', '.join(sorted(dated))}"))
    if found["strong"] is not None:
        said.append(clean(_strong(found["strong"])))
    return ["", *said] if said else []


def _unpriced(models: Sequence[str]) -> Iterator[str]:
    """Why some of it has no known cost; who has the table of prices already need not install it."""
    from importlib.util import find_spec

    if names := [name for name in models if name != NAMELESS]:
        table = "" if find_spec("genai_prices") else ", or install stretto[prices]"
        yield f"no price is known of {clean(', '.join(names))}: give one in [prices]{table}"
    if NAMELESS in models:
        yield "some of it is of a model that its agent did not name, so its cost is not known"


def _strong(one: Json) -> str:
    """What the same tokens would have cost with the strong model."""
    as_ = one["priced_as"]
    names = ", ".join(f"{name} (as {as_[name]})" if name in as_ else name for name in one["models"])
    if one["amount"] is None:
        missing = ", ".join(one["unpriced"])
        return f"all of it with {names}: not known, for {missing} has no price"
    return f"all of it with {names}: {float(one['amount']):.4f} {one['currency']}"
