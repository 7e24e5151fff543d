"""`doctor`: look for what would keep stretto from working, and say what to do about each thing."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stretto import __version__, files
from stretto.cli.common import emit, json_option, together
from stretto.cli.text import clean, coloured, hang, paint, terminal_width, unicode_ok
from stretto.client import Client
from stretto.core.errors import StrettoError
from stretto.home import SOCKET_PATH_LIMIT, Home, find_home, home_path

if TYPE_CHECKING:
    from stretto.config import Config

#: bytes of free disk below which work is likely to fail
SPACE = 1 << 30

#: words that a shell knows itself
_BUILTINS = ("cd", "eval", "exec", "export", "for", "if", "set", "source", "time", "trap", "ulimit", "umask", "while")

OK, WARNING, PROBLEM = "ok", "warning", "problem"
_COLOURS = {OK: "green", WARNING: "yellow", PROBLEM: "red"}
_SIGNS = {OK: ("✓", "+"), WARNING: ("!", "!"), PROBLEM: ("✗", "x")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: str
    text: str
    hint: str | None = None


@click.command("doctor")
@click.option("--bundle", is_flag=True, help="Write what helps to find a fault into one archive; nothing is sent.")
@click.option("--failpoints", is_flag=True, help="Only list the names of the fail points, for tests.")
@json_option
def doctor_command(bundle: bool, failpoints: bool, as_json: bool) -> int:
    """Look at this machine, the home folder, the daemon, the database and the repository here.

    Exit code 1 if there is a problem.
    """
    together(
        ("--bundle", bundle), ("--failpoints", failpoints), why="one is a report, one a list", hint="say one of them"
    )
    if failpoints:
        _print_failpoints(as_json)
        return 0
    found = list(_all())
    bad = any(finding.state == PROBLEM for finding in found)
    if bundle:
        _write_bundle(found, as_json)
        return 0
    if as_json:
        emit({"ok": not bad, "version": __version__, "checks": [asdict(finding) for finding in found]})
        return int(bad)
    columns = terminal_width()
    for finding in found:
        sign = _SIGNS[finding.state][not unicode_ok()]
        first, *rest = hang(f"{sign} {finding.name}: {clean(finding.text)}", columns, "  ")
        click.echo(paint(sign, _COLOURS[finding.state], coloured()) + first[1:])
        for line in [*rest, *(hang(f"    {clean(finding.hint)}", columns) if finding.hint else ())]:
            click.echo(line)
    return int(bad)


def _write_bundle(found: list[Finding], as_json: bool) -> None:
    from stretto.cli import bundle

    home = find_home()
    if home is None:
        raise StrettoError(f"there is nothing to bundle: {home_path()} was never made", hint="stretto doctor")
    path, names = bundle.write(home, [asdict(finding) for finding in found])
    if as_json:
        emit({"bundle": str(path), "files": names})
        return
    click.echo(
        f"{path}\nIt holds {', '.join(names)}: no prompt, no output, no environment. Look into it, then send it."
    )


def _print_failpoints(as_json: bool) -> None:
    from stretto.failpoints import POINTS

    if as_json:
        emit({"failpoints": list(POINTS)})
    else:
        click.echo("\n".join(POINTS))


def _all() -> Iterator[Finding]:
    yield from _guarded("python", _python)
    yield from _guarded("git", _git)
    yield from _guarded("sandbox", _sandbox)
    yield from _guarded("home", _home)
    yield from _guarded("daemon", _daemon)
    yield from _guarded("database", _database)
    yield from _guarded("repository", _repository)


def _guarded(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look finds; a look that fails is a finding itself."""
    try:
        yield from look()
    except StrettoError as error:
        yield Finding(name, PROBLEM, error.message, error.hint)
    except OSError as error:
        yield Finding(name, PROBLEM, str(error))


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", OK, f"{version}, {sys.executable}; stretto {__version__}")


def _git() -> Iterator[Finding]:
    from stretto.git.run import version

    yield Finding("git", OK, ".".join(map(str, version())))


def _sandbox() -> Iterator[Finding]:
    from stretto.workspace.sandbox import look
    from stretto.workspace.sandbox.limits import means

    found = look()
    if found.program is None:
        yield Finding("sandbox", WARNING, f"there can be none: {found.reason}", found.hint)
    else:
        yield Finding("sandbox", OK, f"{found.program} works here; [workspace] sandbox says whether it is used")
        memory, processes = means(found.group)
        hint = None if found.group else "the kernel holds both where groups are delegated: see the guide, sandbox.md"
        yield Finding("limits", OK, f"memory of a sandbox is limited by {memory}; processes by {processes}", hint)


def _home() -> Iterator[Finding]:
    home = find_home()
    path = home_path()
    if home is None:
        yield Finding("home", OK, f"{path} (not made yet)")
        return
    if home.default_socket.parent != home.path:
        text = (
            f"{home.path}; its socket's path is longer than {SOCKET_PATH_LIMIT} bytes, so it is {home.default_socket}"
        )
        yield Finding("home", OK, text)
    else:
        yield Finding("home", OK, str(home.path))
    free = files.free_bytes(home.path)
    if free < SPACE:
        yield Finding("disk", WARNING, f"{free / 1e6:.0f} MB free at {home.path}", "free some space before you start")
    reports = sorted(home.bug_reports.glob("*.txt")) if home.bug_reports.is_dir() else []
    fresh = [path for path in reports if time.time() - path.stat().st_mtime < 86400]
    if fresh:
        yield Finding("reports", WARNING, f"{len(fresh)} failures of stretto since yesterday", f"the last: {fresh[-1]}")


def _daemon() -> Iterator[Finding]:
    home = find_home()
    told = None if home is None else Client(home).ping()
    if told is None:
        yield from _no_daemon(home)
    elif told["version"] != __version__:
        text = f"process {told['pid']} is of version {told['version']}, this is {__version__}"
        yield Finding("daemon", WARNING, text, "stretto down, then stretto up (agents keep running)")
    else:
        yield Finding("daemon", OK, f"process {told['pid']}, socket {told['socket']}")


def _no_daemon(home: Home | None) -> Iterator[Finding]:
    if home is not None and files.locked(home.lock):
        text = "a process holds the daemon's lock but does not answer"
        yield Finding("daemon", PROBLEM, text, f"look into {home.daemon_log}; then: stretto down")
    else:
        yield Finding("daemon", OK, "none runs; `run` and `up` start one")


def _database() -> Iterator[Finding]:
    home = find_home()
    if home is None or not home.database.exists():
        yield Finding("database", OK, "none yet")
        return
    from stretto.store.sqlite import open_readonly

    try:
        reader = open_readonly(home.database)
    except StrettoError as error:
        if error.code != "empty":
            raise
        yield Finding("database", OK, "none yet")
        return
    try:
        told: list[Any] = reader.rows("PRAGMA quick_check(5)")
        problems = [row[0] for row in told if row[0] != "ok"]
    finally:
        reader.connection.close()
    size = home.database.stat().st_size / 1e6
    if problems:
        hint = "stop the daemon (stretto down), and keep a copy of the file"
        yield Finding("database", PROBLEM, f"it is damaged: {problems[0]}", hint)
    else:
        yield Finding("database", OK, f"{size:.1f} MB, whole")


def _repository() -> Iterator[Finding]:
    from stretto.cli.leftovers import leftovers, spares
    from stretto.git.discover import discover

    try:
        found = discover(Path.cwd())
    except StrettoError as error:
        if error.code == "not_a_repository":
            yield Finding("repository", OK, "none here")
            return
        raise
    yield Finding("repository", OK, str(found.root))
    parent = found.root.parent
    if not os.access(parent, os.W_OK):
        text = f"{parent} is not writable, so worktrees will lie in the home folder"
        yield Finding("worktrees", WARNING, text, "or set [project] worktrees in stretto.toml")
    yield from _config(found.root)
    for text in spares(found.root):
        yield Finding("pool", OK, text)
    for text, hint in leftovers(found.root):
        yield Finding("leftover", WARNING, text, hint)


def _config(root: Path) -> Iterator[Finding]:
    """The file of the checkout: what is wrong in it, and which of the programs that it names are not there."""
    from stretto.config import parse

    path = root / "stretto.toml"
    config, mistakes = parse(path.read_text("utf-8") if path.is_file() else "")
    for mistake in mistakes:
        yield Finding("stretto.toml", PROBLEM, str(mistake))
    if not mistakes:
        yield from _programs(config, root)


def _programs(config: Config, root: Path) -> Iterator[Finding]:
    from stretto import agents
    from stretto.config import resolve
    from stretto.core.plan import Plan

    frozen = resolve(config, Plan(), ready=agents.ready(), models=agents.models())
    yield from _agents(frozen, {**os.environ, "STRETTO_ROOT": str(root)})
    yield from _shared(frozen, root)
    told = [(f"check {check['name']}", check["run"]) for check in frozen["checks"]]
    for name, command in [*told, *(("setup", command["run"]) for command in frozen["setup"])]:
        if missing := _missing(command, root):
            text = f"`{command}` needs {missing}, which is not there"
            yield Finding(name, WARNING, text, "install it, or change the command in stretto.toml")


def _shared(frozen: dict[str, Any], root: Path) -> Iterator[Finding]:
    """What databases of tasks have in common with each other and with the person's."""
    from stretto.workspace import databases

    try:
        for text in databases.remarks(frozen.get("database"), root):
            yield Finding("databases", OK, text)
    except StrettoError as error:
        yield Finding("databases", PROBLEM, error.message, error.hint)


def _agents(frozen: dict[str, Any], env: dict[str, str]) -> Iterator[Finding]:
    """Every agent that a role names: can it be started, was its version tested, is there a sign of a login."""
    from stretto.cli.roles import roles_said, standing_by

    for role, text, hint in roles_said(frozen):
        yield Finding(f"role {role}", WARNING if hint else OK, text, hint)
    first: dict[str, str] = {}
    for role, part in frozen["roles"].items():
        first.setdefault(part["agent"], role)
    for name, role in first.items():
        yield from _agent(frozen, env, role, name, "")
    for name, roles in standing_by(frozen).items():
        yield from _agent(frozen, env, roles[0], name, f"takes over for {', '.join(roles)}")


def _agent(frozen: dict[str, Any], env: dict[str, str], role: str, name: str, stands_by: str) -> Iterator[Finding]:
    from stretto import agents
    from stretto.agents.looks import confines, look
    from stretto.core.who import agent_spec

    spec = agent_spec(frozen, role, name)
    try:
        sight, said = look(spec, env), agents.declared(spec.type)
    except StrettoError as error:
        yield Finding("agent", WARNING, error.message, error.hint or "")
        return
    if sight.missing is not None:
        absent = said.install if sight.path is None else ""  # else its reason says what to do
        hint = f"{absent}; or choose another" if absent else "or choose another"
        missing = f"{sight.missing}; it {stands_by}" if stands_by else sight.missing
        yield Finding("agent", WARNING, missing, f"{hint}: stretto run --agent NAME (see stretto agents)")
        return
    yield Finding("agent", OK, f"{name} can be started{' and ' if stands_by else ''}{stands_by}")
    if sight.tested is False:
        text = f"{name} is version {sight.version}; tested with {', '.join(said.tested)}"
        yield Finding("agent", WARNING, text, "it should work; if it does not, install a tested one")
    if (fault := confines(spec, env)) is not None:
        text = f"{name} cannot start its own sandbox here, so its commands fail there: {fault}"
        yield Finding("agent", WARNING, text, "give its tasks stretto's: [workspace] sandbox in stretto.toml")
    if sight.login is False:
        yield Finding("agent", WARNING, f"{name} shows no sign of a login: {sight.evidence}", f"log in: {name}")


def _missing(command: str, root: Path) -> str | None:
    """The program that a plain command begins with, if it cannot be found; None for anything cleverer."""
    word = (command.split() or [""])[0]
    plain = re.fullmatch(r"[\w./+-]+", word) is not None and word not in _BUILTINS
    if not plain or shutil.which(str(root / word) if "/" in word else word):
        return None
    return word
