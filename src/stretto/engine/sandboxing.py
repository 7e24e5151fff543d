"""What the sandbox of a session, a check, a set-up or a gate shows: from rows and configuration to words.

Specification. Whether there is one was decided when the run began (`core.who`); if it cannot be made any more, nothing
is started without it. An agent may write its worktree, its own branches and a home of its own that lasts as long as
the task; it gets the credentials of its own kind. A check, a set-up and a gate get an empty home and no credentials, a
gate nothing of the repository to write: what one leaves there can mislead no other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from stretto import files
from stretto.agents import first_steps
from stretto.agents.needs import needs
from stretto.core import names
from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.model import AgentSpec, Run, Session, Task
from stretto.core.who import NO_SANDBOX, PANE, agent_of, sandbox
from stretto.engine import messages
from stretto.engine.parts import Parts
from stretto.interfaces import Confinement, Git, Launch, Workspace
from stretto.workspace import browser, registration
from stretto.workspace import sandbox as sandboxes
from stretto.workspace.databases import reach
from stretto.workspace.sandbox import etc, limits, places
from stretto.workspace.sandbox.house import discard, furnish, settle
from stretto.workspace.sandbox.recipe import SYSTEM, ClonePlaces, GitPlaces, Recipe

_PORT = re.compile(r"PORT(_\w+)?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
#: for people whose home folder cannot be one inside
_ELSEWHERE = "/home/sandbox"


def of_session(parts: Parts, f: Facts, session: Session, launch: Launch) -> Confinement:
    """How the agent of a session is started. Raises StrettoError when its sandbox cannot be made."""
    if sandbox(f) == NO_SANDBOX:
        return Confinement((), dict(launch.env))
    spec = agent_of(f)
    wanted = needs(spec, launch.env)
    house = house_of(parts, f.task)
    home = _home(launch.env)
    furnish(house, Path(launch.env.get("HOME", home)), (*wanted.credentials, *_own(f.run, spec.name, "credentials")))
    _settle(parts, f, house, spec, launch, terminal=session.mode == PANE)
    turns = Path(session.folder) / "turns"
    for place in (turns.parent, turns):
        files.make_private_dir(place)
    api = Path(launch.env["STRETTO_AGENT_SOCKET"]).parent
    write = [api]
    if not f.task.lands:
        write.append(messages.report_file(parts, f.task).parent)
    for folder in write:
        files.make_private_dir(folder)
    return _confine(
        parts,
        f.run,
        Path(str(f.task.workspace)),
        {**launch.env, "IS_SANDBOX": "1"},
        branch=f.task,
        programs=[launch.argv, launch.program],
        read=[str(turns)],
        write=[str(folder) for folder in write],
        house=str(house),
        allow=(*wanted.network, *_own(f.run, spec.name, "network")),
    )


def _settle(parts: Parts, f: Facts, house: Path, spec: AgentSpec, launch: Launch, *, terminal: bool) -> None:
    """Answer in the task's home what the agent's program asks once in each: nobody may be there to answer."""
    env = {**launch.env, **parts.secrets.of(f.run)}
    if (name := first_steps.place(spec, env)) is None:
        return
    folders = [os.path.realpath(str(f.task.workspace)), f.run.root]
    rules = spec.permissions or "ask"
    answers = partial(first_steps.answered, spec, env, folders, permissions=rules, terminal=terminal)
    settle(house, name, answers)


def of_command(parts: Parts, f: Facts, path: Path, env: Mapping[str, str]) -> Confinement:
    """How a check or set-up command is started in the task's worktree."""
    if sandbox(f) == NO_SANDBOX:
        return Confinement((), dict(env))
    return _confine(parts, f.run, path, env, branch=f.task)


def for_gate(parts: Parts, run: Run, tested: Iterable[Facts]) -> Callable[[Workspace], Confinement] | None:
    """How the commands of a gate are started; None: unconfined.

    In a sandbox as soon as one of the tasks worked in one, and from then on: the gate's bay keeps what git ignores, and
    what was left there by confined work must not be run otherwise later.
    """
    mark = parts.home.houses / f"gate-{hashlib.sha256(run.repo.encode()).hexdigest()[:16]}"
    if all(sandbox(each) == NO_SANDBOX for each in tested) and not mark.exists():
        return None
    files.make_private_dir(parts.home.houses)
    mark.touch(mode=0o600)
    return lambda space: _confine(parts, run, space.path, space.env)


def refs_of(task: Task) -> str:
    """The folder of the task's own branches (CONTRACTS "Names")."""
    branch = str(task.branch)
    if not branch.endswith("/work"):
        raise StrettoError(
            f"the branch {branch} has no folder of its own, so it cannot be the only one that is writable",
            code="sandbox_refused",
            object=branch,
            hint="take `branch` out of the task, or its sandbox",
        )
    return f"refs/heads/{branch.removesuffix('/work')}"


def house_of(parts: Parts, task: Task) -> Path:
    """The folder that the task's agent has for its home."""
    return parts.home.houses / names.file_name(task.uid)


def release(parts: Parts, run: Run, branch: str) -> None:
    """Take back what the sandbox of a task has put into the repository."""
    if branch.endswith("/work"):
        places.release(parts.repositories.git(run.root).common, [f"refs/heads/{branch.removesuffix('/work')}"])


def forget(parts: Parts, uid: str) -> None:
    """Delete the home that a task's agent had, for good."""
    discard(parts.home.houses / names.file_name(uid))


def _confine(
    parts: Parts,
    run: Run,
    path: Path,
    env: Mapping[str, str],
    *,
    branch: Task | None = None,
    programs: Sequence[Sequence[str]] = (),
    read: Sequence[str] = (),
    write: Sequence[str] = (),
    house: str | None = None,
    allow: Sequence[str] = (),
) -> Confinement:
    program = sandboxes.require()
    git = parts.repositories.git(run.root)
    rules = run.config.get("sandbox_rules") or {}
    home, private = _home(env), str(parts.home.path)
    seen = places.Places(home, private)
    places.ourselves(seen, private)
    places.tools(seen, env.get("PATH", ""))
    for argv in filter(None, programs):
        places.program(seen, argv, env)
    places.named(seen, rules.get("read") or (), home, private)
    profile, browsers = browser.shown(env)
    for folder in browsers:
        seen.add(Path(folder))
    copied = _etc(parts, (*seen.read, *read, *write))
    system, links = places.system(etc=copied is None)
    hosts, forward = split((*(rules.get("network") or ()), *allow), env)
    recipe = Recipe(
        workspace=str(path),
        home=home,
        git=_git(git, path, branch),
        house=house,
        system=system,
        links=(*links, *seen.links.items()),
        read=(*seen.read, *read, *reach.shown(env, rules.get("network") or ())),
        etc=copied,
        write=(*write, *profile),
        allow=hosts,
        forward=forward,
        ports=tuple(
            sorted(
                {int(v) for n, v in env.items() if _PORT.fullmatch(n) and v.isdigit() and 0 < int(v) < 65536}
                - {port for port, _, _ in forward}  # what listens there outside is reached from inside
            )
        ),
        limits=limits.of(rules, sandboxes.look().group),
    )

    def reaching(ports: Sequence[int], folders: Sequence[Path]) -> tuple[str, ...]:
        also = tuple((port, "127.0.0.1", port) for port in ports)
        wider = replace(
            recipe, forward=(*recipe.forward, *also), write=(*recipe.write, *(str(folder) for folder in folders))
        )
        return tuple(sandboxes.wrapper(wider, program))

    return Confinement(reaching((), ()), _environment(parts, run, recipe, env), reaching)


def _git(git: Git, path: Path, task: Task | None) -> GitPlaces | ClonePlaces:
    """The clone of a task that has one; else its part of the repository, or for no task nothing that can be written."""
    clone = git.clone(path) if task is not None else None
    if clone is not None:
        return places.clone(git.common, clone.git_dir, clone.pointer)
    return places.worktree(git.common, _admin(git.common, path), () if task is None else (refs_of(task),))


def _etc(parts: Parts, also: Sequence[str]) -> str | None:
    """The copy of /etc; None when single files must do: more of it is shown than is copied, or it cannot be made."""
    if any(Path(place).is_relative_to("/etc") for place in also):
        return None
    try:
        return str(etc.folder(parts.home.path))
    except OSError:
        return None


def _environment(parts: Parts, run: Run, recipe: Recipe, env: Mapping[str, str]) -> dict[str, str]:
    """The environment inside. The person's git settings are not there: who commits must be said."""
    who = parts.repositories.git(run.root).identity()
    said: dict[str, str] = {}
    if who is not None:
        for role in ("AUTHOR", "COMMITTER"):
            said |= {f"GIT_{role}_NAME": who.name, f"GIT_{role}_EMAIL": who.email}
    if browser.PROFILE in env:
        said["PLAYWRIGHT_MCP_SANDBOX"] = "false"  # a browser's own cannot be made inside of ours
    return sandboxes.environment(recipe, {**said, **env})


def _own(run: Run, agent: str, key: str) -> Sequence[str]:
    """What the configuration gives to this agent alone."""
    return run.config.get("agents", {}).get(agent, {}).get(key) or ()


def _admin(common: Path, path: Path) -> Path:
    name = registration.name_of(common, path, path.name)
    if name is None:
        raise StrettoError(f"{path} is not a worktree of this repository", code="no_workspace", object=str(path))
    return common / "worktrees" / name


def _home(env: Mapping[str, str]) -> str:
    home = os.path.realpath(env.get("HOME") or _ELSEWHERE)
    unfit = home == "/" or any(Path(home).is_relative_to(known) for known in (*SYSTEM, "/etc", "/dev", "/proc"))
    return _ELSEWHERE if unfit else home


def split(entries: Sequence[str], env: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[tuple[int, str, int], ...]]:
    """Hosts for the proxy, and servers of this machine that are reached at the same port inside.

    A server of this machine is `localhost:PORT`, or that of DATABASE_URL.
    """
    hosts: dict[str, None] = {}
    forward: dict[int, str] = {}
    for entry in entries:
        host, _, port = entry.rpartition(":")
        if host.strip("[]") in _LOOPBACK and port.isdigit():
            forward[int(port)] = "127.0.0.1" if host == "localhost" else host.strip("[]")
        else:
            hosts[entry] = None
    if (database := _database(env.get("DATABASE_URL", ""))) is not None:
        forward.setdefault(database[1], database[0])
    return tuple(hosts), tuple((port, host, port) for port, host in forward.items())


def _database(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if host not in _LOOPBACK:
        return None
    return ("127.0.0.1" if host == "localhost" else host), port or {"mysql": 3306, "redis": 6379}.get(
        parts.scheme, 5432
    )
