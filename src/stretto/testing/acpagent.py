"""A small agent that speaks the Agent Client Protocol and plays scenarios: for tests and rehearsals without any model.

    [agents.rehearsal]
    type = "acp"
    command = ["python3", "-m", "stretto.testing.acpagent", "FOLDER"]

What it does is written into the prompt (testing.scenario): `[[write …]]`, `[[sh=…]]`, `[[commit=…]]`, `[[say=…]]`,
`[[slow=…]]`, `[[err=…]]`. It asks for permission before it writes or runs something. Conversations are kept as files in
FOLDER, so that a session can be loaded by another process. `--no-load` and `--no-usage` make it one that can do less.
It reads its input in a thread of its own: a turn can be cancelled, and a permission that is asked for, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from stretto.testing.scenario import Answer, Block, next_answer

Json = dict[str, Any]
#: what every answered prompt costs for each step, in the protocol's words
USAGE = {
    "inputTokens": 900,
    "outputTokens": 30,
    "cachedReadTokens": 4000,
    "cachedWriteTokens": 200,
    "thoughtTokens": 10,
}
OPTIONS = [
    {"optionId": "once", "name": "Allow", "kind": "allow_once"},
    {"optionId": "ever", "name": "Always allow", "kind": "allow_always"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]


class AcpAgent:
    """Plays one process. Only the reader and one turn run at a time."""

    def __init__(self, folder: Path, *, load: bool = True, usage: bool = True) -> None:
        self._folder, self._load, self._usage = folder, load, usage
        self._lock = threading.Lock()
        self._answers: dict[str, Json] = {}
        self._changed = threading.Condition()
        self._cancelled = False
        self._always: set[str] = set()
        self._cwd = Path.cwd()

    def serve(self) -> None:
        """Read lines until the end of the input."""
        for line in sys.stdin:
            message = json.loads(line)
            if "method" in message:
                self._take(message)
            else:
                with self._changed:
                    self._answers[str(message["id"])] = message.get("result") or {}
                    self._changed.notify_all()

    def _take(self, message: Json) -> None:
        method, params, id = message["method"], message.get("params", {}), message.get("id")
        if method == "initialize":
            self._send({"id": id, "result": {"protocolVersion": 1, "agentCapabilities": {"loadSession": self._load}}})
        elif method == "session/new":
            self._cwd = Path(params["cwd"])
            self._send({"id": id, "result": {"sessionId": f"acp-{uuid.uuid4().hex[:12]}"}})
        elif method == "session/load":
            self._load_session(id, params)
        elif method == "session/prompt":
            self._cancelled = False
            threading.Thread(target=self._prompt, args=(id, params), daemon=True).start()
        elif method == "session/cancel":
            with self._changed:
                self._cancelled = True
                self._changed.notify_all()
        elif id is not None:
            self._send({"id": id, "error": {"code": -32601, "message": "Method not found"}})

    def _load_session(self, id: Any, params: Json) -> None:
        """Say again what was said, as the protocol wants it, then that it is loaded."""
        self._cwd = Path(params["cwd"])
        kept = self._file(params["sessionId"])
        if not self._load:
            self._send({"id": id, "error": {"code": -32601, "message": "Method not found"}})
        elif not kept.exists():
            self._send({"id": id, "error": {"code": -32002, "message": "Resource not found"}})
        else:
            for block in json.loads(kept.read_text()):
                kind = "user_message_chunk" if block[0] == "text" else "agent_message_chunk"
                self._update(
                    params["sessionId"], {"sessionUpdate": kind, "content": {"type": "text", "text": block[1]}}
                )
            self._send({"id": id, "result": {}})

    def _prompt(self, id: Any, params: Json) -> None:
        """One turn: what the scenario says, one step after the other."""
        session, text = params["sessionId"], "\n".join(part.get("text", "") for part in params["prompt"])
        kept = self._file(session)
        blocks = [Block(*pair) for pair in json.loads(kept.read_text())] if kept.exists() else []
        blocks.append(Block("text", text))
        steps = 0
        while True:
            kept.write_text(json.dumps([[b.kind, b.text] for b in blocks]))
            answer = next_answer(blocks)
            steps += 1
            if (failed := self._suffer(answer)) is not None:
                self._send({"id": id, "error": {"code": -32603, "message": "Internal error", "data": failed}})
                return
            if self._cancelled:
                self._send({"id": id, "result": {"stopReason": "cancelled", **self._used(steps - 1)}})
                return
            if answer.word not in ("write", "sh", "commit"):
                said = str(answer.values.get("text", "done"))
                for piece in (said[: len(said) // 2], said[len(said) // 2 :]):
                    content = {"type": "text", "text": piece}
                    self._update(session, {"sessionUpdate": "agent_message_chunk", "content": content})
                self._send({"id": id, "result": {"stopReason": "end_turn", **self._used(steps)}})
                return
            blocks.append(Block("result", self._do(session, answer)))

    def _used(self, steps: int) -> Json:
        return {"usage": {name: count * steps for name, count in USAGE.items()}} if self._usage and steps else {}

    def _suffer(self, answer: Answer) -> str | None:
        """What goes wrong before this answer; the words of a failure that ends the turn."""
        for fault in answer.faults:
            if fault.kind == "err":
                return f"{int(fault.value)} pretended"
            if fault.kind == "overflow":
                return "prompt is too long: 210000 tokens > 200000 maximum"
            if fault.kind == "slow":
                with self._changed:
                    self._changed.wait_for(lambda: self._cancelled, fault.value)
        return None

    def _do(self, session: str, answer: Answer) -> str:
        """Carry a step out, if the person allows it; what came of it."""
        write = answer.word == "write"
        title = f"Write {answer.values['path']}" if write else _command(answer)
        call = {"toolCallId": uuid.uuid4().hex[:8], "title": title, "kind": "edit" if write else "execute"}
        self._update(session, {"sessionUpdate": "tool_call", "status": "pending", **call})
        if title not in self._always and not self._allowed(session, call, title):
            return "the person did not allow it"
        if write:
            path = self._cwd / answer.values["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(answer.values["text"])
            return "written"
        done = subprocess.run(["/bin/sh", "-c", title], cwd=self._cwd, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def _allowed(self, session: str, call: Json, title: str) -> bool:
        id = uuid.uuid4().hex[:8]
        params = {"sessionId": session, "toolCall": call, "options": OPTIONS}
        self._send({"id": id, "method": "session/request_permission", "params": params})
        with self._changed:
            self._changed.wait_for(lambda: id in self._answers)  # a cancelled turn waits for it, too
            chosen = self._answers.pop(id, {}).get("outcome", {}).get("optionId")
        if chosen == "ever":
            self._always.add(title)
        return chosen in ("once", "ever")

    def _file(self, session: str) -> Path:
        return self._folder / f"{session}.json"

    def _update(self, session: str, update: Json) -> None:
        self._send({"method": "session/update", "params": {"sessionId": session, "update": update}})

    def _send(self, message: Json) -> None:
        with self._lock:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            sys.stdout.flush()


def _command(answer: Answer) -> str:
    if answer.word == "commit":
        return f"git add -A && git commit -q -m {json.dumps(answer.values['text'])}"
    return str(answer.values["text"])


def main(argv: list[str]) -> int:
    """Serve on standard input and output; the first word is the folder of its conversations."""
    folder = Path(argv[0])
    folder.mkdir(parents=True, exist_ok=True)
    AcpAgent(folder, load="--no-load" not in argv, usage="--no-usage" not in argv).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
