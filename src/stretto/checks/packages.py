"""Bring packages into a workspace: what the workspace can do by itself, then the package managers' commands.

Specification. Each dependency has commands of which one must pass, the offline one first: that it fails says only
that something is not in the user's cache yet, and counts only when nothing comes after it. The first dependency that
cannot be had ends it. Who calls says how a command is run (confined or not), and is told how each dependency came.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stretto.core import names
from stretto.core.model import CheckResult, CheckSpec
from stretto.core.workspace_commands import TIMEOUT
from stretto.interfaces import CheckOutcome, Dependency, Workspaces

Run = Callable[[CheckSpec], CheckOutcome]


@dataclass(frozen=True, slots=True)
class Brought:
    """One dependency, and how it came: the rung, seconds in all, and the last command's outcome if there was one."""

    dependency: Dependency
    rung: str
    seconds: float
    outcome: CheckOutcome | None = None

    @property
    def passed(self) -> bool:
        """Whether it is there."""
        return self.outcome is None or self.outcome.result is CheckResult.PASSED


def bring(
    workspaces: Workspaces,
    path: Path,
    env: Mapping[str, str],
    run: Run,
    told: Callable[[Brought], None],
    *,
    keep: bool,
) -> Brought | None:
    """Bring all of them; None: they are there, else the one that could not be had, of which `told` has heard as well.

    `keep` as in `Workspaces.installed`. Raises StrettoError as `Workspaces.dependencies` does.
    """
    for dependency in workspaces.dependencies(path, env):
        brought = _one(dependency, run)
        if brought.passed and brought.outcome is not None:
            workspaces.installed(path, dependency, env, keep=keep)
        told(brought)
        if not brought.passed:
            return brought
    return None


def _one(dependency: Dependency, run: Run) -> Brought:
    began = time.monotonic()
    rung, outcome = dependency.rung or "", None
    for name, text in dependency.commands:
        outcome = run(CheckSpec(f"{names.slugify(dependency.name)}-{name}", text, TIMEOUT))
        rung = dependency.rung or name
        if outcome.result is CheckResult.PASSED:
            break
    return Brought(dependency, rung, dependency.seconds + time.monotonic() - began, outcome)
