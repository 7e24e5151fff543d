r"""The words between an agent and stretto: one JSON object a line over the session's Unix socket.

Request   {"id": "1", "token": "…", "verb": "ask", "args": {…}}
Response  {"id": "1", "ok": {…}}  or  {"id": "1", "error": {code, message, object, hint}, "exit_code": 1}

Verbs and their arguments (all but the first optional):
    ask     text, options [text…], turn, timeout (s)   -> {"answer": text, "key": "1"|null}, once the person answered
    note    text, result (bool: this is the task's result)                            -> {}
    usage   input, output, cache_read, cache_write, reasoning (tokens), cost, model   -> {}
    status                                                    -> whatever the daemon says of this session

`ask` may take days. A client that lost its connection asks again: the same text in the same turn is the same question
(`question_key`). The end of the connection withdraws nothing; the question stays open (DECISIONS 13).
A task that is cancelled while it asks gets the error code `cancelled`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stretto.core.errors import StrettoError, UsageError

#: bytes of one line, newline included; a longer one ends the connection
MAX_LINE = 64 * 1024
#: characters of a question or note
MAX_TEXT = 16 * 1024
MAX_OPTIONS = 20
#: bytes of a Unix socket's path that every platform can bind (macOS: 104 with the final zero)
MAX_SOCKET_PATH = 100
#: the socket in a session's folder; it has a folder of its own, so that a sandbox can show that and nothing else, and
#: sees the socket of the next daemon, too
SOCKET = Path("api", "agent.sock")
SOCKET_VARIABLE = "STRETTO_AGENT_SOCKET"
TOKEN_VARIABLE = "STRETTO_AGENT_TOKEN"  # noqa: S105  the name, not a token

TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")
VERBS: dict[str, frozenset[str]] = {
    "ask": frozenset({"text", "options", "turn", "timeout"}),
    "note": frozenset({"text", "result"}),
    "usage": frozenset({*TOKENS, "cost", "model"}),
    "status": frozenset(),
}


def question_key(turn: str | int | None, text: str) -> str:
    """What makes two questions the same one: the turn and the text."""
    return hashlib.sha256(f"{turn if turn is not None else ''}\0{text}".encode()).hexdigest()[:32]


def socket_path(folder: Path, runtime: Path) -> Path:
    """Where the socket of the session in `folder` is; `runtime` is the place for paths that are too long.

    The path travels in the agent's environment. A daemon that starts later must serve that path, whatever its own
    runtime folder: read it from the session's environment, not from here.
    """
    path = folder / SOCKET
    if len(bytes(path)) <= MAX_SOCKET_PATH:
        return path
    name = hashlib.sha256(bytes(folder.resolve())).hexdigest()[:16]
    return runtime / name / SOCKET.name


def encode(message: Mapping[str, Any]) -> bytes:
    """One line. Raises UsageError for a message that is too long to send."""
    line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
    if len(line) > MAX_LINE:
        raise UsageError(
            f"the message has {len(line)} bytes, at most {MAX_LINE} can be sent",
            code="too_long",
            hint="shorten the text; put long results into the report file",
        )
    return line


def decode(line: bytes) -> dict[str, Any]:
    """The object of one line. Raises UsageError for anything else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not a line of JSON: {error}", code="bad_request") from None
    if not isinstance(message, dict):
        raise UsageError("not a JSON object", code="bad_request")
    return message


def error_body(error: StrettoError) -> dict[str, Any]:
    """The `error` and `exit_code` of a response."""
    return {"error": error.as_json(), "exit_code": error.exit_code}


def checked(verb: object, args: object) -> tuple[str, dict[str, Any]]:
    """The verb and its arguments, if they are in order. Raises UsageError that names what is not."""
    if not isinstance(verb, str) or verb not in VERBS:
        raise UsageError(f"unknown verb {verb!r}; there are {', '.join(VERBS)}", code="bad_request")
    if not isinstance(args, dict):
        raise UsageError("`args` is not an object", code="bad_request")
    if unknown := sorted(set(args) - VERBS[verb]):
        raise UsageError(f"{verb} does not know {', '.join(map(repr, unknown))}", code="bad_request")
    if verb in ("ask", "note"):
        _check_text(verb, args)
    if verb == "usage":
        _check_usage(args)
    return verb, args


def _check_text(verb: str, args: dict[str, Any]) -> None:
    text = args.get("text")
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"{verb} needs a text", code="bad_request")
    if len(text) > MAX_TEXT:
        raise UsageError(f"the text has {len(text)} characters, at most {MAX_TEXT} are taken", code="too_long")
    options = args.get("options", [])
    if not isinstance(options, list) or not all(isinstance(o, str) and o.strip() for o in options):
        raise UsageError("`options` is not a list of texts", code="bad_request")
    if len(options) > MAX_OPTIONS:
        raise UsageError(f"{len(options)} options, at most {MAX_OPTIONS} are taken", code="too_long")
    if not isinstance(args.get("turn"), str | int | None):
        raise UsageError("`turn` is neither a text nor a number", code="bad_request")
    if (timeout := args.get("timeout")) is not None and not _is_amount(timeout):
        raise UsageError("`timeout` is not a number of seconds", code="bad_request")
    if not isinstance(args.get("result", False), bool):
        raise UsageError("`result` is neither true nor false", code="bad_request")


def _check_usage(args: dict[str, Any]) -> None:
    for name in TOKENS:
        value = args.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
            raise UsageError(f"`{name}` is not a number of tokens", code="bad_request")
    cost = args.get("cost")
    if cost is not None and not _is_amount(cost):
        raise UsageError("`cost` is not an amount", code="bad_request")
    if not isinstance(args.get("model"), str | None):
        raise UsageError("`model` is not a text", code="bad_request")


def _is_amount(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        number = float(value)
    except ValueError:
        return False
    return math.isfinite(number) and number >= 0
