"""What a call says of a run that has begun: `add --run RUN`, and `run PLAN` of a plan that is running.

Specification. A word is heeded or refused, never passed over. What the run says already is no matter, so that the call
that began it can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stretto.config import agent_option
from stretto.core.errors import StrettoError, UsageError
from stretto.core.model import AgentSpec, Run
from stretto.engine.engine import Engine
from stretto.engine.operations import base, checkouts, common


def refuse_other(engine: Engine, run: Run, args: common.Args, *, joins: bool) -> None:
    """Raise UsageError for the first word that the run would have to begin anew for. `joins`: a task is added."""
    for option, given, has in _words(engine, run, args, joins):
        raise UsageError(
            f"{run.id} has begun with {has}, and {option} {given} cannot change that".replace("  ", " "),
            object=run.id,
            hint=f"leave {option} out, or take --run out for a run of its own"
            if joins
            else f"leave {option} out, or begin anew: stretto cancel --run {run.id}",
        )


def _words(engine: Engine, run: Run, args: common.Args, joins: bool) -> Iterator[tuple[str, str, str]]:
    """(option, what is wanted, what the run has) of all that differs."""
    approve, mode, target = args.get("approve"), args.get("mode"), args.get("target")
    if approve and approve != run.approve:
        yield "--approve", str(approve), f"approve = {run.approve}"
    if mode and mode != run.config.get("mode"):
        yield (
            "--mode",
            str(mode),
            f"mode = {run.config['mode']}" if run.config.get("mode") else "the modes of its roles",
        )
    if target and target != run.target:
        yield "--target", str(target), f"the target {run.target}"
    if args.get("base") and _other_base(engine, run, args):
        yield "--base", str(args["base"]), f"the base {run.base[:9]}"
    if args.get("pin_base") and not run.pin_base:
        yield "--pin-base", "", "a base that follows the target"
    if args.get("push") and not run.push:
        yield "--push", "", "landings that are not pushed"
    checkout = args.get("checkout")
    if checkout in checkouts.CHOICES and run.checkout in checkouts.CHOICES and checkout != run.checkout:
        yield f"--{checkout}-checkout", "", f"--{run.checkout}-checkout"
    if args.get("agent") and not joins and _other_agent(run, args):
        yield "--agent", str(args["agent"]), f"{run.agent} as its agent"


def _other_base(engine: Engine, run: Run, args: common.Args) -> bool:
    """A branch that the run began from may have grown since: then its base lies on it."""
    git = common.repository(engine, args)
    return not git.is_ancestor(run.base, base.require_base(git, str(args["base"])))


def _other_agent(run: Run, args: common.Args) -> bool:
    try:
        return own_agent(run, args) != run.agent
    except StrettoError:
        return True


def own_agent(run: Run, args: common.Args) -> str:
    """The name of the agent that the call wants. Raises UsageError for one that is described there anew."""
    named = agent_option(str(args["agent"]), Path(str(args.get("cwd") or ".")))
    if not isinstance(named, AgentSpec):
        return named
    own: Mapping[str, Any] = run.config["agents"].get(named.name, {})
    if (own.get("typed"), own.get("type"), own.get("command")) == (True, named.type, list(named.command)):
        return named.name
    raise UsageError(
        f"{run.id} has begun and takes no other agent that is described on the command line",
        object=str(args["agent"]),
        hint=f"name one of its own: {', '.join(run.config['agents'])}",
    )


def confined(run: Run, args: common.Args) -> dict[str, Any]:
    """The run's configuration, with the person's word that they know of agents without a sandbox (`--unsandboxed`)."""
    return {**run.config, "unsandboxed": bool(run.config.get("unsandboxed") or args.get("unsandboxed"))}
