"""Record the golden lines of the real claude program: `PYTHONPATH=src:. python -m tests.agents.record` (`make agents`).

Each file holds what the program wrote in one scripted conversation, and the signals that the adapter made of it. Look
at the difference before you commit it: it is what changed between two versions of the program, or in the adapter.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stretto.agents.claude import ClaudeAgent
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext
from stretto.testing.modelserver import ModelServer
from tests.support import claude
from tests.support.repository import Repository
from tests.support.stream import Stream, clean_environment
from tests.support.waiting import wait_for

GOLDEN = Path(__file__).parent / "golden"
#: long lists that say nothing to the adapter
_LISTS = ("commands", "models", "tools", "slash_commands", "skills", "agents", "plugins", "capabilities")


def answered(stream: Stream, answer: dict[str, Any]) -> None:
    data = stream.agent.answer(stream.next("asked").data, answer)
    assert data is not None
    stream.send(data)


def edit(stream: Stream) -> None:
    stream.say('Do it. [[write path=a.py text="x = 1\\n"]] [[commit=Add a]] [[say=All done.]]')
    answered(stream, {"key": "allow"})
    answered(stream, {"text": "no commits please"})
    stream.next("turn_ended")
    stream.turn("More. [[say=Nothing to do.]]")


def questions(stream: Stream) -> None:
    stream.say('x [[ask q="Which colour?" options="Blue|Red"]] [[say=fine]]')
    answered(stream, {"key": "2"})
    stream.next("turn_ended")
    stream.say('x [[ask q="Colour?"]] [[ask q="Sizes?" options="S|M" multi]] [[say=fine]]')
    answered(stream, {"text": "warm\n1,2"})
    stream.next("turn_ended")


def interrupt(stream: Stream) -> None:
    stream.say("x [[sh=touch y]]")
    stream.next("asked")
    stream.interrupt(2)
    stream.next("turn_ended")
    stream.say("x [[sh=echo begun]] [[slow=60]]")
    wait_for(lambda: any(b'"content":"begun"' in line for line in stream.lines))
    stream.interrupt(4)
    stream.next("turn_ended")


def trouble(stream: Stream) -> None:
    for fault in ("err=529x1", "err=401x9", "overflow=9", "cut=1", "garbage=1"):
        stream.turn(f"x [[{fault}]] [[say=fine]]")


def sub_agent(stream: Stream) -> None:
    inner = "do \\u005b\\u005bsay=sub\\u005d\\u005d"
    stream.say(f'x [[tool Task {{"description":"sub","prompt":"{inner}"}}]] [[say=main]]')
    stream.next("turn_ended")


CONVERSATIONS: dict[str, Callable[[Stream], None]] = {
    "edit": edit,
    "questions": questions,
    "interrupt": interrupt,
    "trouble": trouble,
    "sub_agent": sub_agent,
}


def record(name: str, play: Callable[[Stream], None], server: ModelServer, folder: Path) -> None:
    repo = Repository.create(folder / "repo", {"README.md": "# sample\n"})
    env = clean_environment(folder / "home", server.url)
    spec = AgentSpec("claude", "claude", command=(str(claude.program()),))
    context = SessionContext(name, "r/t", repo.path, folder, env, None, False, "claude-sonnet-4-5", "ask")
    agent = ClaudeAgent()
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
    text = line.decode()
    for path, other in ((str(folder), "/home/person"), (str(folder).replace("/", "-"), "-home-person")):
        text = text.replace(path, other)
    text = re.sub(r"-tmp-record-[\w-]+-repo", "-home-person-repo", text)
    text = re.sub(r"/tmp/(cc-socks|claude-\d+)/(\d+)?", r"/tmp/\1/", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:18081", text)
    message = json.loads(text)
    for place in (message, message.get("response", {}).get("response", {}) or {}):
        if message["type"] in ("system", "control_response") and isinstance(place, dict):
            place.update({key: [] for key in _LISTS if key in place})
            place.update({key: 1 for key in ("pid",) if key in place})
    return json.dumps(message, separators=(",", ":"))


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    with ModelServer() as server:
        for name, play in CONVERSATIONS.items():
            with tempfile.TemporaryDirectory(prefix="record-") as folder:
                record(name, play, server, Path(folder))


if __name__ == "__main__":
    main()
