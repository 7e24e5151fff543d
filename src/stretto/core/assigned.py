"""Who will do a task of a plan: its role's agents in their order, each with model and policy, and their mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stretto.core.model import AgentSpec
from stretto.core.plan import PlanTask
from stretto.core.who import agent_spec, choices, mode_of


@dataclass(frozen=True, slots=True)
class Assigned:
    """Who does a task. `agents`: the first that can be started and whose vendor takes work does it."""

    role: str
    agents: tuple[AgentSpec, ...]
    mode: str


def assigned(config: Mapping[str, Any], task: PlanTask) -> Assigned:
    """Who will do a task of a plan, by the frozen configuration of its run."""
    chosen = task.agent or config.get("agent")
    fallen = range(len(choices(config, task.role, chosen)))
    specs = tuple(agent_spec(config, task.role, chosen, task.model, n) for n in fallen)
    return Assigned(task.role, specs, mode_of(config, task.role, task.mode))
