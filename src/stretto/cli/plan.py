"""`plan lint`, `plan show`, `plan import`: work on plan files; no daemon, no repository needed."""

from __future__ import annotations

from pathlib import Path

import click

from stretto.cli.common import json_option, note, text_of
from stretto.core.errors import StrettoError, UsageError

_FILE = click.argument("file", type=click.Path(allow_dash=True))


@click.group("plan")
def plan_command() -> None:
    """Check, draw or import a plan."""


@plan_command.command("lint")
@_FILE
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@json_option
def lint(file: str, strict: bool, as_json: bool) -> int:
    """Is this plan fit to hand over? Each finding with line, reason and suggestion.

    Exit code 1 if one is an error (with --strict: any).
    """
    from stretto.cli.plan_views import lint_command

    output, code = lint_command(text_of(file), strict, as_json, path="" if file == "-" else file)
    click.echo(output, nl=False)
    return code


@plan_command.command("show")
@_FILE
@click.option("--open", "open_limit", type=click.IntRange(min=1), metavar="N", help="With N tasks open at once.")
@json_option
def show(file: str, open_limit: int | None, as_json: bool) -> int:
    """Waves, critical path, what can run at once, and about how long it takes."""
    from stretto.cli.plan_views import show_command

    output, code = show_command(text_of(file), open_limit, as_json, path="" if file == "-" else file)
    click.echo(output, nl=False)
    return code


@plan_command.command("import")
@click.argument("sources", nargs=-1, required=True, type=click.Path(), metavar="FILE|FOLDER...")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write the plan there, if nothing is there.")
def import_(sources: tuple[str, ...], output: str | None) -> int:
    """Convert a board (TASKS.md) or task files (.agent-tasks) into a plan, on standard output."""
    from stretto.cli.plan_views import import_files_command

    plan, notes, code = import_files_command([(name, text_of(name)) for name in _files(sources)])
    for text in notes:
        note(text)
    if code == 0 and output is not None:
        _write(Path(output), plan)
    else:
        click.echo(plan, nl=False)
    return code


def _files(sources: tuple[str, ...]) -> list[str]:
    """The files that are named, and the Markdown files in the folders that are named."""
    found: list[str] = []
    for source in sources:
        inside = sorted(map(str, Path(source).glob("*.md"))) if Path(source).is_dir() else [source]
        if not inside:
            raise UsageError(f"{source} holds no Markdown file", object=source)
        found += inside
    return found


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StrettoError(
            f"{path} is there already", code="exists", object=str(path), hint="name another file"
        ) from None
    except OSError as error:
        raise StrettoError(
            f"{path} cannot be written: {error.strerror}", code="unwritable", object=str(path)
        ) from error
    note(f"wrote {path}")
