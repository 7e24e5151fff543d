"""`workspace`: workspaces without a task, for people who drive agents by hand."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from stretto import spawn
from stretto.cli.common import emit, json_option, note, on_terminal, read, steer
from stretto.cli.run import ask_trust
from stretto.cli.text import clean, hang, terminal_width
from stretto.cli.words import Group
from stretto.client import Json
from stretto.core.errors import StrettoError

#: how a command ends that Ctrl-C has reached: by the signal, or as a shell says that its child did
INTERRUPTED = (-2, 130)


@click.group("workspace", cls=Group)
def workspace_command() -> None:
    """Workspaces without a task: worktree, branch, environment and ports under a name.

    Use them with exec, env, path and edit: stretto exec NAME -- COMMAND
    """


@workspace_command.command("new")
@click.argument("name")
@click.option("--base", metavar="COMMIT", help="What it starts from; the target if not said.")
@click.option("--branch", metavar="BRANCH", help="The branch it is on, new or not checked out elsewhere.")
@click.option("--trust", is_flag=True, help="Allow the commands of the configuration as they are now.")
@click.option("--no-setup", is_flag=True, help="Do not run the set-up commands.")
@json_option
def new(name: str, base: str | None, branch: str | None, trust: bool, no_setup: bool, as_json: bool) -> None:
    """Make the workspace NAME. Again, it completes what was cut off, and runs a set-up that did not pass."""
    try:
        result = asked("workspace_new", trust, as_json, name=name, base=base, branch=branch)
    except KeyboardInterrupt:
        note(f"interrupted: the daemon goes on making {name}, without a set-up; see it with: stretto workspace list")
        note(f"go on with: stretto workspace new {name}; take it away with: stretto workspace remove {name}")
        raise
    if result["setup"] and not no_setup:
        try:
            set_up(result)
        except KeyboardInterrupt:
            if result["fresh"]:
                steer("workspace_remove", name=name)
                note(f"interrupted: {name} is not made")
            raise
        result = {**result, **steer("workspace_ready", name=name, env=dict(os.environ))}
    if as_json:
        emit(result)
        return
    click.echo(clean(str(result["path"])))
    if result["continues"]:
        note(f"its branch was there already, at {str(result['continues'])[:12]}: it goes on from there")
    note(f"on {clean(str(result['branch']))}; work in it with: stretto exec {name} -- COMMAND")


def asked(verb: str, trust: bool, as_json: bool, **args: Any) -> Json:
    """The operation; commands that were not allowed yet are shown and asked about on a terminal."""
    given = {**args, "env": dict(os.environ), "trust": trust or None}
    try:
        return steer(verb, **given)
    except StrettoError as error:
        if error.code != "untrusted" or as_json or not on_terminal():
            raise
        return steer(verb, **{**given, **ask_trust(error)})


def set_up(result: Json) -> None:
    """Run the set-up commands on this terminal, one after the other; what they say goes to standard error.

    Raises KeyboardInterrupt if the person interrupts one, StrettoError (`setup_failed`) if one fails.
    """
    env = {**os.environ, **result["env"]}
    for command in result["setup"]:
        note(f"$ {clean(str(command['run']))}")
        argv = ["/bin/sh", "-c", 'exec /bin/sh -c "$1" >&2', "sh", str(command["run"])]
        began = time.monotonic()
        code = spawn.inherited(argv, cwd=Path(result["path"]), env=env)
        note(f"  took {time.monotonic() - began:.1f} s")
        if code in INTERRUPTED:
            raise KeyboardInterrupt
        if code != 0:
            raise StrettoError(
                f"the set-up command {command['run']!r} exited with {code}",
                code="setup_failed",
                object=str(result["path"]),
                hint=f"look into it, then: stretto workspace new {result['workspace']}",
            )


@workspace_command.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """All workspaces of this repository, those of tasks too."""
    found = read("workspaces")["workspaces"]
    if as_json:
        emit({"workspaces": found})
        return
    if not found:
        note("There is no workspace here. Make one with: stretto workspace new NAME")
    for one in found:
        kind = "task" if one["task"] else "adopted" if one["adopted"] else "by hand"
        port = f"PORT {one['ports']['PORT']}" if "PORT" in one["ports"] else "no ports"
        unready = "" if one["ready"] else "  (not set up)"
        if one["gone"]:
            then = f"explain {one['task']}" if one["task"] else f"workspace remove {one['name']}"
            unready = f"  (its folder is gone: stretto {then})"
        branch = clean(str(one["branch"] or "detached"))
        line = f"{one['name']}  {kind}  {clean(str(one['path'] or '-'))}  {branch}  {port}{unready}"
        click.echo("\n".join(hang(line, terminal_width())))


@workspace_command.command("adopt")
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.option("--name", metavar="NAME", help="What to call it; the name of the folder if not said.")
@click.option("--trust", is_flag=True, help="Allow the commands of the configuration as they are now.")
@json_option
def adopt(path: str, name: str | None, trust: bool, as_json: bool) -> None:
    """Give the git worktree at PATH an environment and ports. Its files stay where and as they are."""
    result = asked("workspace_adopt", trust, as_json, path=os.path.realpath(path), name=name)
    if as_json:
        emit(result)
        return
    click.echo(clean(str(result["path"])))
    note(f"adopted as {result['workspace']}; work in it with: stretto exec {result['workspace']} -- COMMAND")


@workspace_command.command("remove")
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove the workspace NAME. Its files are kept, and `undo` brings it back. A branch with commits stays.

    An adopted one is let go: what it held is given back, its files stay.
    """
    result = steer("workspace_remove", name=name)
    if as_json:
        emit(result)
        return
    if result["adopted"]:
        click.echo(f"let go of {name}; its files are where they were")
    else:
        undo = result.get("undo")
        back = f"bring it back with: stretto undo {undo}" if undo else "its files were gone before, so undo cannot help"
        click.echo(f"removed {name}; {back}")
        if result["kept"]:
            note(f"its branch stays: {clean(str(result['kept']))}")
