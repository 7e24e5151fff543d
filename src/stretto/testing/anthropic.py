"""Anthropic's Messages protocol for the model server: what a request says, and how a reply is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stretto.core.model import Usage
from stretto.testing.dialect import Json, Offer, Reply, event, pieces, plain
from stretto.testing.scenario import Block

NAME = "anthropic"
#: what every answered request costs; the server counts it, the client is told it
USAGE = Usage(input=1200, output=34, cache_read=5000, cache_write=700)
#: Claude Code hides tools until it has searched for them
USUAL = ("Write", "Bash", "AskUserQuestion")
ERRORS = {
    401: "authentication_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def model(path: str, body: Json) -> str:
    """The model that was asked for."""
    return str(body.get("model"))


def streams(path: str, body: Json) -> bool:
    """Whether the client wants events."""
    return bool(body.get("stream"))


def session(headers: Mapping[str, str], body: Json) -> str:
    """Claude Code's session, from its header or the metadata."""
    if named := headers.get("x-claude-code-session-id"):
        return str(named)
    try:
        return str(json.loads(body["metadata"]["user_id"])["session_id"])
    except (KeyError, TypeError, ValueError):
        return ""


def conversation(body: Json) -> list[Block]:
    """The user's texts and the tools' results, in order."""
    blocks: list[Block] = []
    for message in body.get("messages", []):
        if message.get("role") != "user":
            continue
        content = message.get("content", "")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part.get("type") == "text":
                blocks.append(Block("text", str(part.get("text", ""))))
            elif part.get("type") == "tool_result":
                blocks.append(Block("result", plain(part.get("content", ""))))
    return blocks


def offers(body: Json) -> list[Offer]:
    """The tools of a request."""
    found = body.get("tools") or []
    return [Offer(str(one.get("name")), one.get("input_schema", {}).get("properties", {})) for one in found]


def schema(body: Json) -> Json | None:
    """What the answer has to look like, if the request says so."""
    wanted = body.get("output_format") or {}
    found = wanted.get("schema")
    return found if isinstance(found, dict) else None


def whole(reply: Reply) -> Json:
    """The response to a request that does not stream."""
    block = _block(reply)
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [block],
        "stop_reason": "tool_use" if reply.call else "end_turn",
        "stop_sequence": None,
        "usage": _usage(USAGE.output),
    }


def stream(reply: Reply) -> Iterator[bytes]:
    """The same as server-sent events; output tokens are known only at the end."""
    message, block = whole(reply), _block(reply)
    start = message | {"content": [], "stop_reason": None, "usage": _usage(1)}
    yield _event("message_start", {"message": start})
    nothing: Json = {"input": {}} if reply.call else {"text": ""}
    yield _event("content_block_start", {"index": 0, "content_block": block | nothing})
    for delta in _deltas(reply):
        yield _event("content_block_delta", {"index": 0, "delta": delta})
    yield _event("content_block_stop", {"index": 0})
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", {"delta": ended, "usage": {"output_tokens": USAGE.output}})
    yield _event("message_stop", {})


def error(status: int) -> Json:
    """The body of a refusal."""
    return {"type": "error", "error": {"type": ERRORS.get(status, "api_error"), "message": f"pretended {status}"}}


def limited(resets: int, left: int) -> tuple[Json, dict[str, str]]:
    """A window of a subscription that is used up."""
    words = {"status": "rejected", "reset": str(resets), "representative-claim": "five_hour"}
    words |= {"5h-status": "rejected", "5h-reset": str(resets), "5h-utilization": "1.0"}
    return error(429), {f"anthropic-ratelimit-unified-{name}": value for name, value in words.items()}


def too_long() -> Json:
    """The body of a 400 for a conversation that no longer fits."""
    said = "prompt is too long: 210000 tokens > 200000 maximum"
    return {"type": "error", "error": {"type": "invalid_request_error", "message": said}}


def _block(reply: Reply) -> Json:
    if reply.call is None:
        return {"type": "text", "text": reply.text}
    return {"type": "tool_use", "id": f"toolu_{reply.id}", "name": reply.call.name, "input": reply.call.arguments}


def _usage(output: int) -> dict[str, int]:
    return {
        "input_tokens": USAGE.input,
        "cache_creation_input_tokens": USAGE.cache_write,
        "cache_read_input_tokens": USAGE.cache_read,
        "output_tokens": output,
    }


def _deltas(reply: Reply) -> Iterator[Json]:
    if reply.call is None:
        yield {"type": "text_delta", "text": reply.text}
        return
    for piece in pieces(json.dumps(reply.call.arguments), 4000):
        yield {"type": "input_json_delta", "partial_json": piece}


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return event({"type": kind, **data}, kind)
