"""`stretto demo`."""

from __future__ import annotations

import click


@click.command("demo")
@click.option("--agent", metavar="AGENT", help="Let a real agent do the tasks: claude, or 'command:PROG ARGS'.")
def demo_command(agent: str | None) -> int:
    """Run a small real project with scripted agents, no key needed; leaves one folder, which it names."""
    from stretto.demo.main import main

    return main(agent)
