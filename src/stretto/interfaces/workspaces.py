"""What a task or a gate works in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Workspace:
    """What a task or a gate works in. `env` is the full contract environment (CONTRACTS), without secrets.

    `fresh`: this call made the bay. `ready`: what was given to `Workspaces.set_ready` since then, or None: the set-up
    of this bay has not been completed. `held`: the variables among `env` that come from what it holds (ports …).
    `due`: kinds of trusted commands (`migrate`, `seed`) that are to be run after the set-up, before it is used;
    `Workspaces.filled` is then told.
    """

    owner: str
    purpose: str
    path: Path
    bay: int
    branch: str | None
    env: dict[str, str]
    fresh: bool = False
    ready: str | None = None
    held: dict[str, str] = field(default_factory=dict)
    due: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """A removed workspace in quarantine; `undo` brings it back byte for byte until `purge`.

    `whole`: False when somebody had deleted its files before, so that only its commits are kept and `undo` is refused.
    """

    id: str
    owner: str
    path: Path
    quarantine: Path
    refs: dict[str, str]
    at: float
    bytes: int | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Dependency:
    """The packages of one lock file in a workspace. `place`: where they lie in it, empty: in the user's cache.

    `rung`: how they came there (`kept`, `reflink`, `copy`), None: not yet. `seconds`: what that took. `commands`: rung
    (`offline`, `online`) and text of what is to be run in the worktree, in this order, until one passes.
    """

    name: str
    place: str
    key: str
    rung: str | None
    seconds: float
    commands: tuple[tuple[str, str], ...] = ()


class Workspaces(Protocol):
    """Bays of one repository: allocate, describe, remove, undo, purge, sweep."""

    def ensure(
        self, owner: str, purpose: str, commit: str, branch: str | None, env: Mapping[str, str]
    ) -> Workspace: ...
    def adopt(self, owner: str, path: Path, env: Mapping[str, str]) -> Workspace: ...
    def share(self, owner: str, commit: str, branch: str, fallback: str, env: Mapping[str, str]) -> Workspace:
        """Let a task work in the main checkout: it is switched to `branch`, made at `commit` unless it is there.

        `fallback`: the branch to go back to if it is on `branch` already. Raises StrettoError (`checkout_taken`:
        another task is there; those of `Git.switch_checkout`), and nothing has changed then.
        """
        ...

    def give_checkout_back(self, owner: str) -> str | None:
        """Switch the main checkout back to what it showed before, if it is still on the task's branch; what it shows.

        None if the task does not have it (any more). Raises StrettoError (`checkout_dirty`, …), and it keeps it then.
        """
        ...

    def renew_database(self, owner: str, removal: str, env: Mapping[str, str], back: str | None = None) -> Workspace:
        """Begin a database again, or bring back the one kept under `back`; `removal` keeps what was there."""
        ...

    def forget_database(self, owner: str, removal: str) -> None:
        """Delete for good what `renew_database` has kept under this id."""
        ...

    def wake(self, owner: str, purpose: str) -> None:
        """Let run what a workspace needs besides its files (a database server), before something works in it."""
        ...

    def rest(self, owner: str, purpose: str) -> None:
        """End that again; what it holds is kept."""
        ...

    def set_ready(self, path: Path, key: str) -> None: ...
    def filled(self, path: Path, commit: str, *, keep: bool = True) -> None:
        """The commands that were `due` in the workspace at `path`, which shows `commit`, have passed.

        `keep`: whether what they made may serve other workspaces.
        """
        ...

    def find(self, owner: str, purpose: str, env: Mapping[str, str]) -> Workspace | None: ...
    def dependencies(self, path: Path, env: Mapping[str, str]) -> list[Dependency]:
        """Bring the packages that lock files name into the workspace as far as that needs no package manager.

        Nothing if `[workspace] dependencies` is not set, and for adopted worktrees. `env` is the workspace's. Raises
        StrettoError (`dependencies`).
        """
        ...

    def warm(self, commit: str, count: int, env: Mapping[str, str], clean: Callable[[str], bool]) -> int:
        """Have `count` spares at this commit, which the next workspaces begin with; how many had to be made.

        `clean`: whether nobody worked in the workspace of this owner who may do everything without asking.
        """
        ...

    def installed(self, path: Path, dependency: Dependency, env: Mapping[str, str], *, keep: bool) -> None:
        """The commands of a dependency have passed. `keep`: only code of the target was run, a copy may be kept."""
        ...

    def changes(self, path: Path) -> tuple[str, ...]:
        """Paths in which the worktree at `path` differs from its HEAD, untracked ones included, ignored ones not."""
        ...

    def difference(self, a: str, b: str) -> tuple[str, ...] | None:
        """Paths in which two commits of this repository differ; None if one of them is not known (any more)."""
        ...

    def remove(self, owner: str, path: Path, branch: str | None, reason: str) -> Removal: ...
    def undo(self, removal: str) -> Removal: ...
    def removals(self) -> list[Removal]: ...
    def purge(self, removals: Sequence[str]) -> list[Removal]: ...
    def leftovers(self, owners: Iterable[str]) -> list[Path]: ...
