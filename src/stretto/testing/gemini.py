"""Google's generateContent protocol for the model server: what a request says, and how a reply is written.

Prompt tokens of this protocol contain the cached ones; thoughts stand beside the candidates' tokens, and are output in
stretto's words. The model is named in the path: `/v1beta/models/MODEL:streamGenerateContent?alt=sse`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from stretto.core.model import Usage
from stretto.testing.dialect import Json, Offer, Reply, event
from stretto.testing.scenario import Block

NAME = "gemini"
#: what every answered request costs; the server counts it, the client is told it
USAGE = Usage(input=1200, output=64, cache_read=3000, reasoning=30)
USUAL: tuple[str, ...] = ()
PATH = re.compile(r"/v1(?:beta|alpha)?/models/(?P<model>[^/:]+):(?P<verb>\w+)$")
ERRORS = {401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 529: "UNAVAILABLE"}


def model(path: str, body: Json) -> str:
    """The model that was asked for."""
    found = PATH.search(path)
    return found["model"] if found else "None"


def streams(path: str, body: Json) -> bool:
    """Whether the client wants events."""
    found = PATH.search(path)
    return found is not None and found["verb"] == "streamGenerateContent"


def session(headers: Mapping[str, str], body: Json) -> str:
    """Empty: the agent names none."""
    return ""


def conversation(body: Json) -> list[Block]:
    """The user's texts and the tools' results, in order."""
    blocks: list[Block] = []
    for content in body.get("contents", []):
        if content.get("role", "user") == "model":
            continue
        for part in content.get("parts", []):
            if "functionResponse" in part:
                blocks.append(Block("result", _result(part["functionResponse"].get("response"))))
            elif isinstance(part.get("text"), str):
                blocks.append(Block("text", part["text"]))
    return blocks


def offers(body: Json) -> list[Offer]:
    """The tools of a request."""
    functions = [one for tool in body.get("tools") or [] for one in tool.get("functionDeclarations") or []]
    return [Offer(str(one.get("name")), _parameters(one).get("properties", {})) for one in functions]


def schema(body: Json) -> Json | None:
    """What the answer has to look like, if the request says so."""
    config = body.get("generationConfig") or {}
    found = config.get("responseJsonSchema") or config.get("responseSchema")
    return found if isinstance(found, dict) else None


def whole(reply: Reply) -> Json:
    """The response to a request that does not stream."""
    return _chunk(reply, _part(reply), last=True)


def stream(reply: Reply) -> Iterator[bytes]:
    """The same as server-sent events."""
    thought = {"text": "**Thinking**\n", "thought": True}
    yield event(_chunk(reply, thought))
    yield event(_chunk(reply, _part(reply)))
    yield event(_chunk(reply, {"text": ""}, last=True))


def error(status: int) -> Json:
    """The body of a refusal."""
    return {"error": {"code": status, "message": f"pretended {status}", "status": ERRORS.get(status, "INTERNAL")}}


def limited(resets: int, left: int) -> tuple[Json, dict[str, str]]:
    """A quota that is used up, with the pause that the vendor asks for."""
    body = error(429)
    body["error"]["message"] = f"You exceeded your pretended quota. Please retry in {left}s."
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{left}s"}
    body["error"]["details"] = [retry]
    return body, {}


def too_long() -> Json:
    """The body of a 400 for a conversation that no longer fits."""
    said = "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."
    return {"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}


def _parameters(function: Json) -> Json:
    found = function.get("parametersJsonSchema") or function.get("parameters")
    return found if isinstance(found, dict) else {}


def _result(response: Any) -> str:
    if isinstance(response, dict):
        for name in ("output", "error"):
            if isinstance(response.get(name), str):
                return str(response[name])
    return json.dumps(response)


def _part(reply: Reply) -> Json:
    if reply.call is None:
        return {"text": reply.text}
    return {"functionCall": {"id": f"call_{reply.id}", "name": reply.call.name, "args": reply.call.arguments}}


def _chunk(reply: Reply, part: Json, *, last: bool = False) -> Json:
    candidate: Json = {"index": 0, "content": {"role": "model", "parts": [part]}}
    if last:
        candidate["finishReason"] = "STOP"
    more = {"usageMetadata": _usage()} if last else {}
    return {"candidates": [candidate], "modelVersion": reply.model, "responseId": reply.id, **more}


def _usage() -> Json:
    entire = USAGE.input + USAGE.cache_read + USAGE.cache_write
    return {
        "promptTokenCount": entire,
        "cachedContentTokenCount": USAGE.cache_read,
        "candidatesTokenCount": USAGE.output - USAGE.reasoning,
        "thoughtsTokenCount": USAGE.reasoning,
        "totalTokenCount": entire + USAGE.output,
    }
