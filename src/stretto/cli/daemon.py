"""`up` and `down`."""

from __future__ import annotations

import os
import signal
import time

import click

from stretto.cli.common import emit, json_option, refuse_agents, together
from stretto.client import Client, NoDaemon, connect
from stretto.core.errors import StrettoError, TimedOut, Unavailable
from stretto.home import Home, find_home, open_home


@click.command("up")
@click.option("--foreground", is_flag=True, help="Be the daemon, here and now, until Ctrl-C.")
@json_option
def up_command(foreground: bool, as_json: bool) -> int:
    """Start the daemon, unless one runs; returns when it answers."""
    together(("--foreground", foreground), ("--json", as_json), why="it stays until Ctrl-C", hint="stretto up --json")
    if foreground:
        from stretto.daemon.__main__ import main

        return main()
    told = connect(start=True, home=open_home()).ping()
    if told is None:
        raise Unavailable("the daemon answered and went away again", code="daemon_failed", hint="stretto doctor")
    if as_json:
        emit({key: told[key] for key in ("pid", "start_time", "socket", "version", "home")})
    else:
        click.echo(f"the daemon runs: process {told['pid']}, home {told['home']}")
    return 0


@click.command("down")
@click.option("--all", "everything", is_flag=True, help="End agents and servers, too.")
@click.option("--timeout", type=float, default=30.0, show_default=True, metavar="S", help="Wait so long for its end.")
@json_option
def down_command(everything: bool, timeout: float, as_json: bool) -> None:
    """Stop the daemon. Agents keep running in their shims, and the next daemon takes them up again."""
    refuse_agents()
    home = find_home()
    pid = None if home is None else _stop(Client(home), everything, timeout)
    left = _end_what_is_left(home) if pid is None and everything and home is not None else 0
    if as_json:
        emit({"pid": pid, "all": everything})
    elif pid is None:
        agents = f"; {left} {'agent' if left == 1 else 'agents'} that it had left running ended" if left else ""
        click.echo(f"no daemon runs{agents}")
    else:
        agents = "all agents have ended" if everything else "agents that run go on; stretto up takes them up again"
        click.echo(f"the daemon (process {pid}) has stopped; {agents}")


def _end_what_is_left(home: Home) -> int:
    """End agents, checks and servers of a home without a daemon; how many agents."""
    if not home.database.exists():
        return 0
    from stretto.daemon.ending import end_all

    return end_all(home)


def _stop(client: Client, everything: bool, timeout: float) -> int | None:
    """Ask the daemon to go, and its process if it does not answer; its pid once it has gone."""
    from stretto.daemon.singleton import read_identity

    assert client.home is not None  # noqa: S101 — our caller looked
    identity = read_identity(client.home.lock)
    if identity is None or not identity.living:
        return None
    try:
        client.call("shutdown", all=everything)
    except (NoDaemon, StrettoError) as error:
        if error.code in ("agent_refused",) or everything:
            raise
        # it hangs, or speaks another protocol: stopping it is no more than a crash, which is always allowed
        os.kill(identity.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while identity.living:
        if time.monotonic() > deadline:
            raise TimedOut(
                f"the daemon (process {identity.pid}) has not ended within {timeout:g} s",
                object=str(identity.pid),
                hint=f"kill -9 {identity.pid} does no harm",
            )
        time.sleep(0.02)
    return identity.pid
