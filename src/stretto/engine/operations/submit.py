"""`stretto run` and `stretto add`: from words to rows, or to a refusal that says what to do.

Specification. Everything that can be refused is refused before the first row is written; the rows of a run are written
in one transaction. A plan that is running already (same repository, same file) is compared and changed instead.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto import trust
from stretto.config import require_agents
from stretto.core import graph, names, plan_values
from stretto.core.driver import by_driver, require_plain
from stretto.core.errors import StrettoError, UsageError
from stretto.core.model import Kind, Run
from stretto.core.one_task import one_task
from stretto.core.plan import Plan, PlanTask, errors, role_of_kind
from stretto.engine.engine import Engine
from stretto.engine.operations import base, begun, change, checkouts, common, sandboxes, sharing, trusting
from stretto.engine.operations.captures import captured, joined, secrets_of, with_own
from stretto.engine.operations.probing import probe_agents
from stretto.engine.operations.rows import task_row
from stretto.engine.operations.settings import Resolved, refuse, resolve
from stretto.engine.operations.spent import used_up
from stretto.git.repository import Repository
from stretto.reads import find
from stretto.store.sqlite import Writer
from stretto.workspace import databases

#: open tasks until this many have landed in a repository, and after that
FEW, FIRST_LIMIT, LIMIT = 5, 2, 3


def run(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Submit a plan. Returns the run's id and uids at once."""
    git = common.repository(engine, args)
    path = _plan_path(args)
    running = _running(engine, common.key_of(git), path)
    if running is not None:
        return change.change(engine, running, args)
    found = resolve(git, args)
    if not found.plan.tasks:
        raise StrettoError(
            "the plan has no task", code="empty_plan", object=path, hint="a task begins with `## id: title`"
        )
    return _start(engine, git, found, found.plan, args, path)


def _start(
    engine: Engine, git: Repository, found: Resolved, plan: Plan, args: common.Args, path: str | None
) -> dict[str, Any]:
    about, choice, missing = _check(engine, git, found, args)
    run = _run_row(engine, git, found, plan, args, path, choice)
    tasks = [task_row(run, t, n, engine.clock.now()) for n, t in enumerate(plan.tasks)]
    with engine.store.write() as tx:
        _insert_repo(tx, run)
        tx.insert(run)
        for task in tasks:
            tx.insert(task)
        tx.event(
            "run.created",
            repo=run.repo,
            run=run.id,
            title=run.title,
            tasks=[t.id for t in tasks],
            base=run.base,
            target=run.target,
        )
    engine.parts.secrets.keep(run.id, secrets_of(run, args))
    spent = used_up(engine, run, [t.uid for t in tasks])
    engine.reconciler.nudge(None)
    return {
        "run": run.id,
        "tasks": [t.uid for t in tasks],
        "base": about,
        "open": run.open_limit,
        "notices": [
            *found.notices,
            *missing,
            *base.notices(about),
            *checkouts.notices(git, run),
            *spent,
        ],
    }


def _check(
    engine: Engine, git: Repository, found: Resolved, args: common.Args
) -> tuple[dict[str, Any], str, list[str]]:
    """Every reason to refuse, cheapest first."""
    if git.identity() is None:
        git.require_identity()
    git.require_writable()
    git.require_room(str(found.config.get("branch_prefix") or names.DEFAULT_PREFIX))
    common.refuse_filters(git, found.base)
    about = base.describe(git, found.base_name, found.base, found.target, fetch=bool(args.get("fetch", True)))
    notices = probe_agents(engine, found.config, found.plan.tasks, args)
    trusting.require(engine, common.key_of(git), found, args.get("trust"))
    choice = checkouts.choose(git, found.target, args.get("checkout"))
    notices += sharing.check(git, found.plan.tasks)
    engine.check_bays(git, found.config)
    return about, choice, [*notices, *databases.remarks(found.config.get("database"), git.root)]


def _plan_path(args: common.Args) -> str | None:
    value = args.get("plan_path")
    return os.path.realpath(str(value)) if value else None


def _running(engine: Engine, repo: str, path: str | None) -> Run | None:
    """The unfinished run of this plan file in this repository."""
    if path is None:
        return None
    with engine.store.read() as db:
        return db.one(
            Run,
            "repo = ? AND plan_path = ? AND EXISTS (SELECT 1 FROM tasks WHERE run = runs.id AND outcome IS NULL)"
            " ORDER BY created_at DESC",
            repo,
            path,
        )


def _run_row(
    engine: Engine, git: Repository, found: Resolved, plan: Plan, args: common.Args, path: str | None, choice: str
) -> Run:
    config = with_own(found.config, plan.tasks, args)
    title = plan.title or (Path(path).stem if path else "run")
    return Run(
        id=_free_id(engine, git, title),
        repo=common.key_of(git),
        root=str(git.root),
        title=title,
        context=plan.context,
        plan_path=path,
        plan_text=str(args.get("plan_text") or ""),
        base=found.base,
        target=found.target,
        agent=str(config["agent"]),
        open_limit=int(config["limits"]["open"] or default_open(engine, common.key_of(git))),
        approve=str(config.get("approve") or "human"),
        pin_base=bool(args.get("pin_base")),
        push=bool(args.get("push")),
        checkout=choice,
        config={**config, "base_at": git.commit_time(found.base)},
        env=captured(config, args),
        paused=False,
        created_at=engine.clock.now(),
    )


def default_open(engine: Engine, repo: str) -> int:
    """Open tasks when nobody said: two until five tasks have landed in this repository."""
    with engine.store.read() as db:
        landed = int(db.value("SELECT landed FROM repos WHERE key = ?", repo) or 0)
    return FIRST_LIMIT if landed < FEW else LIMIT


def _free_id(engine: Engine, git: Repository, title: str) -> str:
    """A run id that no row and no ref uses."""
    while True:
        run = names.run_id(title, secrets.randbits(20))
        with engine.store.read() as db:
            taken = bool(db.value("SELECT COUNT(*) FROM runs WHERE id = ?", run))
        if not taken and not any(git.refs(f"refs/stretto/{kind}/{run}/") for kind in names.REF_KINDS):
            return run


def _insert_repo(tx: Writer, run: Run) -> None:
    tx.execute(
        "INSERT INTO repos (key, root, created_at) VALUES (?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET root = excluded.root",
        run.repo,
        run.root,
        tx.now,
    )


# ---------------------------------------------------------------- add


def add(engine: Engine, args: common.Args) -> dict[str, Any]:
    """A one-off task: into the named run, else a run of its own."""
    git = common.repository(engine, args)
    task = _task_of_words(args)
    if args.get("run"):
        return _join(engine, common.run_of(engine, args), task, args)
    plan = Plan(title=task.title, tasks=(task,))
    refuse(graph.problems(plan), "the task")
    found = resolve(git, args, plan)
    if args.get("checkout") is None:
        unsaid = "leave" if by_driver(args) else None  # a driver has nobody to ask at its prompt
        args = {**args, "checkout": _said_before(engine, git, found.target) or unsaid}
    return _start(engine, git, found, plan, args, None)


def _said_before(engine: Engine, git: Repository, target: str) -> str | None:
    """What the person decided about their checkout for a run that is under way here."""
    with engine.store.read() as db:
        runs = find.unfinished(db, common.key_of(git))
    return next((r.checkout for r in runs if r.target == target and r.checkout in checkouts.CHOICES), None)


def _join(engine: Engine, run: Run, task: PlanTask, args: common.Args) -> dict[str, Any]:
    begun.refuse_other(engine, run, args, joins=True)
    if args.get("agent"):
        task = replace(task, agent=begun.own_agent(run, args))
    require_agents(run.config["agents"], [task])
    task = sandboxes.settle_joining(begun.confined(run, args), task)
    notices = sharing.check(common.repository(engine, {"cwd": run.root}), [task])
    trusting.require_all(engine, run.repo, trust.commands({}, [task]), args.get("trust"))
    notices += probe_agents(engine, run.config, [task], args)
    engine.parts.secrets.keep(run.id, secrets_of(joined(run, [task], args), args))
    with engine.store.write() as tx:
        taken = {row["id"] for row in tx.rows("SELECT id FROM tasks WHERE run = ?", run.id)}
        unknown = [n for n in task.needs if n != "*" and n not in taken]
        if unknown:
            raise UsageError(f"there is no task {unknown[0]} in {run.id}", code="unknown_need", object=unknown[0])
        row = task_row(run, replace(task, id=names.suggest_id(task.id, taken)), len(taken), tx.now)
        grown = joined(tx.one(Run, "id = ?", run.id) or run, [task], args)
        tx.update(Run, run.id, config=grown.config, env=grown.env)
        tx.insert(row)
        tx.event("run.changed", repo=run.repo, run=run.id, joined=[row.id], changed=[], removed=[], open=run.open_limit)
    notices += used_up(engine, run, [row.uid])
    engine.reconciler.nudge(None)
    return {"run": run.id, "tasks": [row.uid], "base": None, "notices": notices}


def _task_of_words(args: common.Args) -> PlanTask:
    """A section of Markdown (`## id: title`) or plain words; what the call says wins."""
    title = str(args["title"]) if args.get("title") else None
    task, findings = one_task(common.words(args, "text"), title=title)
    refuse(errors(findings), "the task")
    if by_driver(args):
        require_plain(task.lines)
    changes: dict[str, Any] = {}
    if args.get("kind"):
        changes["kind"] = _kind(str(args["kind"]))
        changes["lands"] = changes["kind"] is not Kind.RESEARCH
        if "role" not in task.lines:
            changes["role"] = role_of_kind(changes["kind"])
    for name in ("files", "needs"):
        if args.get(name):
            changes[name] = tuple(str(v) for v in args[name])
    if args.get("role"):
        changes["role"] = _role(str(args["role"]))
    if args.get("accept"):
        changes["accept"] = str(args["accept"])
    return replace(task, **changes)


def _role(word: str) -> str:
    try:
        return plan_values.word(word)
    except plan_values.Unreadable as error:
        raise UsageError(f"the role {error}", object=word, hint="--role tester") from None


def _kind(word: str) -> Kind:
    try:
        return Kind(word)
    except ValueError:
        known = ", ".join(k.value for k in Kind)
        raise UsageError(f"there is no kind {word!r}; kinds are {known}", object=word) from None
