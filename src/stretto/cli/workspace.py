"""Work in, keep, bring back and remove workspaces."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from stretto import spawn
from stretto.cli.common import emit, json_option, note, on_terminal, read, steer, task_argument, together
from stretto.cli.text import clean, local_time
from stretto.client import Json
from stretto.core.database_url import CLUSTER_ROLE
from stretto.core.errors import StrettoError, UsageError


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@task_argument
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(task: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in the task's workspace with its environment; its exit code is ours.

    Write -- before the command: stretto exec TASK -- pytest -q
    """
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise UsageError("the command is missing", hint=f"stretto exec {task} -- COMMAND")
    _become(task, list(words))


@click.command("edit")
@task_argument
@click.argument("files", nargs=-1)
def edit_command(task: str, files: tuple[str, ...]) -> None:
    """Open the task's workspace, or FILES in it, in $VISUAL or $EDITOR."""
    import shlex

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise StrettoError("neither VISUAL nor EDITOR is set", code="no_editor", hint="export EDITOR=vi")
    _become(task, [*shlex.split(editor), *(files or (".",))])


def _become(task: str, words: list[str]) -> NoReturn:
    """Replace this process by the command, in the workspace; does not return."""
    path = Path(read("path", task=task)["path"])
    told = read("env", task=task)
    wake(task, told["env"].get("DATABASE_URL", ""))
    sys.stdout.flush()
    spawn.become(words, cwd=path, env={**os.environ, **told["env"]})


def wake(task: str, url: str) -> None:
    """Let the database server of a workspace run, where it has one of its own."""
    if url.startswith(f"postgresql://{CLUSTER_ROLE}@"):
        steer("wake", task=task)


@click.command("env")
@task_argument
@click.option("--export", is_flag=True, help="As shell commands, for eval.")
@json_option
def env_command(task: str, export: bool, as_json: bool) -> None:
    """The environment of a task's workspace; secrets are left out."""
    together(("--export", export), ("--json", as_json), why="they are two forms of the same", hint="say one of them")
    result = read("env", task=task)
    if as_json:
        emit(result)
        return
    import shlex

    for name, value in sorted(result["env"].items()):
        click.echo(f"export {name}={shlex.quote(value)}" if export else f"{name}={clean(value)}")


@click.command("snapshots")
@task_argument
@json_option
def snapshots_command(task: str, as_json: bool) -> None:
    """Kept states of a task's workspace, newest first."""
    found = read("snapshots", task=task)["snapshots"]
    if as_json:
        emit(found)
        return
    if not found:
        click.echo(f"{task} has no snapshots.", err=True)
    for snapshot in found:
        click.echo(f"{local_time(snapshot['at'])}  {snapshot['ref']}  {clean(str(snapshot['reason']))}")


@click.command("restore")
@task_argument
@click.argument("ref")
@click.option("--to", metavar="FOLDER", help="Put it there instead of into the workspace.")
@json_option
def restore_command(task: str, ref: str, to: str | None, as_json: bool) -> None:
    """Bring the state REF of a task back. What is there now is kept as a snapshot first."""
    folder = None if to is None else os.path.abspath(to)  # noqa: PTH100 — the daemon wants a string
    _tell(steer("restore", task=task, ref=ref, to=folder), as_json, f"restored {ref}")


@click.command("remove")
@task_argument
@json_option
def remove_command(task: str, as_json: bool) -> None:
    """Remove a task's workspace and branch. Everything is kept, and `undo` brings it back."""
    result = steer("remove", task=task)
    done = f"removed {task}"
    if result.get("undo"):
        done += f"; bring it back with: stretto undo {result['undo']}"
    elif result.get("kept"):
        done += f"; its commits are kept, and come back with: git branch {result['branch']} {result['kept']}"
    if result.get("cancelled"):
        done += f"\nthis cancelled it: after that, take it up again with: stretto retry {task}"
    _tell(result, as_json, done)


@click.command("undo")
@click.argument("id", required=False)
@json_option
def undo_command(id: str | None, as_json: bool) -> None:
    """Bring back what was removed, byte for byte: the last removal, or the one named."""
    result = steer("undo", id=id)
    done = "brought back" + (f": {result['path']}" if result.get("path") else "")
    if result.get("database"):
        done = (
            f"brought back: the database of {result['task']}; what was there until now: stretto undo {result['undo']}"
        )
    if result.get("retry"):
        done += f"\nits task {result['task']} is over; go on with: stretto retry {result['task']}"
    _tell(result, as_json, done)


@click.command("purge")
@click.argument("ids", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="Only show what could be purged.")
@click.option("--all", "everything", is_flag=True, help="All that was removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def purge_command(ids: tuple[str, ...], only_list: bool, everything: bool, yes: bool, as_json: bool) -> None:
    """Delete for good what was removed. Lists first; nothing else deletes, and this cannot be undone."""
    why = "one names what to delete, the other is everything"
    together(("ID", ids), ("--all", everything), why=why, hint="stretto purge --list")
    only = ("--list", only_list)
    for other in (("ID", ids), ("--all", everything)):
        together(only, other, why="--list shows all that was removed", hint="stretto purge --list")
    together(only, ("--yes", yes), why="--list deletes nothing", hint="stretto purge --list")
    found: list[Json] = steer("purge", list=True)["removals"]
    unknown = set(ids) - {str(entry["id"]) for entry in found}
    if unknown:
        raise UsageError(f"nothing of the name {', '.join(sorted(unknown))} was removed", hint="stretto purge --list")
    chosen = [entry for entry in found if everything or entry["id"] in ids]
    if only_list or not (ids or everything):
        _list(found, as_json)
        if found and not only_list and not as_json:
            note("nothing was deleted; do it with: stretto purge ID…, or stretto purge --all")
        return
    if not as_json:
        _list(chosen, as_json=False)
    if not yes and chosen:
        if as_json or not on_terminal():
            raise StrettoError(
                "purging cannot be undone, so it wants a yes", code="confirm", hint="stretto purge … --yes"
            )
        click.confirm(
            f"Delete {'this' if len(chosen) == 1 else f'these {len(chosen)}'} for good?", abort=True, err=True
        )
    result = steer("purge", ids=[entry["id"] for entry in chosen]) if chosen else {"purged": []}
    _tell(result, as_json, f"{len(chosen)} purged")


def _list(removals: list[Json], as_json: bool) -> None:
    if as_json:
        emit({"removals": removals})
        return
    if not removals:
        click.echo("Nothing removed is kept.", err=True)
    for entry in removals:
        size = f"  {entry['bytes'] / 1e6:.1f} MB" if entry.get("bytes") is not None else ""
        place = clean(entry.get("path") or "(what it held; its files stay)")
        click.echo(f"{entry['id']}  {local_time(entry['at'])}{size}  {clean(entry['task'])}  {place}")


@click.command("update-checkout")
@json_option
def update_checkout_command(as_json: bool) -> None:
    """Fast-forward your own checkout to the target, if it is clean and on the target's branch."""
    told = steer("update_checkout")
    moved = int(told.get("commits") or 0)
    commits = f"{moved} commit{'s' * (moved != 1)}"
    done = f"your checkout went forward by {commits}" if moved else "nothing to do: your checkout is up to date"
    _tell(told, as_json, done)


def _tell(result: Json, as_json: bool, done: str) -> None:
    if as_json:
        emit(result)
        return
    click.echo(clean(str(result.get("message") or done), lines=True))
    for text in result.get("notices", ()):
        note(clean(str(text)))
