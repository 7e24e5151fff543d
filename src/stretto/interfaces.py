"""What the engine needs from the world, as Protocols and the plain values that they exchange.

Every adapter is synchronous and thread-safe. Every effect is idempotent: run twice, it ends in the same place.
Siblings (git, workspace, agents, checks, landing) know each other only through this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from stretto.core.model import AgentSpec, CheckResult, CheckSpec, SessionStatus, TurnResult, Usage

# ---------------------------------------------------------------- git


@dataclass(frozen=True, slots=True)
class Identity:
    """Who commits."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Merged:
    """Result of a merge in memory: a tree, or the paths that conflict (then `tree` holds the markers)."""

    tree: str
    conflicts: tuple[str, ...] = ()
    messages: str = ""

    @property
    def clean(self) -> bool:
        """Whether the merge can be landed."""
        return not self.conflicts


@dataclass(frozen=True, slots=True)
class Patch:
    """A diff without positions: its identity (`sha256:…`, DECISIONS 23) and its size."""

    id: str
    files: int
    added: int
    deleted: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorktreeState:
    """What a worktree looks like now. `head` and `branch` as its HEAD says (`branch` None: detached).

    `nested`: untracked repositories inside it (ending in a slash), which no commit or snapshot can hold.
    """

    head: str | None
    branch: str | None
    changed: tuple[str, ...]
    operation: str | None = None
    nested: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """No tracked change, no untracked file that is not ignored."""
        return not self.changed


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The full non-ignored state of a worktree, held by `ref`. `skipped`: paths that it could not hold."""

    ref: str
    commit: str
    tree: str
    at: float
    reason: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClonePlaces:
    """A git directory that the user of a worktree has for themselves, and the file `.git` that leads there."""

    git_dir: Path
    pointer: Path


class Git(Protocol):
    """One repository of the user, through hardened plumbing only."""

    common: Path
    root: Path

    def resolve(self, rev: str) -> str | None: ...
    def tree_of(self, commit: str) -> str: ...
    def parents(self, commit: str) -> tuple[str, ...]: ...
    def is_ancestor(self, older: str, newer: str) -> bool: ...
    def contains_all(self, newer: str, older: Sequence[str]) -> bool: ...
    def merge_base(self, a: str, b: str) -> str | None: ...
    def count(self, older: str, newer: str) -> int: ...
    def commit_time(self, commit: str) -> float: ...
    def identity(self) -> Identity | None: ...
    def read_ref(self, ref: str) -> str | None: ...
    def refs(self, prefix: str) -> dict[str, str]: ...
    def update_ref(self, ref: str, new: str, old: str | None, reason: str) -> None: ...
    def delete_ref(self, ref: str, old: str) -> None: ...
    def merge(self, ours: str, theirs: str) -> Merged: ...
    def commit(self, tree: str, parents: Sequence[str], message: str, *, at: float | None = None) -> str:
        """A new commit object by the identity; `at` fixes both dates, so that a repeat gives the same oid."""
        ...

    def patch(self, base: str, head: str) -> Patch: ...
    def diff(self, base: str, head: str, *, stat: bool = False, color: bool = False) -> str: ...
    def changed_paths(self, a: str, b: str) -> dict[str, tuple[str, str]]: ...
    def show(self, commit: str, path: str) -> bytes | None: ...
    def filters(self, commit: str) -> tuple[str, ...]: ...
    def tree_bytes(self, commit: str) -> int:
        """Bytes of all files of a commit, as a checkout would write them."""
        ...

    def ignored(self, path: Path, names: Sequence[str]) -> frozenset[str]:
        """Which of these untracked paths of the worktree at `path` git ignores; tracked ones are never among them."""
        ...

    def matching(self, path: Path, lines: Sequence[str]) -> tuple[str, ...]:
        """Untracked files of the worktree at `path` that these lines, in the form of .gitignore, name; links as files.

        Files below another repository are not named.
        """
        ...

    def current_branch(self) -> str | None: ...
    def checkout_changes(self) -> tuple[str, ...]: ...
    def worktrees(self) -> dict[Path, str | None]: ...
    def holder(self, branch: str) -> Path | None: ...
    def add_worktree(self, path: Path, branch: str | None, commit: str, reason: str) -> None: ...
    def switch_worktree(self, path: Path, commit: str) -> None: ...
    def turn_worktree(self, path: Path, branch: str, commit: str, reason: str) -> None:
        """Give a worktree of ours that shows a commit, and that nobody works in, to a branch."""
        ...

    def forget_worktree(self, path: Path) -> None: ...
    def worktree_state(self, path: Path) -> WorktreeState: ...
    def worktree_operation(self, path: Path) -> str | None:
        """What its user has begun there and not finished (`rebase`, `merge` …); cheap, no look at the files."""
        ...

    def worktree_tree(self, path: Path) -> str: ...
    def make_clone(self, path: Path, branch: str, owner: str) -> None: ...
    def clone(self, path: Path) -> ClonePlaces | None: ...
    def clones(self) -> dict[Path, str]: ...
    def put_clone_aside(self, path: Path, name: str) -> None: ...
    def bring_clone_back(self, path: Path, name: str) -> None: ...
    def clone_aside(self, name: str) -> Path | None: ...
    def commit_all(self, path: Path, branch: str, message: str) -> str | None: ...
    def snapshot(self, path: Path, uid: str, reason: str, *, whole: bool = False) -> Snapshot | None: ...
    def snapshots(self, uid: str) -> list[Snapshot]: ...
    def restore(self, path: Path, commit: str) -> None: ...
    def export(self, commit: str, folder: Path) -> None: ...
    def checkout_staged(self, commit: str) -> tuple[str, ...]: ...
    def fast_forward_checkout(self, branch: str, old: str, new: str) -> None: ...
    def fetch(self, remote: str, branch: str, timeout: float) -> str | None: ...
    def push(self, remote: str, branch: str, new: str, old: str | None, timeout: float) -> None: ...
    def upstream(self, branch: str) -> tuple[str, str] | None: ...


# ---------------------------------------------------------------- workspaces


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
    """A removed workspace in quarantine; `undo` brings it back byte for byte until `purge`."""

    id: str
    owner: str
    path: Path
    quarantine: Path
    refs: dict[str, str]
    at: float
    bytes: int | None = None


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
    def filled(self, path: Path, commit: str) -> None:
        """The commands that were `due` in the workspace at `path`, which shows `commit`, have passed."""
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


# ---------------------------------------------------------------- agents and their sessions


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What an adapter needs to know to start or resume a session. `spool`: where its hooks may report to."""

    session: str
    task: str
    workspace: Path
    folder: Path
    env: Mapping[str, str]
    conversation: str | None
    resume: bool
    model: str | None
    permissions: str
    report_file: str | None = None
    generation: int = 1
    spool: Path | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """How an agent is started. `style`: `stream` (one process, stdin lines), `turns` (one process a turn), `pane` (its
    own face on a terminal, which the pane's host reads as that of `tui`).

    `first` are records written before any turn (kind, data): a protocol's handshake, say. `state` is what `parse`
    starts with, besides what the engine keeps there. While it holds a true `handshake`, no turn is given to the
    session: an agent whose turns need something that it has to say first (the id of its conversation) lets `parse`
    take it away. What stands under `kept` goes on to the next session of the same conversation.
    """

    style: str
    argv: tuple[str, ...]
    env: dict[str, str]
    conversation: str | None = None
    first: tuple[tuple[str, str], ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    tui: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that an agent reported. `type` is one of the words below, `data` depends on it.

    started{conversation,model} · turn_started · text{text} · tool{name,detail} · asked{kind: question|permission,
    request, text, options: [[key, text]], questions, tool, input} · withdrawn{request} · usage{key, model, usage} ·
    turn_ended{result: TurnResult, reason, text} · status{status} · retry{reason, delay_s} · garbage{bytes} ·
    reply{request, data}: a record for the agent that nobody has to be asked for · unfit{reason}: it cannot begin, so
    the session is over and the turn that waits for it failed · notice{text}: something that the person should know ·
    sign{source, what, text, at, until}: a sign by itself (core.evidence), from a source other than the protocol ·
    undelivered{reason, touched}: the message did not reach the agent, as far as anyone knows ·
    quota{windows: [{window, used, resets_at, exhausted}]}: how full the vendor's windows are, as a share of 1
    """

    type: str
    data: dict[str, Any] = field(default_factory=dict)


class Agent(Protocol):
    """One kind of coding agent. Pure but for `probe`: it describes processes and translates bytes."""

    type: str

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started, else the reason why not, as a sentence."""
        ...

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch: ...

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """The `data` of a turn record that carries this text. `state` is what `parse` has kept, without a handshake."""
        ...

    def interrupt(self, number: int, state: Mapping[str, Any]) -> tuple[str, str]:
        """Kind and data of the record that interrupts the running turn. `state` is what `parse` has kept."""
        ...

    def answer(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
        """The `data` of the control record that answers a question or permission; None: cannot be answered in-turn."""
        ...

    def refused(self, stderr: bytes) -> str | None:
        """Why an agent that ended by itself would not have its conversation: it then read no message at all.

        `no_conversation`: there is none of this id to resume; `conversation_in_use`: there is one already; None: any
        other end. `stderr` is the end of what it said there.
        """
        ...

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Translate one line of the agent's stdout. `state` is kept between lines and across daemon restarts."""
        ...


@runtime_checkable
class Interactive(Protocol):
    """An agent with a face of its own for a person at a terminal."""

    def tui(self, spec: AgentSpec, context: SessionContext, prompt: str | None) -> Launch:
        """How its face is started: style `pane`. `prompt` begins the conversation.

        With `resume` the conversation `context.conversation` goes on, or the newest of that folder if none is named.
        """
        ...

    def has_conversation(self, env: Mapping[str, str], folder: Path) -> bool:
        """Whether the program, started with this environment in this folder, has a conversation to go on with."""
        ...


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


# ---------------------------------------------------------------- checks


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


# ---------------------------------------------------------------- landing


@dataclass(frozen=True, slots=True)
class Landed:
    """A commit that moved the target."""

    commit: str
    tree: str
    tested_tree: str
    old: str
    at: float


class Target(Protocol):
    """Where entries land. A local ref here; a remote branch or a forge's queue later."""

    name: str

    def tip(self) -> str: ...
    def contains(self, commit: str) -> bool: ...
    def land(self, candidate: str, old: str) -> None:
        """Compare-and-swap; raises Conflict when the tip is not `old`. Landing twice is a no-op."""
        ...


# ---------------------------------------------------------------- the rest


class Clock(Protocol):
    """Time. `now` is the wall clock (seconds since the epoch), `monotonic` never jumps."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...


__all__ = [
    "Agent",
    "CheckOutcome",
    "Checks",
    "Clock",
    "Confinement",
    "Dependency",
    "Git",
    "Identity",
    "Landed",
    "Launch",
    "Merged",
    "Patch",
    "Removal",
    "SessionContext",
    "SessionStatus",
    "ShimState",
    "Shims",
    "Signal",
    "Snapshot",
    "Target",
    "TurnResult",
    "Usage",
    "Workspace",
    "Workspaces",
    "WorktreeState",
]
