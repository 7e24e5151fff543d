"""`stretto db apply`: the person's own database is migrated when they say so, and never else.

Specification. What would be done is shown first (`confirm`): the address, the command, and where it runs. The command
is the trusted one of the target's configuration; it runs in the person's checkout, with the files that are there now.
Before it a copy of the database is made; the words that bring it back are in the answer, and in the error of a
migration that does not pass.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from stretto import files, trust
from stretto.core.database_url import protection
from stretto.core.errors import StrettoError
from stretto.core.model import CheckResult, CheckSpec
from stretto.core.workspace_commands import MIGRATE, TIMEOUT
from stretto.engine.engine import Engine
from stretto.engine.operations import common, trusting
from stretto.engine.operations.captures import captured
from stretto.engine.operations.settings import resolve
from stretto.workspace.databases import own, settings
from stretto.workspace.folder import locate


def apply(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Copy the person's own database, then run `migrate` on it. Raises `confirm` until `yes` is given."""
    git = common.repository(engine, args)
    config = resolve(git, args).config
    table = config.get("database") or {}
    said = settings(table) if table else None
    if said is None or said.url is None or said.migrate is None:
        raise StrettoError(
            "no database of yours is described, or no command that migrates it",
            code="no_database",
            object=str(git.root),
            hint="write `url` and `migrate` into [database] of stretto.toml",
        )
    why = protection(said.url, said.protect, said.allow)
    if why is not None:
        raise StrettoError(
            f"{said.url.shown()} is not migrated from here: {why}",
            code="database_protected",
            object=said.url.shown(),
            hint=f'if it is none of production: [database] allow = ["{said.url.host}"]',
        )
    url = own.address(said.url, git.root)
    wanted = [command for command in trust.commands(config) if command.kind in ("database", "migrate", "env")]
    trusting.require_all(engine, common.key_of(git), wanted, args.get("trust"))
    if not args.get("yes"):
        lines = [f"your own database: {url.shown()}", f"the command: {said.migrate}", f"in: {git.root}"]
        raise StrettoError(
            f"{said.migrate!r} would run on {url.shown()}",
            code="confirm",
            object=url.shown(),
            hint="stretto db apply --yes",
            details={"change": {"url": url.shown(), "command": said.migrate}, "text": "\n".join(lines)},
        )
    bays = locate(git.root, git.common, engine.home.path, config.get("worktrees") or None)
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(engine.clock.now()))}-{secrets.token_hex(2)}"
    kept = own.keep(url, bays / ".stretto" / "databases" / "own", name)
    output = files.make_private_dir(engine.home.checks / "own-database") / f"{name}.log"
    env = {**captured(config, args), "DATABASE_URL": url.text()}
    outcome = engine.parts.checks.run(CheckSpec(MIGRATE, said.migrate, TIMEOUT), git.root, env, output, lambda: False)
    told = {"url": url.shown(), "snapshot": str(kept.path) if kept.path else None, "restore": kept.restore or None}
    if outcome.result is not CheckResult.PASSED:
        back = f"; what was there comes back with: {kept.restore}" if kept.restore else ""
        raise StrettoError(
            f"{said.migrate!r} {outcome.result.value} on your own database: {outcome.reason}",
            code="setup_failed",
            object=url.shown(),
            hint=f"its output: {output}{back}",
            details=told,
        )
    with engine.store.write() as tx:
        tx.event("database.applied", repo=common.key_of(git), url=url.shown(), snapshot=told["snapshot"])
    return {**told, "output": str(output)}
