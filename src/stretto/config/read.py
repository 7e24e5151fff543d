"""The tables of stretto.toml, and the frozen value that they become."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stretto.config import values as v
from stretto.config.turns import TURN_KEYS, check_turn
from stretto.config.values import Mistake, Notes
from stretto.core import database_url, names
from stretto.core.errors import UsageError
from stretto.core.finding import closest
from stretto.core.model import CheckSpec
from stretto.core.plan import APPROVALS, MODES, SANDBOXES
from stretto.core.who import TIERS
from stretto.core.workspace_commands import DATABASE_COMMANDS

SCHEMA = 1
#: the types of agents that come with stretto; other packages may provide more
AGENT_TYPES = (
    *("acp", "aider", "claude", "codex", "command", "gemini"),
    *("mini", "opencode", "pi", "qwen", "scripted"),
)
PROVIDERS = ("sqlite", "postgres-database", "postgres-schema", "postgres-cluster", "memory", "command")
PORT_SCHEMES = ("block", "offset")
BROWSERS = ("none", "port", "pipe")
STAGES = ("plan", "implement", "check", "review", "approve", "land")
DEFAULT_STAGES = ("implement", "check", "approve", "land")
MOST_OPEN = 256


@dataclass(frozen=True, slots=True)
class Config:
    """What stretto.toml says; None or empty where it says nothing. Times in seconds, `minutes` as written."""

    base: str | None = None
    target: str | None = None
    worktrees: str | None = None
    branch_prefix: str = names.DEFAULT_PREFIX
    keep_landed: bool = False
    copy: tuple[str, ...] = ()
    dependencies: dict[str, Any] | None = None
    pool: int | None = None
    setup: tuple[dict[str, Any], ...] = ()
    env: dict[str, Any] = field(default_factory=dict)
    env_file: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    port_scheme: str = "block"
    browser: str = "none"
    serve: dict[str, Any] = field(default_factory=dict)
    sandbox: str = "none"
    sandbox_rules: dict[str, Any] = field(default_factory=dict)
    database: dict[str, Any] = field(default_factory=dict)
    checks: tuple[CheckSpec, ...] = ()
    roles: dict[str, dict[str, Any]] = field(default_factory=dict)
    stages: tuple[str, ...] = DEFAULT_STAGES
    approve: str = "human"
    check_rounds: int = 3
    review_rounds: int = 2
    open: int | None = None
    tokens: int | None = None
    cost: float | None = None
    minutes: float | None = None
    silence: float | None = None
    task: dict[str, float] = field(default_factory=dict)
    day: dict[str, float] = field(default_factory=dict)
    prices: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)


def _is_inside(value: str) -> bool:
    """Whether a path stays inside of the worktree."""
    return bool(value.strip()) and not value.startswith(("/", "~")) and ".." not in value.split("/")


def _ports(value: Any, place: str, notes: Notes) -> Any:
    """Names with their place in the block of 20 ports; a list numbers them from 1.

    With `scheme = "offset"` the numbers are ports, to which the workspace's slot is added.
    """
    if isinstance(value, list):
        value = {str(name): n for n, name in enumerate(value, 1)}
    if not isinstance(value, dict):
        return v.named(v.number(0, 19), "port")(value, place, notes)
    scheme = v.choice(*PORT_SCHEMES)(value.get("scheme", "block"), f"{place}.scheme", notes)
    low, high = (1, 64000) if scheme == "offset" else (0, 17)
    wanted = {name: number for name, number in value.items() if name != "scheme"}
    read = v.named(v.number(low, high), "port", names.is_env_name)(wanted, place, notes)
    if len(set(read.values())) < len(read):
        notes.wrong(place, "two ports have the same number", f"give each another number from {low} to {high}")
    return {"scheme": scheme, **read}


def _dependencies(value: Any, place: str, notes: Notes) -> Any:
    """`true`, `"offline"`, or the folders that hold lock files; as `{"folders", "online"}`, None for `false`."""
    if isinstance(value, bool) or value == "offline":
        return {"folders": None, "online": value is True} if value else None
    if not isinstance(value, list) or not all(isinstance(one, str) and _is_inside(one) for one in value):
        form = 'write `dependencies = true`, `"offline"`, or folders of the repository: `[".", "web"]`'
        return notes.wrong(place, f"{value!r} does not say whose packages are installed", form)
    return {"folders": list(value), "online": True}


def _type(value: Any, place: str, notes: Notes) -> Any:
    """A type of agent; what looks like a slip of the hand is one. Whether anybody provides it is seen later."""
    if value in AGENT_TYPES:
        return value
    if isinstance(value, str) and names.is_plain_name(value) and closest(value, AGENT_TYPES) is None:
        return value
    return v.choice(*AGENT_TYPES)(value, place, notes)


def _database_url(value: Any, place: str, notes: Notes) -> Any:
    """An address of a database, without a password: this file is for everybody to read."""
    if not isinstance(value, str):
        return v.text(value, place, notes)
    try:
        url = database_url.parse(value)
    except UsageError as wrong:
        return notes.wrong(place, wrong.message.removeprefix("[database] url "), wrong.hint or "")
    if url.password:
        line = f"{url.host or '*'}:*:*:{url.user or '*'}:PASSWORD"
        return notes.wrong(place, "a password has no place in this file", f"write into ~/.pgpass (0600): {line}")
    return value


_LIMITS: dict[str, v.Reader] = {
    "tokens": v.number(1, 10**15),
    "cost": v.number(0, 10**9, whole=False),
    "minutes": v.number(0, 10**6, whole=False),
}
_BUDGET = v.table(_LIMITS)
_DOLLARS = v.number(0, 10**6, whole=False)
_PRICE = v.table(
    {"input": _DOLLARS, "output": _DOLLARS, "cache_read": _DOLLARS, "cache_write": _DOLLARS, "date": v.text}
)
_BRANCH = v.matching(names.is_branch, "a name that git accepts for a branch", "main")
_FILE = v.matching(
    _is_inside,
    "a path inside of the worktree",
    ".env.local",
)
_PREFIX = v.matching(names.is_prefix, "a prefix for branches (up to four plain names)", names.DEFAULT_PREFIX)
_SERVER = v.table({"run": v.text, "port": v.text, "ready": v.text, "timeout": v.duration})
_MODEL = {"model": v.text, "permissions": v.permissions}
_ROLE = v.table({"agent": v.text, "mode": v.choice(*MODES), "fallback": v.texts, "tier": v.choice(*TIERS), **_MODEL})
_AGENT_KEYS: dict[str, v.Reader] = {
    "type": _type,
    "command": v.texts,
    "args": v.texts,
    "env": v.variables,
    "mcp": v.named(v.tool_server, "MCP server"),
    "models": v.table(dict.fromkeys(TIERS, v.text)),
    "network": v.hosts,
    "credentials": v.below_home,
    **_MODEL,
    **TURN_KEYS,
}

#: every table of stretto.toml with its keys
TABLES: dict[str, v.Reader] = {
    "schema": v.number(SCHEMA, SCHEMA),
    "project": v.table(
        {"base": v.text, "target": _BRANCH, "worktrees": v.text, "branch_prefix": _PREFIX, "keep_landed": v.truth}
    ),
    "workspace": v.table(
        {
            "copy": v.texts,
            "dependencies": _dependencies,
            "pool": v.number(0, 16),
            "setup": v.commands,
            "env": v.variables,
            "env_file": _FILE,
            "ports": _ports,
            "serve": v.named(_SERVER, "server"),
            "browser": v.choice(*BROWSERS),
            "sandbox": v.choice(*SANDBOXES),
        }
    ),
    "sandbox": v.table(
        {
            "network": v.hosts,
            "read": v.folders,
            "memory": v.number(16, 1 << 20),
            "processes": v.number(8, 1 << 20),
            "recipe": v.choice("auto", "worktree", "clone"),
        }
    ),
    "database": v.table(
        {
            "provider": v.choice(*PROVIDERS),
            "url": _database_url,
            "migrate": v.text,
            "seed": v.text,
            "protect": v.texts,
            "allow": v.texts,
            "end_sessions": v.truth,
            "port": v.text,
            **dict.fromkeys(DATABASE_COMMANDS, v.text),
            "timeout": v.duration,
        }
    ),
    "checks": v.checks,
    "roles": v.named(_ROLE, "role"),
    "pipeline": v.table(
        {
            "stages": v.stages(STAGES),
            "approve": v.choice(*APPROVALS),
            "check_rounds": v.number(0, 100),
            "review_rounds": v.number(0, 100),
        }
    ),
    "limits": v.table(
        {
            "open": v.number(1, MOST_OPEN),
            **_LIMITS,
            "silence": v.duration,
            "task": _BUDGET,
            "day": _BUDGET,
        }
    ),
    "prices": v.named(_PRICE, "model", lambda name: bool(name.strip())),
    "agents": v.named(v.table(_AGENT_KEYS), "agent"),
}


def parse(text: str) -> tuple[Config, list[Mistake]]:
    """What the file says as far as it can be read, and all its mistakes in the order of lines. Never raises."""
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as failure:
        return Config(), [_syntax(str(failure))]
    notes = Notes()
    read = v.table(TABLES)(data, "", notes)
    flat = {key: value for name in ("project", "workspace", "pipeline", "limits") for key, value in _part(read, name)}
    named = {name: read[name] for name in ("database", "checks", "roles", "prices", "agents") if name in read}
    if "ports" in flat:
        flat = {**flat, "ports": dict(flat["ports"])}
        flat["port_scheme"] = flat["ports"].pop("scheme", "block")
    config = Config(**flat, **named, sandbox_rules=read.get("sandbox", {}))
    _check_together(config, notes)
    found = [Mistake(place, _line_of(text, place), message, form) for place, message, form in notes.found]
    return config, sorted(found, key=lambda mistake: mistake.line or 0)


def _part(read: Mapping[str, Any], name: str) -> Any:
    return read.get(name, {}).items()


def _syntax(message: str) -> Mistake:
    at = re.search(r"\(at line (\d+), column \d+\)", message)
    line = int(at[1]) if at else None
    said = message[: at.start()].strip() if at else message
    return Mistake("", line, f"this is not TOML: {said}", "see https://toml.io for the form of a value")


def _check_together(config: Config, notes: Notes) -> None:
    """What can only be told from several keys."""
    for key, value in config.env.items():
        for name in v.placeholders(value) if isinstance(value, str) else ():
            _check_placeholder(f"workspace.env.{key}", name, config, notes)
    for name, server in config.serve.items():
        if "run" not in server:
            notes.wrong(f"workspace.serve.{name}", "the server has no command", 'write `run = "…"`')
        if "port" in server and server["port"] not in config.ports:
            notes.wrong(
                f"workspace.serve.{name}.port", f"`{server['port']}` is no port", "name it in [workspace.ports]"
            )
    for check in config.checks:
        for name in check.serve:
            if name not in config.serve:
                notes.wrong(f"checks.{check.name}.serve", f"`{name}` is no server", "describe it in [workspace.serve]")
    _check_database(config, notes)
    for name, price in config.prices.items():
        if not {"input", "output"} <= price.keys():
            notes.wrong(f"prices.{name}", "a price for input and one for output are needed", "write `input = 3.0`")
    for name, agent in config.agents.items():
        _check_agent(name, agent, notes)


def _check_database(config: Config, notes: Notes) -> None:
    database = config.database
    if not database:
        return
    url = database_url.parse(database["url"]) if "url" in database else None
    provider = database.get("provider") or database_url.provider_of(url)
    scheme = database_url.SCHEME_OF.get(provider)
    if scheme is not None and url is None and provider not in database_url.NEEDLESS:
        notes.wrong("database.provider", f"`{provider}` needs a url", f'add `url = "{scheme}://…"`')
    elif scheme is not None and url is not None and url.scheme != scheme:
        notes.wrong("database.url", f"`{provider}` needs an address of {scheme}", f'write `url = "{scheme}://…"`')
    _check_commands(database, provider, notes)
    if "port" in database and provider != "postgres-cluster":
        notes.wrong("database.port", f"`{provider}` has no server of its own", "take it out")
    elif "port" in database and database["port"] not in config.ports:
        form = f"add `{database['port']} = 1` to [workspace.ports]"
        notes.wrong("database.port", f"`{database['port']}` names no port", form)
    why = database_url.protection(url, database.get("protect", ()), database.get("allow", ())) if url else None
    if why is not None and url is not None:
        form = f'name a database for development, or write `allow = ["{url.host}"]`'
        notes.wrong("database.url", f"no database is branched from there: {why}", form)


def _check_commands(database: Mapping[str, Any], provider: str, notes: Notes) -> None:
    """The project's own commands stand where they are run, and nowhere else."""
    if provider == "command":
        for key in ("create", "drop"):
            if key not in database:
                notes.wrong("database.provider", f"`command` needs `{key}`", f'add `{key} = "…"` to [database]')
        if "url" in database:
            notes.wrong("database.url", "`command` takes the address that `create` prints", "take it out")
        return
    for key in (*DATABASE_COMMANDS, "timeout"):
        if key in database:
            notes.wrong(f"database.{key}", f"`{provider}` runs no such command", 'write `provider = "command"`')


def _check_placeholder(place: str, name: str, config: Config, notes: Notes) -> None:
    if name.startswith("port."):
        if name.removeprefix("port.") not in config.ports:
            notes.wrong(place, f"`{{{name}}}` names no port", f"add `{name[5:]} = 1` to [workspace.ports]")
    elif name == "database.url" and not config.database:
        notes.wrong(place, "`{database.url}` needs a database", "describe it in [database]")
    elif name not in v.PLACEHOLDERS:
        known = ", ".join(f"{{{one}}}" for one in (*v.PLACEHOLDERS, "port.NAME"))
        notes.wrong(place, f"`{{{name}}}` is not known", f"known: {known}; for braces write `{{{{{name}}}}}`")


def _check_agent(name: str, agent: Mapping[str, Any], notes: Notes) -> None:
    if "type" not in agent and name not in AGENT_TYPES and "command" not in agent:
        notes.wrong(f"agents.{name}", "the agent has neither type nor command", 'write `type = "claude"`')
    elif agent.get("type") in ("acp", "command", "scripted") and not agent.get("command"):
        notes.wrong(f"agents.{name}", "the agent has no command", 'write `command = ["python3", "agent.py"]`')
    check_turn(f"agents.{name}", agent, agent.get("type") or (name if name in AGENT_TYPES else "command"), notes)


def _line_of(text: str, place: str) -> int | None:
    """The line where a key stands, as well as a scan of headers and keys can tell."""
    wanted = re.sub(r"\[\d+\]", "", place)
    header, best, best_length = "", None, -1
    for number, line in enumerate(text.split("\n"), 1):
        if head := re.match(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?$", line):
            header = _dotted(head[1])
            at = header
        elif key := re.match(r"""\s*((?:[\w.-]|"[^"]*"|'[^']*')+)\s*=""", line):
            at = f"{header}.{_dotted(key[1])}" if header else _dotted(key[1])
        else:
            continue
        if (wanted == at or wanted.startswith(at + ".")) and len(at) > best_length:
            best, best_length = number, len(at)
    return best


def _dotted(written: str) -> str:
    return re.sub(r"\s*\.\s*", ".", re.sub(r"[\"']", "", written)).strip()


def load(text: str, name: str = "stretto.toml") -> Config:
    """What the file says. Raises UsageError with all mistakes, each with its place."""
    config, mistakes = parse(text)
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UsageError(
            "\n".join([f"{name} has {count}:", *(f"  {mistake}" for mistake in mistakes)]),
            code="bad_config",
            object=name,
            hint=f"correct {name} and try again",
            details={"mistakes": [mistake.as_json() for mistake in mistakes]},
        )
    return config
