"""The configuration of one run: stretto.toml, the plan and the words of the call become one frozen JSON value."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stretto.config.read import AGENT_TYPES, SCHEMA, Config
from stretto.config.turns import TURN_KEYS
from stretto.core import names
from stretto.core.errors import UsageError
from stretto.core.finding import closest
from stretto.core.model import AgentSpec
from stretto.core.plan import ROLES, Plan, PlanTask
from stretto.core.plan_values import check_json
from stretto.core.who import DEFAULT_AGENT

#: spares of the warm pool where nothing is said of it, but packages are brought in
SPARES = 2
#: agents that need no configuration unless the caller knows better
READY = ("claude",)


def agent_option(words: str, folder: Path | None = None) -> AgentSpec | str:
    """What `--agent` means: `command:PROG ARGS` and `scripted:FILE` describe an agent, all else names one.

    The path of a script begins at `folder`, that of the caller. Raises UsageError for a description without a program
    or file, or with unbalanced quotes.
    """
    type_, colon, rest = words.partition(":")
    if not colon or type_ not in ("command", "scripted"):
        return words
    try:
        argv = tuple(shlex.split(rest)) if type_ == "command" else (rest.strip(),)
    except ValueError as failure:
        raise UsageError(f"--agent {words!r}: {failure}", object=words, hint="balance the quotes") from failure
    if not argv or not argv[0] or "\0" in rest:
        example = "command:python3 agent.py" if type_ == "command" else "scripted:agent.toml"
        raise UsageError(f"--agent {words!r} names no program", object=words, hint=f"--agent '{example}'")
    if type_ == "scripted" and folder is not None:
        argv = (str(folder / Path(argv[0]).expanduser()),)
    return AgentSpec(type_, type_, argv)


def resolve(
    config: Config,
    plan: Plan,
    *,
    agent: AgentSpec | str | None = None,
    mode: str | None = None,
    approve: str | None = None,
    open_limit: int | None = None,
    ready: Sequence[str] = READY,
    models: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The frozen configuration of a run, JSON all through. Words of the call win over the plan, the plan over the file.

    `agent` is "" unless call or plan name one for all roles. `checks` are the plan's, else the file's; a task's own
    stand in its row. `capture` maps variables of workspaces to the caller's variables that they are taken from, and
    `secret_names` are those among them that are never stored. An agent that the person typed has `typed: true`. `ready`
    are the types of agents that can be named without being described, `models` the models of each type by tier.
    Raises UsageError if call, plan or a role name an agent that is not known.
    """
    agents = _agents(config, agent, ready, models)
    chosen = agent.name if isinstance(agent, AgentSpec) else agent or plan.agent or ""
    frozen: dict[str, Any] = {
        "schema": SCHEMA,
        "base": plan.base or config.base,
        "target": plan.target or config.target,
        "worktrees": config.worktrees,
        "branch_prefix": config.branch_prefix,
        "keep_landed": config.keep_landed,
        "copy": list(config.copy),
        "dependencies": dict(config.dependencies) if config.dependencies else None,
        "pool": config.pool if config.pool is not None else SPARES if config.dependencies else 0,
        "setup": [dict(command) for command in config.setup],
        "env_file": config.env_file,
        "ports": dict(config.ports),
        "port_scheme": config.port_scheme,
        "browser": config.browser,
        "serve": {name: dict(server) for name, server in config.serve.items()},
        "sandbox": config.sandbox,
        "sandbox_rules": _lists(config.sandbox_rules),
        "database": dict(config.database) or None,
        "checks": [check_json(check) for check in (config.checks if plan.checks is None else plan.checks)],
        "agent": chosen,
        "model": plan.model,
        "mode": mode or plan.mode,
        "agents": agents,
        "roles": _roles(config, plan, chosen),
        "stages": list(config.stages),
        "approve": approve or plan.approve or config.approve,
        "check_rounds": config.check_rounds,
        "review_rounds": config.review_rounds,
        "limits": {
            "open": open_limit or plan.open or config.open,
            "tokens": config.tokens,
            "cost": config.cost,
            "minutes": config.minutes,
            "silence": config.silence,
            "task": dict(config.task),
            "day": dict(config.day),
        },
        "prices": {name: dict(price) for name, price in config.prices.items()},
        **_variables(config, plan),
    }
    _refuse_unknown_agents(frozen, plan)
    return frozen


def _agents(
    config: Config, agent: AgentSpec | str | None, ready: Sequence[str], models: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """All agents by name; those that need no description, then those of the file, then the one that was typed."""
    result = {}
    for name, given in {**{name: {} for name in ready}, **config.agents}.items():
        type_ = given.get("type") or (name if name in (*AGENT_TYPES, *ready) else "command")
        result[name] = _agent(type_, given, models.get(type_, {}))
    if isinstance(agent, AgentSpec):
        given = {"command": agent.command, "args": agent.args}
        result[agent.name] = {**_agent(agent.type, given, {}), "typed": True}
    return result


def _agent(type_: str, given: Mapping[str, Any], models: Mapping[str, str]) -> dict[str, Any]:
    env = {key: value for key, value in given.get("env", {}).items() if isinstance(value, str)}
    return {
        "type": type_,
        "command": list(given.get("command", ())),
        "args": list(given.get("args", ())),
        "env": env,
        "mcp": dict(given.get("mcp", {})),
        "model": given.get("model"),
        "models": {**models, **given.get("models", {})},
        "permissions": given.get("permissions"),
        "network": list(given.get("network", ())),
        "credentials": list(given.get("credentials", ())),
        "turn": _lists({key: given[key] for key in TURN_KEYS if key in given}),
    }


def _lists(rules: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in rules.items()}


def _roles(config: Config, plan: Plan, chosen: str) -> dict[str, dict[str, Any]]:
    """Every role that plan or file names, and those that stretto knows. `said`: the keys that the file gives."""
    known = dict.fromkeys([*ROLES, *config.roles, *(task.role for task in plan.tasks)])
    default: dict[str, Any] = {
        "agent": chosen or DEFAULT_AGENT,
        "model": None,
        "tier": None,
        "mode": None,
        "permissions": None,
        "fallback": [],
        "said": [],
    }
    result = {}
    for name in known:
        given = dict(config.roles.get(name, {}))
        said = sorted(given)
        given["fallback"] = list(given.get("fallback", ()))
        result[name] = {**default, **given, "said": said}
    return result


def _variables(config: Config, plan: Plan) -> dict[str, Any]:
    """Values that are written down, and names of those that are taken from the caller's environment."""
    given = {**config.env, **plan.env}
    capture = {key: value for key, value in given.items() if isinstance(value, dict)}
    for agent in config.agents.values():
        capture |= {key: value for key, value in agent.get("env", {}).items() if isinstance(value, dict)}
    return {
        "env": {key: value for key, value in given.items() if isinstance(value, str)},
        "capture": {key: value["from"] for key, value in capture.items()},
        "secret_names": sorted(key for key, value in capture.items() if value["secret"]),
    }


def _refuse_unknown_agents(frozen: Mapping[str, Any], plan: Plan) -> None:
    agents = frozen["agents"]
    named = [("the call or the plan", frozen["agent"])] if frozen["agent"] else []
    for role, given in frozen["roles"].items():
        named += [(f"role {role}", one) for one in (given["agent"], *given["fallback"])]
    for who, name in named:
        _require_known(who, name, agents)
    require_agents(agents, plan.tasks)


def require_agents(agents: Mapping[str, Any], tasks: Iterable[PlanTask]) -> None:
    """Raise UsageError (`unknown_agent`) for the first task that names an agent which is not among these."""
    for task in tasks:
        if task.agent:
            _require_known(f"task {task.id}", task.agent, agents)


def _require_known(who: str, name: str, agents: Mapping[str, Any]) -> None:
    if name in agents:
        return
    guess = closest(name, agents)
    known = f"known: {', '.join(agents)}; or describe [agents.{_safe(name)}]"
    raise UsageError(
        f"{who} names the agent {name!r}, which is not known",
        code="unknown_agent",
        object=name,
        hint=f"did you mean `{guess}`?" if guess else known,
    )


def _safe(name: str) -> str:
    return name if names.is_plain_name(name) else "NAME"
