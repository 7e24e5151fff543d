"""Trust: commands of repository and plan run only after the person allowed exactly their text (DESIGN 5.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stretto import trust
from stretto.core.errors import StrettoError
from stretto.engine.engine import Engine
from stretto.engine.operations import common
from stretto.engine.operations.settings import Resolved, resolve
from stretto.trust import Command


def require(engine: Engine, repo: str, found: Resolved, allowed: object) -> None:
    """Raise `untrusted` unless these commands were trusted before, or are now (`allowed`: true, or their hash)."""
    require_all(engine, repo, trust.commands(found.config, found.plan.tasks), allowed)


def require_all(engine: Engine, repo: str, commands: Sequence[Command], allowed: object) -> None:
    """The same for a set of commands: those of tasks that join a run, say."""
    digest = trust.digest(commands)
    if not commands:
        return
    if allowed is True or allowed == digest:
        remember(engine, repo, commands)
        return
    before = trusted(engine, repo)
    if not trust.compare(before, commands).trusted:
        raise StrettoError(
            "these commands of the repository and the plan have not been trusted yet",
            code="untrusted",
            object=repo,
            hint="look at them, then: stretto trust  (or run with --trust)",
            details={
                "commands": trust.as_json(commands),
                "listing": trust.listing(commands, before),
                "hash": digest,
            },
        )


def trusted(engine: Engine, repo: str) -> set[Command]:
    """Every command that was ever trusted in this repository."""
    with engine.store.read() as db:
        rows = db.rows("SELECT text FROM trust WHERE repo = ?", repo)
    return {command for row in rows for command in trust.read(row["text"])}


def remember(engine: Engine, repo: str, commands: Sequence[Command]) -> None:
    """Write down what the person trusted."""
    digest = trust.digest(commands)
    with engine.store.write() as tx:
        known = tx.value("SELECT COUNT(*) FROM trust WHERE repo = ? AND hash = ?", repo, digest)
        if known:
            return
        tx.execute(
            "INSERT INTO trust (repo, hash, text, at) VALUES (?, ?, ?, ?)",
            repo,
            digest,
            trust.canonical(commands),
            tx.now,
        )
        tx.event("trust.given", repo=repo, hash=digest, commands=len(commands))


def show_or_trust(engine: Engine, args: common.Args) -> dict[str, Any]:
    """`stretto trust`: list the commands of the configuration (and a plan); trust them when asked to."""
    git = common.repository(engine, args)
    found = resolve(git, args)
    commands = trust.commands(found.config, found.plan.tasks)
    digest = trust.digest(commands)
    repo = common.key_of(git)
    before = trusted(engine, repo)
    if args.get("yes") or args.get("hash") == digest:
        remember(engine, repo, commands)
    return {
        "commands": trust.as_json(commands),
        "listing": trust.listing(commands, before),
        "hash": digest,
        "trusted": trust.compare(trusted(engine, repo), commands).trusted,
    }
