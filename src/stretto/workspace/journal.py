"""What is written down about bays and removals, outside the trees, so that a crash at any step can be finished.

Specification. A bay's marker is written before anything is made in it (`making`) and again when all is there (`made`);
only then is the bay handed out. Its layers stand in it by name, with their state and data (`layers.py`). A removal's
record is written before the tree is moved (`removing`) and again when all is done (`removed`). Each write is whole and
synced. Records say which home they belong to: a daemon finishes and shows only its own, but counts the bays of all.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from stretto import files
from stretto.failpoints import failpoint

#: what a bay is for
TASK, GATE, SPARE = "task", "gate", "spare"
MAKING, MADE = "making", "made"
TAKING, TAKEN, GIVEN = "taking", "taken", "given"
REMOVING, REMOVED, UNDOING, PURGING = "removing", "removed", "undoing", "purging"


@dataclass(frozen=True, slots=True)
class Bay:
    """Marker of a bay. `branch_made`: the branch did not exist before. `admin`: name of its registration in git.

    `layers`: what it holds besides the worktree, `{name: {"state", "data"}}`. `adopted`: the path of a worktree that
    somebody else made; stretto never moves or deletes it. `deps`: the packages that are there (`dependencies/`).
    `sealed`: the seal of a spare that is complete. `spare`: the worktree of this bay in `making` is one. `shared`: for
    a task that works in the main checkout, the branch or commit that it showed before.
    """

    number: int
    home: str
    owner: str
    purpose: str
    branch: str | None
    commit: str
    created: float
    state: str = MAKING
    branch_made: bool = False
    admin: str | None = None
    link: str | None = None
    ready: str | None = None
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    adopted: str | None = None
    deps: dict[str, dict[str, Any]] = field(default_factory=dict)
    sealed: str | None = None
    spare: bool = False
    shared: str | None = None

    @property
    def name(self) -> str:
        """Of its folder and of its marker."""
        return f"{self.number:02d}"


@dataclass(frozen=True, slots=True)
class Record:
    """A removal. `tip`: what the branch pointed at if it is to be deleted. `tree`: there was a tree to move.

    `lent`: packages that went to a spare, as the marker knew them.
    """

    id: str
    reason: str
    at: float
    bay: dict[str, Any]
    path: str
    branch: str | None
    tip: str | None
    refs: dict[str, str] = field(default_factory=dict)
    tree: bool = True
    state: str = REMOVING
    lent: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def marker(self) -> Bay:
        """The marker of the bay as it was."""
        return Bay(**self.bay)

    @property
    def unsettled(self) -> bool:
        """Whether it was begun and is neither done nor taken back."""
        return self.state in (REMOVING, UNDOING)


class _Value(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=_Value)


class Cabinet(Generic[T]):
    """A folder of small JSON files of one kind, by name; unchanged ones are not read twice."""

    def __init__(self, folder: Path, kind: type[T]) -> None:
        self._folder = folder
        self._kind: type[T] = kind
        self._names = {each.name for each in fields(kind)}
        self._seen: dict[str, tuple[tuple[int, int, int], T]] = {}
        self._guard = threading.Lock()

    def all(self) -> dict[str, T]:
        """Every readable file by its name without `.json`. An unreadable one is not ours and is left alone."""
        found: dict[str, T] = {}
        try:
            with os.scandir(self._folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except FileNotFoundError:
            return found
        for entry in entries:
            if entry.name.endswith(".json") and not entry.name.startswith("."):
                value = self._read(entry)
                if value is not None:
                    found[entry.name.removesuffix(".json")] = value
        return found

    def _read(self, entry: os.DirEntry[str]) -> T | None:
        try:
            status = entry.stat(follow_symlinks=False)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            with self._guard:
                known = self._seen.get(entry.name)
            if known is not None and known[0] == stamp:
                return known[1]
            value = self._parse(Path(entry.path).read_bytes())
        except (OSError, ValueError, TypeError):
            return None
        with self._guard:
            self._seen[entry.name] = (stamp, value)
        return value

    def _parse(self, data: bytes) -> T:
        values = json.loads(data)
        value: T = self._kind(**{name: value for name, value in values.items() if name in self._names})
        return value

    def put(self, name: str, value: T) -> T:
        """Write it down; on disk when the call returns."""
        files.replace(self._folder / f"{name}.json", json.dumps({"schema": 1, **asdict(value)}).encode())
        return value

    def drop(self, name: str) -> None:
        """Forget it; gone on disk when the call returns. Nothing happens if it was not there."""
        failpoint("daemon.workspace.drop.before")
        try:
            (self._folder / f"{name}.json").unlink()
        except FileNotFoundError:
            return
        files.sync_folder(self._folder)
        failpoint("daemon.workspace.drop.after")
