"""`stretto status`: the board, once."""

from __future__ import annotations

import click

from stretto.cli import overview
from stretto.cli.common import json_option


@click.command("status")
@click.option("--run", metavar="RUN", help="Only this run.")
@click.option("--all", "every", is_flag=True, help="Runs that are over, and all repositories, too.")
@json_option
def status_command(run: str | None, every: bool, as_json: bool) -> None:
    """Every task: stage, what it does, what it waits for."""
    overview.show_status(run, every, as_json)
