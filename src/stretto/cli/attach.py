"""`attach`: go to the terminal of a task's agent, here on yours."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from stretto import spawn
from stretto.cli.common import note, steer, task_argument, together
from stretto.client import Json
from stretto.core.errors import StrettoError
from stretto.terminal.tmux import environment, words

#: seconds that a terminal may take until it stands, and between two looks
_STANDS, _LOOK = 30.0, 0.3


@click.command("attach")
@task_argument
@click.option("--interrupt", is_flag=True, help="Interrupt the running turn instead of waiting for its end.")
@click.option("--read-only", "read_only", is_flag=True, help="Only look; nothing that you type arrives.")
def attach_command(task: str, interrupt: bool, read_only: bool) -> None:
    """Go to the interface of TASK's agent, here in your terminal; Ctrl-] leaves it.

    An agent that speaks a protocol is taken over between two turns, with its conversation, and handed back when you
    leave: what was sent to it meanwhile it gets then, and what you did there is checked like any other work.
    """
    options = (("--read-only", read_only), ("--interrupt", interrupt))
    together(*options, why="who only looks stops nothing", hint=f"stretto interrupt {task}")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise StrettoError(
            "attaching needs a terminal, and this is none",
            code="no_terminal",
            object=task,
            hint=f"without one: stretto logs -f {task}, stretto send {task}",
        )
    found = _found(task, interrupt, read_only)
    place = Path(found["socket"])
    _await(place)
    note("Ctrl-] leaves; the agent goes on")
    sys.stdout.flush()
    only = ("-r",) if read_only else ()
    argv = words("tmux", place, "attach-session", *only, "-t", f"={found['name']}")
    spawn.become(argv, cwd=Path("/"), env=environment(os.environ))


def _found(task: str, interrupt: bool, read_only: bool) -> Json:
    """The terminal, as soon as there can be one."""
    told, said = False, ""
    while True:
        try:
            return steer("attach", task=task, read_only=read_only or None)
        except StrettoError as error:
            if error.code not in ("turn_running", "busy"):
                raise
            why = error.message if error.code == "turn_running" else f"{task} is busy"
            hint = str(error.hint or "").partition(", or: ")[0]
        if not told and interrupt:
            _interrupt(task)
        elif why != said:
            answer = f"; {hint}" if hint.startswith("stretto answer") else ""
            note(f"{why}{answer}; you get there at the end of its turn (Ctrl-C gives up, --interrupt hurries)")
        told, said = True, why
        time.sleep(_LOOK)


def _interrupt(task: str) -> None:
    try:
        steer("interrupt", task=task)
    except StrettoError as error:
        if error.code != "not_running":  # it has ended meanwhile
            raise


def _await(place: Path) -> None:
    """Until the terminal stands; its host says so."""
    deadline = time.monotonic() + _STANDS
    while not place.with_name("ready").exists():
        if time.monotonic() > deadline:
            why = "the terminal did not come up"
            raise StrettoError(why, code="terminal_gone", object=str(place), hint="stretto inbox")
        time.sleep(0.05)
