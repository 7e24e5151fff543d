"""pi's output lines -> signals.

Specification. A line is a JSON object of at most 8 MiB; what is not is garbage, told at the first, second, fourth …
time. Unknown types are ignored; no shape of JSON makes this fail. `state` is small JSON, kept between lines and
daemons.

A turn of ours is what follows a prompt up to `agent_settled`: several runs of the agent, with its retries. How it ended
is what the last message of the model says. Each message carries the usage of its request: input without the cached
tokens, output with the reasoning. Failed and aborted requests tell what they used as well; nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from stretto.agents.failures import called, ended, text_of
from stretto.agents.limits import is_limit
from stretto.agents.pi_asks import MARK, asked
from stretto.agents.questions import describe
from stretto.agents.shapes import Json, amount, as_count, as_list, as_object, as_text, garbage, parsed, untried
from stretto.agents.turns import MAX_TEXT
from stretto.core.model import TurnResult, Usage
from stretto.interfaces import Signal

TESTED = ("0.87.1",)
STATE = "state"
#: how a run ends that was aborted while one of its tools was being asked for
_ABORTED = "This operation was aborted"
_TOKENS = {"input": "input", "output": "output", "cacheRead": "cache_read", "cacheWrite": "cache_write"}
_TOKENS |= {"reasoning": "reasoning"}


def parse_line(line: bytes, state: Json) -> list[Signal]:
    """All signals of one line."""
    if not line.strip() or line.startswith(b'{"type":"message_update"'):
        return []  # most lines of a busy agent are these: not worth reading
    message = parsed(line)
    if message is None:
        return garbage(len(line), state)
    read = _READERS.get(as_text(message.get("type")))
    return list(read(message, state)) if read else []


def _response(message: Json, state: Json) -> Iterator[Signal]:
    command, went_well = message.get("command"), message.get("success") is True
    if command == "get_state" and message.get("id") == STATE and went_well:
        data = as_object(message.get("data"))
        yield Signal("started", {"conversation": as_text(data.get("sessionId")), "model": _model(data.get("model"))})
        yield Signal("status", {"status": "idle"})
    elif command in ("prompt", "parse") and not went_well:
        said = as_text(message.get("error")) or "the agent did not take the message"
        yield _ended(TurnResult.FAILED, f"refused: {said[:1000]}", "refused")


def _agent_start(message: Json, state: Json) -> Iterator[Signal]:
    if not state.get("running"):
        state["running"] = True
        yield Signal("turn_started", {})


def _message_end(message: Json, state: Json) -> Iterator[Signal]:
    body = as_object(message.get("message"))
    if body.get("role") != "assistant":
        return
    state["at"] = as_count(body.get("timestamp"))
    state["stop"] = as_text(body.get("stopReason"))[:100]
    state["error"] = as_text(body.get("errorMessage"))[:1000]
    for block in map(as_object, as_list(body.get("content"))):
        if block.get("type") == "text" and (text := as_text(block.get("text")).strip()[:MAX_TEXT]):
            yield Signal("text", {"text": text})
    yield from usage_of(body.get("usage"), as_text(body.get("model")), as_text(body.get("responseId")), state)


def usage_of(usage: Any, model: str, id: str, state: Json) -> Iterator[Signal]:
    """What one request used; nothing for one that used nothing."""
    tokens = {ours: as_count(as_object(usage).get(theirs)) for theirs, ours in _TOKENS.items()}
    if not any(tokens.values()):
        return
    state["requests"] = state.get("requests", 0) + 1
    cost = as_object(as_object(usage).get("cost")).get("total")
    priced = amount(Decimal(str(cost))) if isinstance(cost, int | float) and not isinstance(cost, bool) else None
    # the next process counts from one again: the time of the message keeps its keys apart from these
    key = f"{state.get('at', 0)}:{state['requests']}:{id[:100]}"
    used = Usage(**tokens, cost=priced, cost_source="agent" if priced else None)
    yield Signal("usage", {"key": key, "model": model, "usage": used})


def _tool(message: Json, state: Json) -> Iterator[Signal]:
    name = as_text(message.get("toolName"))
    detail = describe(name, as_object(message.get("args")))[:500]
    called(as_text(message.get("toolCallId")), name, detail, state)
    yield Signal("tool", {"name": name, "detail": detail})


def _tool_over(message: Json, state: Json) -> Iterator[Signal]:
    said = text_of(as_object(message.get("result")).get("content")) if message.get("isError") is True else None
    yield from ended(as_text(message.get("toolCallId")), state, said)


def _retry(message: Json, state: Json) -> Iterator[Signal]:
    delay = message.get("delayMs")
    seconds = delay / 1000 if isinstance(delay, int | float) and not isinstance(delay, bool) else 0.0
    yield Signal("retry", {"reason": as_text(message.get("errorMessage"))[:200] or "unknown", "delay_s": seconds})


def _compaction(message: Json, state: Json) -> Iterator[Signal]:
    """A summary is a request, too; it is no message of the conversation."""
    yield from usage_of(as_object(message.get("result")).get("usage"), "", "compaction", state)


def _settled(message: Json, state: Json) -> Iterator[Signal]:
    state.pop("running", None)
    stop, error = state.pop("stop", ""), state.pop("error", "")
    yield _ended(*outcome(stop, error))


def outcome(stop: str, error: str) -> tuple[TurnResult, str, str]:
    """How a turn ended whose last message of the model says this: result, reason, code."""
    if stop == "aborted" or (stop == "error" and error == _ABORTED):
        return TurnResult.INTERRUPTED, "interrupted", "aborted"
    if stop != "error":
        return TurnResult.OK, "", ""
    result = TurnResult.LIMITED if is_limit(error) else TurnResult.FAILED
    code = "limited" if result is TurnResult.LIMITED else "error"
    return result, f"{code}: {error or 'the agent gave no reason'}", code


def _dialog(message: Json, state: Json) -> Iterator[Signal]:
    if message.get("method") == "notify" and as_text(message.get("message")).startswith(MARK):
        said = parsed(as_text(message["message"]).removeprefix(MARK).encode()) or {}
        yield from untried("pi", as_text(said.get("version")), TESTED, state)
    if (signal := asked(message)) is not None:
        yield signal


def _ended(result: TurnResult, reason: str, code: str) -> Signal:
    return Signal("turn_ended", {"result": result.value, "reason": reason, "code": code, "text": ""})


def _model(model: Any) -> str:
    return as_text(as_object(model).get("id"))


_READERS = {
    "response": _response,
    "agent_start": _agent_start,
    "message_end": _message_end,
    "tool_execution_start": _tool,
    "tool_execution_end": _tool_over,
    "auto_retry_start": _retry,
    "compaction_end": _compaction,
    "agent_settled": _settled,
    "extension_ui_request": _dialog,
}
