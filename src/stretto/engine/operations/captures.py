"""What a run takes from its caller's environment: variables of its configuration, and what its agents' programs read.

Values that are not marked secret are written down with the run; secret ones stay in the daemon's memory (DECISIONS 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from stretto import agents
from stretto.core.assigned import assigned
from stretto.core.model import Run
from stretto.core.plan import PlanTask
from stretto.engine.operations import common

#: variables that every run captures from its caller (DECISIONS 3)
CAPTURED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "TMPDIR")


def captured(config: Mapping[str, Any], args: common.Args) -> dict[str, str]:
    """What a configuration takes from the caller's environment, secrets left out."""
    given: Mapping[str, str] = args.get("env") or {}
    found = {k: str(v) for k, v in given.items() if k in CAPTURED}
    secret = set(config["secret_names"])
    for name, source in config["capture"].items():
        if name not in secret and source in given:
            found[name] = str(given[source])
    return found


def with_own(config: Mapping[str, Any], tasks: Iterable[PlanTask], args: common.Args) -> dict[str, Any]:
    """Let agents have what their own programs read from the person's environment, as far as it is set there."""
    found = [assigned(config, task) for task in tasks]
    types = {spec.type for who in found for spec in (*who.agents, *who.resolvers)}
    given: Mapping[str, str] = args.get("env") or {}
    own = {n: secret for t in types for n, secret in agents.declared(t).variables.items() if given.get(n)}
    capture = {**{name: name for name in own}, **config["capture"]}
    secret = {*config["secret_names"], *(n for n, is_secret in own.items() if is_secret and n not in config["capture"])}
    return {**config, "capture": capture, "secret_names": sorted(secret)}


def joined(run: Run, tasks: Iterable[PlanTask], args: common.Args) -> Run:
    """The run with what the agents of tasks that join it read from the environment of whoever lets them join."""
    config = with_own(run.config, tasks, args)
    if config == run.config:
        return run
    new = set(config["capture"]) - set(run.config["capture"])
    more = {name: value for name, value in captured(config, args).items() if name in new}
    return replace(run, config=config, env={**run.env, **more})


def secrets_of(run: Run, args: common.Args) -> dict[str, str]:
    """The secret variables of a run's configuration, as the caller's environment gives them."""
    given: Mapping[str, str] = args.get("env") or {}
    capture = run.config["capture"]
    return {n: str(given[capture[n]]) for n in run.config["secret_names"] if capture[n] in given}
