"""Anthropic's Messages protocol for the model server: what a request says, and how an answer is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from stretto.core.model import Usage
from stretto.testing.scenario import Answer, Block

#: what every answered request costs; the server counts it, the client is told it
USAGE = Usage(input=1200, output=34, cache_read=5000, cache_write=700)
ERRORS = {
    401: "authentication_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def conversation(body: dict[str, Any]) -> list[Block]:
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
                blocks.append(Block("result", _plain(part.get("content", ""))))
    return blocks


def content_block(answer: Answer, id: str) -> dict[str, Any]:
    """The answer as the model would put it: text, or a call of one of Claude Code's tools."""
    call = _call(answer)
    if call is None:
        return {"type": "text", "text": answer.values.get("text", "done")}
    return {"type": "tool_use", "id": f"toolu_{id}", "name": call[0], "input": call[1]}


def message(block: dict[str, Any], model: str, id: str) -> dict[str, Any]:
    """The whole response to a request that does not stream."""
    return {
        "id": f"msg_{id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [block],
        "stop_reason": _stop_reason(block),
        "stop_sequence": None,
        "usage": _usage(USAGE.output),
    }


def stream(block: dict[str, Any], model: str, id: str) -> Iterator[bytes]:
    """The same as server-sent events; output tokens are known only at the end."""
    whole = message(block, model, id)
    start = whole | {"content": [], "stop_reason": None, "usage": _usage(1)}
    yield _event("message_start", {"message": start})
    nothing: dict[str, Any] = {"text": ""} if block["type"] == "text" else {"input": {}}
    yield _event("content_block_start", {"index": 0, "content_block": block | nothing})
    for delta in _deltas(block):
        yield _event("content_block_delta", {"index": 0, "delta": delta})
    yield _event("content_block_stop", {"index": 0})
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", {"delta": ended, "usage": {"output_tokens": USAGE.output}})
    yield _event("message_stop", {})


def error(status: int) -> dict[str, Any]:
    """The body of a refusal."""
    return {"type": "error", "error": {"type": ERRORS.get(status, "api_error"), "message": f"pretended {status}"}}


def too_long() -> dict[str, Any]:
    """The body of a 400 for a conversation that no longer fits."""
    said = "prompt is too long: 210000 tokens > 200000 maximum"
    return {"type": "error", "error": {"type": "invalid_request_error", "message": said}}


def _call(answer: Answer) -> tuple[str, dict[str, Any]] | None:
    values = answer.values
    if answer.word == "write":
        return "Write", {"file_path": values["path"], "content": values["text"]}
    if answer.word == "sh":
        return "Bash", {"command": values["text"], "description": "run a command"}
    if answer.word == "commit":
        said = json.dumps(values["text"])
        return "Bash", {"command": f"git add -A && git commit -q -m {said}", "description": "commit"}
    if answer.word == "ask":
        return "AskUserQuestion", {"questions": values["questions"]}
    if answer.word == "tool":
        return values["name"], values["input"]
    return None


def _stop_reason(block: dict[str, Any]) -> str:
    return "tool_use" if block["type"] == "tool_use" else "end_turn"


def _usage(output: int) -> dict[str, int]:
    return {
        "input_tokens": USAGE.input,
        "cache_creation_input_tokens": USAGE.cache_write,
        "cache_read_input_tokens": USAGE.cache_read,
        "output_tokens": output,
    }


def _deltas(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        yield {"type": "text_delta", "text": block["text"]}
        return
    text = json.dumps(block["input"])
    for at in range(0, len(text), 4000):
        yield {"type": "input_json_delta", "partial_json": text[at : at + 4000]}


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
