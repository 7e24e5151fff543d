"""The configuration of a run: from the target's commit, resolved once, frozen into the run's row (DECISIONS 2)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stretto import agents, config
from stretto.core import graph
from stretto.core.errors import StrettoError, UsageError
from stretto.core.finding import Finding
from stretto.core.plan import Plan, errors, parse
from stretto.core.who import doubts
from stretto.engine.operations import base, sandboxes, templates, unbuilt
from stretto.engine.operations.common import Args, words
from stretto.git.repository import Repository
from stretto.workspace import compose

FILE = "stretto.toml"
#: characters of one finding in the message of a refused plan
LONGEST = 240


@dataclass(frozen=True, slots=True)
class Resolved:
    """Everything that a run freezes, and what the person should be told about it."""

    plan: Plan
    config: dict[str, Any]
    base_name: str
    base: str
    target: str
    notices: tuple[str, ...]


def resolve(git: Repository, args: Args, plan: Plan | None = None) -> Resolved:
    """Plan, configuration, base and target of a call. Raises StrettoError naming what is wrong.

    `plan` is given by callers that have made one; a call that names none gets an empty plan.
    """
    plan = _plan_of(args) if plan is None else plan
    first = str(args.get("target") or plan.target or _configured(git, "target") or base.branch_of_checkout(git))
    tip = base.require_target(git, first)
    text, where, notes = _text(git, tip)
    settings = config.load(text, where)
    target = str(args.get("target") or plan.target or settings.target or first)
    base.require_target(git, target)
    name = str(args.get("base") or plan.base or settings.base or target)
    frozen = config.resolve(
        settings,
        plan,
        agent=config.agent_option(str(args["agent"]), Path(words(args, "cwd"))) if args.get("agent") else None,
        mode=args.get("mode"),
        approve=args.get("approve"),
        open_limit=int(args["open"]) if args.get("open") else None,
        ready=agents.ready(),
        models=agents.models(),
    )
    own, differing = templates.read(git, tip)
    frozen = {**frozen, "prompts": own} if own else frozen
    unbuilt.refuse(frozen, plan)
    frozen, told = sandboxes.settle(frozen, plan.tasks, unsandboxed=bool(args.get("unsandboxed")))
    doubtful = doubts(frozen, (task.role for task in plan.tasks))
    notices = (*notes, *differing, *told, *doubtful, *unbuilt.notices(frozen, plan), *_compose(git, tip, frozen))
    return Resolved(plan, frozen, name, base.require_base(git, name), target, notices)


def _compose(git: Repository, tip: str, frozen: Mapping[str, Any]) -> list[str]:
    """What of the project's Compose files stays shared by all workspaces."""
    if compose.FILE in frozen["env"]:
        return []
    names = [name for name in (*compose.BASES, *compose.OVERRIDES) if (git.root / name).exists()]
    texts = {name: text.decode("utf-8", "replace") for name in names if (text := git.show(tip, name)) is not None}
    return compose.notices(texts, frozen["ports"].values() if frozen["port_scheme"] == "block" else ())


def _plan_of(args: Args) -> Plan:
    if args.get("plan_text") is None and args.get("plan_path") is None:
        return Plan()
    return read_plan(str(args.get("plan_text") or ""), str(args.get("plan_path") or "the plan"))


def read_plan(text: str, where: str) -> Plan:
    """The plan of a call. Raises StrettoError listing every error with its line."""
    plan, findings = parse(text)
    refuse([*errors(findings), *graph.problems(plan)], where)
    return plan


def refuse(wrong: Sequence[Finding], where: str) -> None:
    """Raise StrettoError with these errors, if there are any."""
    if wrong:
        raise UsageError(
            f"{where} has {len(wrong)} {'error' if len(wrong) == 1 else 'errors'}: "
            + "; ".join(_said(f) for f in wrong[:5]),
            code="bad_plan",
            object=where,
            hint=_look(where),
            details={"findings": [f.as_json() for f in wrong]},
        )


def _look(where: str) -> str:
    """How all findings are seen again: only a file can be named."""
    if Path(where).is_absolute():
        return f"stretto plan lint {shlex.quote(where)}"
    return "correct the text and try again; its form: stretto run --help"


def _said(finding: Finding) -> str:
    # a cycle can be as long as the plan; the details hold all of it
    message = finding.message if len(finding.message) <= LONGEST else finding.message[: LONGEST - 1] + "…"
    return f"line {finding.line}: {message}"


def _configured(git: Repository, key: str) -> str | None:
    """Target as the checkout's file names it; only to find the commit whose file counts."""
    path = git.root / FILE
    text = _own(path)
    return None if text is None else getattr(config.load(text, str(path)), key, None)


def _text(git: Repository, tip: str) -> tuple[str, str, list[str]]:
    """The configuration's text, where it is from, and a word if the checkout's differs."""
    committed = git.show(tip, FILE)
    own = _own(git.root / FILE)
    if committed is None:
        return (own or "", str(git.root / FILE), [])
    text = committed.decode("utf-8", "replace")
    differs = own is not None and own != text
    notes = [f"the {FILE} of your checkout differs; the one of the target counts"] if differs else []
    return text, f"{FILE} at {tip[:12]}", notes


def _own(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 text (byte {error.start})"
        raise StrettoError(
            f"{path} cannot be read: {why}",
            code="config",
            object=str(path),
            hint="save it as a UTF-8 text file that you may read, or move it away",
        ) from error
