"""Claude Code's output lines -> signals.

Specification. A line is a JSON object of at most 8 MiB; what is not (also a line that the reader cut) is garbage, told
at the first, second, fourth … time with all its bytes so far, so that 100 MB of it make a handful of signals. Unknown
types are ignored; no shape of JSON makes this fail. `state` is small JSON, kept between lines and daemons.

Usage: the counts of a request are final with its `message_delta` (`assistant` lines repeat those of its beginning, once
for each content block). A request counts once, under its message id. At a turn's end the agent says what the turn used
by model, with what sub-agents, retries and summaries took: the rest over what was counted is added then, with the cost.
Requests of a turn that never ended stay counted; the next process' totals know nothing of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from stretto.agents import quotas
from stretto.agents.claude_asks import asked
from stretto.agents.failures import called, ended, text_of
from stretto.agents.limits import is_limit
from stretto.agents.questions import describe
from stretto.agents.shapes import Json, amount, as_count, as_list, as_object, as_text, garbage, parsed, untried
from stretto.agents.turns import MAX_TEXT
from stretto.core.model import TurnResult, Usage
from stretto.interfaces import Signal

INITIALIZE = "initialize"
#: versions that were driven by the tests
TESTED = ("2.1.329",)
#: our word for a kind of tokens -> in a message's usage, in usage by model
_TOKENS = {
    "input": ("input_tokens", "inputTokens"),
    "output": ("output_tokens", "outputTokens"),
    "cache_read": ("cache_read_input_tokens", "cacheReadInputTokens"),
    "cache_write": ("cache_creation_input_tokens", "cacheCreationInputTokens"),
}
_SYNTHETIC = "<synthetic>"
#: message ids that are remembered, so that the lines of one message count once
_REMEMBERED = 200


def parse_line(line: bytes, state: Json) -> list[Signal]:
    """All signals of one line."""
    if not line.strip():
        return []
    if b'"content_block_delta"' in line[:200] and line.startswith(b'{"type":"stream_event"'):
        return []  # most lines of a busy agent are these: not worth reading
    message = parsed(line)
    if message is None:
        return garbage(len(line), state)
    read = _READERS.get(as_text(message.get("type")))
    return list(read(message, state)) if read else []


def _system(message: Json, state: Json) -> Iterator[Signal]:
    subtype = message.get("subtype")
    if subtype == "init":
        start = {"conversation": as_text(message.get("session_id")), "model": as_text(message.get("model"))}
        if state.get("started") != start:
            state["started"] = start
            yield Signal("started", dict(start))
        yield from untried("Claude Code", as_text(message.get("claude_code_version")), TESTED, state)
    elif subtype == "api_retry":
        delay = message.get("retry_delay_ms")
        status = message.get("error_status")
        reason = as_text(message.get("error")) or "unknown"
        yield Signal(
            "retry",
            {
                "reason": f"{reason} ({status})" if isinstance(status, int) else reason,
                "delay_s": delay / 1000 if isinstance(delay, int | float) else 0.0,
            },
        )


def _control_response(message: Json, state: Json) -> Iterator[Signal]:
    response = as_object(message.get("response"))
    if response.get("request_id") == INITIALIZE:
        state.pop("counted", None)  # a new process: its totals begin at zero
        yield Signal("status", {"status": "idle"})


def _control_request(message: Json, state: Json) -> Iterator[Signal]:
    if request := as_text(message.get("request_id")):
        yield asked(request, as_object(message.get("request")))


def _cancelled(message: Json, state: Json) -> Iterator[Signal]:
    yield Signal("withdrawn", {"request": as_text(message.get("request_id"))})


def _limits(message: Json, state: Json) -> Iterator[Signal]:
    yield from quotas.claude(as_object(message.get("rate_limit_info")))


def _user(message: Json, state: Json) -> Iterator[Signal]:
    if message.get("isReplay") is True:
        yield Signal("turn_started", {})
    yield from results(message, state)


def results(message: Json, state: Json) -> Iterator[Signal]:
    """How calls of tools ended, as a message to the model tells."""
    for block in map(as_object, as_list(as_object(message.get("message")).get("content"))):
        if block.get("type") == "tool_result":
            said = text_of(block.get("content")) if block.get("is_error") is True else None
            yield from ended(as_text(block.get("tool_use_id")), state, said)


def _assistant(message: Json, state: Json) -> Iterator[Signal]:
    body = as_object(message.get("message"))
    own = message.get("parent_tool_use_id") is None
    for block in map(as_object, as_list(body.get("content"))):
        if block.get("type") == "text" and own and (text := as_text(block.get("text")).strip()[:MAX_TEXT]):
            state["said"] = _fingerprint(text)
            yield Signal("text", {"text": text})
        elif block.get("type") == "tool_use":
            name = as_text(block.get("name"))
            detail = describe(name, as_object(block.get("input")))[:500]
            called(as_text(block.get("id")), name, detail, state)
            yield Signal("tool", {"name": name, "detail": detail})
    if not own:  # a sub-agent's requests are not streamed; the rest of their output comes with the turn's total
        yield from _count(
            as_text(body.get("id")), as_text(body.get("model")), _message_tokens(body.get("usage")), state
        )


def _stream_event(message: Json, state: Json) -> Iterator[Signal]:
    event = as_object(message.get("event"))
    if event.get("type") == "message_start":
        body = as_object(event.get("message"))
        started = {"model": as_text(body.get("model")), "tokens": _message_tokens(body.get("usage"))}
        state["open"] = {as_text(body.get("id")): started}
    elif event.get("type") == "message_delta":
        for id, started in as_object(state.pop("open", None)).items():
            final = {k: v for k, v in _message_tokens(event.get("usage")).items() if v}
            yield from _count(id, as_text(started.get("model")), {**as_object(started.get("tokens")), **final}, state)


def _count(id: str, model: str, tokens: dict[str, int], state: Json) -> Iterator[Signal]:
    """The usage of one request, once."""
    seen = state.setdefault("seen", [])
    if not id or model == _SYNTHETIC or id in seen or not any(tokens.values()):
        return
    seen.append(id)
    del seen[:-_REMEMBERED]
    counted = state.setdefault("counted", {}).setdefault(model, dict.fromkeys(_TOKENS, 0))
    for name in _TOKENS:
        counted[name] += tokens[name]
    yield _usage(id, model, tokens)


def _result(message: Json, state: Json) -> Iterator[Signal]:
    yield from _rest(message, state)
    ending = _ending(message)
    if _fingerprint(ending["text"]) == state.pop("said", None):
        ending["text"] = ""  # the last text was told when it came
    yield Signal("turn_ended", ending)


def _rest(message: Json, state: Json) -> Iterator[Signal]:
    """What the turn used beyond the requests that were counted, and what it cost."""
    counted = state.pop("counted", {})
    key = as_text(message.get("uuid")) or f"{message.get('session_id')}-{message.get('result_index')}"
    for model, used in _turn_usage(message, state).items():
        already = as_object(counted.get(model))
        rest = {name: max(0, used[name] - already.get(name, 0)) for name in _TOKENS}
        if any(rest.values()) or used["cost"]:
            yield _usage(f"{key}:{model}", model, rest, used["cost"])


def _turn_usage(message: Json, state: Json) -> dict[str, Json]:
    """Usage by model of this turn. Programs that do not say give totals of the process: then the difference."""
    totals = {model: _model_usage(used) for model, used in as_object(message.get("modelUsage")).items()}
    before, state["totals"] = as_object(state.get("totals")), totals
    told = message.get("model_usage_since_last_result")
    if isinstance(told, dict) or not totals:
        return {model: _model_usage(used) for model, used in as_object(told).items()}
    if any(totals.get(model, {}).get(name, 0) < used[name] for model, used in before.items() for name in _TOKENS):
        return totals  # a new process began to count at zero
    return {model: _difference(used, as_object(before.get(model))) for model, used in totals.items()}


def _difference(now: Json, before: Json) -> Json:
    cost = Decimal(now["cost"] or 0) - Decimal(before.get("cost") or 0)
    return {name: now[name] - before.get(name, 0) for name in _TOKENS} | {"cost": amount(cost)}


def _ending(message: Json) -> Json:
    terminal, text = as_text(message.get("terminal_reason")), as_text(message.get("result")).strip()
    subtype = as_text(message.get("subtype"))
    if terminal.startswith("aborted"):
        return {
            "result": TurnResult.INTERRUPTED.value,
            "reason": "interrupted",
            "code": terminal,
            "text": text[:MAX_TEXT],
        }
    if message.get("is_error") is not True and subtype == "success" and terminal in ("", "completed"):
        return {"result": TurnResult.OK.value, "reason": "", "code": "", "text": text[:MAX_TEXT]}
    errors = "; ".join(filter(None, map(as_text, as_list(message.get("errors")))))
    said = text or errors or "the agent gave no reason"
    code = "no_conversation" if "No conversation found" in said else _code(terminal, subtype)
    status = message.get("api_error_status")
    limited = status == 429 or (code == "api_error" and is_limit(said))
    body = {
        "result": (TurnResult.LIMITED if limited else TurnResult.FAILED).value,
        "reason": f"{code}: {said[:1000]}",
        "code": code,
        "text": text[:MAX_TEXT],
    }
    return body | ({"status": status} if isinstance(status, int) else {})


def _code(terminal: str, subtype: str) -> str:
    if terminal and terminal != "completed":
        return terminal
    return subtype if subtype and subtype != "success" else "error"


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _usage(key: str, model: str, tokens: dict[str, int], cost: str | None = None) -> Signal:
    source = "agent" if cost else None
    return Signal(
        "usage",
        {"key": key, "model": model, "usage": Usage(**tokens, cost=cost, cost_source=source)},
    )


def _message_tokens(usage: Any) -> dict[str, int]:
    return {name: as_count(as_object(usage).get(names[0])) for name, names in _TOKENS.items()}


def _model_usage(usage: Any) -> Json:
    cost = as_object(usage).get("costUSD")
    tokens = {name: as_count(as_object(usage).get(names[1])) for name, names in _TOKENS.items()}
    return {**tokens, "cost": amount(Decimal(str(cost))) if isinstance(cost, int | float) else None}


_READERS = {
    "rate_limit_event": _limits,
    "system": _system,
    "control_response": _control_response,
    "control_request": _control_request,
    "control_cancel_request": _cancelled,
    "user": _user,
    "assistant": _assistant,
    "stream_event": _stream_event,
    "result": _result,
}
