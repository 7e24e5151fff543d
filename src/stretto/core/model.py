"""The values that everything speaks of: rows as they are stored, without behaviour.

Times are seconds since the epoch (float, UTC), durations seconds, object ids full hexadecimal strings.
A row is a fact or an intent; `stage`, `state` and `reason` are derived from rows by `core.view`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from stretto.core.quick import dataclass, field


class Kind(StrEnum):
    """What sort of work a task is."""

    FEATURE = "feature"
    BUG = "bug"
    REFACTOR = "refactor"
    TEST = "test"
    DOCS = "docs"
    RESEARCH = "research"
    ARCHITECTURE = "architecture"


class Stage(StrEnum):
    """Where on its way a started task is."""

    PREPARE = "prepare"
    PLAN = "plan"
    IMPLEMENT = "implement"
    CHECK = "check"
    REVIEW = "review"
    APPROVE = "approve"
    LAND = "land"


class State(StrEnum):
    """What a task is doing now; the last four are terminal."""

    DRAFT = "draft"
    BLOCKED = "blocked"
    READY = "ready"
    ACTIVE = "active"
    WAITING = "waiting"
    QUEUED = "queued"
    LANDED = "landed"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({State.LANDED, State.FINISHED, State.FAILED, State.CANCELLED})
SATISFIES_NEED = frozenset({State.LANDED, State.FINISHED})


class SessionStatus(StrEnum):
    """What a session's agent is doing, from evidence."""

    STARTING = "starting"
    WORKING = "working"
    WAITING = "waiting"
    IDLE = "idle"
    STALLED = "stalled"
    EXITED = "exited"
    UNKNOWN = "unknown"


class ItemKind(StrEnum):
    """Why something waits for the person."""

    QUESTION = "question"
    PERMISSION = "permission"
    PLAN = "plan"
    REVIEW = "review"
    CONFLICT = "conflict"
    STALL = "stall"
    CHECKPOINT = "checkpoint"
    BUDGET = "budget"
    UNDELIVERED = "undelivered"
    INTERRUPTED = "interrupted"
    NOCHANGE = "nochange"
    SETUP = "setup"
    FAILURE = "failure"


class Origin(StrEnum):
    """Why a message is sent to a session."""

    START = "start"
    CHECK = "check"
    GATE = "gate"
    CONFLICT = "conflict"
    COMMENTS = "comments"
    ANSWER = "answer"
    PERSON = "person"
    SPEC = "spec"
    RESUME = "resume"


class MessageKind(StrEnum):
    """Kinds of records in a session's `in.jsonl`."""

    TURN = "turn"
    CONTROL = "control"
    INTERRUPT = "interrupt"
    STOP = "stop"


class Delivery(StrEnum):
    """How far a message got. `undelivered`: not known to have reached the agent."""

    QUEUED = "queued"
    WRITTEN = "written"
    DELIVERED = "delivered"
    DONE = "done"
    UNDELIVERED = "undelivered"
    INTERRUPTED = "interrupted"
    WITHDRAWN = "withdrawn"


class TurnResult(StrEnum):
    """How a turn ended. `limited`: failed, because the vendor takes no more now (rate limit, quota)."""

    OK = "ok"
    FAILED = "failed"
    LIMITED = "limited"
    INTERRUPTED = "interrupted"


#: a turn that failed, whatever the reason
FAILURES = frozenset({TurnResult.FAILED, TurnResult.LIMITED})


class CheckResult(StrEnum):
    """Outcome of a command that must pass. `error`: it could not run; says nothing of the work."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"


class QueueState(StrEnum):
    """State of an entry of the landing queue."""

    WAITING = "waiting"
    TESTING = "testing"
    LANDING = "landing"
    LANDED = "landed"
    EJECTED = "ejected"


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """A command of the configuration: `run` is given to `/bin/sh -c` exactly as trusted."""

    name: str
    run: str
    timeout: float = 1800.0
    serve: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server of `[workspace.serve]`. `port`: name of its port (None: the first), `ready`: how one knows it is up."""

    name: str
    run: str
    port: str | None = None
    ready: str | None = None
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """How a configured agent is run. `type` names the adapter (`command`, `scripted`, `claude` …).

    `turn`: how one turn of a program without a protocol is run and read, as the configuration says it.
    """

    name: str
    type: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    mcp: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    permissions: str = "ask"
    turn: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request, turn, session or task; `cost` in the given currency or None if unknown."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost: str | None = None
    cost_source: str | None = None

    @property
    def tokens(self) -> int:
        """All tokens that were read or written, cached ones included."""
        return self.input + self.output + self.cache_read + self.cache_write


#: what stands where the owners of other workspaces have their run
BY_HAND = "by-hand"


@dataclass(frozen=True, slots=True)
class Run:
    """One submission of a plan to a repository. `config` is the frozen, resolved configuration."""

    id: str
    repo: str
    root: str
    title: str
    context: str
    plan_path: str | None
    plan_text: str
    base: str
    target: str
    agent: str
    open_limit: int
    approve: str
    pin_base: bool
    push: bool
    checkout: str
    config: dict[str, Any]
    env: dict[str, str]
    paused: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work: its spec (from the plan), the person's intent and the facts of its progress."""

    uid: str
    run: str
    repo: str
    id: str
    position: int
    title: str
    spec: str
    accept: str
    kind: Kind
    role: str
    needs: tuple[str, ...]
    files: tuple[str, ...]
    tables: tuple[str, ...]
    priority: int
    lands: bool
    fields: dict[str, Any]
    created_at: float
    wanted: str = "run"
    paused: bool = False
    interrupt: bool = False
    admitted_at: float | None = None
    base: str | None = None
    branch: str | None = None
    kept: str | None = None
    head: str | None = None
    tree: str | None = None
    patch: str | None = None
    diff: dict[str, Any] = field(default_factory=dict)
    workspace: str | None = None
    bay: int | None = None
    attempts: dict[str, int] = field(default_factory=dict)
    outcome: State | None = None
    outcome_reason: str = ""
    ended_at: float | None = None
    landed: dict[str, Any] | None = None
    note: str = ""
    report: str | None = None
    cleaned: bool = False
    held: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Space:
    """A workspace without a task. `path` None: it was not made yet; `ready`: its set-up has run.

    `env` is its environment without what was captured and without secrets, `config` as a run freezes it.
    """

    repo: str
    name: str
    root: str
    path: str | None
    branch: str | None
    base: str
    held: dict[str, str]
    env: dict[str, str]
    config: dict[str, Any]
    adopted: bool
    ready: bool
    created_at: float

    @property
    def owner(self) -> str:
        """Its name among the owners of workspaces, a uid in form."""
        return f"{BY_HAND}/{self.name}"


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation of an agent in a workspace. `generation` fences late events of an old process.

    `signs` is what was seen of it and `belief` what was made of that (core.evidence); `evidence` says it in words.
    """

    id: str
    task: str
    role: str
    agent: str
    model: str | None
    mode: str
    conversation: str | None
    generation: int
    folder: str
    started_at: float
    ended_at: float | None = None
    end_reason: str | None = None
    exit_code: int | None = None
    status: SessionStatus = SessionStatus.STARTING
    status_at: float = 0.0
    evidence: tuple[str, ...] = ()
    cursor: int = 0
    parser: dict[str, Any] = field(default_factory=dict)
    signs: tuple[Any, ...] = ()
    belief: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One message to a task's session and, for a turn, all that it did about it.

    `n` counts per task. `number` is its place in the session's `in.jsonl` once written. `until`: of a limited turn,
    when the vendor takes more, if its agent told.
    """

    task: str
    n: int
    kind: MessageKind
    origin: Origin
    text: str
    state: Delivery
    created_at: float
    session: str | None = None
    number: int | None = None
    data: str | None = None
    delivered_at: float | None = None
    ended_at: float | None = None
    result: TurnResult | None = None
    reason: str = ""
    output: str = ""
    settled: bool = False
    head: str | None = None
    until: float | None = None


#: the key of an item's payload that says: only the agent's own terminal answers it
OWN_TERMINAL = "terminal"


@dataclass(frozen=True, slots=True)
class Item:
    """What waits for the person. `payload` holds what the answer needs (request id, turn, generation)."""

    id: str
    task: str
    kind: ItemKind
    key: str
    text: str
    options: tuple[tuple[str, str], ...]
    payload: dict[str, Any]
    opened_at: float
    session: str | None = None
    generation: int = 0
    closed_at: float | None = None
    answer: dict[str, Any] | None = None
    answered_at: float | None = None
    applied_at: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One execution of a check on a tree, in a task's workspace or in the gate."""

    task: str
    name: str
    purpose: str
    command: str
    tree: str
    environment: str
    result: CheckResult | None
    started_at: float
    seconds: float | None = None
    head: str | None = None
    output: str | None = None
    reason: str = ""
    id: int = 0


@dataclass(frozen=True, slots=True)
class Approval:
    """The person's (or `auto`'s) consent to one patch; it holds while the patch is equal."""

    task: str
    head: str
    base: str
    patch: str
    by: str
    at: float
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the landing queue."""

    id: int
    task: str
    repo: str
    target: str
    head: str
    patch: str
    state: QueueState
    reason: str
    enqueued_at: float
    updated_at: float
    old: str | None = None
    candidate: str | None = None
    tree: str | None = None
    cause: str | None = None
    files: tuple[str, ...] = ()
    output: str | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A durable fact. `id` is strictly increasing and is the cursor of every face."""

    id: int
    at: float
    repo: str | None
    run: str | None
    task: str | None
    type: str
    data: dict[str, Any]
