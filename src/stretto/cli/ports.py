"""Which ports belong to which workspace."""

from __future__ import annotations

import click

from stretto.cli.common import emit, json_option, note, read
from stretto.cli.text import clean
from stretto.client import Json


@click.command("ports")
@click.option("--all", "everything", is_flag=True, help="Of all repositories and homes of yours.")
@json_option
def ports_command(everything: bool, as_json: bool) -> None:
    """Which ports belong to which workspace, who listens there, and who listens where it should not."""
    result = read("ports", all=everything or None)
    if as_json:
        emit(result)
        return
    if not result["leases"]:
        note("No workspace has ports here.")
    for lease in result["leases"]:
        for line in _lines(lease, everything):
            click.echo(line)
    for text in result["warnings"]:
        note(f"warning: {clean(str(text))}")


def _lines(lease: Json, everything: bool) -> list[str]:
    where = f"  {clean(lease['path'])}" if everything else ""
    state = "" if lease["held"] else "  (its daemon does not run)"
    if lease["given"]:
        state = "  (given back; kept as long as something listens there)"
    lines = [f"slot {lease['slot']}  {lease['first']}-{lease['last']}  {clean(lease['owner'])}{where}{state}"]
    listeners: dict[int, list[Json]] = {}
    for one in lease["listeners"]:
        listeners.setdefault(one["port"], []).append(one)
    names: dict[int, list[str]] = {}
    for name, port in lease["ports"].items():
        names.setdefault(port, []).append(name)
    for port in sorted({*names, *listeners}):
        told = ", ".join(_told(one) for one in listeners.get(port, ())) or "nobody listens"
        lines.append(f"  {port}  {' '.join(names.get(port, ())) or '-'}  {told}")
    return lines


def _told(one: Json) -> str:
    return f"{clean(one['command'])} (process {one['pid']})" if one["pid"] else "a process of another user"
