"""`db`: the databases of workspaces."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from stretto import spawn
from stretto.cli.common import emit, json_option, note, on_terminal, read, steer, task_argument
from stretto.cli.text import clean
from stretto.cli.words import Group
from stretto.cli.workspace import wake
from stretto.client import Json
from stretto.core.errors import StrettoError


@click.group("db", cls=Group)
def db_command() -> None:
    """The databases of workspaces: every task has one of its own when stretto.toml has a [database]."""


@db_command.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """Which workspace has which database."""
    found = read("databases")["databases"]
    if as_json:
        emit({"databases": found})
        return
    if not found:
        note("No workspace has a database here.")
    for one in found:
        click.echo(f"{clean(one['name'])}  {clean(one['url'])}")


def _of(task: str) -> Json:
    found: Json = read("databases", task=task)["databases"][0]
    return found


@db_command.command("url")
@task_argument
@json_option
def url(task: str, as_json: bool) -> None:
    """The address of a workspace's database. It holds no password: that is in the file that PGPASSFILE names."""
    found = _of(task)
    if as_json:
        emit(found)
        return
    click.echo(found["url"])
    if found["passfile"] is not None:
        note(f"PGPASSFILE={clean(found['passfile'])}")


@db_command.command("reset")
@task_argument
@json_option
def reset(task: str, as_json: bool) -> None:
    """Begin a workspace's database again; what is in it now is kept, and comes back with undo."""
    result = steer("db_reset", task=task)
    if as_json:
        emit(result)
        return
    click.echo(f"the database of {task} begins again; bring the old one back with: stretto undo {result['undo']}")


@db_command.command("apply")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--trust", is_flag=True, help="Allow the commands of the configuration as they are now.")
@json_option
def apply(yes: bool, trust: bool, as_json: bool) -> None:
    """Run `migrate` on your own database, after a copy of it was made. Nothing else ever changes it."""
    given = {"yes": yes or None, "trust": trust or None, "env": dict(os.environ)}
    try:
        result = steer("db_apply", **given)
    except StrettoError as error:
        if error.code != "confirm" or as_json or not on_terminal():
            raise
        for line in str(error.details["text"]).splitlines():
            note(clean(line))
        if not click.confirm("Copy it and run this?", err=True):
            raise
        result = steer("db_apply", **{**given, "yes": True})
    if as_json:
        emit(result)
        return
    click.echo(f"migrated {clean(result['url'])}")
    if result["restore"]:
        note(f"what was there comes back with: {clean(result['restore'])}")


@db_command.command("shell")
@task_argument
def shell(task: str) -> None:
    """Open psql or sqlite3 on a workspace's database."""
    found = _of(task)
    told = read("env", task=task)
    at = str(found["url"])
    wake(task, at)
    words = ["sqlite3", at.removeprefix("sqlite:///")] if at.startswith("sqlite:///") else ["psql", at]
    sys.stdout.flush()
    spawn.become(words, cwd=Path(found["path"]), env={**os.environ, **told["env"]})
