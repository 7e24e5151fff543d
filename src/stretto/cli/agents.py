"""`agents`: who could do the work here, what each can do, and what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stretto.cli.common import emit, json_option, read
from stretto.cli.text import clean, clip, coloured, hang, pad, paint, quota, terminal_width, width, wrap
from stretto.client import Json, folder

if TYPE_CHECKING:
    from stretto.core.errors import StrettoError


@click.command("agents")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--long", "everything", is_flag=True, help="All that is known of each; NAME tells it of some.")
@json_option
def agents_command(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """The agents that can be named here: those that need no description, then those of stretto.toml.

    Looks at programs, versions and the evidence of a login; starts no agent and reads no credential.
    """
    told = _quotas()
    found = _named([{**agent, "quotas": told.get(agent["name"], [])} for agent in described(root_here())], names)
    if as_json:
        emit({"agents": found})
        return
    if not (names or everything):
        click.echo("\n".join(_overview(found)))
        return
    for number, agent in enumerate(found):
        click.echo("\n".join([""] * (number > 0) + _block(agent)))
    click.echo("\n".join(["", *_table(found)]))


def _named(found: list[Json], names: tuple[str, ...]) -> list[Json]:
    """Those of these names; all if none is said. Raises UsageError for one that there is not."""
    from stretto.core.errors import UsageError
    from stretto.core.finding import closest

    known = {agent["name"]: agent for agent in found}
    for name in names:
        if name not in known:
            guess = closest(name, known)
            hint = f"did you mean {guess}?" if guess else "all that there are: stretto agents"
            raise UsageError(f"there is no agent {name!r} here", object=name, hint=hint)
    return [known[name] for name in dict.fromkeys(names)] if names else found


def _quotas() -> dict[str, list[Json]]:
    """What agents told of their vendors' windows, by name; nothing where stretto has not worked yet."""
    from stretto.core.errors import StrettoError

    found: dict[str, list[Json]] = {}
    try:
        for one in read("usage", all=True).get("quotas", ()):
            found.setdefault(str(one["agent"]), []).append(one)
    except StrettoError:
        return {}
    return found


def root_here() -> Path | None:
    """The main checkout here; None outside of a repository."""
    from stretto.core.errors import StrettoError
    from stretto.git.discover import discover

    try:
        return discover(Path(folder())).root
    except StrettoError as error:
        if error.code != "not_a_repository":
            raise
        return None


def described(root: Path | None) -> Iterator[Json]:
    """Every agent of the checkout's configuration as `agents --json` tells it. Raises for a file with mistakes."""
    from stretto import agents
    from stretto.cli.roles import frozen_of
    from stretto.core.plan import Plan

    frozen = frozen_of(root, Plan())
    env = {**os.environ, **({"STRETTO_ROOT": str(root)} if root is not None else {})}
    for name in frozen["agents"]:
        yield _described(name, frozen, env)
    for type in sorted(agents.broken().keys() - frozen["agents"].keys()):
        yield _unusable(type, type, agents.broken()[type])


def _described(name: str, frozen: Json, env: dict[str, str]) -> Json:
    from stretto import agents
    from stretto.agents.declaration import CAPABILITIES
    from stretto.agents.looks import look
    from stretto.core.errors import StrettoError
    from stretto.core.who import agent_spec

    spec = agent_spec(frozen, "", name)
    try:
        said = agents.declared(spec.type)
    except StrettoError as error:
        return _unusable(name, spec.type, error)
    sight = look(spec, env)
    return {
        "name": name,
        "type": spec.type,
        "about": said.about,
        "program": spec.command[0] if spec.command else said.program,
        "path": sight.path,
        "missing": sight.missing,
        "version": sight.version,
        "tested": sight.tested,
        "tested_versions": list(said.tested),
        "login": sight.login,
        "evidence": sight.evidence,
        "can": {word: word in said.can for word in CAPABILITIES},
        "models": dict(frozen["agents"][name]["models"]),
        "roles": [role for role, part in frozen["roles"].items() if part["agent"] == name],
        "fallback_of": [role for role, part in frozen["roles"].items() if name in part["fallback"]],
        "install": said.install,
    }


def _unusable(name: str, type: str, error: StrettoError) -> Json:
    """An agent whose type nobody provides, or provides so that it cannot be used."""
    from stretto.agents.declaration import CAPABILITIES

    nothing = dict.fromkeys(("program", "path", "version", "tested", "login"))
    empty: Json = {word: [] for word in ("tested_versions", "roles", "fallback_of")}
    return {
        "name": name,
        "type": type,
        "about": "not to be used",
        **nothing,
        **empty,
        "missing": error.message,
        "evidence": "",
        "can": dict.fromkeys(CAPABILITIES, False),
        "models": {},
        "install": error.hint or "",
    }


def _overview(found: list[Json]) -> list[str]:
    """A line for each agent, and what the words in it mean."""
    from stretto.agents.declaration import CAPABILITIES

    rows = [(clean(agent["name"]), _found(agent), _LOGINS[agent["login"]], _abilities(agent)) for agent in found]
    heads, columns, colour = ("agent", "found", "login", "can"), terminal_width(), coloured()
    room = [max(width(row[n]) for row in [heads, *rows]) for n in range(3)]
    room[0] = min(room[0], 20)
    lines = []
    for number, row in enumerate([heads, *rows]):
        line = clip("  ".join([*(pad(cell, size) for cell, size in zip(row, room, strict=False)), row[3]]), columns)
        lines.append(paint(line, "bold", colour and number == 0))
    whole = hang(f"all: {', '.join(CAPABILITIES)}", columns)
    return [*lines, *whole, "more of each: stretto agents NAME, or --long"]


_LOGINS = {True: "yes", False: "no sign", None: "-"}


def _found(agent: Json) -> str:
    """Whether it is there: its version, and whether that was tested."""
    if agent["missing"]:
        return "not usable" if agent["path"] or not agent["program"] else "not found"
    if agent["version"] is None:
        return "yes"
    return f"{clean(agent['version'])}, {'tested' if agent['tested'] else 'untested'}"


def _abilities(agent: Json) -> str:
    """What it can do in the fewest words."""
    can = [word for word, able in agent["can"].items() if able]
    cannot = [word for word, able in agent["can"].items() if not able]
    if not can or not cannot:
        return "all" if can else "nothing"
    return f"all but {', '.join(cannot)}" if len(cannot) < len(can) else ", ".join(can)


def _block(agent: Json) -> list[str]:
    colour = coloured()
    title = paint(clean(agent["name"]), "red" if agent["missing"] else "green", colour)
    lines = [f"{title} · {clean(agent['about'])}"]
    if agent["missing"]:
        lines += _told("missing", agent["missing"])
        if agent["program"] and not agent["path"] and "not on PATH" not in agent["missing"]:
            lines += _told("program", f"`{agent['program']}` is not on PATH either")
        if agent["install"] and not agent["path"]:
            lines += _told("install", agent["install"])
    else:
        lines += _told("program", agent["path"] or "comes with stretto")
    if agent["tested_versions"]:
        lines += _told("version", _version(agent))
        lines += _told("login", _login(agent))
    for one in agent["quotas"]:
        lines += _told("quota", quota(one))
    if agent["roles"]:
        lines += _told("does", ", ".join(agent["roles"]))
    return lines


def _told(label: str, text: str) -> list[str]:
    lines = wrap(clean(text), terminal_width(), " " * 12)
    return [f"  {label + ':':<10}{lines[0][12:]}", *lines[1:]]


def _table(found: list[Json]) -> list[str]:
    """What each can do, in 80 columns; the words are those of `agents --json`."""
    from stretto.agents.declaration import CAPABILITIES

    names = max((width(clean(agent["name"])) for agent in found), default=0)
    if terminal_width() is not None:
        names = min(names, 80 - sum(len(word) + 1 for word in CAPABILITIES))
    lines = [" ".join([" " * names, *CAPABILITIES])]
    for agent in found:
        marks = (pad("yes" if agent["can"][word] else "-", len(word)) for word in CAPABILITIES)
        lines.append(" ".join([pad(clean(agent["name"]), names), *marks]).rstrip())
    return [*lines, "budget: a limit of its own; the limits of stretto hold wherever usage is told"]


def _version(agent: dict[str, Any]) -> str:
    tested = ", ".join(agent["tested_versions"])
    if agent["version"] is None:
        return f"not known; tested with {tested}"
    if agent["tested"]:
        return f"{clean(agent['version'])}, tested"
    return f"{clean(agent['version'])}, not tested (it should work; tested with {tested})"


def _login(agent: dict[str, Any]) -> str:
    words = {True: "yes", False: "no sign of one", None: "not known"}
    return f"{words[agent['login']]}: {clean(agent['evidence'])}"
