"""What a scripted agent plays: tasks, their turns and steps, read from TOML or JSON (docs/scripted-agent.md).

A script is checked whole when it is read; all mistakes are told at once, each with its place, so that a demo does not
fail in its fifth minute over a misspelt word.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from stretto.core.errors import UsageError

#: the task that stands for all that the script does not name
ANY_TASK = "*"
ORIGINS = ("start", "check", "gate", "conflict", "comments", "answer", "person", "spec", "resume")


@dataclass(frozen=True, slots=True)
class When:
    """Which turns an entry is for. Empty: the turn whose number is the entry's place in the list."""

    turn: int | None = None
    origin: str | None = None
    prompt: str | None = None
    always: bool = False

    def conditional(self) -> bool:
        """Whether the entry names its turns itself."""
        return self != When()

    def holds(self, turn: int, origin: str, prompt: str) -> bool:
        """Whether a turn is meant."""
        return (
            self.turn in (None, turn)
            and self.origin in (None, origin)
            and (self.prompt is None or self.prompt in prompt)
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `place` is where the script says so; `only_if` are saved answers that must be equal."""

    verb: str
    args: dict[str, Any]
    place: str
    only_if: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do in one turn."""

    when: When
    steps: tuple[Step, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Script:
    """All that a scripted agent knows."""

    path: Path
    tasks: dict[str, tuple[Turn, ...]]

    def turn(self, task: str, number: int, origin: str, prompt: str) -> Turn:
        """The entry to play: the first whose conditions hold, else the one at the turn's place.

        Raises UsageError when the script has nothing for this turn: silence would look like finished work.
        """
        turns = self.tasks.get(task, self.tasks.get(ANY_TASK))
        if turns is None:
            raise UsageError(f"{self.path}: no task {task!r} and no task {ANY_TASK!r}", object=task)
        for turn in turns:
            if turn.when.conditional() and turn.when.holds(number, origin, prompt):
                return turn
        if number <= len(turns) and not turns[number - 1].when.conditional():
            return turns[number - 1]
        raise UsageError(f"{self.path}: task {task!r} has nothing for turn {number} (origin {origin})", object=task)


Check = Callable[[Any], str | None]


def _is(kind: type | tuple[type, ...], word: str) -> Check:
    def check(value: Any) -> str | None:
        wrong = not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        return f"is not {word}" if wrong else None

    return check


def _path(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return "is not a path"
    path = PurePosixPath(value)
    outside = path.is_absolute() or ".." in path.parts or path == PurePosixPath()
    return "is not a relative path inside the worktree" if outside else None


def _amount(value: Any) -> str | None:
    wrong = isinstance(value, bool) or not isinstance(value, int | float) or value < 0
    return "is not a number of at least 0" if wrong else None


def _argv(value: Any) -> str | None:
    fine = isinstance(value, list) and value and all(isinstance(word, str) for word in value)
    return None if fine else 'is not a list of words such as ["make", "test"]'


def _texts(value: Any) -> str | None:
    return None if isinstance(value, list) and all(isinstance(x, str) for x in value) else "is not a list of texts"


def _text_or_texts(value: Any) -> str | None:
    return None if isinstance(value, str) else _texts(value)


def _files(value: Any) -> str | None:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        return "is not a table of path = text"
    return next((f"{path!r} {wrong}" for path in value if (wrong := _path(path))), None)


def _sides(value: Any) -> str | None:
    wrong = _files(value)
    if wrong or set(value.values()) <= {"ours", "theirs", "both"}:
        return wrong
    return 'is not a table of path = "ours", "theirs" or "both"'


_text, _whole, _flag = _is(str, "a text"), _is(int, "a whole number"), _is(bool, "true or false")
_TOKENS = dict.fromkeys(("input", "output", "cache_read", "cache_write", "reasoning"), _whole)


@dataclass(frozen=True, slots=True)
class Verb:
    """The arguments of a step; `short` is the one that may stand alone (`commit = "text"`)."""

    short: str | None
    needs: dict[str, Check]
    takes: dict[str, Check] = field(default_factory=dict)


VERBS: dict[str, Verb] = {
    "write": Verb(None, {"path": _path, "text": _text}, {"executable": _flag}),
    "append": Verb(None, {"path": _path, "text": _text}),
    "replace": Verb(None, {"path": _path, "old": _text, "new": _text}),
    "delete": Verb("path", {"path": _path}),
    "run": Verb("argv", {"argv": _argv}, {"exit": _whole}),
    "commit": Verb("message", {"message": _text}, {"allow_empty": _flag}),
    "merge": Verb("commit", {}, {"commit": _text, "resolve": _files, "take": _sides, "message": _text}),
    "ask": Verb(
        "text",
        {"text": _text},
        {"options": _texts, "expect": _text_or_texts, "save": _text, "timeout": _amount},
    ),
    "note": Verb("text", {"text": _text}, {"result": _flag}),
    "usage": Verb(None, {}, {**_TOKENS, "cost": _text, "model": _text}),
    "report": Verb("text", {"text": _text}),
    "print": Verb("text", {"text": _text}, {"repeat": _whole, "end": _text}),
    "sleep": Verb("seconds", {"seconds": _amount}),
    "fail": Verb("code", {"code": _whole}, {"text": _text}),
    "die": Verb("signal", {"signal": _text}),
    "hang": Verb("ignore", {}, {"ignore": _texts}),
}


def load_script(path: Path) -> Script:
    """Read and check a script. Raises UsageError with every mistake and its place."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"the script {path} cannot be read: {error.strerror}", object=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the script {path} cannot be read: {error}", object=str(path)) from None
    return parse_script(data, path)


def parse_script(data: Any, path: Path) -> Script:
    """Check a script that is already read. Raises UsageError with every mistake and its place."""
    wrong: list[str] = []
    script = Script(path, _tasks(data, wrong))
    if wrong:
        lines = "\n".join(f"  {line}" for line in wrong)
        raise UsageError(
            f"the script {path} has {len(wrong)} mistakes:\n{lines}" if wrong[1:] else f"{path}: {wrong[0]}",
            code="bad_script",
            object=str(path),
            hint="see docs/scripted-agent.md",
        )
    return script


def _tasks(data: Any, wrong: list[str]) -> dict[str, tuple[Turn, ...]]:
    if not isinstance(data, dict) or not isinstance(data.get("tasks"), dict):
        wrong.append("there is no table `tasks`")
        return {}
    wrong += [f"{key}: unknown key{_close(key, ('schema', 'tasks'))}" for key in data if key not in ("schema", "tasks")]
    if data.get("schema", 1) != 1:
        wrong.append(f"schema: {data['schema']!r} is not 1")
    return {name: tuple(_turns(task, f"tasks.{name}", wrong)) for name, task in data["tasks"].items()}


def _turns(task: Any, place: str, wrong: list[str]) -> Iterator[Turn]:
    turns = task.get("turns") if isinstance(task, dict) else None
    if not isinstance(turns, list) or not turns or set(task) != {"turns"}:
        wrong.append(f"{place}: is not a table with a list `turns` and nothing else")
        return
    for number, turn in enumerate(turns, 1):
        yield _turn(turn, f"{place}.turns[{number}]", wrong)


def _turn(turn: Any, place: str, wrong: list[str]) -> Turn:
    if not isinstance(turn, dict) or not isinstance(turn.get("steps"), list) or set(turn) - {"when", "steps"}:
        wrong.append(f"{place}: is not a table with `steps` (a list) and perhaps `when`")
        return Turn(When(), (), place)
    when = _when(turn.get("when"), f"{place}.when", wrong)
    steps = [_step(step, f"{place}.steps[{number}]", wrong) for number, step in enumerate(turn["steps"], 1)]
    return Turn(when, tuple(steps), place)


def _when(value: Any, place: str, wrong: list[str]) -> When:
    if value is None:
        return When()
    checks: dict[str, Check] = {"turn": _whole, "origin": _text, "prompt": _text, "always": _flag}
    if not isinstance(value, dict) or not value:
        wrong.append(f"{place}: is not a table with some of {', '.join(checks)}")
        return When()
    before = len(wrong)
    _check_args(value, {}, checks, place, wrong)
    if isinstance(value.get("origin"), str) and value["origin"] not in ORIGINS:
        wrong.append(f"{place}.origin: {value['origin']!r} is none of {', '.join(ORIGINS)}")
    return When() if len(wrong) > before else When(**value)


def _step(value: Any, place: str, wrong: list[str]) -> Step:
    words = [key for key in value if key != "if"] if isinstance(value, dict) else []
    if len(words) != 1:
        wrong.append(f'{place}: is not a table with one step, such as {{ commit = "text" }}')
        return Step("", {}, place)
    word = words[0]
    only_if = value.get("if", {})
    if not isinstance(only_if, dict) or not all(isinstance(text, str) for text in only_if.values()):
        wrong.append(f"{place}.if: is not a table of name = text")
        only_if = {}
    if word not in VERBS:
        wrong.append(f"{place}: unknown step {word!r}{_close(word, VERBS)}")
        return Step("", {}, place)
    return Step(word, _args(VERBS[word], value[word], f"{place}.{word}", wrong), place, only_if)


def _args(verb: Verb, value: Any, place: str, wrong: list[str]) -> dict[str, Any]:
    if value is True and not verb.needs:
        return {}
    if not isinstance(value, dict):
        if verb.short is None:
            wrong.append(f"{place}: is not a table")
            return {}
        value = {verb.short: value}
    args: dict[str, Any] = value
    _check_args(args, verb.needs, verb.takes, place, wrong)
    return args


def _check_args(
    value: Mapping[str, Any], needs: Mapping[str, Check], takes: Mapping[str, Check], place: str, wrong: list[str]
) -> None:
    known = {**needs, **takes}
    wrong += [f"{place}: `{name}` is missing" for name in needs if name not in value]
    for name, given in value.items():
        if name not in known:
            wrong.append(f"{place}: unknown key {name!r}{_close(name, known)}")
        elif mistake := known[name](given):
            wrong.append(f"{place}.{name}: {mistake}")


def _close(word: str, words: Any) -> str:
    close = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(words)}"
