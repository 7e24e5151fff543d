"""`prompt`, `usage` and `fails` of an agent of type `command`: how one of its turns is run and read.

What they mean stands in `agents/turn_rules.py` and `agents/turn_runner.py`; here they are only read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stretto.config import values as v
from stretto.config.values import WRONG, Notes

TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")
#: what a pattern's groups may be called, and what may stand at a dotted key
_GROUPS = (*TOKENS, "cost", "model")


def _prompt(value: Any, place: str, notes: Notes) -> Any:
    """`"input"`, or words for the command line."""
    if value == "input":
        return value
    read = v.texts(value, place, notes)
    if read is not WRONG and not any("{file}" in word or "{text}" in word for word in read):
        form = 'write `prompt = "input"`, or words with {file} or {text}: `["--message-file", "{file}"]`'
        return notes.wrong(place, "the message is in none of these words", form)
    return read


def _pattern(value: Any, place: str, notes: Notes) -> Any:
    """A regular expression."""
    read = v.text(value, place, notes)
    if read is not WRONG:
        try:
            re.compile(read)
        except (re.error, RecursionError) as failure:
            return notes.wrong(place, f"this is no regular expression: {failure}", "see the module re of Python")
    return read


def _plain(value: Any, place: str, notes: Notes) -> Any:
    """A value that can be compared with one of JSON."""
    if isinstance(value, str | int | float | bool):
        return value
    return notes.wrong(place, "a text, a number or a truth value is expected", 'write `"done"`')


_VALUES = v.named(_plain, "key", lambda key: bool(key.strip()))
_USAGE = v.table(
    {
        "from": v.text,
        "form": v.choice("lines", "document"),
        "pattern": _pattern,
        "each": v.text,
        "where": _VALUES,
        "id": v.text,
        "total": v.truth,
        "cached": v.choice("apart", "inside"),
        "reasoned": v.choice("inside", "apart"),
        **dict.fromkeys(_GROUPS, v.text),
    }
)
_FAILS = v.table(
    {
        **dict.fromkeys(("pattern", "again", "unless", "limited"), _pattern),
        "holds": _VALUES,
        "silent": v.truth,
    }
)
TURN_KEYS: dict[str, v.Reader] = {"prompt": _prompt, "usage": _USAGE, "fails": _FAILS}


def check_turn(place: str, agent: Mapping[str, Any], type: str, notes: Notes) -> None:
    """What can only be told from several keys."""
    for key in TURN_KEYS:
        if key in agent and type != "command":
            form = f'take `{key}` out, or describe another agent with `type = "command"`'
            notes.wrong(f"{place}.{key}", f"`{type}` has its own way of that", form)
    usage, fails = agent.get("usage", {}), agent.get("fails", {})
    if usage:
        _check_usage(f"{place}.usage", usage, notes)
    document = usage.get("form") == "document"
    if "holds" in fails and not document:
        notes.wrong(f"{place}.fails.holds", "there is no document of usage", 'write `usage.form = "document"`')
    if "silent" in fails and not usage:
        notes.wrong(f"{place}.fails.silent", "no usage is read", f"describe it in [{place}.usage]")
    if "again" in fails and "pattern" not in fails:
        notes.wrong(f"{place}.fails.again", "it takes back what `pattern` says, which is missing", "write `pattern`")


def _check_usage(place: str, usage: Mapping[str, Any], notes: Notes) -> None:
    keys = [name for name in _GROUPS if name in usage]
    groups = list(re.compile(usage["pattern"]).groupindex) if "pattern" in usage else []
    if "pattern" in usage and (keys or usage.get("form") == "document" or {"each", "where", "id"} & usage.keys()):
        form = "take `pattern` out, or all but `from`, `total`, `cached` and `reasoned`"
        notes.wrong(place, "a pattern reads lines, keys read JSON: it is one or the other", form)
    for name in groups:
        if name not in _GROUPS:
            notes.wrong(f"{place}.pattern", f"the group `{name}` is not known", f"known: {', '.join(_GROUPS)}")
    if not {"input", "output", "cost"} & {*keys, *groups} and {*groups} <= {*_GROUPS}:
        form = 'name groups of `pattern`, as `(?P<input>[0-9]+)`, or keys, as `input = "usage.input_tokens"`'
        notes.wrong(place, "nothing says where the tokens stand", form)
    source = str(usage.get("from", "output"))
    if source == "output" and usage.get("form") == "document":
        notes.wrong(f"{place}.form", "the output is read line by line", 'name a file: `from = "{folder}/usage.json"`')
    if source != "output" and not source.startswith(("/", "{folder}/")):
        form = 'write `from = "output"`, or a file of the turn: `from = "{folder}/usage.jsonl"`'
        notes.wrong(f"{place}.from", f"{source!r} is neither the output nor a file", form)
