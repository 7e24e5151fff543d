"""`logs` and `events`: what was written, and what happened."""

from __future__ import annotations

import codecs
import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from stretto.cli.common import emit, json_option, read, task_argument, together
from stretto.cli.show import without_power
from stretto.cli.text import clean, clip, local_time
from stretto.client import Client, connect
from stretto.core.errors import StrettoError
from stretto.shim import folder as shims

Json = dict[str, Any]

#: seconds between two looks at a log that is followed, and bytes of one look
LOOK, CHUNK = 0.3, 1 << 16

#: columns of what a tool was called with; all of it is in --raw
DETAIL = 160


@click.command("logs")
@task_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the task's session is over.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="BYTES", help="Only the last BYTES.")
@click.option("--session", "number", type=int, metavar="N", help="This of its sessions; the newest if not said.")
@click.option("--check", metavar="NAME", help="The output of this check instead, as it ran last.")
@click.option("--raw", is_flag=True, help="The agent's bytes, as they are.")
@json_option
def logs_command(
    task: str, follow: bool, tail: int | None, number: int | None, check: str | None, raw: bool, as_json: bool
) -> None:
    """What the agent of a task wrote; with --json where it lies."""
    options = {"--follow": follow, "--raw": raw, "--tail": tail is not None, "--check": check is not None}
    for option in options.items():
        why = "--json only says where the logs lie"
        together(("--json", as_json), option, why=why, hint=f"stretto logs {task} --json")
    for option in (("--follow", follow), ("--raw", raw), ("--session", number is not None)):
        why = "what a check wrote is text beside the sessions"
        together(("--check", check is not None), option, why=why, hint=f"stretto logs {task} --check {check}")
    found = read("logs", task=task, number=number)
    if as_json:
        emit(found)
    elif check is not None:
        _write_check(found, check, tail)
    elif found["folder"] is None:
        set_up = _SetUp()
        if not follow and not set_up.step(found):
            raise StrettoError(f"{found['task']} has no session yet", code="no_session", hint=f"stretto explain {task}")
        if follow:
            _follow(_first_session(found["task"], set_up), tail, raw)
    elif follow:
        _follow(found, tail, raw)
    else:
        _name_others(found, task)
        log = _Log(found, raw, tail)
        while log.step():
            pass
        log.end()


def _name_others(found: Json, task: str) -> None:
    """A task that changed its agent, or lost it, has words in more than one place."""
    others = [each for each in found["sessions"] if each["id"] != found["session"]]
    if others:
        named = ", ".join(f"{each['generation']} ({clean(str(each['agent']))})" for each in others)
        click.echo(f"other sessions: {named}; see one with: stretto logs {task} --session N", err=True)


def _write_check(found: Json, name: str, tail: int | None) -> None:
    known = [*found["setup"], *found["checks"]]
    runs = [run for run in known if run["name"] == name]
    if not runs:
        names = ", ".join(sorted({run["name"] for run in known})) or "none has run"
        raise StrettoError(f"{found['task']} has no output of a check {name} (there are: {names})", code="no_check")
    try:
        data = Path(runs[-1]["output"]).read_bytes()
    except OSError as error:
        raise StrettoError(f"{runs[-1]['output']} cannot be read: {error.strerror}", code="unreadable") from error
    _print_text(data[-tail:].decode("utf-8", "replace") if tail else data.decode("utf-8", "replace"))
    for left in runs[-1].get("files", ()):
        click.echo(f"left: {left['path']} ({left['bytes']} bytes)", err=True)


def _first_session(task: str, set_up: _SetUp) -> Json:
    """Wait for the session of a task that has not started; what its set-up says is shown meanwhile."""
    while True:
        found = read("logs", task=task)
        set_up.step(found)
        if found["folder"] is not None:
            return found
        if read("task", task=task)["task"]["state"] in ("landed", "finished", "failed", "cancelled"):
            raise StrettoError(f"{task} ended without a session", code="no_session", hint=f"stretto explain {task}")
        time.sleep(LOOK)


def _follow(found: Json, tail: int | None, raw: bool) -> None:
    log = _Log(found, raw, tail)
    while True:
        while log.step():
            pass
        now = read("logs", task=found["task"])
        if now["session"] != found["session"]:
            log.end()
            click.echo(f"── session {now['session']}", err=True)
            found, log = now, _Log(now, raw, None)
        elif now["over"]:
            while log.step():
                pass
            log.end()
            return
        time.sleep(LOOK)


class _SetUp:
    """Prints what the commands say that make a workspace ready, each from where it was left."""

    def __init__(self) -> None:
        self._read: dict[str, int] = {}

    def step(self, found: Json) -> bool:
        """Print what has come since; whether there is a set-up at all."""
        for command in found["setup"]:
            output = command["output"]
            if output not in self._read:
                self._read[output] = 0
                click.echo(f"── {command['name']}", err=True)
            try:
                with Path(output).open("rb") as file:
                    file.seek(self._read[output])
                    data = file.read()
            except OSError:
                continue  # it is made a moment later, or taken away with what is old
            self._read[output] += len(data)
            _print_text(data.decode("utf-8", "replace"))
        return bool(found["setup"])


class _Log:
    """Prints a session's output stream from a cursor on, as text or as what the agent's adapter understands of it."""

    def __init__(self, found: Json, raw: bool, tail: int | None) -> None:
        self._folder = Path(found["folder"])
        self._cursor = 0 if tail is None else max(0, shims.end_of(self._folder, "out") - tail)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._told = None if raw else _Told.of(found)

    def step(self) -> bool:
        """Print what has come since; whether there was something."""
        before = self._cursor
        data, self._cursor = shims.read(self._folder, "out", before, CHUNK)
        if self._cursor - before > len(data):
            click.echo(f"[{self._cursor - before - len(data)} bytes were dropped here]", err=True)
        if not data:
            return False
        _print_text(self._told.take(data) if self._told else self._decoder.decode(data))
        return True

    def end(self) -> None:
        """Print what was held back."""
        _print_text(self._told.rest() if self._told else self._decoder.decode(b"", final=True))


class _Told:
    """A structured stream as a person reads it: what the agent said, and the tools that it used."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self._state: dict[str, Any] = {}
        self._line = b""

    @classmethod
    def of(cls, found: Json) -> _Told | None:
        """For agents that speak a protocol; None for those whose output is text."""
        if found["type"] in ("command", "scripted"):
            return None
        from stretto import agents

        try:
            return cls(agents.find(found["type"]))
        except StrettoError:
            return None

    def take(self, data: bytes) -> str:
        """The text of the lines that are now whole."""
        *lines, self._line = (self._line + data).split(b"\n")
        return "".join(self._text(line) for line in lines if line.strip())

    def rest(self) -> str:
        """The text of a last line without an end."""
        line, self._line = self._line, b""
        return self._text(line) if line.strip() else ""

    def _text(self, line: bytes) -> str:
        shown = []
        for signal in self._agent.parse(line, self._state):
            data = signal.data
            if signal.type == "text":
                shown.append(f"{data.get('text', '')}\n")
            elif signal.type == "tool":
                detail = clip(clean(str(data.get("detail") or "")), DETAIL)
                shown.append(f"  [{data.get('name')}] {detail}".rstrip() + "\n")
            elif signal.type == "tool_failed":
                shown.append(f"  {_failure(data)}\n")
            elif signal.type == "asked":
                shown.append(f"  [{data.get('kind')}] {data.get('text') or ''}\n")
        return "".join(shown)


def _failure(data: Json) -> str:
    """A tool that failed, in one line: which, its exit code, the first that it said."""
    code = "" if data.get("code") is None else f"exit code {data['code']}"
    words = (clip(clean(str(data.get(name) or "")), DETAIL) for name in ("detail", "said"))
    return f"[{data.get('name')} failed] " + ": ".join(filter(None, (next(words), code, next(words))))


def _print_text(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()  # JSON can hold halves of characters, which nothing can write
    sys.stdout.write(without_power(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


# ---------------------------------------------------------------- events


@click.command("events")
@click.option("--since", type=click.IntRange(min=0), default=0, metavar="N", help="Only events after this id.")
@click.option("-f", "--follow", is_flag=True, help="Go on for ever; a daemon that restarts is followed on.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@json_option
def events_command(since: int, follow: bool, limit: int | None, as_json: bool) -> None:
    """Facts as they happened, in order; with --json one JSON object on each line."""
    client = connect()
    left = limit
    while left is None or left > 0:
        batch = _batch(client, since, 500 if left is None else min(500, left))
        for event in batch:
            _print(event, as_json)
        if not batch:
            break
        since = batch[-1]["id"]
        left = None if left is None else left - len(batch)
    sys.stdout.flush()
    if follow and (left is None or left > 0):
        _follow_events(client, since, left, as_json)


def _batch(client: Client, since: int, limit: int) -> list[Json]:
    try:
        found: list[Json] = client.call("events", since=since, limit=limit)["events"]
    except StrettoError as error:
        if error.code != "empty":
            raise
        return []
    return found


def _follow_events(client: Client, since: int, left: int | None, as_json: bool) -> None:
    for event in client.events(since, patience=None):
        if event is None:
            continue
        _print(event, as_json)
        sys.stdout.flush()
        left = None if left is None else left - 1
        if left == 0:
            return


def _print(event: Json, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event, ensure_ascii=False))
        return
    data = " ".join(f"{key}={_short(value)}" for key, value in event["data"].items())
    who = clean(event["task"] or event["run"] or "-")
    click.echo(f"{event['id']:>6}  {local_time(event['at'])}  {event['type']}  {who}  {data}".rstrip())


def _short(value: Any) -> str:
    text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 80 else text[:79] + "…"
