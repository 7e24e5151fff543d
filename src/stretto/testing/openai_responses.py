"""OpenAI's Responses protocol for the model server: what a request says, and how a reply is written.

Input tokens of this protocol contain those read from and written to the cache, and output tokens the reasoning: `USAGE`
is in stretto's words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stretto.core.model import Usage
from stretto.testing.dialect import Json, Offer, Reply, event, pieces, plain
from stretto.testing.scenario import Block

NAME = "responses"
#: what every answered request costs; the server counts it, the client is told it
USAGE = Usage(input=1200, output=54, cache_read=5000, cache_write=600, reasoning=20)
USUAL = ("exec_command", "request_user_input")
#: status of a refusal -> its type and code
ERRORS = {
    401: ("invalid_request_error", "invalid_api_key"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "server_error"),
    529: ("server_error", "server_is_overloaded"),
}


def model(path: str, body: Json) -> str:
    """The model that was asked for."""
    return str(body.get("model"))


def streams(path: str, body: Json) -> bool:
    """Whether the client wants events."""
    return bool(body.get("stream"))


def session(headers: Mapping[str, str], body: Json) -> str:
    """Codex' thread, from its header."""
    return str(headers.get("thread-id") or headers.get("session-id") or headers.get("session_id") or "")


def conversation(body: Json) -> list[Block]:
    """The user's texts and the tools' results, in order."""
    found = body.get("input", [])
    items = [{"role": "user", "content": found}] if isinstance(found, str) else found
    blocks: list[Block] = []
    for item in items:
        if item.get("role") == "user":
            blocks.append(Block("text", plain(item.get("content", ""))))
        elif str(item.get("type")).endswith("_output"):
            blocks.append(Block("result", plain(item.get("output", ""))))
    return blocks


def offers(body: Json) -> list[Offer]:
    """The tools of a request; a namespace is a group of them."""
    found: list[Offer] = []
    for tool in body.get("tools") or []:
        space = str(tool.get("name")) if tool.get("type") == "namespace" else None
        for one in tool.get("tools", []) if space else [tool]:
            properties = (one.get("parameters") or {}).get("properties", {})
            found.append(Offer(str(one.get("name")), properties, space, one.get("type") == "custom"))
    return found


def schema(body: Json) -> Json | None:
    """What the answer has to look like, if the request says so."""
    found = ((body.get("text") or {}).get("format") or {}).get("schema")
    return found if isinstance(found, dict) else None


def whole(reply: Reply) -> Json:
    """The response to a request that does not stream."""
    return _response(reply, "completed") | {"output": [_item(reply)], "usage": _usage()}


def stream(reply: Reply) -> Iterator[bytes]:
    """The same as server-sent events."""
    item = _item(reply)
    yield _event("response.created", {"response": _response(reply, "in_progress")})
    yield _event("response.output_item.added", {"output_index": 0, "item": item | _nothing(reply)})
    kind, text = _delta(reply)
    for piece in pieces(text, 4000):
        yield _event(kind, {"output_index": 0, "content_index": 0, "item_id": item["id"], "delta": piece})
    yield _event("response.output_item.done", {"output_index": 0, "item": item})
    yield _event("response.completed", {"response": whole(reply)})


def error(status: int) -> Json:
    """The body of a refusal."""
    kind, code = ERRORS.get(status, ("server_error", "server_error"))
    return {"error": {"message": f"pretended {status}", "type": kind, "param": None, "code": code}}


def limited(resets: int, left: int) -> tuple[Json, dict[str, str]]:
    """A window of a subscription that is used up."""
    said: Json = {"type": "usage_limit_reached", "message": "pretended limit", "plan_type": "plus"}
    said |= {"resets_at": resets, "resets_in_seconds": left}
    words = {"used-percent": "100", "window-minutes": "300", "reset-at": str(resets)}
    return {"error": said}, {f"x-codex-primary-{name}": value for name, value in words.items()}


def too_long() -> Json:
    """The body of a 400 for a conversation that no longer fits."""
    said = "Your input exceeds the context window of this model. Please adjust your input and try again."
    code = "context_length_exceeded"
    return {"error": {"message": said, "type": "invalid_request_error", "param": "input", "code": code}}


def _response(reply: Reply, status: str) -> Json:
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": 0,
        "status": status,
        "model": reply.model,
        "output": [],
        "usage": None,
    }


def _item(reply: Reply) -> Json:
    call = reply.call
    if call is None:
        content = {"type": "output_text", "text": reply.text, "annotations": []}
        return {
            "type": "message",
            "id": f"msg_{reply.id}",
            "status": "completed",
            "role": "assistant",
            "content": [content],
        }
    head: Json = {"id": f"fc_{reply.id}", "call_id": f"call_{reply.id}", "name": call.name, "status": "completed"}
    if call.namespace:
        head["namespace"] = call.namespace
    if call.free:
        return {"type": "custom_tool_call", **head, "input": _delta(reply)[1]}
    return {"type": "function_call", **head, "arguments": _delta(reply)[1]}


def _nothing(reply: Reply) -> Json:
    """What is left out of an item when it is announced."""
    if reply.call is None:
        return {"status": "in_progress", "content": []}
    return {"status": "in_progress", "input" if reply.call.free else "arguments": ""}


def _delta(reply: Reply) -> tuple[str, str]:
    """The type of a reply's deltas and the text that they spell."""
    if reply.call is None:
        return "response.output_text.delta", reply.text
    if reply.call.free:
        return "response.custom_tool_call_input.delta", str(reply.call.arguments.get("input", ""))
    return "response.function_call_arguments.delta", json.dumps(reply.call.arguments)


def _usage() -> Json:
    entire = USAGE.input + USAGE.cache_read + USAGE.cache_write
    return {
        "input_tokens": entire,
        "input_tokens_details": {"cached_tokens": USAGE.cache_read, "cache_write_tokens": USAGE.cache_write},
        "output_tokens": USAGE.output,
        "output_tokens_details": {"reasoning_tokens": USAGE.reasoning},
        "total_tokens": entire + USAGE.output,
    }


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return event({"type": kind, **data}, kind)
