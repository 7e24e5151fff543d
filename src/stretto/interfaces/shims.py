"""The processes that hold agents, and the checks that must pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stretto.core.model import CheckResult, CheckSpec


@dataclass(frozen=True, slots=True)
class ShimState:
    """What a shim's folder says. `alive` None: cannot be told. `problem`: why the shim takes no more records.

    `pid` is None for a shim of an earlier boot, too; `begun`: a shim has stood here, in whatever boot.
    """

    alive: bool | None
    agent_alive: bool | None
    attempting: int
    delivered: int
    exit: dict[str, Any] | None
    turns: dict[int, dict[str, Any]]
    pid: int | None = None
    agent_pid: int | None = None
    problem: dict[str, Any] | None = None
    begun: bool = False


class Shims(Protocol):
    """Start shims and speak with them through their folders."""

    def start(self, folder: Path, spec: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        """Start a shim and return when it stands; one that lives already is left as it is."""
        ...

    def append(self, folder: Path, kind: str, data: str, number: int) -> None:
        """Make a record durable; one that is there already is not written again."""
        ...

    def state(self, folder: Path) -> ShimState: ...

    def read(self, folder: Path, stream: str, cursor: int, limit: int) -> tuple[bytes, int]:
        """Contiguous bytes at or after `cursor` and the position after them; empty when there is nothing more now.

        When the position minus the length is beyond `cursor`, what lies between was dropped.
        """
        ...

    def tail(self, folder: Path, stream: str, limit: int) -> bytes: ...

    def end(self, folder: Path, timeout: float) -> bool:
        """End the session, or what a dead shim left of it. True when none of its processes is left."""
        ...


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """How one execution of a check went. `output` is the path of its captured output."""

    result: CheckResult
    seconds: float
    output: Path
    reason: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Confinement:
    """How a command is started: `words` stand before its own, `env` is its environment (secret values may come later).

    No words: it is not confined. `reaching`: the words with which it reaches servers of this machine at these ports,
    and may write into these folders besides.
    """

    words: tuple[str, ...]
    env: dict[str, str]
    reaching: Callable[[Sequence[int], Sequence[Path]], tuple[str, ...]] = lambda ports, folders: ()


class Checks(Protocol):
    """Run a command that must pass. `home` names the home folder of the daemon: the next one ends what is left."""

    @property
    def home(self) -> str: ...

    def run(
        self,
        spec: CheckSpec,
        cwd: Path,
        env: Mapping[str, str],
        output: Path,
        stop: Callable[[], bool],
        wrapper: Sequence[str] = (),
    ) -> CheckOutcome: ...
