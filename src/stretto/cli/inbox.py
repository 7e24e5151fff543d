"""`inbox` and `next`: what waits for the person, and how to answer it."""

from __future__ import annotations

import click

from stretto.cli import overview
from stretto.cli.common import json_option


@click.command("inbox")
@click.option("--all", "every", is_flag=True, help="Of all repositories.")
@json_option
def inbox_command(every: bool, as_json: bool) -> None:
    """What waits for you, most urgent first."""
    overview.show_inbox(every, as_json)


@click.command("next")
@click.option("--all", "every", is_flag=True, help="Of all repositories.")
@json_option
def next_command(every: bool, as_json: bool) -> None:
    """The one thing that waits for you most, or what goes on meanwhile."""
    overview.show_next(every, as_json)
