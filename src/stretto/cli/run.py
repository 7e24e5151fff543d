"""`run` and `add`: start work. What the daemon refuses but a person can settle is asked on a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from stretto.cli.common import (
    complete_tasks,
    emit,
    json_option,
    note,
    on_terminal,
    steering,
    text_of,
    together,
    words_or_stdin,
)
from stretto.cli.text import age, clean, seen
from stretto.client import Client, folder
from stretto.core.errors import StrettoError, UsageError

Json = dict[str, Any]

_shared = [
    click.option("--agent", metavar="AGENT", help="A configured agent, or 'command:PROG ARGS'."),
    click.option("--approve", type=click.Choice(["human", "auto"]), help="Who lets changes land."),
    click.option("--trust", is_flag=True, help="Allow the commands of the configuration as they are now."),
    click.option("--unsandboxed", is_flag=True, help="I know that agents which never ask run without a sandbox."),
    click.option("--update-checkout", "checkout", flag_value="update", help="Keep your clean checkout at the target."),
    click.option("--leave-checkout", "checkout", flag_value="leave", help="Leave your checkout alone."),
    click.option("--wait", is_flag=True, help="Show the work until it is over; 0 only if all landed or finished."),
    click.option("--timeout", type=float, metavar="S", help="With --wait: give up looking after S seconds (exit 4)."),
]


def _options(function: Any) -> Any:
    for option in reversed(_shared):
        function = option(function)
    return function


RUN_HELP = """Run the plan in the file PLAN (- for standard input).

Returns at once and the daemon carries on; with --wait it shows a live board. On a plan that is running it shows the
difference and applies it. A plan looks like this:

\b
    # Search release
    ## schema: Add the search index table
    Create the migration and the model.
    Accept: the migration applies and reverts.
    - files: migrations/**
    ## search: Full-text search
    Add search to GET /products; keep the response shape.
    Accept: GET /products?q=lamp returns ranked matches.
    - needs: schema
"""


@click.command("run", help=RUN_HELP)
@click.argument("plan", type=click.Path(dir_okay=False, allow_dash=True))
@_options
@click.option("--mode", type=click.Choice(["stream", "pane"]), help="How agents run.")
@click.option("--open", "open_limit", type=click.IntRange(min=1), metavar="N", help="Tasks that may be open at once.")
@click.option("--base", metavar="REV", help="Start here instead of at the target.")
@click.option("--target", metavar="BRANCH", help="Land on this branch.")
@click.option("--pin-base", is_flag=True, help="Start every task from the first base.")
@click.option("--fetch/--no-fetch", default=True, help="Ask the remote how far the base is behind.")
@click.option("--push", is_flag=True, help="Push after each landing.")
@click.option("--yes", is_flag=True, help="Confirm the changes of a plan that runs already.")
@json_option
def run_command(
    plan: str, wait: bool, timeout: float | None, as_json: bool, open_limit: int | None, **opts: Any
) -> int:
    """Read, submit, and look on if asked to."""
    _refuse_timeout(wait, timeout)
    path, text = _read_plan(plan)
    args = {**opts, "plan_path": path, "plan_text": text, "open": open_limit, "env": dict(os.environ)}
    result = _settle(steering(), "run", args, as_json)
    return _after(result, None, wait, timeout, as_json)


@click.command("add")
@click.argument("text", nargs=-1)
@_options
@click.option("--kind", help="feature, bug, refactor, test, docs, research or architecture.")
@click.option("--files", multiple=True, metavar="GLOB", help="Files that the task may touch.")
@click.option("--needs", multiple=True, metavar="TASK", shell_complete=complete_tasks, help="Tasks to wait for.")
@click.option("--role", help="What kind of agent.")
@click.option("--accept", metavar="TEXT", help="One sentence: when is it done?")
@click.option("--title", help="A short title; else the first line.")
@click.option("--run", metavar="RUN", help="Join this run.")
@click.option("--file", "source", metavar="FILE[#HEADING]", help="Take the text from a Markdown file or its section.")
@json_option
def add_command(
    text: tuple[str, ...], source: str | None, wait: bool, timeout: float | None, as_json: bool, **opts: Any
) -> int:
    """Add one task: from TEXT, standard input (-), or a section of a Markdown file (--file FILE#HEADING)."""
    _refuse_timeout(wait, timeout)
    words = (("--file", source), ("TEXT", text))
    together(*words, why="each is the text of the task", hint="put both into the file, or say one of them")
    opts = {**opts, "files": _split(opts["files"]), "needs": _split(opts["needs"]), "env": dict(os.environ)}
    spec = _section(source) if source else words_or_stdin(text, "the task's text")
    result = _settle(steering(), "add", {**opts, "text": spec}, as_json)
    return _after(result, list(result["tasks"]), wait, timeout, as_json)


def _refuse_timeout(wait: bool, timeout: float | None) -> None:
    if timeout is not None and not wait:
        raise UsageError("--timeout is of --wait, and nothing is waited for", object="--timeout", hint="add --wait")


def _split(values: tuple[str, ...]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _read_plan(plan: str) -> tuple[str | None, str]:
    """The plan's real path (None for standard input) and its text."""
    return None if plan == "-" else str(Path(plan).resolve()), text_of(plan)


def _section(source: str) -> str:
    """The text of a Markdown file, or of the section under a heading (up to the next of its level)."""
    name, _, heading = source.partition("#")
    lines = text_of(name).splitlines()
    if not heading:
        return "\n".join(lines)
    wanted = heading.strip("# ").casefold()
    starts = [n for n, line in enumerate(lines) if line.startswith("#") and line.strip("# ").casefold() == wanted]
    if not starts:
        raise UsageError(f"{name} has no heading {heading!r}", object=name)
    level = len(lines[starts[0]]) - len(lines[starts[0]].lstrip("#"))
    rest = lines[starts[0] + 1 :]
    end = next((n for n, line in enumerate(rest) if 0 < len(line) - len(line.lstrip("#")) <= level), len(rest))
    return "\n".join([lines[starts[0]].strip("# "), "", *rest[:end]]).strip()


# ---------------------------------------------------------------- what a person can settle


def _settle(client: Client, op: str, args: Json, as_json: bool) -> Json:
    """Call; on a terminal ask what the daemon refuses to decide, and call again with the answer."""
    while True:
        try:
            return client.call(op, cwd=folder(), **{k: v for k, v in args.items() if v is not None})
        except StrettoError as error:
            if as_json or not on_terminal() or error.code not in _QUESTIONS:
                _show_details(error, as_json)
                raise
            args = {**args, **_QUESTIONS[error.code](error)}


def _show_details(error: StrettoError, as_json: bool) -> None:
    """What a refusal is about, where nobody can be asked: nobody should say `--yes` or `--trust` unseen."""
    told = error.details.get("listing" if error.code == "untrusted" else "text")
    if error.code in _QUESTIONS and told and not as_json:
        note("\n".join(seen(line) for line in str(told).splitlines()))


def ask_trust(error: StrettoError) -> Json:
    """Show the commands that are not allowed yet and ask; the argument that allows them. Raises the error at a no."""
    note("These commands come from the repository's configuration or the plan and would run on this machine:")
    for line in str(error.details.get("listing") or "").splitlines():
        note(f"  {seen(line)}")
    if not click.confirm("Allow exactly these?", err=True):
        raise error
    return {"trust": error.details["hash"]}


def _ask_checkout(error: StrettoError) -> Json:
    branch = clean(str(error.details.get("branch", "the target")))
    note(f"{branch} is checked out here. After a landing your files would be behind it.")
    update = click.confirm("Fast-forward this checkout after each landing while it is clean?", default=True, err=True)
    return {"checkout": "update" if update else "leave"}


def _ask_change(error: StrettoError) -> Json:
    note("This plan is running already. The file has changed:")
    for line in str(error.details.get("text") or "").splitlines():
        note(f"  {seen(line)}")
    if not click.confirm("Apply this?", err=True):
        raise error
    return {"yes": True}


_QUESTIONS = {"untrusted": ask_trust, "checkout_choice": _ask_checkout, "confirm": _ask_change}


# ---------------------------------------------------------------- afterwards


def _after(result: Json, tasks: list[str] | None, wait: bool, timeout: float | None, as_json: bool) -> int:
    if as_json:
        emit(result)
        sys.stdout.flush()
    else:
        _tell(result, wait)
    if not wait:
        return 0
    from stretto.cli.follow import carrying_on
    from stretto.cli.watch import conclude, follow

    with carrying_on("the daemon carries on"):
        look, status = follow(result["run"], tasks, timeout, silent=as_json)
    return conclude(look, "landed", as_json, status)


def _tell(result: Json, wait: bool) -> None:
    base: Json = result.get("base") or {}
    for text in result.get("notices", ()):
        note(clean(str(text)))
    tasks = result.get("tasks", ())
    words = f"run {result['run']}: {len(tasks)} task{'' if len(tasks) == 1 else 's'}"
    if base.get("commit"):
        words += f", base {str(base['commit'])[:9]} ({age(base['age_s'])} old) → {base['target']}"
    if result.get("open"):
        words += f", {result['open']} open at once"
    click.echo(clean(words))
    if not wait:
        note("the daemon works on it; look with: stretto status, stretto watch")
