"""Lines of an agent of the Agent Client Protocol -> signals, and the answer to a permission.

Specification. A line is a JSON object of at most 8 MiB; what is not is garbage, told at the first, second, fourth …
time. Unknown methods and fields are ignored, unknown requests are answered with an error at once, so that no agent
waits for ever; no shape of JSON makes this fail. `state` is small JSON, kept between lines and daemons.

A turn is over when its prompt is answered. The adapter for Codex answers well to one that its program gave up: that is
told beside the answer (`threadStatus`), and the turn has failed with the last words of it. What an agent repeats of a
conversation while it loads it is not heard.
Pieces of a text are gathered until something else is said. Usage is counted as the answer to a prompt tells it; the
protocol does not say how exact that is, and many agents say nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from stretto.agents import acp_forms
from stretto.agents.failures import called, ended, text_of
from stretto.agents.limits import is_limit
from stretto.agents.questions import cut
from stretto.agents.shapes import Json, amount, as_count, as_list, as_object, as_text, garbage, parsed
from stretto.agents.turns import MAX_TEXT
from stretto.core.model import ItemKind, TurnResult, Usage
from stretto.interfaces import Signal

INITIALIZE, SESSION, PROMPT = "initialize", "session", "prompt"
ASK = "session/request_permission"
#: reasons for which an agent ends a turn that are not its success
_STOPPED = {"refusal": "the agent refused to go on", "max_turn_requests": "the agent made too many requests"}
_STOPPED |= {"max_tokens": "the answer became too long"}
#: how an agent says that it knows no such session, or cannot load any
_NO_SESSION = (-32601, -32602, -32002)
_GONE = ("no previous sessions", "invalid session")


def parse_line(line: bytes, state: Json) -> list[Signal]:
    """All signals of one line."""
    if not line.strip():
        return []
    message = parsed(line)
    if message is None:
        return garbage(len(line), state)
    method, params = as_text(message.get("method")), as_object(message.get("params"))
    if method and isinstance(message.get("id"), str | int):
        return [*_said(state), *_asked(message["id"], method, params, state)]
    if method:
        return list(_update(params, state)) if method == "session/update" else []
    reply = _RESPONSES.get(as_text(message.get("id")))
    return list(reply(message, state)) if reply else []


# ---------------------------------------------------------------- responses


def _initialized(message: Json, state: Json) -> Iterator[Signal]:
    """Now it takes the opening of a session, once."""
    opening = as_text(state.pop("opening", ""))
    if not as_object(as_object(message.get("result")).get("agentCapabilities")).get("loadSession"):
        state["volatile"] = True
    if "error" in message:
        yield from _unfit(message, state)
    elif opening:
        yield Signal("reply", {"request": INITIALIZE, "data": opening})


def _session(message: Json, state: Json) -> Iterator[Signal]:
    """The handshake is over: a new session has an id, one that was loaded keeps its own."""
    result = as_object(message.get("result"))
    session = as_text(result.get("sessionId")) or as_text(state.get("resumes"))
    error = as_object(message.get("error"))
    gone = error.get("code") in _NO_SESSION or any(word in _why(error).lower() for word in _GONE)
    if error and state.get("resumes") and gone:
        state.pop("handshake", None)
        yield _ended(TurnResult.FAILED, "no_conversation", _why(error))
    elif error or not session:
        yield from _unfit(message, state)
    else:
        state.pop("handshake", None)
        state["session"] = session
        state["model"] = as_text(as_object(result.get("models")).get("currentModelId"))
        yield Signal("started", {"conversation": session, "model": state["model"]})
        yield Signal("status", {"status": "idle"})


def _unfit(message: Json, state: Json) -> Iterator[Signal]:
    if state.pop("handshake", None):
        yield Signal("unfit", {"reason": f"the agent cannot begin: {_why(as_object(message.get('error')))}"})


def _prompted(message: Json, state: Json) -> Iterator[Signal]:
    """The end of a turn."""
    yield from _said(state)
    state.pop("running", None)
    broken = state.pop("broken", None)
    if "error" in message:
        yield _failed(_why(as_object(message.get("error"))))
        return
    result = as_object(message.get("result"))
    yield from _usage(result, state)
    reason = as_text(result.get("stopReason"))
    if reason == "cancelled":
        yield _ended(TurnResult.INTERRUPTED, "interrupted", "")
    elif reason in _STOPPED:
        yield _ended(TurnResult.FAILED, reason, _STOPPED[reason])
    elif broken is not None:
        yield _failed(as_text(broken) or "the agent gave up")
    else:
        yield _ended(TurnResult.OK, "", "")


def _usage(result: Json, state: Json) -> Iterator[Signal]:
    """What the prompt used: for each model if that is told, which then holds requests beside the conversation, too."""
    quota = as_object(as_object(result.get("_meta")).get("quota"))
    parts = [as_object(one) for one in as_list(quota.get("model_usage"))[:20]]
    found = [(as_text(one.get("model"))[:200], _of_quota(as_object(one.get("token_count")))) for one in parts]
    if not any(used != Usage() for _, used in found):
        told = as_object(result.get("usage"))
        cached = as_count(told.get("cachedReadTokens")), as_count(told.get("cachedWriteTokens"))
        counts = as_count(told.get("inputTokens")), as_count(told.get("outputTokens")), *cached
        used = Usage(*counts, as_count(told.get("thoughtTokens")))
        found = [
            (as_text(state.get("model")), used if used != Usage() else _of_quota(as_object(quota.get("token_count"))))
        ]
    cost, kept = _cost(state), state.setdefault("kept", {})
    for model, used in found:
        used = replace(used, cost=cost, cost_source="agent" if cost else None)
        cost = None  # it is that of all of them
        if used != Usage():
            kept["uses"] = kept.get("uses", 0) + 1
            key = f"{as_text(state.get('session'))[:100]}-{kept['uses']}"
            yield Signal("usage", {"key": key, "model": model, "usage": used})


def _of_quota(count: Json) -> Usage:
    """As some agents name it: Gemini CLI with an underscore, and nothing of caches."""
    written = as_count(count.get("cachedWriteTokens")) or as_count(count.get("cacheWriteInputTokens"))
    return Usage(
        as_count(count.get("inputTokens")) or as_count(count.get("input_tokens")),
        as_count(count.get("outputTokens")) or as_count(count.get("output_tokens")),
        as_count(count.get("cachedInputTokens")),
        written,
        as_count(count.get("reasoningOutputTokens")),
    )


def _cost(state: Json) -> str | None:
    """What the turn cost in dollars: what the agent told of its session, less what it told at the last turn's end."""
    told, kept = state.get("cost"), state.setdefault("kept", {})
    before = kept.get("cost")
    if not isinstance(told, int | float):
        return None
    kept["cost"] = told
    return amount(
        Decimal(str(told)) - Decimal(str(before if isinstance(before, int | float) and before <= told else 0))
    )


def _why(error: Json) -> str:
    """What an error says: its message, and what stands beside it."""
    data = error.get("data")
    more = as_text(data) or as_text(as_object(data).get("details")) or as_text(as_object(data).get("message"))
    return ": ".join(filter(None, (as_text(error.get("message")).strip(), more.strip())))[:1000] or "it gave no reason"


def _failed(said: str) -> Signal:
    limited = is_limit(said)
    return _ended(TurnResult.LIMITED if limited else TurnResult.FAILED, "limited" if limited else "error", said)


def _ended(result: TurnResult, code: str, said: str) -> Signal:
    reason = ": ".join(filter(None, (code, said)))
    return Signal("turn_ended", {"result": result.value, "reason": reason, "code": code, "text": ""})


# ---------------------------------------------------------------- what it tells and asks


def _update(params: Json, state: Json) -> Iterator[Signal]:
    update = as_object(params.get("update"))
    kind = as_text(update.get("sessionUpdate"))
    if state.get("handshake") or params.get("sessionId") != state.get("session"):
        return
    if not state.get("running") and kind in _WORK:
        state["running"] = True
        yield Signal("turn_started", {})
    if kind == "usage_update":
        cost = as_object(update.get("cost"))
        said = cost.get("amount")
        if cost.get("currency") == "USD" and isinstance(said, int | float) and 0 <= said < 1e9:
            state["cost"] = said
        return
    if kind == "agent_message_chunk":
        text = as_text(as_object(update.get("content")).get("text"))
        state["said"] = (as_text(state.get("said")) + text)[-MAX_TEXT:]
        return
    yield from _said(state)
    codex = as_object(as_object(update.get("_meta")).get("codex"))
    status = as_text(as_object(codex.get("threadStatus")).get("type"))
    if status == "systemError":
        state.setdefault("broken", "")
    elif status == "active":
        state.pop("broken", None)
    if kind == "tool_call":
        name, detail = as_text(update.get("kind")) or "tool", as_text(update.get("title"))[:500]
        called(as_text(update.get("toolCallId")), name, detail, state)
        yield Signal("tool", {"name": name[:100], "detail": detail})
    if kind in ("tool_call", "tool_call_update") and (how := update.get("status")) in ("completed", "failed"):
        yield from ended(as_text(update.get("toolCallId")), state, *_failure(update, failed=how == "failed"))


def _failure(update: Json, *, failed: bool) -> tuple[str | None, object]:
    """What a call that is over says of its failure, and its exit code; None: it went well."""
    raw = as_object(update.get("rawOutput"))
    code = next((raw[name] for name in ("exitCode", "exit_code") if isinstance(raw.get(name), int)), None)
    if not failed and not code:
        return None, None
    words = next(
        (as_text(raw.get(name)) for name in ("formatted_output", "output", "stderr", "error") if raw.get(name)), ""
    )
    return text_of(update.get("content")) or words, code


_WORK = ("agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan")


def _said(state: Json) -> list[Signal]:
    """The text that was gathered, once."""
    text = as_text(state.pop("said", "")).strip()
    if text and "broken" in state:
        state["broken"] = text[:1000]
    return [Signal("text", {"text": text})] if text else []


def _asked(request: str | int, method: str, params: Json, state: Json) -> Iterator[Signal]:
    id = json.dumps(request)
    if method == acp_forms.METHOD:
        yield acp_forms.asked(request, params)
        return
    if method != ASK:
        error = {"code": -32601, "message": f"stretto does not do {method[:100]}"}
        yield Signal("reply", {"request": id, "data": json.dumps({"jsonrpc": "2.0", "id": request, "error": error})})
        return
    call = as_object(params.get("toolCall"))
    offered = [as_object(one) for one in as_list(params.get("options"))]
    ids = {_KEYS.get(as_text(o.get("kind")), ""): as_text(o.get("optionId")) for o in reversed(offered)}
    ids = {key: id for key, id in ids.items() if key and id}
    if state.get("skip") and ("allow" in ids or "always" in ids):
        chosen = _selected(request, ids.get("allow") or ids["always"])
        yield Signal("reply", {"request": id, "data": json.dumps(chosen)})
        return
    names = {_KEYS.get(as_text(o.get("kind")), ""): cut(as_text(o.get("name"))) for o in reversed(offered)}
    options = [[key, names[key] or key] for key in ("allow", "always", "deny") if key in ids]
    tool = as_text(call.get("kind")) or "tool"
    title = as_text(call.get("title")) or json.dumps(call.get("rawInput"))
    data: Json = {
        "kind": ItemKind.PERMISSION.value,
        "request": id,
        "text": f"{tool}: {cut(title)}",
        "options": options if any(key == "deny" for key, _ in options) else [*options, ["deny", "Deny"]],
        "questions": [],
        "tool": tool,
        "input": {name: cut(value) for name, value in as_object(call.get("rawInput")).items()},
        "ids": ids,
    }
    yield Signal("asked", data)


#: the protocol's kinds of options -> our keys
_KEYS = {"allow_once": "allow", "allow_always": "always", "reject_once": "deny", "reject_always": "never"}


def permission(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> Json | None:
    """The response to a request for permission; None for a payload that is not of this protocol.

    Free text is a refusal: the protocol has no place for its words.
    """
    id, ids = payload.get("request"), payload.get("ids")
    if not isinstance(id, str) or not isinstance(ids, Mapping):
        return None
    request = json.loads(id)
    chosen = ids.get(answer.get("key") or "deny")
    if not isinstance(chosen, str):
        return {"jsonrpc": "2.0", "id": request, "result": {"outcome": {"outcome": "cancelled"}}}
    return _selected(request, chosen)


def _selected(request: str | int, option: str) -> Json:
    return {"jsonrpc": "2.0", "id": request, "result": {"outcome": {"outcome": "selected", "optionId": option}}}


_RESPONSES = {INITIALIZE: _initialized, SESSION: _session, PROMPT: _prompted}
