"""A plan that is edited while it runs (CONTRACTS "Plan file"): `core.plan_change` says what changes, this applies it.

New tasks join; changed specs of unstarted tasks replace; of running ones they go as a turn; removed ones stay until the
person cancels them. Everything but joining wants the person's word.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stretto import trust
from stretto.config import require_agents
from stretto.core import names, plan_change
from stretto.core.errors import StrettoError
from stretto.core.model import Origin, Run, Task
from stretto.core.plan import Plan, PlanTask, parse
from stretto.core.plan_change import PlanChange, Progress
from stretto.engine import messages
from stretto.engine.acts.rows import add_turn, close_items
from stretto.engine.engine import Engine
from stretto.engine.operations import begun, common, sandboxes, sharing, trusting
from stretto.engine.operations.captures import joined, secrets_of
from stretto.engine.operations.probing import probe_agents
from stretto.engine.operations.rows import task_row
from stretto.engine.operations.settings import read_plan
from stretto.engine.operations.spent import used_up
from stretto.store.sqlite import Writer

#: columns of a task's row that its plan says
SAID = ("title", "spec", "accept", "kind", "role", "needs", "files", "tables", "priority", "fields")


def change(engine: Engine, run: Run, args: common.Args) -> dict[str, Any]:
    """Compare and apply. Raises `confirm` when the person's word is needed and was not given."""
    begun.refuse_other(engine, run, args, joins=False)
    text = str(args.get("plan_text") or "")
    after = read_plan(text, str(args.get("plan_path")))
    before, _ = parse(run.plan_text)
    with engine.store.read() as db:
        tasks = {t.id: t for t in db.select(Task, "run = ? ORDER BY position", run.id)}
    found = plan_change.compare(before, after, {id: _progress(t) for id, t in tasks.items()})
    found = replace(found, joined=tuple(t for t in found.joined if t.id not in tasks))
    if found.needs_confirmation and not args.get("yes"):
        raise StrettoError(
            f"the plan of {run.id} is running, and its text has changed",
            code="confirm",
            object=run.id,
            hint="stretto run PLAN --yes",
            details={"change": plan_change.as_json(found), "text": plan_change.describe(found)},
        )
    config = begun.confined(run, args)
    found = replace(found, joined=tuple(sandboxes.settle_joining(config, t) for t in found.joined))
    require_agents(run.config["agents"], _wanted(found))
    for told in found.told:
        _require_same_place(told.before, told.after)
    for told in (*found.replaced, *found.told):
        sandboxes.settle_joining(config, told.after)
    wanted = _wanted(found)
    trusting.require_all(engine, run.repo, trust.commands({}, wanted), args.get("trust"))
    notices = sharing.check(common.repository(engine, {"cwd": run.root}), wanted)
    notices += probe_agents(engine, run.config, wanted, args)
    engine.parts.secrets.keep(run.id, secrets_of(joined(run, wanted, args), args))
    _apply(engine, run, after, text, tasks, found, args)
    notices += used_up(engine, run, [names.uid(run.id, t.id) for t in found.joined])
    engine.reconciler.nudge(None)
    with engine.store.read() as db:
        uids = [row["uid"] for row in db.rows("SELECT uid FROM tasks WHERE run = ? ORDER BY position", run.id)]
    limit = int(args.get("open") or run.open_limit)
    if limit != run.open_limit:
        notices.append(f"{limit} open at once from now on; until now {run.open_limit}")
    notice = "this plan is running already; nothing in it has changed" if found.empty else plan_change.describe(found)
    return {
        "run": run.id,
        "tasks": uids,
        "base": None,
        "notices": [*notice.splitlines(), *notices],
        "change": plan_change.as_json(found),
    }


def _wanted(found: PlanChange) -> list[PlanTask]:
    """The tasks that are as the new text says, once it is applied."""
    return [*found.joined, *(c.after for c in (*found.replaced, *found.told))]


def _require_same_place(before: PlanTask, after: PlanTask) -> None:
    """A task that has begun stays where it works."""
    if before.workspace != after.workspace:
        raise StrettoError(
            f"{after.id} has begun, and `workspace` cannot be changed any more",
            code="turn_running",
            object=after.id,
            hint=f"take it out of the change, or: stretto cancel {after.id}, and give it another id",
        )


def _progress(task: Task) -> Progress:
    if task.outcome is not None or task.wanted != "run":
        return Progress.OVER
    return Progress.UNSTARTED if task.admitted_at is None else Progress.RUNNING


def _apply(
    engine: Engine,
    run: Run,
    after: Plan,
    text: str,
    tasks: dict[str, Task],
    found: PlanChange,
    args: common.Args,
) -> None:
    words = {c.after.id: _told(engine, tasks[c.after.id], c.after) for c in found.told if c.spoken}
    with engine.store.write() as tx:
        for n, task in enumerate(found.joined):
            tx.insert(task_row(run, task, len(tasks) + n, tx.now))
        for changed in (*found.replaced, *found.told):
            _rewrite(tx, run, changed.after, tasks[changed.after.id])
        for id, message in words.items():
            uid = names.uid(run.id, id)
            close_items(tx, uid, "its spec changed", keep=common.KEPT)
            add_turn(tx, uid, Origin.SPEC, message)
        grown = joined(tx.one(Run, "id = ?", run.id) or run, _wanted(found), args)
        limit = int(args.get("open") or run.open_limit)
        said = {"plan_text": text, "context": after.context, "open_limit": limit}
        tx.update(Run, run.id, **said, config=grown.config, env=grown.env)
        if not found.empty or limit != run.open_limit:
            tx.event(
                "run.changed",
                repo=run.repo,
                run=run.id,
                joined=[t.id for t in found.joined],
                changed=[c.after.id for c in (*found.replaced, *found.told)],
                removed=[t.id for t, _ in found.removed],
                open=limit,
            )


def _rewrite(tx: Writer, run: Run, planned: PlanTask, old: Task) -> None:
    row = task_row(run, planned, old.position, old.created_at)
    tx.update(Task, old.uid, **{name: getattr(row, name) for name in SAID})


def _told(engine: Engine, row: Task, planned: PlanTask) -> str:
    """The message that tells a running agent its new spec."""
    f = common.facts_of(engine, row)
    task = replace(f.task, title=planned.title, spec=planned.spec, accept=planned.accept, files=planned.files)
    return messages.text_for(engine.parts, replace(f, task=task), Origin.SPEC)
