"""`watch`, `wait`, and the waiting of `run --wait`."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from stretto.cli.common import complete_tasks, emit, json_option, note, on_terminal, read, together
from stretto.cli.follow import carrying_on, statuses
from stretto.cli.live import open_screen
from stretto.cli.overview import one_run_or_all, read_status
from stretto.cli.text import clean
from stretto.client import connect
from stretto.core.errors import StrettoError, TimedOut

Json = dict[str, Any]

GOALS = ("landed", "terminal", "idle", "inbox")
FOOTER = "Ctrl-C stops looking, nothing else · stretto inbox · stretto explain TASK"


@click.command("watch")
@click.option("--run", metavar="RUN", help="Only this run.")
@click.option("--all", "every", is_flag=True, help="Runs of all repositories.")
@json_option
def watch_command(run: str | None, every: bool, as_json: bool) -> None:
    """Every task, live; with --json a status object on a line after each change."""
    one_run_or_all(run, every)
    with carrying_on(), open_screen(FOOTER, silent=as_json) as screen:
        for status in statuses(connect(), lambda: read_status(run, every or None), None, 1.0, screen.pause):
            if status is None:
                screen.tick()
            elif as_json:
                emit(status)
                sys.stdout.flush()
            else:
                screen.show(status)


@click.command("wait")
@click.argument("tasks", nargs=-1, metavar="[TASK]...", shell_complete=complete_tasks)
@click.option(
    "--for", "goal", type=click.Choice(GOALS), default="terminal", show_default=True, help="What to wait for."
)
@click.option("--run", metavar="RUN", help="All tasks of this run.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Give up after S seconds (exit code 4).")
@json_option
def wait_command(tasks: tuple[str, ...], goal: str, run: str | None, timeout: float | None, as_json: bool) -> int:
    """Wait for tasks, or for all tasks of the unfinished runs here.

    Exit codes: 0 reached, 1 it became impossible, 4 timed out.
    """
    together(("TASK", tasks), ("--run", run), why="--run means all its tasks", hint="name tasks, or the run")
    deadline = None if timeout is None else time.monotonic() + timeout
    with carrying_on():
        found = _pinned(tasks, run, goal)
        if on_terminal() and not as_json:
            note(_what(found, goal))
        for look in statuses(connect(), lambda: read("wait", **found), deadline, tick=1.0):
            if look is not None and look["result"] != "pending":
                break
        else:
            look = read("wait", **found)
    return conclude(look, goal, as_json)


def _what(found: Json, goal: str) -> str:
    """What is waited for, in words: a silent command looks like one that hangs."""
    names = found["tasks"] or [f"all tasks of {found['run']}"]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    goals = {"landed": "landed", "terminal": "over", "idle": "idle", "inbox": "in need of you"}
    return f"waits until {shown}: {goals[goal]}; Ctrl-C ends only the waiting"


def _pinned(tasks: tuple[str, ...], run: str | None, goal: str) -> Json:
    """The arguments of the `wait` read, with names fixed now: they may come to mean other tasks later."""
    asked: Json = {"for": goal, "tasks": list(tasks) or None, "run": run}
    first = read("wait", **asked)
    if not first["tasks"]:
        raise StrettoError("there is no task to wait for here", code="empty", hint="stretto run PLAN.md")
    return asked if run is not None else {**asked, "tasks": list(first["tasks"])}


def follow(run: str, tasks: list[str] | None, timeout: float | None, silent: bool) -> tuple[Json, Json]:
    """Show the run until its tasks (None: all) have landed, or cannot, or the time is over: the verdict and status."""
    deadline = None if timeout is None else time.monotonic() + timeout
    asked: Json = {"for": "landed", "run": None if tasks else run, "tasks": tasks}
    status: Json = {}
    with open_screen(FOOTER, silent) as screen:
        for seen in statuses(connect(), lambda: read("status", run=run), deadline, 1.0, screen.pause):
            if seen is None:
                screen.tick()
                continue
            status = seen
            screen.show(status)
            look = read("wait", **asked)
            if look["result"] != "pending":
                status = read("status", run=run)
                screen.show(status)
                return look, status
    return {**read("wait", **asked), "result": "timed_out"}, status


def conclude(look: Json, goal: str, as_json: bool, status: Json | None = None) -> int:
    """Say how the wait ended; the exit code."""
    result = "timed_out" if look["result"] == "pending" else look["result"]
    code = {"reached": 0, "impossible": 1}.get(result, 4)
    if as_json:
        emit({**(status or look), "result": result})
        return code
    if code == 4:
        if look.get("frozen"):
            why = "; ".join(clean(reason) for reason in look["frozen"])
            raise TimedOut(
                f"not {goal} within the time: the landing queue is frozen ({why})",
                hint="nothing lands until you answer; look with: stretto inbox",
            )
        raise TimedOut(f"not {goal} within the time", hint="nothing was stopped; look with: stretto status")
    if code == 1:
        raise StrettoError(
            f"{goal} has become impossible: {_why(look['tasks'])}", code="impossible", hint=_next(look["tasks"])
        )
    return 0


def _why(tasks: Json) -> str:
    """The tasks that stand in the way."""
    bad = [(uid, task) for uid, task in tasks.items() if task["state"] not in ("landed", "finished")]
    shown = [f"{uid} is {task['state']}" + (f" ({task['reason']})" if task["reason"] else "") for uid, task in bad[:3]]
    return "; ".join(shown) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")


def _next(tasks: Json) -> str:
    lost = next((uid for uid, task in tasks.items() if task["state"] in ("failed", "cancelled")), None)
    return f"stretto explain {lost}; stretto retry {lost}" if lost else "stretto status"
