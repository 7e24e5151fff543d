"""What makes a workspace ready for its checks: variables, the trusted set-up, then what fills its database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stretto.core.model import CheckSpec

TIMEOUT = 1800.0
#: what the command that migrates a database is called, where it stands among checks
MIGRATE = "migrate"
#: keys of `[database]` by which the project's own commands make and drop databases
DATABASE_COMMANDS = ("create", "drop", "reset", "address")


def setup_specs(config: Mapping[str, Any]) -> list[CheckSpec]:
    """The set-up commands of a run's configuration, in order, called `setup-1` …"""
    given = enumerate(config.get("setup") or (), 1)
    return [CheckSpec(f"setup-{n}", str(one["run"]), float(one.get("timeout", TIMEOUT))) for n, one in given]


def due_specs(config: Mapping[str, Any], due: Iterable[str]) -> list[CheckSpec]:
    """The commands of `[database]` that a workspace says are due (`migrate`, `seed`), called so."""
    table = config.get("database") or {}
    return [CheckSpec(kind, str(table[kind]), TIMEOUT) for kind in due if table.get(kind)]


def variables(config: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, str]:
    """`[workspace] env` and over it a task's own `env`, placeholders not filled in yet. A gate has the first only."""
    return {**(config.get("env") or {}), **(fields.get("env") or {})}


def words(text: str) -> set[str]:
    """The words of a command as a path would be written: without quotes, brackets, redirections and a leading `./`.

    >>> sorted(words("./check.sh && python3 'tools/lint.py'"))
    ['', 'check.sh', 'python3', 'tools/lint.py']
    """
    return {word.strip("'\"();&|<>").removeprefix("./") for word in text.split()}
