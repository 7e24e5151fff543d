"""`plan lint`, `plan show`, `plan import`: work on plan files; no daemon, no repository needed.

In a repository the stretto.toml of its main checkout says which roles there are, and who does what.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stretto.cli.common import json_option, note, text_of
from stretto.cli.text import clean
from stretto.cli.words import Group
from stretto.core.errors import StrettoError, UsageError

if TYPE_CHECKING:
    from stretto.core.assigned import Assigned
    from stretto.core.plan import Plan

_FILE = click.argument("file", type=click.Path(allow_dash=True))


@click.group("plan", cls=Group)
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

    output, code = lint_command(text_of(file), strict, as_json, path="" if file == "-" else file, roles=_own_roles())
    click.echo(output, nl=False)
    return code


@plan_command.command("show")
@_FILE
@click.option("--open", "open_limit", type=click.IntRange(min=1), metavar="N", help="With N tasks open at once.")
@click.option("--agent", metavar="AGENT", help="As in `stretto run`: who would do it then.")
@click.option("--mode", type=click.Choice(["stream", "pane"]), help="As in `stretto run`.")
@json_option
def show(file: str, open_limit: int | None, as_json: bool, agent: str | None, mode: str | None) -> int:
    """Waves, critical path, who does what, what can run at once, and about how long it takes.

    Who does what is said by the stretto.toml of this checkout; for a run the one of its target counts.
    """
    from stretto.cli.plan_views import show_command

    def who(plan: Plan) -> dict[str, Assigned]:
        return _who(plan, agent, mode)

    output, code = show_command(text_of(file), open_limit, as_json, path="" if file == "-" else file, who=who)
    click.echo(output, nl=False)
    if code == 0 and not as_json:
        for text in _about_databases():
            note(text)
    return code


def _own_roles() -> list[str]:
    """The roles that the stretto.toml of this checkout describes; none where it cannot be read."""
    from stretto.cli.agents import root_here
    from stretto.cli.roles import frozen_of
    from stretto.core.plan import Plan

    try:
        return list(frozen_of(root_here(), Plan())["roles"])
    except StrettoError:
        return []


def _who(plan: Plan, agent: str | None, mode: str | None) -> dict[str, Assigned]:
    """Who does each task; nothing, and a word about it, where the configuration does not tell."""
    from stretto.cli.agents import root_here
    from stretto.cli.roles import frozen_of
    from stretto.core.assigned import assigned
    from stretto.core.who import doubts

    try:
        frozen = frozen_of(root_here(), plan, agent, mode)
    except StrettoError as error:
        first, *others = [clean(line) for line in error.message.splitlines()]
        note("\n".join([f"who does what cannot be told: {first}", *others]))
        if error.hint:
            note(f"  {clean(error.hint)}")
        return {}
    for text in doubts(frozen, (task.role for task in plan.tasks)):
        note(clean(text))
    return {task.id: assigned(frozen, task) for task in plan.tasks}


def _about_databases() -> list[str]:
    """What `run` would say of databases that tasks share here. A plan is shown without repository or server, too."""
    from stretto.cli.agents import root_here
    from stretto.cli.roles import frozen_of
    from stretto.core.plan import Plan
    from stretto.workspace import databases

    try:
        root = root_here()
        given = frozen_of(root, Plan()).get("database") if root is not None else None
    except StrettoError:
        return []
    if root is None:
        return []
    try:
        return databases.remarks(given, root)
    except StrettoError as error:
        return [f"the limits of {(given or {}).get('provider')} are not known now: {error.message}"]


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
