"""Verbs by which the person steers. Each is one operation of the daemon; agents are refused."""

from __future__ import annotations

import click

from stretto.cli.common import complete_tasks, emit, json_option, steer, task_argument, words_or_stdin
from stretto.cli.text import clean, clip
from stretto.client import Json
from stretto.core.errors import UsageError


def _tell(result: Json, as_json: bool, done: str) -> None:
    """Print what an operation answers, or a sentence."""
    if as_json:
        emit(result)
        return
    click.echo(clean(str(result.get("message") or done)))
    for text in result.get("notices", ()):
        click.echo(clean(str(text)), err=True)


def _complete_items(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from stretto.cli.common import read
    from stretto.core.errors import StrettoError

    try:
        return [item["id"] for item in read("inbox")["inbox"] if item["id"].startswith(incomplete)]
    except StrettoError:
        return []


@click.command("answer")
@click.argument("item", shell_complete=_complete_items)
@click.argument("answer", nargs=-1)
@json_option
def answer_command(item: str, answer: tuple[str, ...], as_json: bool) -> None:
    """Answer ITEM with the key of an option or with your own words (- for standard input)."""
    text = words_or_stdin(answer, "the answer")
    found = steer("answer", item=item, answer=text)
    given = found["answer"]
    said = " ".join(filter(None, (given["key"], clip(clean(given["text"]), 60) if given["text"] else "")))
    _tell(found, as_json, f"answered {item}: {said}")


@click.command("send")
@task_argument
@click.argument("text", nargs=-1)
@json_option
def send_command(task: str, text: tuple[str, ...], as_json: bool) -> None:
    """Send TEXT to the task's agent, as its next turn (- for standard input)."""
    result = steer("send", task=task, text=words_or_stdin(text, "the message"))
    later = f"{task} is busy and gets it after this turn; sooner with: stretto interrupt {task}"
    _tell(result, as_json, later if result.get("waits") else f"sent to {task}")


@click.command("interrupt")
@task_argument
@json_option
def interrupt_command(task: str, as_json: bool) -> None:
    """Stop what the task's agent does now; its work so far is kept."""
    _tell(steer("interrupt", task=task), as_json, f"{task} is being interrupted")


def _targets(tasks: tuple[str, ...], run: str | None) -> list[Json]:
    """What each call of an operation is about: a task, or one whole run."""
    if bool(tasks) == (run is not None):
        raise UsageError("name tasks, or a run with --run", hint="stretto status")
    return [{"run": run}] if run is not None else [{"task": task} for task in dict.fromkeys(tasks)]


_tasks_argument = click.argument("tasks", nargs=-1, metavar="[TASK]...", shell_complete=complete_tasks)


def _many(name: str, help: str, done: str) -> click.Command:
    """A verb for tasks, one after the other, or a whole run."""

    @click.command(name, help=help)
    @_tasks_argument
    @click.option("--run", metavar="RUN", help="All tasks of this run.")
    @json_option
    def command(tasks: tuple[str, ...], run: str | None, as_json: bool) -> None:
        for one in _targets(tasks, run):
            _tell(steer(name, **one), as_json, f"{one.get('task') or run} {done}")

    return command


pause_command = _many("pause", "Start nothing new for tasks or a run; what runs now goes on.", "is paused")
resume_command = _many("resume", "Undo pause.", "goes on")
cancel_command = _many("cancel", "End tasks or a run. Workspace and branch are kept; retry continues.", "is cancelled")


@click.command("retry")
@_tasks_argument
@click.option("--run", metavar="RUN", help="All failed and cancelled tasks of this run.")
@click.option("--fresh", is_flag=True, help="Start over from the target; the old state is kept as a snapshot.")
@json_option
def retry_command(tasks: tuple[str, ...], run: str | None, fresh: bool, as_json: bool) -> None:
    """Try failed or cancelled tasks again, where they stopped."""
    import os

    for one in _targets(tasks, run):
        result = steer("retry", **one, fresh=fresh or None, env=dict(os.environ))
        _tell(result, as_json, f"{one.get('task') or run} is tried again")


@click.command("approve")
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...", shell_complete=complete_tasks)
@json_option
def approve_command(tasks: tuple[str, ...], as_json: bool) -> None:
    """Let the change of a task land, as it is now."""
    for task in tasks:
        _tell(steer("approve", task=task), as_json, f"{task} is approved")


@click.command("request-changes")
@task_argument
@click.argument("text", nargs=-1)
@json_option
def request_changes_command(task: str, text: tuple[str, ...], as_json: bool) -> None:
    """Send the change back to its agent with TEXT and all comments made since (- for standard input)."""
    words = words_or_stdin(text, "what to change")
    _tell(steer("request_changes", task=task, text=words), as_json, f"{task} goes back to its agent")


@click.command("comment")
@task_argument
@click.argument("place", metavar="[PATH[:LINE]]", required=False)
@click.argument("text", nargs=-1)
@json_option
def comment_command(task: str, place: str | None, text: tuple[str, ...], as_json: bool) -> None:
    """Note TEXT on the change of a task; `request-changes` sends all notes to the agent.

    PATH:LINE names a line of the new version; PATH a file; `-` or nothing the change as a whole (TEXT in quotes then).
    """
    if place is not None and not text and len(place.split()) > 1:
        text, place = (place,), None  # no place, but the comment itself, on the change as a whole
    path, line = _place(place)
    words = words_or_stdin(text, "the comment")
    _tell(steer("comment", task=task, path=path, line=line, text=words), as_json, f"noted on {task}")


def _place(place: str | None) -> tuple[str | None, int | None]:
    if place in (None, "-"):
        return None, None
    path, _, number = place.rpartition(":")
    if path and number.isascii() and number.isdigit():
        return path, int(number)
    return place, None


@click.command("land")
@task_argument
@json_option
def land_command(task: str, as_json: bool) -> None:
    """Put an approved task into the landing queue again, after it was ejected."""
    _tell(steer("land", task=task), as_json, f"{task} is in the landing queue")
