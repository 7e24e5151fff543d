"""Who will do a task of a plan: its role's agents in their order, each with model and policy, and their mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stretto.core.model import AgentSpec
from stretto.core.plan import PlanTask
from stretto.core.who import RESOLVER, agents_of, mode_of, resolvers


@dataclass(frozen=True, slots=True)
class Assigned:
    """Who does a task. `agents`: the first that can be started and whose vendor takes work does it.

    `resolvers`: the same for its conflicts; empty where its own agent resolves them.
    """

    role: str
    agents: tuple[AgentSpec, ...]
    mode: str
    resolvers: tuple[AgentSpec, ...]
    resolver_mode: str


def assigned(config: Mapping[str, Any], task: PlanTask) -> Assigned:
    """Who will do a task of a plan, by the frozen configuration of its run."""
    chosen, model = task.agent or config.get("agent"), task.model
    return Assigned(
        task.role,
        agents_of(config, task.role, chosen, model),
        mode_of(config, task.role, task.mode),
        resolvers(config, task.role, chosen, model) if task.lands else (),
        mode_of(config, RESOLVER, None),
    )
