"""What confines the tasks of a run: settled before its first row is written, on the machine on which they will work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from stretto.core.assigned import assigned
from stretto.core.errors import StrettoError
from stretto.core.plan import PlanTask
from stretto.core.who import AUTO, NO_SANDBOX, SKIP, sandbox_of
from stretto.workspace import sandbox


def settle(
    config: Mapping[str, Any], tasks: Iterable[PlanTask], *, unsandboxed: bool
) -> tuple[dict[str, Any], list[str]]:
    """The configuration with what `auto` means here, and what the person should be told.

    Raises StrettoError: a sandbox that is named cannot be made (`sandbox_impossible`), or an agent would do everything
    unasked and unconfined, and the person has not said that they know (`unconfined`).
    """
    given = list(tasks)
    words = {str(config.get("sandbox") or NO_SANDBOX), *(task.sandbox for task in given if task.sandbox)}
    settled = {**config, "unsandboxed": unsandboxed}
    notices = []
    if AUTO in words:
        found = sandbox.look()
        settled["sandbox_auto"] = "bubblewrap" if found.possible else NO_SANDBOX
        if not found.possible:
            notices.append(f"there is no sandbox: {found.reason} ({found.hint})")
    if "bubblewrap" in words:
        sandbox.require()
    for task in given:
        _require_no_checkout(settled, task)
        _require_confined(settled, task)
    return settled, notices


def confines(config: Mapping[str, Any], task: PlanTask) -> str:
    """What confines a task of a plan; nothing does in the main checkout, where the repository itself lies."""
    return NO_SANDBOX if task.workspace == "shared" else sandbox_of(config, task.sandbox)


def _require_no_checkout(config: Mapping[str, Any], task: PlanTask) -> None:
    """Refuse a task that is to work in the main checkout and in a sandbox that was named."""
    if task.workspace != "shared" or "bubblewrap" not in (word := str(task.sandbox or config.get("sandbox"))):
        return
    raise StrettoError(
        f"task {task.id} says `workspace: shared`; no sandbox holds in your own checkout, where the repository lies",
        code="sandbox_refused",
        object=task.id,
        hint=f"say `sandbox: none` in the task instead of {word}, or take `workspace: shared` out",
    )


def settle_joining(config: Mapping[str, Any], task: PlanTask) -> PlanTask:
    """A task that joins a run which began without it; `auto` becomes what it means here. Raises as `settle`."""
    _require_no_checkout(config, task)
    if task.sandbox == "bubblewrap":
        sandbox.require()
    elif task.sandbox == AUTO and "sandbox_auto" not in config and sandbox.look().possible:
        task = replace(task, sandbox="bubblewrap")
    _require_confined(config, task)
    return task


def _require_confined(config: Mapping[str, Any], task: PlanTask) -> None:
    who = assigned(config, task)
    name = next((spec.name for spec in (*who.agents, *who.resolvers) if spec.permissions == SKIP), None)
    if name is None or confines(config, task) != NO_SANDBOX or config.get("unsandboxed"):
        return
    raise StrettoError(
        f"agent {name} of task {task.id} would do everything without asking, and without a sandbox",
        code="unconfined",
        object=task.id,
        hint='set [workspace] sandbox = "auto" and see: stretto doctor; or say that you know, by --unsandboxed',
    )
