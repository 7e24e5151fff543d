"""`serve`: a workspace's own servers on its own ports."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from stretto.checks import servers
from stretto.checks.servers import Server
from stretto.cli.common import emit, json_option, note, steer, task_argument, together
from stretto.cli.text import clean, hang, terminal_width
from stretto.client import Json
from stretto.core.errors import StrettoError


@click.command("serve")
@task_argument
@click.argument("names", nargs=-1)
@click.option("--detach", is_flag=True, help="Leave them running; end them with --stop.")
@click.option("--stop", "stopping", is_flag=True, help="End the servers of this workspace.")
@json_option
def serve_command(task: str, names: tuple[str, ...], detach: bool, stopping: bool, as_json: bool) -> None:
    """Start the servers of [workspace.serve] in a task's workspace, on its ports, until Ctrl-C.

    NAMES choose some of them. They end with the workspace, and when the task is paused or cancelled.
    """
    words = (("--stop", stopping), ("--detach", detach))
    together(*words, why="one ends what the other starts", hint=f"stretto serve {task} --stop")
    together(
        ("--stop", stopping),
        ("NAMES", names),
        why="all servers of the workspace end",
        hint=f"stretto serve {task} --stop",
    )
    told = steer("serve", task=task, names=list(names))
    path = Path(told["path"])
    if stopping:
        _end(path)
        _tell({"path": str(path), "servers": []}, as_json, "no server of it runs any more")
        return
    if servers.running(path):
        raise StrettoError(
            f"servers of {task} run already", code="already_serving", object=task, hint=f"stretto serve {task} --stop"
        )
    env = dict(told["env"]) if told["wrapper"] else {**os.environ, **told["env"]}
    folder = Path(told["folder"])
    wanted = servers.specs({"serve": told["serve"]}, tuple(told["names"]))
    started: list[Server] = []
    kept = False
    try:
        for spec in wanted:
            started.append(servers.start(spec, path, env, folder / f"serve-{spec.name}.log", told["wrapper"]))
        for server in started:
            servers.wait(server, lambda: False)
        _tell({"path": str(path), "servers": [_shown(each) for each in started]}, as_json, _lines(started))
        kept = detach
        if not detach:
            _follow(started, path)
    except KeyboardInterrupt:
        note("")
    finally:
        if not kept:
            _end(path)


def _shown(server: Server) -> Json:
    return {"name": server.spec.name, "url": server.url, "pid": server.pid, "output": str(server.output)}


def _lines(started: Sequence[Server]) -> str:
    lines = [f"{each.spec.name}  {each.url or 'no port'}  output: {each.output}" for each in started]
    return "\n".join(part for line in lines for part in hang(line, terminal_width()))


def _tell(result: Any, as_json: bool, text: str) -> None:
    if as_json:
        emit(result)
    else:
        click.echo(text)
    sys.stdout.flush()


def _follow(started: Sequence[Server], path: Path) -> None:
    """Show what they say until all of them have ended."""
    places = {each.spec.name: 0 for each in started}
    while True:
        alive = bool(servers.running(path))
        for each in started:
            places[each.spec.name] = _more(each, places[each.spec.name])
        if not alive:
            return
        time.sleep(0.2)


def _more(server: Server, place: int) -> int:
    with server.output.open("rb") as file:
        file.seek(place)
        data = file.read()
    whole, _, _ = data.rpartition(b"\n")
    for line in whole.decode("utf-8", "replace").splitlines() if whole else ():
        click.echo("\n".join(hang(f"{server.spec.name}: {clean(line)}", terminal_width())))
    return place + len(whole) + bool(whole)


def _end(path: Path) -> None:
    if not servers.end(path):
        raise StrettoError(
            f"some servers in {path} could not be ended", code="survivors", object=str(path), hint="stretto ports"
        )
