"""`driver`: the session in which the person plans, at their own terminal.

Specification. What is started is told to the caller, who starts it on the person's terminal; the daemon starts nothing
and keeps no row of it. The session has a workspace by hand called `driver`, or with `here` the person's checkout. All
that it starts carries the marker of `core.driver`, by which the daemon knows its calls. Without a sandbox that stops
mistakes, not malice, as everywhere (SECURITY.md); so an agent that never asks is refused unless the person insists.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stretto import trust
from stretto.agents.looks import remedy
from stretto.core import driver
from stretto.core.errors import StrettoError
from stretto.core.model import AgentSpec
from stretto.core.who import SKIP, agent_spec
from stretto.engine import environment
from stretto.engine.engine import Engine
from stretto.engine.operations import byhand, common, trusting
from stretto.engine.operations.settings import Resolved, resolve
from stretto.interfaces import Agent, Interactive, SessionContext
from stretto.prompts import messages as prompts

#: the role, and the name of its workspace
ROLE = "driver"


def open_session(engine: Engine, args: common.Args) -> dict[str, Any]:
    """What the caller is to start, and where; `setup` first, if there is any.

    Raises StrettoError for an agent that has no face of its own, cannot be started or would never ask.
    """
    git = common.repository(engine, args)
    found = resolve(git, args)
    spec = agent_spec(found.config, ROLE, str(args["agent"]) if args.get("agent") else None)
    given = {str(name): str(value) for name, value in (args.get("env") or {}).items()}
    agent = _face(engine.parts.agent(spec.type), spec)
    _require(engine.parts.agent(spec.type), spec, given, insists=bool(args.get("unsandboxed")))
    trusting.require_all(engine, common.key_of(git), _commands(found, spec), args.get("trust"))
    here = bool(args.get("here"))
    made: dict[str, Any] = {} if here else byhand.new(engine, {**args, "name": ROLE})
    place = str(git.root) if here else str(made["path"])
    env = {**given, **made.get("env", {}), driver.MARKER: common.key_of(git)}
    env["PATH"] = environment.agent_path(engine.parts, env.get("PATH", ""))
    known = not here and not args.get("fresh") and agent.has_conversation({**env, **spec.env}, Path(place))
    prompt = None if known else prompts.driver(found.target, place, here=here, overrides=found.config.get("prompts"))
    launch = agent.tui(spec, _context(spec, place, env, resume=known), prompt)
    own = {name: value for name, value in launch.env.items() if given.get(name) != value}
    return {
        "agent": spec.name,
        "argv": list(launch.argv),
        "cwd": place,
        "env": own,
        "resumed": known,
        "workspace": made.get("workspace"),
        "path": made.get("path"),
        "setup": made.get("setup", []),
    }


def _face(agent: Agent, spec: AgentSpec) -> Interactive:
    if not isinstance(agent, Interactive):
        raise StrettoError(
            f"{spec.name} has no face of its own that stretto knows, so it cannot be a driver",
            code="no_face",
            object=spec.name,
            hint="name another: stretto driver --agent claude",
        )
    return agent


def _require(agent: Agent, spec: AgentSpec, env: Mapping[str, str], *, insists: bool) -> None:
    around = {**os.environ, **env}
    if (reason := agent.probe(spec, around)) is not None:
        raise StrettoError(reason, code="agent_missing", object=spec.name, hint=remedy(spec, around))
    if spec.permissions == SKIP and not insists:
        raise StrettoError(
            f"{spec.name} would never ask, and a driver runs in no sandbox",
            code="unconfined",
            object=spec.name,
            hint='give the role permissions = "ask" in [roles.driver], or insist with --unsandboxed',
        )


def _commands(found: Resolved, spec: AgentSpec) -> list[trust.Command]:
    """What of the configuration runs with a driver: its agent, and the policies and variables of it."""
    named = (f"agent {spec.name}", spec.name, f"{spec.name}, MCP servers", f"role {ROLE}")
    return [command for command in trust.commands(found.config) if set(command.names) & set(named)]


def _context(spec: AgentSpec, place: str, env: Mapping[str, str], *, resume: bool) -> SessionContext:
    return SessionContext(
        session=os.urandom(8).hex(),
        task=ROLE,
        workspace=Path(place),
        folder=Path(place),
        env=env,
        conversation=None,
        resume=resume,
        model=spec.model,
        permissions=spec.permissions,
    )
