"""How one turn of a program that speaks no protocol is run and read: the rules, and the runner that keeps to them.

The keys `prompt`, `usage` and `fails` of `[agents.NAME]` become the same rules as the declarations of our own such
agents. They are kept by `turn_runner.py`, which is the process of the turn; its lines come back through `heard`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from stretto.agents.limits import PATTERN
from stretto.agents.shapes import Json, amount, as_count, as_object, as_text, parsed
from stretto.core.model import TurnResult, Usage
from stretto.interfaces import Signal

RUNNER = Path(__file__).resolve().parent / "turn_runner.py"
TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")
_OURS = b'{"stretto":'


@dataclass(frozen=True, slots=True)
class TurnRules:
    """What `turn_runner.py` says of each. `words` and `env` may hold {file}, {text}, {folder}, {turn}."""

    words: tuple[str, ...] = ()
    input: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = None
    fails: Mapping[str, Any] = field(default_factory=dict)
    caches: tuple[str, ...] = ()


def of_table(turn: Mapping[str, Any]) -> TurnRules:
    """The rules that a table of the configuration says (`AgentSpec.turn`)."""
    prompt = turn.get("prompt", ())
    words = () if prompt == "input" else tuple(prompt)
    return TurnRules(words, prompt == "input", {}, turn.get("usage"), turn.get("fails", {}))


def runner(argv: tuple[str, ...], rules: TurnRules, args: tuple[str, ...]) -> tuple[str, ...]:
    """The command line that runs one turn of a program by these rules. `args` stand at its end."""
    job: Json = {"argv": list(argv), "words": list(rules.words), "args": list(args), "env": dict(rules.env)}
    job |= {"input": rules.input, "fails": {"limited": PATTERN, **rules.fails}}
    job["caches"] = list(rules.caches)
    if rules.usage is not None:
        job["usage"] = dict(rules.usage)
    return sys.executable, "-I", "-S", str(RUNNER), json.dumps(job, separators=(",", ":"), sort_keys=True)


def heard(line: bytes, state: Json) -> list[Signal] | None:
    """What a line of the runner says; None for a line of the program."""
    if not line.startswith(_OURS):
        return None
    told = as_object((parsed(line) or {}).get("stretto"))
    if "usage" in told:
        return _usage(told, state)
    result = as_text(told.get("result"))
    if result not in (TurnResult.FAILED, TurnResult.LIMITED):
        return []
    code = "limited" if result == TurnResult.LIMITED else "error"
    reason = as_text(told.get("reason"))[:1000]
    return [Signal("turn_ended", {"result": result, "reason": reason, "code": code, "text": ""})]


def _usage(told: Json, state: Json) -> list[Signal]:
    counts = as_object(told["usage"])
    cost = _cost(counts.get("cost"))
    tokens = {name: as_count(counts.get(name)) for name in TOKENS}
    used = Usage(**tokens, cost=cost, cost_source="agent" if cost else None)
    id = as_text(told.get("id"))[:200]
    if used == Usage() or not id:
        return []
    model = as_text(told.get("model"))[:200] or state.get("model")
    return [Signal("usage", {"key": id, "model": model, "usage": used})]


def _cost(value: Any) -> str | None:
    try:
        return amount(Decimal(str(value)[:40])) if value is not None else None
    except InvalidOperation:
        return None
