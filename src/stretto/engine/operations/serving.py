"""What `stretto serve` needs to know, and the end of servers with what they belong to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stretto import trust
from stretto.checks import servers
from stretto.core import names
from stretto.core.errors import StrettoError
from stretto.core.model import Run, Space, Task
from stretto.core.who import NO_SANDBOX, sandbox
from stretto.engine import environment, sandboxing
from stretto.engine.acts.session import workspace_env
from stretto.engine.engine import Engine
from stretto.engine.operations import common, trusting
from stretto.interfaces import Confinement
from stretto.reads import find
from stretto.reads import task as reads
from stretto.workspace import browser

_log = logging.getLogger(__name__)


def serve(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Path, environment and trusted servers of a workspace; the caller starts them on the person's terminal."""
    with engine.store.read() as db:
        space = find.space_of(db, dict(args))
        task = None if space is not None else find.task_of(db, dict(args))
        run = None if task is None else db.one(Run, "id = ?", task.run)
        told = {**reads.env(db, dict(args)), **reads.path(db, dict(args))}
    config = space.config if space is not None else run.config if run is not None else {}
    known = config.get("serve") or {}
    if not known:
        raise StrettoError(
            "no server is described", code="unknown_server", object=str(args["task"]), hint="add [workspace.serve]"
        )
    wanted = [str(name) for name in args.get("names") or known]
    servers.specs(config, wanted)
    repo = space.repo if space is not None else task.repo if task is not None else ""
    commands = [each for each in trust.commands(config) if each.kind in ("serve", "env")]
    trusting.require_all(engine, repo, commands, None)
    wake(engine, args)
    folder = engine.home.checks / names.file_name(str(told["task"]))
    confined = None if task is None else _confined(engine, task)
    return {
        "task": told["task"],
        "path": told["path"],
        "env": confined.env if confined is not None else told["env"],
        "wrapper": list(confined.words) if confined is not None else [],
        "serve": {name: dict(known[name]) for name in wanted},
        "names": wanted,
        "folder": str(folder),
    }


def _confined(engine: Engine, task: Task) -> Confinement | None:
    """How the servers of a task are started whose agent worked in a sandbox; its environment is then the whole one."""
    f = common.facts_of(engine, task)
    if sandbox(f) == NO_SANDBOX:
        return None
    return sandboxing.of_command(engine.parts, f, Path(str(task.workspace)), workspace_env(engine.parts, f))


def end_all(engine: Engine) -> None:
    """End the servers and browsers of every workspace that there is."""
    with engine.store.read() as db:
        tasks = [(t.workspace, t.held) for t in db.select(Task, "workspace IS NOT NULL")]
        spaces = [(s.path, s.held) for s in db.select(Space, "path IS NOT NULL")]
    for path, held in [*tasks, *spaces]:
        if path is not None and Path(path).is_dir():
            end(path, held)


def wake(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Let run what a workspace needs besides its files, as the caller is about to work in it."""
    with engine.store.read() as db:
        space = find.space_of(db, dict(args))
        task = None if space is not None else find.task_of(db, dict(args))
    if space is not None:
        engine.parts.repositories.workspaces(space.root, space.config).wake(space.owner, "task")
    elif task is not None:
        environment.wake(engine.parts, common.facts_of(engine, task))
    return {"task": str(args["task"])}


def rest(engine: Engine, tasks: Iterable[Task]) -> None:
    """End what runs only for these tasks: servers, and, where no turn goes on, a database server."""
    for task in tasks:
        if task.workspace is None:
            continue
        end(task.workspace, task.held)
        f = common.facts_of(engine, task)
        if not f.turn_running or task.outcome is not None:
            environment.rest(engine.parts, f)


def rest_all(engine: Engine) -> None:
    """End what runs for any workspace of this home. What cannot be ended now is logged: `doctor` tells of it."""
    with engine.store.read() as db:
        tasks = db.select(Task, "workspace IS NOT NULL")
        spaces = db.select(Space, "path IS NOT NULL")
    for task in tasks:
        with _logged():
            environment.rest(engine.parts, common.facts_of(engine, task))
    for space in spaces:
        with _logged():
            engine.parts.repositories.workspaces(space.root, space.config).rest(space.owner, "task")


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except StrettoError as error:
        _log.warning("%s", error.message)


def end(path: str | None, held: Mapping[str, str] | None = None) -> None:
    """End the servers of a workspace, if it has one, and with what it holds its browser.

    What does not end is told by whoever needs it gone.
    """
    if path is not None:
        servers.end(Path(path))
    browser.end((held or {}).get(browser.PROFILE))
