"""Lines of the bridge to opencode's server -> signals, and the answers to what it asks.

Specification. A line is a JSON object of at most 8 MiB: an event of the server, or what came of a request of ours
(`opencode_bridge`). What is neither is garbage, told at the first, second, fourth … time; unknown events and fields are
ignored; no shape of JSON makes this fail. `state` is small JSON, kept between lines and daemons.

A turn begins with the user's newest message in the conversation. It ends when the conversation is idle and the message
that answers is complete: after an error or an abort it is called idle once before that, and would lose a prompt that
came then. Sub-agents have conversations of their own on the same server, which belongs to this
session alone: what they ask and use is counted here, what they say is not shown. Each step tells its tokens once: input
without the cached ones, output without the reasoning. A vendor that fails is asked again without end; after `TRIES`
times it is enough, and the turn has failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from stretto.agents.failures import failed
from stretto.agents.limits import is_limit
from stretto.agents.questions import answers, cut, describe, questions_text
from stretto.agents.shapes import Json, amount, as_count, as_list, as_object, as_text, garbage, parsed, untried
from stretto.agents.turns import MAX_TEXT
from stretto.core.model import ItemKind, TurnResult, Usage
from stretto.interfaces import Signal

SESSION, SERVER, TURN = "session", "mcp", "turn"
TESTED = ("1.18.33",)
#: how often a vendor is asked again: with opencode's pauses, half a minute
TRIES = 4
_ABORTED = "MessageAbortedError"
_OPTIONS = [["allow", "Allow once"], ["always", "Allow the like for this session"], ["deny", "Deny"]]
#: what is said with a refusal: without words opencode ends the turn
_REFUSED = "The person did not allow this."


def parse_line(line: bytes, state: Json) -> list[Signal]:
    """All signals of one line."""
    if not line.strip():
        return []
    message = parsed(line)
    if message is None:
        return garbage(len(line), state)
    if "unfit" in message:
        return list(_unfit(as_text(message["unfit"]) or "its server did not begin", state))
    if "event" in message:
        event = as_object(message["event"])
        read = _EVENTS.get(as_text(event.get("type")))
        return list(read(as_object(event.get("properties")), state)) if read else []
    reply = _REPLIES.get(as_text(message.get("id")).partition(":")[0])
    return list(reply(message, state)) if reply else []


# ---------------------------------------------------------------- what came of our requests


def _well(message: Json) -> bool:
    status = message.get("status")
    return isinstance(status, int) and 200 <= status < 300


def _session(message: Json, state: Json) -> Iterator[Signal]:
    """The conversation is there: turns can begin."""
    body = as_object(message.get("body"))
    id = as_text(body.get("id"))
    if message.get("status") == 404 and state.get("resumes"):
        state.pop("handshake", None)
        yield _ended(TurnResult.FAILED, "no_conversation", why(message))
    elif not _well(message) or not id:
        yield from _unfit(why(message), state)
    else:
        state.pop("handshake", None)
        state["session"] = id
        yield from untried("opencode", as_text(body.get("version")), TESTED, state)
        yield Signal("started", {"conversation": id, "model": as_text(state.get("model"))})
        yield Signal("status", {"status": "idle"})


def _unfit(reason: str, state: Json) -> Iterator[Signal]:
    if state.pop("handshake", None):
        yield Signal("unfit", {"reason": f"opencode cannot begin: {reason}"})


def _server(message: Json, state: Json) -> Iterator[Signal]:
    """An MCP server that could not be had is no reason not to work."""
    name = as_text(message.get("id")).partition(":")[2]
    told = as_object(as_object(message.get("body")).get(name))
    if not _well(message) or as_text(told.get("status")) in ("failed", "needs_auth", "needs_client_registration"):
        said = as_text(told.get("error")) or as_text(told.get("status")) or why(message)
        yield Signal("notice", {"text": f"the MCP server {name[:100]} is not there: {said[:500]}"})


def _turn(message: Json, state: Json) -> Iterator[Signal]:
    if not _well(message):
        yield _ended(TurnResult.FAILED, "refused", why(message))


def why(message: Json) -> str:
    """What a response says of its failure."""
    body = message.get("body")
    data = as_object(as_object(body).get("data"))
    said = as_text(data.get("message")) or as_text(as_object(body).get("message")) or as_text(body)
    return said[:1000] or f"its server answered {json.dumps(message.get('status'))[:20]}"


_REPLIES = {SESSION: _session, SERVER: _server, TURN: _turn}


# ---------------------------------------------------------------- events


def _own(told: Json, state: Json) -> bool:
    return bool(state.get("session")) and told.get("sessionID") == state["session"]


def _message(told: Json, state: Json) -> Iterator[Signal]:
    info = as_object(told.get("info"))
    if not _own(info, state):
        return
    id, time = as_text(info.get("id"))[:100], as_object(info.get("time"))
    if info.get("role") == "assistant":
        state["message"] = id
        state["doing"] = time.get("completed") is None
        state["model"] = "/".join(filter(None, (as_text(info.get("providerID")), as_text(info.get("modelID")))))[:200]
        if not state["doing"] and not info.get("error"):
            state.pop("failed", None)  # a context that was too long was summed up, and the work went on
        _note(as_object(info.get("error")), state)
    elif not state.get("running") and as_count(time.get("created")) > as_count(state.get("prompted")):
        state["running"], state["prompted"] = True, as_count(time.get("created"))
        yield Signal("turn_started", {})


def _part(told: Json, state: Json) -> Iterator[Signal]:
    part = as_object(told.get("part"))
    kind = part.get("type")
    if kind == "step-finish":
        yield from _usage(part, state)
    if not _own(part, state) or part.get("messageID") != state.get("message"):
        return
    if kind == "text" and as_object(part.get("time")).get("end") is not None:
        if text := as_text(part.get("text")).strip()[:MAX_TEXT]:
            yield Signal("text", {"text": text})
    elif kind == "tool":
        doing = as_object(part.get("state"))
        call = as_text(part.get("callID"))[:100]
        # a call tells that it runs although it waits for the person
        if doing.get("status") == "running" and state.get("call") != call and not state.get("open"):
            state["call"] = call
            name = as_text(part.get("tool"))
            yield Signal("tool", {"name": name[:100], "detail": describe(name, as_object(doing.get("input")))[:500]})
        yield from _failure(part, doing, call, state)


def _failure(part: Json, doing: Json, call: str, state: Json) -> Iterator[Signal]:
    """A tool that could not do it, or a command with an exit code of its own; the last of them is told again."""
    code = as_object(doing.get("metadata")).get("exit")
    wrong = doing.get("status") == "error" or (doing.get("status") == "completed" and code not in (None, 0))
    if wrong and state.get("failed_call") != call:
        state["failed_call"] = call
        name = as_text(part.get("tool"))
        said = as_text(doing.get("error")) or as_text(doing.get("output"))
        yield failed(name, describe(name, as_object(doing.get("input"))), said, code)


def _usage(part: Json, state: Json) -> Iterator[Signal]:
    tokens, id = as_object(part.get("tokens")), as_text(part.get("id"))[:100]
    cache, reasoning = as_object(tokens.get("cache")), as_count(tokens.get("reasoning"))
    output = as_count(tokens.get("output")) + reasoning
    counts = as_count(tokens.get("input")), output, as_count(cache.get("read")), as_count(cache.get("write"))
    if not id or id == state.get("step") or not any(counts):
        return
    state["step"] = id
    cost = part.get("cost")
    priced = amount(Decimal(str(cost))) if isinstance(cost, int | float) and not isinstance(cost, bool) else None
    used = Usage(*counts, reasoning, cost=priced, cost_source="agent" if priced else None)
    yield Signal("usage", {"key": id, "model": as_text(state.get("model")), "usage": used})


def _status(told: Json, state: Json) -> Iterator[Signal]:
    if not _own(told, state) or not state.get("running"):
        return
    status = as_object(told.get("status"))
    if status.get("type") == "idle" and not state.get("doing"):
        yield _over(state)
    elif status.get("type") == "retry":
        reason = as_text(status.get("message"))[:1000] or "unknown"
        yield Signal("retry", {"reason": reason[:200], "delay_s": 0.0})
        if as_count(status.get("attempt")) >= TRIES and not state.get("given_up"):
            state["given_up"] = reason  # the message that is broken off then may be told as complete
            yield Signal("reply", {"request": "give-up", "data": json.dumps(request("give-up", abort(state)))})


def _over(state: Json) -> Signal:
    """The end of the turn that runs; what was said to be wrong with it decides how it ended."""
    failed, aborted = as_text(state.pop("failed", "")), state.pop("aborted", None)
    failed = as_text(state.pop("given_up", "")) or failed
    for name in ("running", "open"):
        state.pop(name, None)
    if failed:
        limited = is_limit(failed)
        return _ended(TurnResult.LIMITED if limited else TurnResult.FAILED, "limited" if limited else "error", failed)
    return _ended(TurnResult.INTERRUPTED, "interrupted", "") if aborted else _ended(TurnResult.OK, "", "")


def _error(told: Json, state: Json) -> Iterator[Signal]:
    if _own(told, state):
        _note(as_object(told.get("error")), state)
    yield from ()


def _note(error: Json, state: Json) -> None:
    """What went wrong is told before the conversation is idle: with the message, as an event, or both."""
    name, data = as_text(error.get("name")), as_object(error.get("data"))
    if not name or not state.get("running"):
        return
    if name == _ABORTED:
        state["aborted"] = True
        return
    code = data.get("statusCode")
    words = [str(code)] if isinstance(code, int) else []
    state["failed"] = " ".join([*words, name, as_text(data.get("message"))])[:1000].strip()


def _ended(result: TurnResult, code: str, said: str) -> Signal:
    reason = ": ".join(filter(None, (code, said)))
    return Signal("turn_ended", {"result": result.value, "reason": reason, "code": code, "text": ""})


# ---------------------------------------------------------------- what it asks


def _permission(told: Json, state: Json) -> Iterator[Signal]:
    if not (id := as_text(told.get("id"))):
        return
    tool, about = as_text(told.get("permission")) or "a tool", as_object(told.get("metadata"))
    _open(id, state)
    patterns = ", ".join(as_text(one) for one in as_list(told.get("patterns")))
    subject = as_text(about.get("command")) or as_text(about.get("filepath")) or patterns or tool
    yield Signal(
        "asked",
        {
            "kind": ItemKind.PERMISSION.value,
            "request": id,
            "text": f"{tool}: {cut(subject)}",
            "options": _OPTIONS,
            "questions": [],
            "tool": tool,
            "input": {name: cut(value) for name, value in about.items()},
        },
    )


def _question(told: Json, state: Json) -> Iterator[Signal]:
    id, questions = as_text(told.get("id")), _questions(told)
    if not id or not questions:
        return
    _open(id, state)
    only = questions[0] if len(questions) == 1 else None
    text, options = (only["question"], only["options"]) if only else (questions_text(questions), [])
    data = {"kind": ItemKind.QUESTION.value, "request": id, "text": text, "options": options, "questions": questions}
    yield Signal("asked", {**data, "tool": "question", "input": {}})


def _open(id: str, state: Json) -> None:
    state["open"] = [*as_list(state.get("open")), id[:100]][-20:]


def _questions(told: Json) -> list[Json]:
    """Every question of a request: it wants as many answers."""
    found = []
    for one in map(as_object, as_list(told.get("questions"))):
        labels = [as_text(as_object(option).get("label")) for option in as_list(one.get("options"))]
        options = [[str(n), label or str(n)] for n, label in enumerate(labels, 1)]
        text = as_text(one.get("question")) or as_text(one.get("header")) or "?"
        found.append({"question": text, "options": options, "several": one.get("multiple") is True})
    return found


def _replied(told: Json, state: Json) -> Iterator[Signal]:
    """Whoever answered it: it is open no more."""
    if id := as_text(told.get("requestID")):
        state["open"] = [one for one in as_list(state.get("open")) if one != id[:100]]
        yield Signal("withdrawn", {"request": id})


def response(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> Json | None:
    """The request that answers; None for a payload that is not of this protocol."""
    id = payload.get("request")
    if not isinstance(id, str) or not id:
        return None
    if payload.get("kind") == ItemKind.QUESTION.value:
        given = answers(payload, answer)
        asked_for = [as_object(one) for one in as_list(payload.get("questions"))]
        lists = [_chosen(one, given[str(one["question"])]) for one in asked_for]
        return request("answer", ("POST", f"/question/{id}/reply", {"answers": lists}))
    reply = {"allow": "once", "always": "always"}.get(str(answer.get("key")), "reject")
    body = {"reply": reply}
    if reply == "reject":
        body["message"] = as_text(answer.get("text")) or _REFUSED
    return request("answer", ("POST", f"/permission/{id}/reply", body))


def _chosen(question: Json, said: str) -> list[str]:
    """What was chosen of a question; of one that takes several, each by itself."""
    labels = {label for _, label in as_list(question.get("options"))}
    parts = said.split(", ") if question.get("several") else []
    return parts if parts and all(part in labels for part in parts) else [said]


def request(id: str, what: tuple[str, str, Any]) -> Json:
    """A request in the form of the bridge."""
    method, path, body = what
    return {"id": id, "method": method, "path": path, "body": body}


def request_line(value: Any) -> str:
    """A request as it is sent."""
    return json.dumps(value, separators=(",", ":"))


def prompt_line(text: str, state: Mapping[str, Any]) -> str:
    """A prompt to the conversation that the handshake has told."""
    body: dict[str, Any] = {"parts": [{"type": "text", "text": text}]}
    provider, slash, model = str(state.get("wanted") or "").partition("/")
    if slash:
        body["model"] = {"providerID": provider, "modelID": model}
    return request_line(request(TURN, ("POST", f"/session/{state.get('session', '')}/prompt_async", body)))


def abort(state: Mapping[str, Any]) -> tuple[str, str, Any]:
    """What ends the running turn."""
    return "POST", f"/session/{state.get('session', '')}/abort", None


_EVENTS = {
    "message.updated": _message,
    "message.part.updated": _part,
    "session.status": _status,
    "session.error": _error,
    "permission.asked": _permission,
    "permission.replied": _replied,
    "question.asked": _question,
    "question.replied": _replied,
    "question.rejected": _replied,
}
