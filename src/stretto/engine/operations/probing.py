"""Whether the agents of tasks can be started at all, asked before a row of these tasks is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from stretto.agents.looks import remedy
from stretto.core.assigned import assigned
from stretto.core.errors import StrettoError
from stretto.core.model import AgentSpec
from stretto.core.plan import PlanTask
from stretto.core.who import NO_SANDBOX, adapter_of
from stretto.engine.acts.session import IN_SANDBOX
from stretto.engine.engine import Engine
from stretto.engine.operations import common, sandboxes


def probe_agents(engine: Engine, config: Mapping[str, Any], tasks: Iterable[PlanTask], args: common.Args) -> list[str]:
    """Refuse at once when no agent of a task can be started as the caller's environment is; tell of those that cannot.

    The session looks again when it starts, and takes the first that can be started then.
    """
    given = {str(k): str(v) for k, v in (args.get("env") or os.environ).items()}
    given["STRETTO_ROOT"] = str(common.repository(engine, args).root)
    notices = {}
    wanted, resolving = {}, {}
    for task in tasks:
        who, confined = assigned(config, task), sandboxes.confines(config, task) != NO_SANDBOX
        wanted[confined, who.mode, tuple((s.name, s.permissions) for s in who.agents)] = who.agents
        resolving[confined, who.resolver_mode, tuple(s.name for s in who.resolvers)] = who.resolvers
    for (confined, mode, _), specs in wanted.items():
        env = {**given, **IN_SANDBOX} if confined else given
        reasons = {spec.name: _refusal(engine, spec, mode, env) for spec in specs}
        first, left = specs[0].name, [name for name, reason in reasons.items() if reason is None]
        for name, reason in reasons.items():
            if reason is not None:
                if not left:
                    raise reason  # the first one's
                then = f"{left[0]} takes its tasks" if name == first else f"it cannot take over from {first}"
                notices[name] = f"{reason.message}; {then}"
    for (confined, mode, _), specs in resolving.items():
        env = {**given, **IN_SANDBOX} if confined else given
        for spec in specs:
            if (reason := _refusal(engine, spec, mode, env)) is not None:
                notices.setdefault(spec.name, f"{reason.message}; it is to resolve conflicts")
    return list(notices.values())


def _refusal(engine: Engine, spec: AgentSpec, mode: str, env: dict[str, str]) -> StrettoError | None:
    """Why an agent cannot be started; None: it can."""
    try:
        reason = engine.parts.agent(adapter_of(spec.type, mode)).probe(spec, env)
    except StrettoError as error:
        return error
    if reason is None:
        return None
    return StrettoError(reason, code="agent_missing", object=spec.name, hint=remedy(spec, env))
