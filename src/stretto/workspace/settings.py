"""What the configuration says about workspaces, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stretto.workspace.dependencies import Choice


@dataclass(frozen=True, slots=True)
class Settings:
    """The `[workspace]` table that concerns making one.

    `env`: values with `{task}` and the like still in them. `env_file`: path in the worktree of the file that repeats
    the environment. `copy`: patterns of ignored files that are copied from the main checkout. `secret`: names whose
    values never reach a file. `dependencies`: whose packages are brought in, None: nobody's.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    env_file: str | None = None
    copy: tuple[str, ...] = ()
    secret: frozenset[str] = frozenset()
    dependencies: Choice | None = None

    @property
    def shared(self) -> Settings:
        """The same for the main checkout: no database of its own, and no file is written there."""
        own = {name: text for name, text in self.env.items() if "{database." not in text}
        return replace(self, env=own, env_file=None)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """From the frozen configuration of a run."""
        return cls(
            env={str(name): str(value) for name, value in (config.get("env") or {}).items()},
            env_file=config.get("env_file") or None,
            copy=tuple(config.get("copy") or ()),
            secret=frozenset(config.get("secret_names") or ()),
            dependencies=Choice.of(config),
        )
