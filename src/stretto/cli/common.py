"""What commands share: options, the way to the client, the refusal of agents, JSON out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from stretto.cli.asking import emit as emit
from stretto.cli.asking import given as given
from stretto.cli.asking import read as read
from stretto.cli.asking import together as together
from stretto.client import Client, Json, connect, folder
from stretto.core.errors import StrettoError, UsageError

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, errors too.")(function)


def task_argument(function: F) -> F:
    """One TASK, completed from the database."""
    return click.argument("task", shell_complete=complete_tasks)(function)


def complete_tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Ids and uids of the tasks here that begin like this. Never fails, never starts anything."""
    from click.shell_completion import CompletionItem

    try:
        tasks = read("status")["tasks"]
    except (StrettoError, OSError, KeyError):
        return []
    found: dict[str, str] = {}
    for task in tasks:
        found.setdefault(task["id"], f"{task['state']}: {task['title']}")
        found.setdefault(task["uid"], f"{task['state']}: {task['title']}")
    names = [name for name in found if name.startswith(incomplete) and ("/" not in name or "/" in incomplete)]
    return [CompletionItem(name, help=found[name]) for name in names]


def steer(op: str, **args: Any) -> Json:
    """A write by the person: refused to agents; starts a daemon if none runs."""
    return steering().call(op, cwd=folder(), **given(args))


def steering() -> Client:
    """The client for a person's write."""
    refuse_agents()
    return connect(start=True)


def refuse_agents() -> None:
    """Raise if this call comes from inside an agent's session. The daemon looks at our ancestors as well."""
    for name in ("STRETTO_AGENT_TOKEN", "STRETTO_SESSION"):
        if name in os.environ:
            raise StrettoError(
                f"an agent cannot steer: {name} is set here",
                code="agent_refused",
                object=name,
                hint="an agent asks the person with: stretto agent ask",
            )


def on_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def words_or_stdin(words: tuple[str, ...] | str | None, what: str) -> str:
    """The words of the call, or standard input for `-` or when there are none and it is not a terminal."""
    text = words if isinstance(words, str) else " ".join(words or ())
    if text == "-" or (not text and not sys.stdin.isatty()):
        text = _standard_input()
    if not text.strip():
        raise UsageError(f"{what} is missing", object=what, hint=f"give {what} as words, or - to read standard input")
    return text


def text_of(name: str) -> str:
    """A text file's content, `-` for standard input. Raises with a sentence when it cannot be read."""
    from pathlib import Path

    if name == "-":
        return _standard_input()
    try:
        return Path(name).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no file {name}", object=name, hint="its form: stretto run --help") from None
    except IsADirectoryError:
        raise UsageError(f"{name} is a folder, not a file", object=name, hint="name a file in it") from None
    except UnicodeDecodeError as error:
        raise _not_utf8(name, error) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise StrettoError(
            f"{name} cannot be read: {why}", object=name, code="unreadable", hint="name a file that you may read"
        ) from error


def _standard_input() -> str:
    """All of standard input. Raises UsageError if it is not UTF-8, whatever the locale says."""
    raw = getattr(sys.stdin, "buffer", None)
    if raw is None:
        return sys.stdin.read()
    try:
        return str(raw.read(), "utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8("standard input", error) from error


def _not_utf8(name: str, error: UnicodeDecodeError) -> UsageError:
    return UsageError(f"{name} is not UTF-8 text (byte {error.start})", object=name, hint="save it as UTF-8")


def note(text: str) -> None:
    """A remark beside the result, its lines broken between words where a terminal is too narrow."""
    from stretto.cli.text import hang, terminal_width

    columns = terminal_width(sys.stderr)
    for line in text.split("\n"):
        for part in hang(line, columns):
            click.echo(part, err=True)
