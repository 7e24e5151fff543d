"""Reads about one task, and the queue."""

from __future__ import annotations

import sys
from typing import Any

import click

from stretto.cli import overview
from stretto.cli.common import emit, json_option, read, task_argument
from stretto.cli.overview import canvas
from stretto.cli.text import age, clean, coloured, local_time, pad, paint, width, wrap
from stretto.core.telling import without_header


@click.command("diff")
@task_argument
@click.option("--stat", is_flag=True, help="Only which files, and how much.")
@click.option("--since-turn", type=click.IntRange(min=0), metavar="N", help="Only what came after turn N.")
@json_option
def diff_command(task: str, stat: bool, since_turn: int | None, as_json: bool) -> None:
    """What a task changed since its base, as it would land."""
    colour = coloured() and not as_json
    result = read("diff", task=task, stat=stat or None, since_turn=since_turn, color=colour or None)
    if as_json:
        emit(result)
        return
    for text in result.get("warnings", ()):
        click.echo(f"warning: {clean(str(text))}", err=True)
    text = str(result["diff"])
    if not text.strip():
        click.echo(f"{task} has changed nothing.", err=True)
    # git quotes paths, and colours only where we asked; contents are the person's to see, without their power
    click.echo(without_power(text) if sys.stdout.isatty() else text, nl=not text.endswith("\n") and bool(text))


def without_power(text: str) -> str:
    """The text with colours kept and every other escape sequence and control character made visible."""
    import re

    parts = re.split("(\x1b\\[[0-9;]*m)", text)
    shown = []
    for part in parts:
        if part.startswith("\x1b[") and part.endswith("m"):
            shown.append(part)
        else:
            shown.append("".join(c if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f") else "�" for c in part))
    return "".join(shown)


@click.command("explain")
@task_argument
@json_option
def explain_command(task: str, as_json: bool) -> None:
    """Why a task is in its state: the evidence with its age, and what would change it."""
    result = read("explain", task=task)
    if as_json:
        emit(result)
        return
    view = canvas()
    stage = f" · {result['stage']}" if result.get("stage") else ""
    click.echo(f"{view.glyph(result['state'])} {clean(result['task'])}: {result['state']}{stage}")
    if result.get("reason"):
        click.echo("\n".join(wrap(clean(str(result["reason"])), view.columns, "  ")))
    rows = [(clean(str(e["signal"])), _value(e["value"]), e.get("age_s")) for e in result.get("evidence", ())]
    if rows:
        click.echo("evidence")
    room = max((width(name) for name, _, _ in rows), default=0)
    for name, value, old in rows:
        told = f"  ({age(old)} ago)" if isinstance(old, int | float) else ""
        click.echo(view.fit(f"  {pad(name, room)}  {value}{told}"))
    if result.get("next"):
        click.echo("next\n" + "\n".join(wrap(clean(str(result["next"])), view.columns, "  ")))


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return clean(", ".join(map(str, value)) if isinstance(value, list) else str(value))


@click.command("prompt")
@task_argument
@json_option
def prompt_command(task: str, as_json: bool) -> None:
    """What the agent of a task was told, word for word."""
    result = read("prompt", task=task)
    if as_json:
        emit(result)
    else:
        for message in result["messages"]:
            title = f"── {message['n']} · {message['origin']} · {message['state']}"
            click.echo(paint(title, "dim", coloured()))
            click.echo(clean(without_header(str(message["text"])), lines=True))
        if not result["messages"]:
            click.echo(f"{task} was told nothing yet.", err=True)


@click.command("messages")
@task_argument
@json_option
def messages_command(task: str, as_json: bool) -> None:
    """The messages to a task's agent, and how far each got."""
    messages = read("messages", task=task)["messages"]
    if as_json:
        emit(messages)
        return
    if not messages:
        click.echo(f"{task} was sent nothing yet.", err=True)
    for message in messages:
        what = message["origin"] if message["kind"] == "turn" else message["kind"]
        words = " ".join(filter(None, (message.get("result"), clean(message.get("reason") or ""))))
        line = f"{message['n']:>3}  {local_time(message['at'])}  {pad(message['state'], 11)} {pad(what, 9)} {words}"
        click.echo(canvas().fit(line.rstrip()))


@click.command("queue")
@json_option
def queue_command(as_json: bool) -> None:
    """The landing queue, and what it landed or ejected last."""
    overview.show_queue(as_json)


@click.command("path")
@task_argument
@json_option
def path_command(task: str, as_json: bool) -> None:
    """The folder of a task's workspace, for `cd "$(stretto path TASK)"`."""
    found = read("path", task=task)
    if as_json:
        emit(found)
    else:
        click.echo(found["path"])
