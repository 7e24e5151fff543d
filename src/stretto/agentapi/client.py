"""The agent's side of its socket: ask, note, usage, status. Used by `stretto agent …` and the scripted agent.

Specification. A call survives a restart of the daemon: it connects again until its time is over (`ask`: its timeout,
or for ever; the others: `PATIENCE` seconds). Each call carries one request id through all its tries, so that the daemon
can tell a repetition from a second call. Standard library only, no asyncio: this runs in every agent's shell.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stretto.agentapi.protocol import MAX_LINE, SOCKET_VARIABLE, TOKEN_VARIABLE, checked, decode, encode
from stretto.core.errors import BY_EXIT_CODE, StrettoError, TimedOut, Unavailable, UsageError

#: seconds that note, usage and status wait for a daemon that is being restarted
PATIENCE = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class TaskCancelled(StrettoError):
    """The task was cancelled while it asked (exit code 3 of `stretto agent ask`)."""

    exit_code = 3
    default_code = "cancelled"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the person said; `key` is the option that was chosen, None for free text."""

    text: str
    key: str | None


@dataclass(frozen=True, slots=True)
class AgentClient:
    """Speaks for one session. `turn` tells questions of different turns apart."""

    path: Path
    token: str
    turn: str | None = None

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> AgentClient:
        """The session of this process. Raises Unavailable outside of one."""
        try:
            return cls(Path(env[SOCKET_VARIABLE]), env[TOKEN_VARIABLE], env.get("STRETTO_TURN"))
        except KeyError as missing:
            raise Unavailable(
                f"this is not a session of stretto: {missing.args[0]} is not set",
                code="no_session",
                hint="`stretto agent` is for agents that stretto started",
            ) from None

    def ask(self, text: str, options: Sequence[str] = (), timeout: float | None = None) -> Answer:
        """Wait for the person's answer.

        Raises TaskCancelled, TimedOut (the question stays open), UsageError for words that are not taken.
        """
        args: dict[str, Any] = {"text": text, "options": list(options), "turn": self.turn, "timeout": timeout}
        reply = self._call("ask", args, _until(timeout))
        return Answer(str(reply.get("answer", "")), reply.get("key"))

    def note(self, text: str, *, result: bool = False) -> None:
        """Leave a note; with `result` it is what the task's dependents get to read."""
        self._call("note", {"text": text, "result": result}, _until(PATIENCE))

    def usage(self, *, cost: str | None = None, model: str | None = None, **tokens: int) -> None:
        """Report tokens (input, output, cache_read, cache_write, reasoning) and cost of work done."""
        self._call("usage", {**tokens, "cost": cost, "model": model}, _until(PATIENCE))

    def status(self) -> dict[str, Any]:
        """What stretto knows of this session."""
        return self._call("status", {}, _until(PATIENCE))

    def _call(self, verb: str, args: dict[str, Any], until: float | None) -> dict[str, Any]:
        verb, args = checked(verb, args)
        request = uuid.uuid4().hex
        line = encode({"id": request, "token": self.token, "verb": verb, "args": args})
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._once(line, request, until)
            except OSError as error:
                self._give_up(error, verb, until)
            time.sleep(pause if until is None else min(pause, max(0.0, until - time.monotonic())))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _give_up(self, error: OSError, verb: str, until: float | None) -> None:
        if isinstance(error, PermissionError) or not self.path.parent.is_dir():
            raise self._unreachable(error) from error
        if until is not None and time.monotonic() >= until:
            if verb == "ask":
                raise _no_answer() from error
            raise self._unreachable(error) from error

    def _unreachable(self, error: OSError) -> Unavailable:
        hint = "is the daemon running? `stretto up` starts it"
        return Unavailable(f"stretto cannot be reached at {self.path}: {error}", object=str(self.path), hint=hint)

    def _once(self, line: bytes, request: str, until: float | None) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_remaining(until))
            sock.connect(os.fspath(self.path))
            sock.sendall(line)
            return _result(_read_line(sock, until), request)


def _until(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _remaining(until: float | None) -> float | None:
    return None if until is None else max(0.001, until - time.monotonic())


def _no_answer() -> TimedOut:
    return TimedOut("nobody answered in time; the question stays open", hint="the answer will come as a message")


def _read_line(sock: socket.socket, until: float | None) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        sock.settimeout(_remaining(until))
        chunk = sock.recv(MAX_LINE)
        if not chunk:
            raise ConnectionResetError("the connection was closed before the answer")
        line += chunk
        if len(line) > MAX_LINE:
            raise UsageError("the response is longer than the protocol allows", code="bad_response")
    return line


def _result(line: bytes, request: str) -> dict[str, Any]:
    reply = decode(line)
    if isinstance(ok := reply.get("ok"), dict) and reply.get("id") == request:
        return ok
    body = reply.get("error")
    if not isinstance(body, dict):
        raise UsageError("the response makes no sense", code="bad_response")
    kind = TaskCancelled if body.get("code") == "cancelled" else BY_EXIT_CODE.get(reply.get("exit_code", 1))
    raise (kind or StrettoError)(
        str(body.get("message")), code=body.get("code"), object=body.get("object"), hint=body.get("hint")
    )
