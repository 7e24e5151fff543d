"""Readers of decoded TOML values: each takes a value and its place, notes what is wrong, and returns what is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stretto.core import names, plan_values
from stretto.core.finding import closest, one_of

Reader = Callable[[Any, str, "Notes"], Any]

#: a value that could not be read; tables leave it out
WRONG = object()
_PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_]+(?:\.[A-Za-z0-9_.-]+)?)\}(?!\})")
PLACEHOLDERS = ("task", "uid", "slot", "workspace", "root", "branch", "database.url")


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in stretto.toml. `place` is the dotted key, `line` counts from 1 (None: not found)."""

    place: str
    line: int | None
    message: str
    suggestion: str

    def __str__(self) -> str:
        where = f"line {self.line}, {self.place}" if self.line and self.place else self.place or f"line {self.line}"
        return f"{where}: {self.message}; {self.suggestion}"

    def as_json(self) -> dict[str, Any]:
        """The element of `details.mistakes`."""
        return {"place": self.place, "line": self.line, "message": self.message, "suggestion": self.suggestion}


@dataclass(slots=True)
class Notes:
    """Collects mistakes while a file is read."""

    found: list[tuple[str, str, str]] = field(default_factory=list)

    def wrong(self, place: str, message: str, suggestion: str) -> Any:
        """Note a mistake; returns WRONG."""
        self.found.append((place, message, suggestion))
        return WRONG


def table(keys: Mapping[str, Reader]) -> Reader:
    """A table with known keys; unknown ones are mistakes."""

    def read(value: Any, place: str, notes: Notes) -> Any:
        if not isinstance(value, dict):
            return notes.wrong(place, "a table is expected", f"write `[{place}]` and its keys below")
        result = {}
        for key, part in value.items():
            at = f"{place}.{key}" if place else key
            if key not in keys:
                guess = closest(key, keys)
                form = f"write `{guess}`" if guess else f"known here: {', '.join(keys)}"
                notes.wrong(at, f"`{key}` is not known", form)
            elif (good := keys[key](part, at, notes)) is not WRONG:
                result[key] = good
        return result

    return read


def named(reader: Reader, what: str, check: Callable[[str], bool] = names.is_plain_name) -> Reader:
    """A table whose keys are names that the person chooses."""

    def read(value: Any, place: str, notes: Notes) -> Any:
        if not isinstance(value, dict):
            return notes.wrong(place, f"a table of {what}s is expected", f"write `[{place}]` and one line for each")
        result = {}
        for key, part in value.items():
            if not check(key):
                notes.wrong(f"{place}.{key}", f"`{key}` cannot name a {what}", f"write `{names.slugify(key)}`")
            elif (good := reader(part, f"{place}.{key}", notes)) is not WRONG:
                result[key] = good
        return result

    return read


def text(value: Any, place: str, notes: Notes) -> Any:
    """A text that is not blank."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return notes.wrong(place, "a text is expected", f'write `{_key(place)} = "…"`')
    return value


def matching(check: Callable[[str], bool], what: str, example: str) -> Reader:
    """A text of a certain form."""

    def read(value: Any, place: str, notes: Notes) -> Any:
        if not isinstance(value, str) or not check(value):
            return notes.wrong(place, f"{value!r} is not {what}", f'write `{_key(place)} = "{example}"`')
        return value

    return read


def choice(*words: str) -> Reader:
    """One of some words."""

    def read(value: Any, place: str, notes: Notes) -> Any:
        if value in words:
            return value
        guess = closest(str(value), words) or words[0]
        return notes.wrong(place, f"{value!r} is not {one_of(words)}", f'write `{_key(place)} = "{guess}"`')

    return read


def truth(value: Any, place: str, notes: Notes) -> Any:
    """A truth value: true or false."""
    if isinstance(value, bool):
        return value
    return notes.wrong(place, f"{value!r} is neither true nor false", f"write `{_key(place)} = true`")


def number(low: float, high: float, *, whole: bool = True) -> Reader:
    """A number between two bounds."""

    def read(value: Any, place: str, notes: Notes) -> Any:
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if fits and low <= value <= high:
            return value
        sort = "whole number" if whole else "number"
        return notes.wrong(
            place, f"{value!r} is not a {sort} from {low:g} to {high:g}", f"write `{_key(place)} = {low:g}`"
        )

    return read


def texts(value: Any, place: str, notes: Notes) -> Any:
    """A list of texts; one text stands for a list of one."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(
        isinstance(one, str) and one.strip() and "\0" not in one for one in items
    ):
        return notes.wrong(place, "a list of texts is expected", f'write `{_key(place)} = ["…"]`')
    return tuple(items)


def stages(known: tuple[str, ...]) -> Reader:
    """Stages in their order, without repetition."""

    def read(value: Any, place: str, notes: Notes) -> Any:
        form = f"choose from {', '.join(known)}, in this order"
        if not isinstance(value, list) or not all(one in known for one in value):
            return notes.wrong(place, "a list of stages is expected", form)
        if [one for one in known if one in value] != value:
            return notes.wrong(place, "the stages are out of order or stand twice", form)
        if "implement" not in value or "land" not in value:
            return notes.wrong(place, "`implement` and `land` are always needed", form)
        return tuple(value)

    return read


def command(value: Any, place: str, notes: Notes) -> Any:
    """A command, or a table with `run` and `timeout`: as `{"run", "timeout"}`."""
    part = {"run": value} if isinstance(value, str) else value
    if not isinstance(part, dict) or not isinstance(part.get("run"), str) or not part["run"].strip():
        return notes.wrong(
            place, "a command is expected", 'write `"make setup"` or `{run = "make setup", timeout = "10m"}`'
        )
    for key in part:
        if key not in ("run", "timeout"):
            return notes.wrong(f"{place}.{key}", f"`{key}` is not run or timeout", "remove it")
    seconds = duration(part.get("timeout", plan_values.DEFAULT_TIMEOUT), f"{place}.timeout", notes)
    return WRONG if seconds is WRONG else {"run": part["run"], "timeout": seconds}


def commands(value: Any, place: str, notes: Notes) -> Any:
    """One command or a list of them."""
    items = value if isinstance(value, list) else [value]
    read = [command(part, f"{place}[{n}]" if len(items) > 1 else place, notes) for n, part in enumerate(items)]
    return tuple(part for part in read if part is not WRONG)


def duration(value: Any, place: str, notes: Notes) -> Any:
    """Seconds, from a number or a text as `30m`."""
    try:
        return plan_values.seconds(value)
    except plan_values.Unreadable as failure:
        return notes.wrong(place, failure.message, failure.suggestion)


def check(value: Any, place: str, notes: Notes) -> Any:
    """A check: a command or `{run, timeout, serve}`."""
    try:
        return plan_values.check_of(_key(place), value)
    except plan_values.Unreadable as failure:
        return notes.wrong(place, failure.message, failure.suggestion)


def checks(value: Any, place: str, notes: Notes) -> Any:
    """`[checks]` as a table of names, or `checks = […]` without names."""
    if isinstance(value, dict):
        return tuple(named(check, "check")(value, place, notes).values())
    try:
        return plan_values.checks_of(value)
    except plan_values.Unreadable as failure:
        return notes.wrong(place, failure.message, failure.suggestion)


def variable(value: Any, place: str, notes: Notes) -> Any:
    """A variable's value: a text, or `{from = "NAME", secret = true}`: captured from the caller's environment."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        reader = table({"from": matching(names.is_env_name, "the name of a variable", "NAME"), "secret": truth})
        return {"from": _key(place), "secret": False, **reader(value, place, notes)}
    if not isinstance(value, str) or "\0" in value:
        return notes.wrong(place, "a text is expected", f'write `{_key(place)} = "…"`, or `{{from = "NAME"}}`')
    return value


def variables(value: Any, place: str, notes: Notes) -> Any:
    """Environment variables by name; those that stretto sets itself cannot be set."""
    read = named(variable, "variable", names.is_env_name)(value, place, notes)
    if read is WRONG:
        return WRONG
    for key in [key for key in read if key.startswith("STRETTO_")]:
        notes.wrong(f"{place}.{key}", f"`{key}` is set by stretto itself", "choose another name")
        del read[key]
    return read


def tool_server(value: Any, place: str, notes: Notes) -> Any:
    """An MCP server, started (`command`) or reached (`url`); keys that only some agents know pass.

    A command may be one list, as everywhere in the file; agents get its first word and the rest apart. A server with a
    `url` and without a `type` is `http`.
    """
    if not isinstance(value, dict) or ("command" in value) == ("url" in value) or value.get("command") in ([], ""):
        form = 'write `command = ["server", "--flag"]` or `url = "http://127.0.0.1:8000/mcp"`'
        return notes.wrong(place, "an MCP server has either a command or a url", form)
    known: dict[str, Reader] = {"command": texts, "url": text, "args": texts, "type": text}
    known |= {"env": _plain_texts, "headers": _plain_texts}
    read: dict[str, Any] = table({**dict.fromkeys(value, _as_it_is), **known})(value, place, notes)
    if read.get("command"):
        words: list[str] = [*read["command"], *read.pop("args", ())]
        read = {**read, "command": words[0], **({"args": words[1:]} if words[1:] else {})}
    return {"type": "http", **read} if "url" in read else read


def _as_it_is(value: Any, place: str, notes: Notes) -> Any:
    return value


def _plain_text(value: Any, place: str, notes: Notes) -> Any:
    if isinstance(value, dict):
        return notes.wrong(place, "a text is expected", "name what is captured in the `env` of the agent")
    return variable(value, place, notes)


_plain_texts = named(_plain_text, "variable or header", bool)


def placeholders(value: str) -> list[str]:
    """The names in single braces: `{task}`, `{port.api}` …; `{{` and `}}` stand for themselves."""
    return _PLACEHOLDER.findall(value)


def permissions(value: Any, place: str, notes: Notes) -> Any:
    """A policy: `ask`, `skip`, `allow LIST` or `deny LIST`."""
    words = value.split(None, 1) if isinstance(value, str) else []
    alone, with_list = len(words) == 1, len(words) == 2
    if (alone and words[0] in ("ask", "skip")) or (with_list and words[0] in ("allow", "deny")):
        return " ".join(words)
    form = 'write `permissions = "ask"`, `"skip"`, `"allow Edit, Bash(npm test)"` or `"deny WebFetch"`'
    return notes.wrong(place, f"{value!r} is not a policy", form)


_HOST = re.compile(r"(\*|(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def hosts(value: Any, place: str, notes: Notes) -> Any:
    """Hosts that may be reached: `host`, `host:port`, `*.domain`, or `*` for all."""
    return _each(value, place, notes, _is_host, "a host", "example.org:443")


def _is_host(value: str) -> bool:
    port = value.rpartition(":")[2]
    return _HOST.fullmatch(value) is not None and (not port.isdigit() or 0 < int(port) < 65536)


def folders(value: Any, place: str, notes: Notes) -> Any:
    """Folders and files of the machine: absolute, or from `~/`."""
    return _each(value, place, notes, _is_folder, "a path that is absolute or begins with ~/", "~/.cargo/bin")


def _is_folder(value: str) -> bool:
    return value.startswith(("/", "~/")) and ".." not in value.split("/")


def below_home(value: Any, place: str, notes: Notes) -> Any:
    """Files of the person's home, from `~/`; as paths below it."""
    read = _each(value, place, notes, _is_below_home, "a file that begins with ~/", "~/.config/agent/token")
    return WRONG if read is WRONG else tuple(path.removeprefix("~/") for path in read)


def _is_below_home(value: str) -> bool:
    return value.startswith("~/") and len(value) > 2 and ".." not in value.split("/")


def _each(value: Any, place: str, notes: Notes, check: Callable[[str], bool], what: str, example: str) -> Any:
    read = texts(value, place, notes)
    for one in () if read is WRONG else read:
        if not check(one):
            return notes.wrong(place, f"{one!r} is not {what}", f'write `{_key(place)} = ["{example}"]`')
    return read


def _key(place: str) -> str:
    return place.rsplit(".", 1)[-1]
