"""Lines of Codex' app-server -> signals.

Specification. A line is a JSON object of at most 8 MiB; what is not is garbage, told at the first, second, fourth …
time with all its bytes so far. Unknown methods and fields are ignored; no shape of JSON makes this fail. `state` is
small JSON, kept between lines and daemons. Threads of sub-agents are counted, and otherwise not heard.

Usage: the program tells the totals of a thread after each request, and once more when a thread is resumed. What is
more than was counted is counted, so a repeated line counts nothing, and what was used when nobody listened counts when
it is told. Totals that became smaller have begun anew at zero (a full context does that). Input tokens contain those
read from and written to the cache; output tokens contain the reasoning. What was counted is kept for the thread's next
process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from stretto.agents import quotas
from stretto.agents.codex_asks import asked
from stretto.agents.failures import failed
from stretto.agents.limits import is_limit
from stretto.agents.shapes import Json, as_count, as_list, as_object, as_text, garbage, parsed, untried
from stretto.agents.turns import MAX_TEXT
from stretto.core.model import TurnResult, Usage
from stretto.interfaces import Signal

INITIALIZE, THREAD, TURN = "initialize", "thread", "turn"
#: versions that were driven by the tests
TESTED = ("0.169.0",)
_VERSION = re.compile(r"stretto/(\d+\.\d+\.\d+[\w.-]*)")
_COUNTS = ("inputTokens", "cachedInputTokens", "cacheWriteInputTokens", "outputTokens", "reasoningOutputTokens")
#: threads whose totals are remembered: the own one and those of sub-agents
_REMEMBERED = 50
#: what the program says of an error -> our word, where a turn's end has one
_CODES = {"contextWindowExceeded": "prompt_too_long", "unauthorized": "api_error"}
#: words of errors that mean "not now"
_LIMITS = ("usage_limit_exceeded", "session_budget_exceeded", "rate_limit_exceeded")
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])")


def parse_line(line: bytes, state: Json) -> list[Signal]:
    """All signals of one line."""
    if not line.strip():
        return []
    if line.startswith(b'{"method":"item/') and (b'/delta"' in line[:80] or b'Delta"' in line[:80]):
        return []  # most lines of a busy agent are pieces of what comes whole later
    message = parsed(line)
    if message is None:
        return garbage(len(line), state)
    method, params = as_text(message.get("method")), as_object(message.get("params"))
    if method and isinstance(message.get("id"), str | int):
        return list(asked(message["id"], method, params, state))
    if method:
        read = _NOTIFICATIONS.get(method)
        return list(read(params, state)) if read else []
    reply = _RESPONSES.get(as_text(message.get("id")))
    return list(reply(message, state)) if reply else []


# ---------------------------------------------------------------- responses


def _initialized(message: Json, state: Json) -> Iterator[Signal]:
    if "error" in message:
        yield from _unfit(message, state)
        return
    found = _VERSION.match(as_text(as_object(message.get("result")).get("userAgent")))
    yield from untried("Codex", found[1] if found else "", TESTED, state)


def _thread(message: Json, state: Json) -> Iterator[Signal]:
    result = as_object(message.get("result"))
    thread = as_text(as_object(result.get("thread")).get("id"))
    if "error" in message or not thread:
        yield from _unfit(message, state)
        return
    state.pop("handshake", None)
    state["thread"] = thread
    state["model"] = as_text(result.get("model")) or as_text(as_object(result.get("thread")).get("model"))
    yield Signal("started", {"conversation": thread, "model": state["model"]})
    yield Signal("status", {"status": "idle"})


def _unfit(message: Json, state: Json) -> Iterator[Signal]:
    """It will not begin: because it does not know the thread, or for a reason of its own."""
    state.pop("handshake", None)
    said = _said(message)
    if "no rollout found" in said or "thread not found" in said:
        yield _ended(TurnResult.FAILED, "no_conversation", said)
    else:
        yield Signal("unfit", {"reason": f"the agent cannot begin: {said}"})


def _turn(message: Json, state: Json) -> Iterator[Signal]:
    if "error" in message:
        yield _ended(TurnResult.FAILED, "error", _said(message))
    elif turn := as_text(as_object(as_object(message.get("result")).get("turn")).get("id")):
        state["turn"] = turn


def _said(message: Json) -> str:
    return as_text(as_object(message.get("error")).get("message")).strip()[:1000] or "it gave no reason"


# ---------------------------------------------------------------- notifications


def _turn_started(params: Json, state: Json) -> Iterator[Signal]:
    if _own(params, state):
        state["turn"] = as_text(as_object(params.get("turn")).get("id"))
        yield Signal("turn_started", {})


def _turn_completed(params: Json, state: Json) -> Iterator[Signal]:
    turn = as_object(params.get("turn"))
    if not _own(params, state) or not state.get("turn") or turn.get("id") != state["turn"]:
        return
    del state["turn"]
    status, error = as_text(turn.get("status")), as_object(turn.get("error"))
    if status == "completed":
        yield _ended(TurnResult.OK, "", "")
    elif status == "interrupted":
        yield _ended(TurnResult.INTERRUPTED, "interrupted", "")
    else:
        yield ended(error or {"message": ""})


def ended(error: Json) -> Signal:
    """The end of a turn: with this error, or well if there is none."""
    if not error:
        return _ended(TurnResult.OK, "", "")
    code, http = _cause(error)
    said = as_text(error.get("message")).strip()[:1000] or "the agent gave no reason"
    limited = http == 429 or (code == "api_error" and is_limit(said)) or code in _LIMITS
    result = TurnResult.LIMITED if limited else TurnResult.FAILED
    return _ended(result, code, said, **({"status": http} if http else {}))


def _ended(result: TurnResult, code: str, said: str, **more: Any) -> Signal:
    reason = ": ".join(filter(None, (code, said)))
    return Signal("turn_ended", {"result": result.value, "reason": reason, "code": code, "text": "", **more})


def _cause(error: Json) -> tuple[str, int | None]:
    """Our word for an error, and the status of HTTP that the program names with it."""
    info = error.get("codexErrorInfo")
    name = next(iter(info), "") if isinstance(info, dict) else as_text(info)
    http = as_object(as_object(info).get(name)).get("httpStatusCode")
    known = isinstance(info, dict) or name in ("internalServerError", "serverOverloaded", "")
    code = _CODES.get(name) or ("api_error" if known else _SNAKE.sub("_", name).lower())
    return code, http if isinstance(http, int) and not isinstance(http, bool) else None


def _error(params: Json, state: Json) -> Iterator[Signal]:
    if params.get("willRetry") is not True or not _own(params, state):
        return
    error = as_object(params.get("error"))
    http = _cause(error)[1]
    reason = as_text(error.get("additionalDetails")) or as_text(error.get("message")) or "unknown"
    told = f"{reason[:200]} ({http})" if http and str(http) not in reason else reason[:200]
    yield Signal("retry", {"reason": told, "delay_s": 0.0})


def _item_started(params: Json, state: Json) -> Iterator[Signal]:
    item = as_object(params.get("item"))
    tool = _TOOLS.get(as_text(item.get("type")))
    if tool is not None:
        name, detail = tool(item)
        yield Signal("tool", {"name": name, "detail": detail[:500]})


def _item_completed(params: Json, state: Json) -> Iterator[Signal]:
    item = as_object(params.get("item"))
    text = as_text(item.get("text")).strip()[:MAX_TEXT]
    if item.get("type") == "agentMessage" and text and _own(params, state):
        yield Signal("text", {"text": text})
    code, tool = item.get("exitCode"), _TOOLS.get(as_text(item.get("type")))
    if tool is not None and (item.get("status") == "failed" or (isinstance(code, int) and code != 0)):
        name, detail = tool(item)
        error = as_object(item.get("error"))
        yield failed(name, detail, as_text(item.get("aggregatedOutput")) or as_text(error.get("message")), code)


def _resolved(params: Json, state: Json) -> Iterator[Signal]:
    """Answered, or not wanted any more; an item that was answered is closed already."""
    if isinstance(request := params.get("requestId"), str | int):
        yield Signal("withdrawn", {"request": json.dumps(request)})


def _rerouted(params: Json, state: Json) -> Iterator[Signal]:
    if _own(params, state) and (model := as_text(params.get("toModel"))):
        state["model"] = model
        yield Signal("started", {"conversation": as_text(state.get("thread")), "model": model})


def _used(params: Json, state: Json) -> Iterator[Signal]:
    """What a thread has used beyond what was counted of it."""
    thread = as_text(params.get("threadId"))
    total = as_object(as_object(params.get("tokenUsage")).get("total"))
    if not thread or not total:
        return
    kept = state.setdefault("kept", {})
    totals = kept.setdefault("totals", {})
    now = [as_count(total.get(name)) for name in _COUNTS]
    before = totals.pop(thread, [0] * len(_COUNTS))
    if any(a < b for a, b in zip(now, before, strict=True)):
        before = [0] * len(_COUNTS)
    totals[thread] = now  # the last place: those that are silent for long are forgotten first
    for old in list(totals)[:-_REMEMBERED]:
        del totals[old]
    entire, read, write, output, reasoning = (a - b for a, b in zip(now, before, strict=True))
    usage = Usage(max(0, entire - read - write), output, read, write, reasoning)
    if usage != Usage():
        kept["uses"] = kept.get("uses", 0) + 1
        key = f"{thread}-{kept['uses']}"
        yield Signal("usage", {"key": key, "model": as_text(state.get("model")), "usage": usage})


def _limits(params: Json, state: Json) -> Iterator[Signal]:
    yield from quotas.codex(as_object(params.get("rateLimits")))


def _own(params: Json, state: Json) -> bool:
    return params.get("threadId") == state.get("thread")


def _command(item: Json) -> tuple[str, str]:
    actions = [as_text(as_object(one).get("command")) for one in as_list(item.get("commandActions"))]
    return "command", "; ".join(filter(None, actions)) or as_text(item.get("command"))


def _change(item: Json) -> tuple[str, str]:
    return "edit", ", ".join(as_text(as_object(one).get("path")) for one in as_list(item.get("changes")))


def _mcp(item: Json) -> tuple[str, str]:
    return f"{as_text(item.get('server'))}.{as_text(item.get('tool'))}", json.dumps(item.get("arguments"))


_TOOLS: dict[str, Callable[[Json], tuple[str, str]]] = {
    "commandExecution": _command,
    "fileChange": _change,
    "mcpToolCall": _mcp,
    "webSearch": lambda item: ("web search", as_text(item.get("query"))),
    "contextCompaction": lambda item: ("compaction", "the conversation is made shorter"),
}
_RESPONSES = {INITIALIZE: _initialized, THREAD: _thread, TURN: _turn}
_NOTIFICATIONS = {
    "turn/started": _turn_started,
    "turn/completed": _turn_completed,
    "error": _error,
    "item/started": _item_started,
    "item/completed": _item_completed,
    "serverRequest/resolved": _resolved,
    "model/rerouted": _rerouted,
    "thread/tokenUsage/updated": _used,
    "account/rateLimits/updated": _limits,
}
