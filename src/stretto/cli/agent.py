"""`stretto agent …`: what an agent may ask of stretto, over the socket of its own session."""

from __future__ import annotations

import json
from typing import Any

import click

from stretto.agentapi.client import AgentClient
from stretto.cli.common import emit, json_option, words_or_stdin
from stretto.cli.words import Group


@click.group("agent", cls=Group)
def agent_command() -> None:
    """For agents: ask the person, leave a note, report usage. Works only inside a session."""


@agent_command.command("ask")
@click.argument("text", nargs=-1)
@click.option("--option", "options", multiple=True, metavar="A", help="A possible answer; repeat for more.")
@click.option("--timeout", type=float, metavar="S", help="Wait so long (exit code 4; the question stays open).")
@json_option
def ask(text: tuple[str, ...], options: tuple[str, ...], timeout: float | None, as_json: bool) -> None:
    """Ask the person TEXT and wait; the answer is printed.

    Exit codes: 0 answered, 3 the task was cancelled, 4 timed out.
    """
    answer = AgentClient.from_environment().ask(words_or_stdin(text, "the question"), options, timeout)
    if as_json:
        emit({"answer": answer.text, "key": answer.key})
    else:
        click.echo(answer.text)


@agent_command.command("note")
@click.argument("text", nargs=-1)
@click.option("--result", is_flag=True, help="This is the task's result, for those who need it.")
def note(text: tuple[str, ...], result: bool) -> None:
    """Leave the note TEXT (- for standard input)."""
    AgentClient.from_environment().note(words_or_stdin(text, "the note"), result=result)


@agent_command.command("usage")
@click.option("--input", "input", type=click.IntRange(min=0), default=0, metavar="N", help="Tokens read.")
@click.option("--output", type=click.IntRange(min=0), default=0, metavar="N", help="Tokens written.")
@click.option("--cache-read", type=click.IntRange(min=0), default=0, metavar="N", help="Of the cache, read.")
@click.option("--cache-write", type=click.IntRange(min=0), default=0, metavar="N", help="Of the cache, written.")
@click.option("--reasoning", type=click.IntRange(min=0), default=0, metavar="N", help="Of the output, reasoning.")
@click.option("--cost", metavar="X", help="What it cost, in USD.")
@click.option("--model", metavar="M", help="The model that did it.")
def usage(cost: str | None, model: str | None, **tokens: int) -> None:
    """Report tokens and cost of work that was done."""
    AgentClient.from_environment().usage(cost=cost, model=model, **tokens)


@agent_command.command("status")
@json_option
def status(as_json: bool) -> None:
    """What stretto knows of this session."""
    told: dict[str, Any] = AgentClient.from_environment().status()
    if as_json:
        emit(told)
        return
    for name, value in told.items():
        click.echo(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
