"""Record the golden lines of the real pi program: `PYTHONPATH=src:. python -m tests.agents.record_pi` (`make agents`).

As `tests.agents.record` does for claude: what the program wrote in scripted conversations, and the signals made of it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stretto.agents.pi import PiAgent
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext
from stretto.testing.modelserver import ModelServer
from tests.agents.record import answered, edit, questions
from tests.support import pi
from tests.support.repository import Repository
from tests.support.stream import Stream
from tests.support.waiting import wait_for

GOLDEN = Path(__file__).parent / "golden" / "pi"


def interrupt(stream: Stream) -> None:
    stream.say("x [[sh=touch y]]")
    stream.next("asked")
    stream.interrupt(2)
    stream.next("turn_ended")
    stream.say("x [[sh=echo begun]] [[slow=60]]")
    answered(stream, {"key": "allow"})
    wait_for(lambda: any(b'"tool_execution_end"' in line and b"begun" in line for line in stream.lines))
    stream.interrupt(4)
    stream.next("turn_ended")


def trouble(stream: Stream) -> None:
    for fault in ("err=500x1", "err=401x9", "overflow=9", "cut=1"):
        stream.turn(f"x [[{fault}]] [[say=fine]]")
    stream.send('{"type":"prompt","message":7}')
    stream.next("turn_ended")
    stream.turn("x [[say=still there]]")


CONVERSATIONS: dict[str, Callable[[Stream], None]] = {
    "edit": edit,
    "questions": questions,
    "interrupt": interrupt,
    "trouble": trouble,
}


def record(name: str, play: Callable[[Stream], None], server: ModelServer, folder: Path) -> None:
    repo = Repository.create(folder / "repo", {"README.md": "# sample\n"})
    own = pi.environment(folder / "home", server.url)
    env = {**{name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}, **own}
    spec = AgentSpec("pi", "pi", command=(str(pi.program()),))
    context = SessionContext(name, "r/t", repo.path, folder, env, None, False, pi.MODEL, "ask")
    agent = PiAgent()
    with Stream(agent, agent.launch(spec, context), repo.path) as stream:
        play(stream)
        stream.close()
    lines = [scrubbed(line, folder) for line in stream.lines]
    (GOLDEN / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    state: dict[str, Any] = {}
    signals = [[s.type, s.data] for line in lines for s in agent.parse(line.encode(), state)]
    text = "[\n" + ",\n".join(json.dumps(signal, default=asdict) for signal in signals) + "\n]\n"
    (GOLDEN / f"{name}.signals.json").write_text(text, encoding="utf-8")


def scrubbed(line: bytes, folder: Path) -> str:
    text = line.decode().replace(str(folder), "/home/person").replace(str(folder).replace("/", "-"), "-home-person")
    message = json.loads(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:18081", text))
    said = message.get("message")
    if isinstance(said, dict) and said.get("role") == "system":
        message["message"] = {"role": "system", "content": ""}
    if message["type"] == "agent_end":
        message["messages"] = []
    if message["type"] == "turn_end":
        message["message"], message["toolResults"] = {"role": "assistant"}, []
    return json.dumps(message, separators=(",", ":"))


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    with ModelServer() as server:
        for name, play in CONVERSATIONS.items():
            with tempfile.TemporaryDirectory(prefix="record-") as folder:
                record(name, play, server, Path(folder))


if __name__ == "__main__":
    main()
