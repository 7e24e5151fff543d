"""The adapters that the engine introduces to each other, and what it keeps of each repository."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stretto.core.model import Run, Task
from stretto.core.workspace_commands import variables
from stretto.home import Home
from stretto.interfaces import Agent, Checks, Clock, Git, Shims, Workspaces
from stretto.store.sqlite import Store


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of the user with its bays."""

    key: str
    git: Git
    workspaces: Workspaces


#: what the configuration says of bays: runs that say the same share them
_BAY_KEYS = ("worktrees", "env", "env_file", "copy", "secret_names", "ports", "port_scheme", "database", "dependencies")


class Repositories:
    """Opens each repository once; keyed by its root and what the configuration says of bays."""

    def __init__(
        self, open_git: Callable[[Path], Git], open_workspaces: Callable[[Git, Mapping[str, Any]], Workspaces]
    ) -> None:
        self._open_git = open_git
        self._open_workspaces = open_workspaces
        self._lock = threading.Lock()
        self._git: dict[str, Git] = {}
        self._workspaces: dict[tuple[str, str], Workspaces] = {}

    def git(self, root: str) -> Git:
        """The repository whose main checkout is `root`. Raises StrettoError when it is gone."""
        with self._lock:
            if root not in self._git:
                self._git[root] = self._open_git(Path(root))
            return self._git[root]

    def of(self, run: Run) -> Repository:
        """The repository of a run, with bays where its configuration wants them."""
        return Repository(run.repo, self.git(run.root), self.workspaces(run.root, run.config))

    def of_task(self, run: Run, task: Task) -> Repository:
        """The same, with bays that hold the variables of this task, too."""
        env = variables(run.config, task.fields)
        return Repository(run.repo, self.git(run.root), self.workspaces(run.root, {**run.config, "env": env}))

    def workspaces(self, root: str, config: Mapping[str, Any]) -> Workspaces:
        """The bays of a repository where this configuration wants them."""
        git = self.git(root)
        said = [config.get(name) for name in _BAY_KEYS]
        place = (root, json.dumps(said, sort_keys=True))
        with self._lock:
            if place not in self._workspaces:
                self._workspaces[place] = self._open_workspaces(git, config)
            return self._workspaces[place]


class Secrets:
    """Secret values of runs: in memory only, never stored, never printed."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, str]] = {}

    def keep(self, run: str, values: Mapping[str, str]) -> None:
        """Remember the secret variables that were captured for a run."""
        if values:
            self._values[run] = {**self._values.get(run, {}), **values}

    def of(self, run: Run) -> dict[str, str]:
        """The secret variables of a run that are known."""
        return dict(self._values.get(run.id, {}))

    def missing(self, run: Run) -> list[str]:
        """Names that the run's configuration marks secret and that were lost with an earlier daemon."""
        named = run.config.get("secret_names", [])
        return [name for name in named if name not in self._values.get(run.id, {})]


@dataclass(slots=True)
class Parts:
    """Everything that an act needs. The engine builds one and hands it around."""

    home: Home
    store: Store
    clock: Clock
    shims: Shims
    checks: Checks
    repositories: Repositories
    agent: Callable[[str], Agent]
    token: str
    nudge: Callable[[str | None], None]
    secrets: Secrets = field(default_factory=Secrets)
    appended: set[tuple[str, int]] = field(default_factory=set)
    drain: Callable[[str], None] = lambda session: None

    def agent_token(self, session: str) -> str:
        """The token of a session: derived, so that a restarted daemon knows it without having stored it."""
        return hmac.new(self.token.encode(), f"session {session}".encode(), hashlib.sha256).hexdigest()
