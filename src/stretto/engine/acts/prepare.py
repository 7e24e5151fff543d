"""Make a task's workspace: branch from the right base, worktree, environment, set-up commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto import files
from stretto.checks import packages
from stretto.core import names
from stretto.core.actions import Prepare
from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.inbox import options
from stretto.core.model import CheckResult, CheckSpec, Item, ItemKind, Run, Task
from stretto.core.who import CLONE, in_checkout, recipe
from stretto.core.workspace_commands import due_specs, setup_specs
from stretto.engine import environment, sandboxing
from stretto.engine.acts import shared
from stretto.engine.acts.rows import end_task, open_item, short_id
from stretto.engine.parts import Parts, Repository
from stretto.interfaces import CheckOutcome, Confinement, Git, Workspace
from stretto.workspace.clones import RECIPE


def prepare(parts: Parts, f: Facts, action: Prepare) -> None:
    """Ensure the workspace. What cannot be made goes to the inbox as `setup`, or fails the task under `auto`."""
    try:
        workspace, base = _ensure(parts, f)
        if workspace.path != Path(f.run.root):  # the person's own checkout is set up already
            _set_up(parts, f, workspace)
    except StrettoError as error:
        if files.is_full(error):
            raise  # nobody's fault, and it passes: tried again
        _report(parts, f, error)
        return
    with parts.store.write() as tx:
        tx.update(
            Task,
            f.task.uid,
            base=base,
            branch=workspace.branch,
            workspace=str(workspace.path),
            bay=workspace.bay,
            held=workspace.held,
            head=f.task.head or base,
        )
        tx.event("task.prepared", task=f.task.uid, path=str(workspace.path), base=base, branch=workspace.branch)


def _ensure(parts: Parts, f: Facts) -> tuple[Workspace, str]:
    repository = parts.repositories.of_task(f.run, f.task)
    base = f.task.base or start_commit(repository, f.run, f.task)
    prefix = str(f.run.config.get("branch_prefix") or names.DEFAULT_PREFIX)
    branch = f.task.branch or names.branch_name(f.task.uid, prefix)
    ref = names.ref_name("base", f.task.uid, "commit")
    if repository.git.read_ref(ref) is None:
        repository.git.update_ref(ref, base, None, "stretto: base")
    if f.task.base is None or f.task.branch is None:
        with parts.store.write() as tx:
            tx.update(Task, f.task.uid, base=base, branch=branch)
    _bring_branch_back(repository.git, f)
    if in_checkout(f.task.fields):
        return shared.take(parts, f, base, branch), base
    env = environment.captured(parts, f.run) | ({RECIPE: CLONE} if recipe(f) == CLONE else {})
    return repository.workspaces.ensure(f.task.uid, "task", base, branch, env), base


def _bring_branch_back(git: Git, f: Facts) -> None:
    """A branch that somebody deleted begins again where it was seen last, not at the base: that would lose the work."""
    branch, head = f.task.branch, f.task.head
    if branch is None or head is None or git.read_ref(f"refs/heads/{branch}") is not None:
        return
    if git.resolve(head) is None:
        raise StrettoError(
            f"the branch {branch} is gone, and its last commit {head[:12]} is not in the repository any more",
            code="branch_gone",
            object=branch,
            hint=f"stretto cancel {f.task.uid}, then: stretto retry {f.task.uid} --fresh",
        )
    git.update_ref(f"refs/heads/{branch}", head, None, "stretto: the branch was deleted")


def start_commit(repository: Repository, run: Run, task: Task) -> str:
    """The commit that a task starts from: the target as it is now, or the run's base with `--pin-base`.

    A dependent always starts from the target, which contains what it needs. Raises StrettoError without a target.
    """
    if run.pin_base and not task.needs:
        return run.base
    tip = repository.git.read_ref(f"refs/heads/{run.target}")
    if tip is None:
        raise StrettoError(
            f"the target branch {run.target} is gone",
            code="no_target",
            object=run.target,
            hint=f"git branch {run.target} {run.base[:12]}",
        )
    return tip


def _set_up(parts: Parts, f: Facts, workspace: Workspace) -> None:
    """Run the trusted set-up commands, then those that fill the database; StrettoError for the first that fails."""
    due = due_specs(f.run.config, workspace.due)
    env = environment.for_task(parts, f, workspace.env, purpose="task", tree=None)

    def run(spec: CheckSpec) -> CheckOutcome:
        at = replace(f, task=replace(f.task, branch=workspace.branch))
        output = environment.output_path(parts, f.task.uid, spec.name)
        # until its agent has run, what a set-up starts is the target's own; afterwards it is the agent's as well
        confined = sandboxing.of_command(parts, at, workspace.path, env) if f.session else Confinement((), env)
        with parts.store.write() as tx:
            tx.event("setup.started", task=f.task.uid, name=spec.name, output=str(output))
        return parts.checks.run(
            spec, workspace.path, confined.env, output, lambda: environment.unwanted(parts, f.task), confined.words
        )

    _bring(parts, f, workspace, env, run)
    for spec in [*setup_specs(f.run.config), *due]:
        outcome = run(spec)
        if outcome.result is not CheckResult.PASSED:
            files.require_space(Path(workspace.path), parts.home.path)
        _record(parts, f, spec, outcome)
        if outcome.result is not CheckResult.PASSED:
            sort = "database" if spec in due else "set-up"
            raise StrettoError(
                f"{sort} command {spec.run!r} {outcome.result.value}: {outcome.reason}",
                code="setup_failed",
                object=f.task.uid,
                hint=f"its output: {outcome.output}",
            )
    if due:
        workspaces = parts.repositories.of(f.run).workspaces
        workspaces.filled(workspace.path, workspace.env["STRETTO_BASE"], keep=f.session is None)


def _bring(parts: Parts, f: Facts, workspace: Workspace, env: Mapping[str, str], run: packages.Run) -> None:
    """Bring in the packages that lock files name; StrettoError for those that cannot be had."""
    workspaces = parts.repositories.of(f.run).workspaces

    def told(one: packages.Brought) -> None:
        with parts.store.write() as tx:
            tx.event("dependencies.ready" if one.passed else "dependencies.failed", task=f.task.uid, **_told(one))

    # an agent may have had a part in what is there: only the untouched target's packages serve others
    lost = packages.bring(workspaces, workspace.path, env, run, told, keep=workspace.fresh and f.session is None)
    if lost is not None and lost.outcome is not None:
        files.require_space(Path(workspace.path), parts.home.path)
        raise StrettoError(
            f"the packages of {lost.dependency.name} cannot be had: {lost.outcome.reason}",
            code="setup_failed",
            object=f.task.uid,
            hint=f"its output: {lost.outcome.output}",
        )


def _told(one: packages.Brought) -> dict[str, Any]:
    output = None if one.outcome is None else str(one.outcome.output)
    return {"name": one.dependency.name, "rung": one.rung, "seconds": round(one.seconds, 3), "output": output}


def _record(parts: Parts, f: Facts, spec: CheckSpec, outcome: CheckOutcome) -> None:
    """Write how long a set-up command took, and where its output is."""
    with parts.store.write() as tx:
        tx.event(
            "setup.finished",
            task=f.task.uid,
            name=spec.name,
            result=outcome.result,
            seconds=round(outcome.seconds, 3),
            output=str(outcome.output),
        )


def _report(parts: Parts, f: Facts, error: StrettoError) -> None:
    text = error.message if error.hint is None else f"{error.message} ({error.hint})"
    with parts.store.write() as tx:
        if f.auto:
            end_task(tx, f.task, environment.FAILED, f"no workspace: {text}")
            return
        tries = sum(1 for i in f.items if i.key.startswith("prepare:"))
        open_item(
            tx,
            Item(
                id=short_id(),
                task=f.task.uid,
                kind=ItemKind.SETUP,
                key=f"prepare:{tries}",
                text=text,
                options=options(ItemKind.SETUP),
                payload={},
                opened_at=tx.now,
            ),
        )
