"""`inbox` and `next`: what waits for the person, and how to answer it."""

from __future__ import annotations

import click

from stretto.cli.board import item_block
from stretto.cli.common import emit, json_option, read
from stretto.cli.status import canvas, read_status
from stretto.cli.text import clean
from stretto.client import Json
from stretto.core.errors import StrettoError


@click.command("inbox")
@click.option("--all", "every", is_flag=True, help="Of all repositories.")
@json_option
def inbox_command(every: bool, as_json: bool) -> None:
    """What waits for you, most urgent first."""
    result = _ask("inbox", every, {"inbox": []})
    if as_json:
        emit(result)
        return
    items = result["inbox"]
    if not items:
        click.echo("Nothing waits for you.")
    for number, item in enumerate(items):
        click.echo("\n".join([""] * (number > 0) + item_block(item, canvas())))


@click.command("next")
@click.option("--all", "every", is_flag=True, help="Of all repositories.")
@json_option
def next_command(every: bool, as_json: bool) -> None:
    """The one thing that waits for you most, or what goes on meanwhile."""
    found = _ask("next", every, {"next": None, "others": 0})
    first = found["next"]
    if as_json:
        emit(found)
    elif first is None:
        click.echo(f"Nothing waits for you. {_meanwhile()}")
    elif "id" in first:
        click.echo("\n".join(item_block(first, canvas())))
        if found.get("others"):
            click.echo(f"  then {found['others']} more: stretto inbox")
    else:
        click.echo(f"{clean(first['text'])}\n  next: {first['command']}")


def _ask(op: str, every: bool, empty: Json) -> Json:
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
