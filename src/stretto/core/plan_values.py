"""Values of fields: `key: value`, a value being a JSON literal or bare text, ` #` starting a comment.

Each reader takes the text after the colon and returns the value or raises `Unreadable` with what to write instead.
Each writer gives back the shortest text that its reader reads as the same value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stretto.core import names
from stretto.core.finding import closest, one_of
from stretto.core.model import CheckSpec, Kind

DEFAULT_TIMEOUT = 1800.0
MAX_SECONDS = 7 * 86400.0
_COMMENT = re.compile(r"(?:^|[ \t])#")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_KIND_ALIASES = {"fix": "bug", "bugfix": "bug", "doc": "docs", "tests": "test", "spike": "research", "feat": "feature"}
BUDGET_KEYS = ("tokens", "cost", "minutes")
CHECK_KEYS = ("run", "timeout", "serve")


class Unreadable(Exception):
    """A value that cannot be read: why, and what to write instead."""

    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


class _Nothing:
    """The value of a key without one."""


NOTHING = _Nothing()


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Unreadable(f"`{twice}` stands twice in the object", "keep one of them")
    return result


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique_keys)


def read_json(raw: str) -> tuple[str, Any]:
    """The text without its comment, and what it means as JSON: a bare text means itself, an empty one NOTHING."""
    raw = raw.strip()
    try:
        value, end = _DECODER.raw_decode(raw)
    except (ValueError, RecursionError):
        return _bare(raw)
    rest = raw[end:]
    if rest and not (rest[0] in " \t" and rest.lstrip().startswith("#")):
        return _bare(raw)
    _refuse_bad_text(value)
    return raw[:end], value


def _bare(raw: str) -> tuple[str, Any]:
    text = _COMMENT.split(raw, maxsplit=1)[0].strip()
    if not text:
        return "", NOTHING
    if text[0] + text[-1] in ("[]", "{}") or text[0] == '"':
        items = [part.strip(" '\"") for part in text.strip('[]{}"').split(",")]
        raise Unreadable(
            f"`{text}` begins like JSON but is not", f"write JSON: `{dump(items)}`, or bare text: `{', '.join(items)}`"
        )
    if "\0" in text:
        raise Unreadable("the value holds a NUL character", "remove it")
    return text, text


def _refuse_bad_text(value: Any, depth: int = 0) -> None:
    """No NUL and no lone surrogate may reach a command line, an environment or a file."""
    if depth > 20:  # Python 3.13 decodes thousands of levels, on which whoever walks the value would then fall
        raise Unreadable("the value is nested more than 20 levels deep", "make it flatter")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise Unreadable("the text holds a NUL or half of a surrogate pair", "remove it")
    elif isinstance(value, dict):
        for key, part in value.items():
            _refuse_bad_text(key)
            _refuse_bad_text(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _refuse_bad_text(part, depth + 1)


def dump(value: Any) -> str:
    """JSON on one line, as our own reader accepts it."""
    return json.dumps(value, ensure_ascii=False).replace("\ufeff", "\\ufeff").replace("\x7f", "\\u007f")


# ---------------------------------------------------------------- readers


def text(raw: str) -> str:
    """A text; a JSON number or truth value is taken as it is written."""
    written, value = read_json(raw)
    if isinstance(value, (list, dict)):
        raise Unreadable("a text is expected", "write it without brackets")
    result = value if isinstance(value, str) else written
    if not result.strip():
        raise Unreadable("the text is empty", "write a text or remove the line")
    return result


def word(raw: str) -> str:
    """A plain name: letters, digits, `.`, `_`, `-`."""
    value = text(raw)
    if not names.is_plain_name(value):
        raise Unreadable(
            f"`{value}` is not a plain name", f"write letters, digits and dashes: `{names.slugify(value)}`"
        )
    return value


def texts(raw: str) -> tuple[str, ...]:
    """A list: JSON, or bare texts between commas (commas in braces do not count). Repetitions are dropped."""
    written, value = read_json(raw)
    if isinstance(value, str):
        items: list[Any] = _split(value) if value == written else [value]
    elif isinstance(value, list):
        items = value
    elif isinstance(value, dict):
        raise Unreadable("a list is expected", 'write `a, b` or `["a", "b"]`')
    else:
        items = [written]
    return tuple(dict.fromkeys(_item(item) for item in items))


def _item(item: Any) -> str:
    if isinstance(item, int) and not isinstance(item, bool):
        return str(item)
    if not isinstance(item, str) or not item.strip():
        raise Unreadable(f"`{dump(item)}` is not a text", "write each element of the list as a text")
    return item


def _split(value: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(value):
        depth += (letter == "{") - (letter == "}" and depth > 0)
        if letter == "," and depth == 0:
            parts.append(value[start:position])
            start = position + 1
    parts.append(value[start:])
    return [part.strip() for part in parts if part.strip()]


def truth(raw: str) -> bool:
    """A truth value: `yes` or `no`."""
    written, value = read_json(raw)
    known = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
    if isinstance(value, bool):
        return value
    if written.lower() in known:
        return known[written.lower()]
    raise Unreadable(f"`{written}` is neither yes nor no", "write `yes` or `no`")


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers between two bounds."""

    def read(raw: str) -> int:
        written, value = read_json(raw)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Unreadable(
            f"`{written}` is not a whole number from {low} to {high}", f"write a number, as `{max(low, 1)}`"
        )

    return read


def choice(*words: str) -> Callable[[str], str]:
    """A reader of one of some words."""

    def read(raw: str) -> str:
        value = text(raw)
        if value in words:
            return value
        guess = closest(value, words) or words[0]
        raise Unreadable(f"`{value}` is not {one_of(words)}", f"write `{guess}`")

    return read


def kind(raw: str) -> Kind:
    """What sort of work it is."""
    value = text(raw)
    known = [str(one) for one in Kind]
    if value in known:
        return Kind(value)
    guess = _KIND_ALIASES.get(value.lower()) or closest(value, known) or "feature"
    raise Unreadable(f"`{value}` is not a kind of task", f"write `{guess}` (known: {', '.join(known)})")


def branch(raw: str) -> str:
    """A name that git accepts for a branch."""
    value = text(raw)
    if not names.is_branch(value):
        raise Unreadable(f"git does not accept `{value}` as the name of a branch", f"write `{names.slugify(value)}`")
    return value


def variables(raw: str) -> dict[str, str]:
    """Environment variables, as a JSON object."""
    _, value = read_json(raw)
    form = 'write a JSON object: `{"NAME": "value"}`'
    if not isinstance(value, dict):
        raise Unreadable("variables are expected", form)
    return {key: _variable(key, part, form) for key, part in value.items()}


def _variable(key: str, value: Any, form: str) -> str:
    if not names.is_env_name(key):
        raise Unreadable(f"`{key}` cannot name a variable", "use letters, digits and `_`")
    if key.startswith("STRETTO_"):
        raise Unreadable(f"`{key}` is set by stretto itself", "choose a name that does not begin with STRETTO_")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise Unreadable(f"the value of `{key}` is not a text", form)
    return value


def budget(raw: str) -> dict[str, float]:
    """Limits: `{"tokens": N, "cost": X, "minutes": M}` or bare `N tokens, M minutes`."""
    written, value = read_json(raw)
    if isinstance(value, str):
        pairs = [part.rsplit(None, 1) for part in _split(value)]
        value = {pair[-1]: _number(pair[0]) for pair in pairs} if all(len(pair) == 2 for pair in pairs) else None
    form = 'write `{"tokens": 200000, "minutes": 30}` or `200000 tokens, 30 minutes`'
    if not isinstance(value, dict) or not value:
        raise Unreadable(f"`{written}` is not a budget", form)
    for key, part in value.items():
        if key not in BUDGET_KEYS:
            raise Unreadable(f"`{key}` is not {one_of(BUDGET_KEYS)}", form)
        if isinstance(part, bool) or not isinstance(part, (int, float)) or not 0 < part < 1e15:
            raise Unreadable(f"the limit of `{key}` is not a number above 0", form)
    return {key: value[key] for key in BUDGET_KEYS if key in value}


def _number(written: str) -> float | None:
    try:
        number = float(written.replace("_", ""))
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number


def checks(raw: str) -> tuple[CheckSpec, ...]:
    """Commands: one as text, a JSON list of them, or a JSON object `name: command or {run, timeout, serve}`."""
    _, value = read_json(raw)
    return checks_of(value)


def checks_of(value: Any) -> tuple[CheckSpec, ...]:
    """Checks from decoded JSON or TOML; unnamed ones are `check-1`, `check-2` … by position."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        return tuple(check_of(f"check-{n}", part) for n, part in enumerate(value, 1))
    if isinstance(value, Mapping):
        return tuple(check_of(key, part) for key, part in value.items())
    raise Unreadable("commands are expected", 'write one command, or a list: `["pytest -q"]`')


def check_of(name: str, value: Any) -> CheckSpec:
    """One check: a command or a table of `run`, `timeout` and `serve`."""
    if not names.is_plain_name(name):
        raise Unreadable(f"`{name}` cannot name a check", f"write `{names.slugify(name)}`")
    table = {"run": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise Unreadable(f"check `{name}` is neither a command nor a table", 'write a command: `"pytest -q"`')
    for key in table:
        if key not in CHECK_KEYS:
            raise Unreadable(
                f"`{key}` is not {one_of(CHECK_KEYS)}", f"write `{closest(str(key), CHECK_KEYS) or 'run'}`"
            )
    run = table.get("run")
    if not isinstance(run, str) or not run.strip():
        raise Unreadable(f"check `{name}` has no command", 'write a command: `"pytest -q"`')
    return CheckSpec(name, run, seconds(table.get("timeout", DEFAULT_TIMEOUT)), _serve(name, table.get("serve", ())))


def _serve(name: str, value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, Sequence) or not all(
        isinstance(item, str) and names.is_plain_name(item) for item in items
    ):
        raise Unreadable(f"`serve` of check `{name}` is not a list of names", 'write `["web"]`')
    return tuple(items)


def seconds(value: Any) -> float:
    """A length of time in seconds: a number, or a text as `90s`, `30m`, `2h`. More than 0, at most a week."""
    number: float | None = None
    if isinstance(value, str) and value[-1:] in _UNITS:
        plain = _number(value[:-1].strip())
        number = None if plain is None else plain * _UNITS[value[-1]]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    if number is None or not 0 < number <= MAX_SECONDS:
        raise Unreadable(
            f"`{value}` is not a length of time", "write seconds (`1800`) or a text as `30m`; at most a week"
        )
    return number


# ---------------------------------------------------------------- writers


def _bare_or(value: Any, reader: Callable[[str], Any], plain: str, otherwise: Any) -> str:
    """`plain` if the reader reads it as `value`, else the JSON of `otherwise`. A bare `null` is no value."""
    if plain and not re.search(r"[\x00-\x1f\x7f\ufeff]", plain):
        try:
            if read_json(plain)[1] is not None and reader(plain) == value:
                return plain
        except Unreadable:
            pass
    return dump(otherwise)


def write_text(value: str, reader: Callable[[str], Any] = text) -> str:
    """A text, bare where that means the same."""
    return _bare_or(value, reader, value, value)


def write_texts(value: Iterable[str]) -> str:
    """A list, with commas where that means the same."""
    items = tuple(value)
    return _bare_or(items, texts, ", ".join(items), items)


def write_checks(value: Sequence[CheckSpec]) -> str:
    """Checks: a list of unnamed ones, or an object."""
    if all(check == CheckSpec(f"check-{n}", check.run) for n, check in enumerate(value, 1)):
        return dump([check.run for check in value])
    return dump({check.name: _check_value(check) for check in value})


def _check_value(check: CheckSpec) -> str | dict[str, Any]:
    if check == CheckSpec(check.name, check.run):
        return check.run
    table: dict[str, Any] = {"run": check.run, "timeout": check.timeout, "serve": list(check.serve)}
    return {key: part for key, part in table.items() if part not in ([], DEFAULT_TIMEOUT)}


def check_json(check: CheckSpec) -> dict[str, Any]:
    """A check as frozen values of a run hold it."""
    return {"name": check.name, "run": check.run, "timeout": check.timeout, "serve": list(check.serve)}
