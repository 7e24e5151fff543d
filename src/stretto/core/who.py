"""Who does a task: the agent that the task, the run or the role names, as the frozen configuration describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stretto.core.facts import Facts
from stretto.core.model import AgentSpec

#: a policy under which an agent does everything without asking
SKIP = "skip"


def agent_of(f: Facts) -> AgentSpec:
    """The agent of a task that has rows."""
    return agent_spec(f.run.config, f.task.role, f.task.fields.get("agent") or f.run.agent, f.task.fields.get("model"))


def agent_spec(config: Mapping[str, Any], role: str, agent: str | None, model: str | None = None) -> AgentSpec:
    """The agent that was chosen, else the role's. Model and permissions of the role win over those of the agent."""
    part: Mapping[str, Any] = config.get("roles", {}).get(role, {})
    name = str(agent or part.get("agent"))
    raw: Mapping[str, Any] = config.get("agents", {}).get(name, {"type": name})
    return AgentSpec(
        name=name,
        type=str(raw.get("type", name)),
        command=tuple(raw.get("command", ())),
        args=tuple(raw.get("args", ())),
        env=dict(raw.get("env", {})),
        mcp=dict(raw.get("mcp", {})),
        model=model or config.get("model") or part.get("model") or raw.get("model"),
        permissions=str(part.get("permissions") or raw.get("permissions") or "ask"),
    )


def badges(f: Facts) -> list[str]:
    """Words to show beside a task. `unsandboxed`: its agent may do everything on this machine, unasked."""
    return ["unsandboxed"] if agent_of(f).permissions == SKIP else []
