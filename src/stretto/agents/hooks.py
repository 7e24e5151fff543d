"""Hooks: an agent's own events, told through a spool file, as signs of what it does.

Specification. For one session the agent is told by a flag, a private file or its environment to run `hook.sh` at some
of its events; nothing of the person's is edited. The program appends a line to `SPOOL/events` (hook.sh says how it
cannot hang an agent), with the session and its generation, so that a late word of an old process is known as such. The
reader keeps the position after the last whole line; everything in the spool may have been written by the agent and
what it started: it is read with bounds, never through links, and what makes no sense is left out. Times are those of
the line, or the file's where the machine gives none, and never later than the reading.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stretto import files
from stretto.agents.limits import is_limit
from stretto.agents.questions import DETAIL, describe
from stretto.agents.shapes import Json, as_list, as_object, as_text, parsed
from stretto.core.evidence import Sign, Source, What

PROGRAM = Path(__file__).resolve().with_name("hook.sh")
EVENTS = "events"
#: seconds after which an agent itself gives a hook up; it needs milliseconds
PATIENCE = 3
#: seconds after which one that may refuse a tool is given up: then the tool would run
GUARDED = 120
#: bytes that are read at once, of one line, and of one event's own words
CHUNK, LINE, BODY = 1 << 20, 4096, 256 << 10


@dataclass(frozen=True, slots=True)
class Spool:
    """Where the hooks of one session report to. The agent must be able to write to `folder`, inside a sandbox too."""

    folder: Path
    session: str
    generation: int

    def make(self) -> None:
        """Make the folder, for the user alone."""
        files.make_private_dir(self.folder)

    def command(self, event: str, body: bool) -> str:
        """The line that an agent gives to a shell at an event; `body`: keep what the agent says of it, too."""
        words = ["/bin/sh", str(PROGRAM), str(self.folder), self.session, str(self.generation), event]
        return shlex.join([*words, "body"] if body else words)


@dataclass(frozen=True, slots=True)
class Report:
    """One event of an agent. `said`: the agent's own words, empty where they were not asked for or are not whole."""

    session: str
    generation: int
    event: str
    at: float
    said: Mapping[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------- how each agent is told

#: event -> whether its words are wanted. Tools are told of when they are done, but for those that ask the person
CLAUDE = {
    "SessionStart": True,
    "UserPromptSubmit": False,
    "PostToolUse": False,
    "PostToolUseFailure": False,
    "PermissionRequest": True,
    "PermissionDenied": False,
    "Elicitation": True,
    "ElicitationResult": False,
    "PreCompact": False,
    "Stop": False,
    "StopFailure": True,
    "SessionEnd": True,
}
CODEX = {
    "SessionStart": True,
    "UserPromptSubmit": False,
    "PreToolUse": False,
    "PostToolUse": False,
    "PermissionRequest": True,
    "PreCompact": False,
    "Interrupt": False,
    "Stop": False,
    "SessionEnd": True,
}
GEMINI = {
    "SessionStart": True,
    "BeforeAgent": False,
    "BeforeTool": False,
    "AfterTool": False,
    "PreCompress": False,
    "Notification": True,
    "AfterAgent": False,
    "SessionEnd": True,
}
#: tools of Claude Code that are a question to the person
_ASKING_TOOLS = "AskUserQuestion|ExitPlanMode"


def claude_settings(spool: Spool) -> Json:
    """What `claude --settings` takes beside the person's own: hooks add up."""
    hooks = {event: [_claude(spool.command(event, body), "")] for event, body in CLAUDE.items()}
    hooks["PreToolUse"] = [_claude(spool.command("PreToolUse", True), _ASKING_TOOLS)]
    return {"hooks": hooks}


def _claude(command: str, matcher: str) -> Json:
    return {"matcher": matcher, "hooks": [{"type": "command", "command": command, "timeout": PATIENCE}]}


def codex_words(spool: Spool | None, guard: str = "") -> tuple[str, ...]:
    """Flags for codex. Hooks must be trusted by their hash: each of ours is, and no others are trusted with them.

    `guard`: a command for a shell before each tool, which may refuse it.
    """
    events = CODEX if spool is not None else {}
    groups = {event: [(spool.command(event, body), PATIENCE)] for event, body in events.items() if spool is not None}
    if guard:
        groups.setdefault("PreToolUse", []).append((guard, GUARDED))
    words: list[str] = []
    trusted = []
    for event, commands in groups.items():
        told = [
            f'{{hooks=[{{type="command",command={json.dumps(command)},timeout={seconds}}}]}}'
            for command, seconds in commands
        ]
        words += ["-c", f"hooks.{event}=[{','.join(told)}]"]
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in event).lstrip("_")
        for at, (command, seconds) in enumerate(commands):
            key = json.dumps(f"/<session-flags>/config.toml:{name}:{at}:0")
            trusted.append(f'{key}={{trusted_hash="{codex_hash(name, command, seconds)}"}}')
    return (*words, "-c", f"hooks.state={{{','.join(trusted)}}}") if words else ()


def codex_hash(event: str, command: str, seconds: int = PATIENCE) -> str:
    """The hash by which codex knows a hook (verified with 0.169.0)."""
    handler = {"type": "command", "command": command, "timeout": seconds, "async": False}
    known = json.dumps({"event_name": event, "hooks": [handler]}, separators=(",", ":"), sort_keys=True)
    return f"sha256:{hashlib.sha256(known.encode()).hexdigest()}"


def gemini_settings(spool: Spool) -> Json:
    """What the file of GEMINI_CLI_SYSTEM_SETTINGS_PATH says of hooks; times there are milliseconds."""
    hooks = {}
    for event, body in GEMINI.items():
        handler = {"name": f"stretto-{event}", "type": "command", "command": spool.command(event, body)}
        hooks[event] = [{"matcher": "*", "hooks": [{**handler, "timeout": PATIENCE * 1000}]}]
    return {"hooksConfig": {"enabled": True}, "hooks": hooks}


# ---------------------------------------------------------------- reading the spool


def read(folder: Path, cursor: int, *, forget: bool = True) -> tuple[list[Report], int]:
    """Whole lines after `cursor`, and the position after them; no more than a chunk at once.

    `forget`: the words that stand in files of their own are deleted once they are read.
    """
    try:  # held open: what its writer puts in the place of the folder is never looked at
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return [], cursor
    try:
        return _read(place, cursor, forget)
    finally:
        os.close(place)


def _read(place: int, cursor: int, forget: bool) -> tuple[list[Report], int]:
    data, changed = _bytes(place, EVENTS, cursor, CHUNK)
    end = data.rfind(b"\n") + 1
    if not end and len(data) == CHUNK:
        end = len(data)  # no hook writes such a line: it is skipped
    found = []
    for line in data[:end].split(b"\n"):
        report = _report(place, line, changed, forget) if 0 < len(line) <= LINE else None
        if report is not None:
            found.append(report)
    return found, cursor + end


def _bytes(place: int, name: str, cursor: int, limit: int) -> tuple[bytes, float]:
    """Bytes of a plain file and when it was last written; nothing of what is not there or not a plain file."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    except (OSError, ValueError):
        return b"", 0.0
    try:
        about = os.fstat(fd)
        return (os.pread(fd, limit, cursor), about.st_mtime) if stat.S_ISREG(about.st_mode) else (b"", 0.0)
    finally:
        os.close(fd)


def _report(place: int, line: bytes, changed: float, forget: bool) -> Report | None:
    value = parsed(line) or {}
    event, session, generation = as_text(value.get("event")), as_text(value.get("session")), value.get("generation")
    if not event or not isinstance(generation, int):
        return None
    body = as_text(value.get("body"))
    said: Json = {}
    if body and "/" not in body:
        name = f"body.{body}"
        said = parsed(_bytes(place, name, 0, BODY)[0]) or {}
        if forget:
            with suppress(OSError, ValueError):
                os.unlink(name, dir_fd=place)
    return Report(session, generation, event, _time(as_text(value.get("up")), changed), said)


def _time(up: str, changed: float) -> float:
    """When a line was written: by the machine's uptime then and now, else when its file was last written."""
    now = time.time()
    try:
        ago = time.clock_gettime(time.CLOCK_BOOTTIME) - float(up)
    except (ValueError, AttributeError, OSError):
        return min(changed, now)
    return now - ago if 0 <= ago <= now else min(changed, now)


# ---------------------------------------------------------------- what events mean


def sign(report: Report) -> Sign | None:
    """What an event says of its session; None for one that says nothing."""
    read = _MEANINGS.get(report.event)
    if read is None:
        return None
    what, text = read(report.said) if callable(read) else (read, "")
    return Sign(what, Source.HOOK, report.at, report.generation, text or report.event)


Meaning = tuple[What, str]


def _started(said: Mapping[str, Any]) -> Meaning:
    """A conversation that is made shorter in the middle of a turn begins a session as well."""
    return (What.WORKING if said.get("source") == "compact" else What.STARTING), ""


def _tool(said: Mapping[str, Any]) -> Meaning:
    asks = as_text(said.get("tool_name")) in _ASKING_TOOLS.split("|")
    return (What.ASKING if asks else What.WORKING), _about(said)


def _permission(said: Mapping[str, Any]) -> Meaning:
    asks = as_text(said.get("tool_name")) in _ASKING_TOOLS.split("|")
    return (What.ASKING if asks else What.PERMISSION), _about(said)


def _about(said: Mapping[str, Any]) -> str:
    tool, given = as_text(said.get("tool_name")), as_object(said.get("tool_input"))
    questions = [as_text(as_object(one).get("question")) for one in as_list(given.get("questions"))]
    return " / ".join(filter(None, questions))[:DETAIL] or (f"{tool}: {describe(tool, given)}" if tool else "")


def _failed(said: Mapping[str, Any]) -> Meaning:
    kind, last = as_text(said.get("error")), as_text(said.get("last_assistant_message"))
    if "prompt is too long" in f"{as_text(said.get('error_details'))} {last}".lower():
        return What.OVERFLOW, last[:DETAIL]
    limited = kind == "rate_limit" or is_limit(last)
    return (What.LIMITED if limited else What.ERROR), ": ".join(filter(None, (kind, last)))[:DETAIL]


def _notified(said: Mapping[str, Any]) -> Meaning:
    """Gemini's only notification is that a tool must be allowed."""
    details = as_object(said.get("details"))
    asks = details.get("type") == "ask_user"
    return (What.ASKING if asks else What.PERMISSION), as_text(said.get("message"))[:DETAIL]


def _ended(said: Mapping[str, Any]) -> Meaning:
    return What.QUIT, as_text(said.get("reason"))


_MEANINGS: dict[str, What | Callable[[Mapping[str, Any]], Meaning]] = {
    "SessionStart": _started,
    "UserPromptSubmit": What.WORKING,
    "BeforeAgent": What.WORKING,
    "PreToolUse": _tool,
    "BeforeTool": What.WORKING,
    "PostToolUse": What.WORKING,
    "PostToolUseFailure": What.WORKING,
    "AfterTool": What.WORKING,
    "PermissionRequest": _permission,
    "PermissionDenied": What.WORKING,
    "Elicitation": lambda said: (What.ASKING, as_text(said.get("message"))[:DETAIL]),
    "ElicitationResult": What.WORKING,
    "PreCompact": What.WORKING,
    "PreCompress": What.WORKING,
    "Notification": _notified,
    "Stop": What.DONE,
    "AfterAgent": What.DONE,
    "StopFailure": _failed,
    "Interrupt": What.INTERRUPTED,
    "SessionEnd": _ended,
}
