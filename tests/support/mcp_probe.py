"""A tool server of the smallest kind (Model Context Protocol over standard streams): `echo` says what it was told.

What it says begins with the value of PROBE in its environment, so that a test can tell who started it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

TOOL = {
    "name": "echo",
    "description": "Say something",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; None for one that it does not know."""
    if method == "initialize":
        told = {"name": "probe", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": told}
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call":
        said = f"{os.environ['PROBE']} heard {params['arguments']['text']}"
        return {"content": [{"type": "text", "text": said}]}
    return {} if method == "ping" else None


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = answer(str(message.get("method")), message.get("params") or {})
        more = {"result": result} if result is not None else {"error": {"code": -32601, "message": "unknown"}}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **more}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
