"""`driver`: plan with an agent, at this terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from stretto import spawn
from stretto.cli.common import note, steer
from stretto.cli.spaces import asked, set_up
from stretto.cli.text import clean
from stretto.core.errors import StrettoError


@click.command("driver")
@click.option("--here", is_flag=True, help="In your own checkout, not in a workspace of its own.")
@click.option("--agent", metavar="AGENT", help="Another agent than that of the role driver.")
@click.option("--new", "fresh", is_flag=True, help="Begin a new conversation; without it the last one goes on.")
@click.option("--trust", is_flag=True, help="Allow the commands of the configuration as they are now.")
@click.option("--unsandboxed", is_flag=True, help="I know that an agent which never asks runs without a sandbox.")
def driver_command(here: bool, agent: str | None, fresh: bool, trust: bool, unsandboxed: bool) -> None:
    """Plan with an agent in its own face, here on your terminal.

    It is told how to check a plan, hand over tasks and write to agents; what lands, what is answered and what may run
    stays with you. It works in the workspace `driver`, which stays: call again and the conversation goes on.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise StrettoError(
            "a driver needs a terminal, and this is none",
            code="no_terminal",
            hint="call stretto driver at a terminal; stretto add hands over a task without one",
        )
    words = {"here": here or None, "agent": agent, "fresh": fresh or None, "unsandboxed": unsandboxed or None}
    told = asked("driver", trust, False, **words)
    if told["setup"]:
        set_up(told)
        steer("workspace_ready", name=told["workspace"], env=dict(os.environ))
    going = "goes on" if told["resumed"] else "begins"
    note(f"{clean(str(told['agent']))} {going} in {clean(str(told['cwd']))}")
    sys.stdout.flush()
    spawn.become(told["argv"], cwd=Path(told["cwd"]), env={**os.environ, **told["env"]})
