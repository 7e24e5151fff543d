"""`trust`: the person allows the exact commands of configuration and plan."""

from __future__ import annotations

from pathlib import Path

import click

from stretto.cli.common import emit, json_option, on_terminal, steer, text_of, together
from stretto.cli.text import hang, seen, terminal_width
from stretto.core.errors import StrettoError


@click.command("trust")
@click.option("--plan", type=click.Path(), help="Count the commands of this plan too.")
@click.option("--hash", "digest", metavar="HASH", help="Allow the commands of exactly this hash.")
@click.option("--show", is_flag=True, help="Only show them.")
@click.option("--yes", is_flag=True, help="Allow them without asking.")
@json_option
def trust_command(plan: str | None, digest: str | None, show: bool, yes: bool, as_json: bool) -> None:
    """Show the commands that would run on this machine, and allow exactly these."""
    for option in (("--hash", digest), ("--yes", yes)):
        together(("--show", show), option, why="--show allows nothing", hint="say one of them")
    text = None if plan is None else text_of(plan)
    asked = {"plan_text": text, "plan_path": plan and str(Path(plan).resolve())}
    found = steer("trust", **asked)
    allow = (yes or digest is not None) and not show
    if not as_json:
        if found["commands"]:
            for line in found["listing"].splitlines():
                click.echo("\n".join(hang(seen(line), terminal_width())))
        else:
            click.echo("There is no command to allow.")
    if found["commands"] and not found["trusted"] and not show:
        if not allow and not as_json and on_terminal():
            click.confirm("Allow exactly these?", abort=True, err=True)
            allow = True
        if not allow:
            raise StrettoError(
                "these commands are not allowed yet",
                code="untrusted",
                hint=f"stretto trust --hash {found['hash']}",
                details={"commands": found["commands"], "listing": found["listing"], "hash": found["hash"]},
            )
        found = steer("trust", **asked, hash=digest or found["hash"])
        if not found["trusted"]:
            raise StrettoError("the commands are others than this hash names", code="untrusted", object=digest)
    if as_json:
        emit(found)
    elif found["commands"]:
        click.echo("allowed" if found["trusted"] else "not allowed yet", err=True)
