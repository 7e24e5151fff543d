"""What the person allowed: the exact texts of all commands that repository or plan would have us run.

Specification. Nothing that a repository or a plan names is run before the person has seen its exact text. The unit of
trust is a `Command`: its kind and text; its name only says where it stands, so that renaming a check asks nothing.
The set of a run is trusted if every command of it is among those that were trusted before; `digest` names one set and
is what `stretto trust` records and `--trust HASH` repeats. An agent that the person typed is trusted by that.
Environment variables count as commands: PATH or LD_PRELOAD run programs as well as any check. So do prompts of the
repository: they say what an agent does with all that it may.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stretto.core.plan import PlanTask
from stretto.core.workspace_commands import DATABASE_COMMANDS

KINDS = ("dependencies", "setup", "check", "serve", "database", "migrate", "seed", "agent", "prompt", "sandbox", "env")
_MEANS = {
    "dependencies": "packages, in each new worktree and in the gate",
    "setup": "set-up, once in each new worktree",
    "check": "checks, after each turn and before each landing",
    "serve": "servers that checks start",
    "database": "the database that those of tasks are made from",
    "migrate": "migration of a task's database",
    "seed": "data of a task's database",
    "agent": "agents",
    "prompt": "what agents are told, in the place of stretto's own words",
    "sandbox": "what a sandbox lets through",
    "env": "environment variables of all of them",
}


@dataclass(frozen=True, slots=True, order=True)
class Command:
    """Something that would be run. `names` say where it stands and do not count for trust."""

    kind: str
    text: str
    names: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Change:
    """What a set of commands adds to what was trusted, and what it no longer holds."""

    added: tuple[Command, ...]
    removed: tuple[Command, ...]

    @property
    def trusted(self) -> bool:
        """Whether nothing is asked."""
        return not self.added


def commands(config: Mapping[str, Any], tasks: Iterable[PlanTask] = ()) -> tuple[Command, ...]:
    """All commands of a run's frozen configuration and of the tasks of its plan, sorted, each once."""
    found: dict[tuple[str, str], list[str]] = {}
    for kind, name, text in [*_of_config(config), *_of_tasks(tasks)]:
        found.setdefault((kind, text), []).append(name)
    return tuple(sorted(Command(kind, text, tuple(dict.fromkeys(names))) for (kind, text), names in found.items()))


def _of_config(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    found = [("check", check["name"], check["run"]) for check in config.get("checks", ())]
    found += _of_dependencies(config.get("dependencies"))
    found += [("setup", f"setup-{n}", command["run"]) for n, command in enumerate(config.get("setup", ()), 1)]
    found += [("serve", name, server["run"]) for name, server in config.get("serve", {}).items()]
    database = config.get("database") or {}
    found += [(kind, kind, database[kind]) for kind in ("migrate", "seed") if kind in database]
    found += _of_database(database)
    found += [("env", "workspace", _assignment(pair)) for pair in config.get("env", {}).items()]
    found += [("env", "workspace", _captured(pair)) for pair in config.get("capture", {}).items()]
    found += _of_sandbox("sandbox", config.get("sandbox_rules") or {})
    for name, role in config.get("roles", {}).items():
        found += _policy(f"role {name}", role)
    for name, agent in config.get("agents", {}).items():
        if not agent.get("typed"):
            found += _of_agent(name, agent)
    # an agent does what it is told with all that it may: these words are as good as a command
    found += [("prompt", name, f"{name}.md: {text}") for name, text in (config.get("prompts") or {}).items()]
    return found


def _of_dependencies(given: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """What packages run while they are installed was chosen by whoever wrote the lock file."""
    if not given:
        return []
    where = "" if given.get("folders") is None else f" in {', '.join(given['folders'])}"
    text = f"install what lock files name{where}, with the scripts that run then"
    return [("dependencies", "dependencies", text if given.get("online", True) else f"{text}, without the network")]


def _of_database(given: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Where databases are made with the person's rights, and what may happen there, is theirs to allow."""
    said = [f"copied from {given['url']}"] if given.get("url") else []
    said += [f"{name}: {given[name]}" for name in DATABASE_COMMANDS if given.get(name)]
    said += ["sessions on it may be ended"] if given.get("end_sessions") else []
    said += [f"allowed: {host}" for host in given.get("allow") or ()]
    return [("database", "database", text) for text in said]


def _of_agent(name: str, agent: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """An agent that only names a type of ours runs nothing that the repository chose."""
    argv = [*agent.get("command", ()), *agent.get("args", ())]
    found = [("agent", name, _json([agent.get("type", name), *argv]))] if argv else []
    if agent.get("turn"):
        found.append(("agent", f"{name}, how it is run and read", _json(agent["turn"])))
    if agent.get("mcp"):
        found.append(("agent", f"{name}, MCP servers", _json(agent["mcp"])))
    found += _policy(f"agent {name}", agent)
    found += _of_sandbox(f"agent {name}", agent)
    return found + [("env", f"agent {name}", _assignment(pair)) for pair in agent.get("env", {}).items()]


def _of_sandbox(name: str, given: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What it may read, reach and have is as good as a command: it decides where things can go."""
    words = (("network", "reach"), ("read", "read"), ("credentials", "have ~/"))
    return [
        ("sandbox", name, f"{word}{'' if word.endswith('/') else ' '}{each}")
        for key, word in words
        for each in given.get(key) or ()
    ]


def _policy(name: str, given: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """A policy that lets an agent act without asking is as good as a command."""
    policy = str(given.get("permissions") or "ask")
    return [("agent", name, f"permissions: {policy}")] if policy.split()[0] in ("skip", "allow") else []


def _of_tasks(tasks: Iterable[PlanTask]) -> list[tuple[str, str, str]]:
    found = []
    for task in tasks:
        found += [("check", f"{task.id}/{check.name}", check.run) for check in task.checks or ()]
        found += [("env", f"task {task.id}", _assignment(pair)) for pair in task.env.items()]
    return found


def _assignment(pair: tuple[str, str]) -> str:
    return f"{pair[0]}={pair[1]}"


def _captured(pair: tuple[str, str]) -> str:
    return f"{pair[0]} is taken from your {pair[1]}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def canonical(found: Iterable[Command]) -> str:
    """The set as JSON that does not depend on order or names: what is stored and hashed."""
    return _json(sorted({(command.kind, command.text) for command in found}))


def digest(found: Iterable[Command]) -> str:
    """The name of a set: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(canonical(found).encode("ascii")).hexdigest()


def read(stored: str) -> tuple[Command, ...]:
    """The set that `canonical` wrote. Raises ValueError for any other text."""
    value = json.loads(stored)
    if not isinstance(value, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in value
    ):
        raise ValueError("not a set of commands")
    return tuple(Command(kind, text) for kind, text in value)


def compare(trusted: Iterable[Command], wanted: Iterable[Command]) -> Change:
    """What the wanted set adds to the trusted one, and what it leaves out."""
    before, now = set(trusted), list(wanted)
    return Change(
        tuple(command for command in now if command not in before),
        tuple(sorted(before - set(now))),
    )


def listing(found: Iterable[Command], trusted: Iterable[Command] | None = None) -> str:
    """The commands for a person, by kind, control characters visible; with `trusted`, new ones are marked `+`."""
    before = None if trusted is None else set(trusted)
    given = list(found)
    lines = []
    for kind in KINDS:
        of_kind = [command for command in given if command.kind == kind]
        if of_kind:
            lines.append(f"{_MEANS[kind]}:")
            lines += [_listed(command, before) for command in of_kind]
    return "\n".join(lines) or "no commands"


def _listed(command: Command, before: set[Command] | None) -> str:
    mark = "" if before is None else "+ " if command not in before else "  "
    names = f"  ({', '.join(command.names)})" if command.names else ""
    if command.kind == "prompt":  # a text of many lines, whose name stands before it
        first, *more = [visible(line) for line in command.text.splitlines()]
        return "\n".join([f"  {mark}{first}", *(f"      {line}" for line in more)])
    return f"  {mark}{visible(command.text)}{names}"


def visible(text: str) -> str:
    """Text with everything that a terminal would not show as it is written as an escape."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def as_json(found: Iterable[Command]) -> list[dict[str, Any]]:
    """The commands for programs (`details.commands` of the refusal `untrusted`)."""
    return [{"kind": command.kind, "text": command.text, "names": list(command.names)} for command in found]
