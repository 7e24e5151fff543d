"""The environment of every process that the engine starts in a workspace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from stretto.core import names
from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.model import Run, State, Task
from stretto.engine.parts import Parts

FAILED = State.FAILED

#: never handed to agents and checks (DECISIONS 3)
WITHHELD = ("STRETTO_TESTING", "STRETTO_FAILPOINT", "STRETTO_TEST_CLOCK", "STRETTO_HOME")


def captured(parts: Parts, run: Run) -> dict[str, str]:
    """What the caller's environment gave to the run, secrets left out."""
    return {k: v for k, v in run.env.items() if k not in WITHHELD}


def for_task(
    parts: Parts, f: Facts, workspace_env: Mapping[str, str], *, purpose: str, tree: str | None
) -> dict[str, str]:
    """Captured variables, then the contract's, then those of this execution; secrets included."""
    env = {**captured(parts, f.run), **workspace_env, **parts.secrets.of(f.run), "STRETTO_PURPOSE": purpose}
    if tree is not None:
        env["STRETTO_TREE"] = tree
    return env


def of_workspace(parts: Parts, f: Facts) -> dict[str, str]:
    """The environment of the task's workspace as it stands, without secrets. Raises StrettoError when it is gone."""
    env = captured(parts, f.run)
    space = parts.repositories.of_task(f.run, f.task).workspaces.find(f.task.uid, "task", env)
    if space is None:
        raise StrettoError(
            f"the workspace of {f.task.id} is gone",
            code="no_workspace",
            object=f.task.uid,
            hint=f"stretto explain {f.task.uid}",
        )
    return {**env, **space.env}


def wake(parts: Parts, f: Facts) -> None:
    """Let run what the task's workspace needs. Raises StrettoError if it cannot be started."""
    parts.repositories.of(f.run).workspaces.wake(f.task.uid, "task")


def rest(parts: Parts, f: Facts) -> None:
    """Nothing works in the task's workspace any more, until `wake`."""
    if f.task.workspace is not None:
        parts.repositories.of(f.run).workspaces.rest(f.task.uid, "task")


def agent_path(parts: Parts, path: str) -> str:
    """PATH for an agent: a folder that holds only `stretto`, then the person's own."""
    return os.pathsep.join([str(parts.home.path / "bin"), path]) if path else str(parts.home.path / "bin")


def check_folder(parts: Parts, uid: str) -> Path:
    """Where the captured outputs of a task's commands lie."""
    return parts.home.checks / names.file_name(uid)


def output_path(parts: Parts, uid: str, name: str) -> Path:
    """A new file for captured output: beyond every number there, since not all that was there stays."""
    folder = check_folder(parts, uid)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    numbers = (entry.name.partition("-")[0] for entry in folder.iterdir())
    number = max((int(text) for text in numbers if text.isdigit()), default=0) + 1
    return folder / f"{number:04d}-{names.slugify(name)}.log"


def unwanted(parts: Parts, task: Task) -> bool:
    """Whether the person cancelled the task meanwhile."""
    with parts.store.read() as db:
        return bool(db.value("SELECT wanted = 'cancelled' OR outcome IS NOT NULL FROM tasks WHERE uid = ?", task.uid))
