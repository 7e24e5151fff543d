"""OpenAI's Chat Completions protocol for the model server: what a request says, and how a reply is written.

Prompt tokens of this protocol contain the cached ones, and completion tokens the reasoning: `USAGE` is in stretto's
words. A stream ends with a chunk without choices that holds the usage, as `stream_options.include_usage` asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from stretto.core.model import Usage
from stretto.testing.dialect import Call, Json, Offer, Reply, event, pieces, plain
from stretto.testing.openai_responses import error as error
from stretto.testing.scenario import Block

NAME = "chat"
#: what every answered request costs; the server counts it, the client is told it
USAGE = Usage(input=1200, output=44, cache_read=4000, reasoning=10)
USUAL: tuple[str, ...] = ()


def limited(resets: int, left: int) -> tuple[Json, dict[str, str]]:
    """Too many tokens in a minute."""
    body = error(429)
    body["error"]["message"] = f"Rate limit reached for pretended tokens. Please try again in {left}s."
    return body, {"retry-after": str(left)}


def model(path: str, body: Json) -> str:
    """The model that was asked for."""
    return str(body.get("model"))


def streams(path: str, body: Json) -> bool:
    """Whether the client wants events."""
    return bool(body.get("stream"))


def session(headers: Mapping[str, str], body: Json) -> str:
    """The session, if the agent names one in a header."""
    return str(headers.get("session-id") or headers.get("session_id") or headers.get("x-session-id") or "")


def conversation(body: Json) -> list[Block]:
    """The user's texts and the tools' results, in order."""
    kinds = {"user": "text", "tool": "result"}
    said = [one for one in body.get("messages", []) if one.get("role") in kinds]
    return [Block(kinds[one["role"]], plain(one.get("content") or "")) for one in said]


def offers(body: Json) -> list[Offer]:
    """The tools of a request."""
    functions = [one.get("function") or {} for one in body.get("tools") or []]
    return [Offer(str(one.get("name")), (one.get("parameters") or {}).get("properties", {})) for one in functions]


def schema(body: Json) -> Json | None:
    """What the answer has to look like, if the request says so."""
    found = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
    return found if isinstance(found, dict) else None


def whole(reply: Reply) -> Json:
    """The response to a request that does not stream."""
    message: Json = {"role": "assistant", "content": None if reply.call else reply.text}
    if reply.call:
        message["tool_calls"] = [_call(reply, reply.call, json.dumps(reply.call.arguments))]
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply)}
    return _head(reply, "chat.completion") | {"choices": [choice], "usage": _usage()}


def stream(reply: Reply) -> Iterator[bytes]:
    """The same as server-sent events."""
    yield _chunk(reply, {"role": "assistant", "content": None if reply.call else ""})
    if reply.call:
        first: Json = {"index": 0, **_call(reply, reply.call, "")}
        for piece in pieces(json.dumps(reply.call.arguments), 4000):
            first["function"] = {**first.get("function", {}), "arguments": piece}
            yield _chunk(reply, {"tool_calls": [first]})
            first = {"index": 0}
    else:
        for piece in pieces(reply.text, 4000):
            yield _chunk(reply, {"content": piece})
    yield _chunk(reply, {}, _finish(reply))
    yield event(_head(reply, "chat.completion.chunk") | {"choices": [], "usage": _usage()})
    yield b"data: [DONE]\n\n"


def too_long() -> Json:
    """The body of a 400 for a conversation that no longer fits."""
    said = "This model's maximum context length is 200000 tokens. However, your messages resulted in 210000 tokens."
    code = "context_length_exceeded"
    return {"error": {"message": said, "type": "invalid_request_error", "param": "messages", "code": code}}


def _head(reply: Reply, kind: str) -> Json:
    return {"id": f"chatcmpl-{reply.id}", "object": kind, "created": 0, "model": reply.model}


def _chunk(reply: Reply, delta: Json, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(_head(reply, "chat.completion.chunk") | {"choices": [choice]})


def _call(reply: Reply, call: Call, arguments: str) -> Json:
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_{reply.id}", "type": "function", "function": function}


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.call else "stop"


def _usage() -> Json:
    entire = USAGE.input + USAGE.cache_read + USAGE.cache_write
    return {
        "prompt_tokens": entire,
        "completion_tokens": USAGE.output,
        "total_tokens": entire + USAGE.output,
        "prompt_tokens_details": {"cached_tokens": USAGE.cache_read},
        "completion_tokens_details": {"reasoning_tokens": USAGE.reasoning},
    }
