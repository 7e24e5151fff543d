"""Who would do what, before it is done: agents, models and policies by role, from the checkout's stretto.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stretto.core.finding import closest
from stretto.core.plan import Plan
from stretto.core.who import RESOLVER, UNUSED_ROLES, WORK_OF_ROLE, agent_spec, choices, mode_of, names_resolver

if TYPE_CHECKING:
    from stretto.core.assigned import Assigned
    from stretto.core.model import AgentSpec

Json = dict[str, Any]

#: what stands for who does a task where that is not known
NOBODY: Json = {"agent": None, "model": None, "permissions": None, "mode": None, "fallback": [], "resolver": None}


def frozen_of(root: Path | None, plan: Plan, agent: str | None = None, mode: str | None = None) -> Json:
    """The configuration that a run of this plan would have. Raises StrettoError for a file with mistakes.

    `root` is the main checkout, whose file is read; None: there is no file.
    """
    from stretto import agents, config

    path = root / "stretto.toml" if root is not None else None
    settings = config.load(path.read_text("utf-8") if path is not None and path.is_file() else "")
    typed = config.agent_option(agent) if agent else None
    return config.resolve(settings, plan, agent=typed, mode=mode, ready=agents.ready(), models=agents.models())


# ---------------------------------------------------------------- of a plan


def spec_json(spec: AgentSpec) -> Json:
    """An agent as it would be started. A null model: what its own program takes."""
    return {"agent": spec.name, "model": spec.model, "permissions": spec.permissions}


def who_json(who: Assigned) -> Json:
    """Who does a task, for programs."""
    first, *others = who.agents
    resolver = {**spec_json(who.resolvers[0]), "mode": who.resolver_mode} if who.resolvers else None
    fallback = [spec_json(spec) for spec in others]
    return {**spec_json(first), "mode": who.mode, "fallback": fallback, "resolver": resolver}


def who_said(who: Assigned) -> str:
    """Who does a task, for a person, the role left out."""
    first, *others = who.agents
    words = f"{_spec_said(first)}, {who.mode}, {first.permissions}"
    conflicts = f"; conflicts: {_spec_said(who.resolvers[0])}" if who.resolvers else ""
    return "; then ".join([words, *map(_spec_said, others)]) + conflicts


def _spec_said(spec: AgentSpec) -> str:
    return f"{spec.name} ({spec.model or 'its own model'})"


def by_who(found: Mapping[str, Assigned]) -> dict[tuple[str, str], list[str]]:
    """(role, who does it) -> the tasks, both in the order of the plan."""
    groups: dict[tuple[str, str], list[str]] = {}
    for id, who in found.items():
        groups.setdefault((who.role, who_said(who)), []).append(id)
    return groups


# ---------------------------------------------------------------- of the file


def roles_said(frozen: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """For each role that the file describes: (role, who does it and what it is for, what is wrong with that)."""
    for role, part in frozen["roles"].items():
        if part["said"]:
            spec = agent_spec(frozen, role, None)
            work = WORK_OF_ROLE.get(role) or f"does the tasks that say `role: {role}`"
            yield (
                role,
                f"{_spec_said(spec)}, {mode_of(frozen, role, None)}, {spec.permissions}; {work}",
                _doubt(frozen, role),
            )


def _doubt(frozen: Mapping[str, Any], role: str) -> str:
    """What a person should look at who wrote this role down; empty for nothing."""
    if role == RESOLVER and not names_resolver(frozen):
        return "say its agent, model or tier; as it is, conflicts go back to the agent whose work it is"
    if role in UNUSED_ROLES:
        return f"take [roles.{role}] out, or name it in a task"
    guess = None if role in WORK_OF_ROLE else closest(role, WORK_OF_ROLE)
    if guess:
        return f"if it is no role of your own, write [roles.{guess}]"
    part = frozen["roles"][role]
    return (
        f"take {part['agent']} out of its fallback: it is the role's agent" if part["agent"] in part["fallback"] else ""
    )


def standing_by(frozen: Mapping[str, Any]) -> dict[str, list[str]]:
    """Agents that only take over: name -> the roles for which they do."""
    first = {part["agent"] for part in frozen["roles"].values()}
    found: dict[str, list[str]] = {}
    for role in frozen["roles"]:
        for name in choices(frozen, role, None)[1:]:
            if name not in first:
                found.setdefault(name, []).append(role)
    return found
