"""`stretto status`: the board, once. Imports nothing beyond the client."""

from __future__ import annotations

import time

import click

from stretto.cli.board import Canvas, board
from stretto.cli.common import emit, json_option, read
from stretto.cli.text import coloured, terminal_width, unicode_ok
from stretto.client import Json
from stretto.core.errors import StrettoError

NOTHING: Json = {"schema": 1, "cursor": 0, "daemon": None, "tasks": [], "inbox": [], "queue": []}

#: more tasks than this are folded unless all are asked for
MANY = 60


@click.command("status")
@click.option("--run", metavar="RUN", help="Only this run.")
@click.option("--all", "every", is_flag=True, help="Runs that are over, and all repositories, too.")
@json_option
def status_command(run: str | None, every: bool, as_json: bool) -> None:
    """Every task: stage, what it does, what it waits for."""
    status = read_status(run=run, all=every or None)
    if as_json:
        emit(status)
        return
    for line in board(status, canvas(rows=MANY if len(status["tasks"]) > MANY and not every else None)):
        click.echo(line)


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
