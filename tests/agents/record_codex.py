"""Record the golden lines of the real codex program: `PYTHONPATH=src:. python -m tests.agents.record_codex`.

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

from stretto.agents.codex import CodexAgent
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext
from stretto.testing.modelserver import ModelServer
from tests.support import codex
from tests.support.repository import Repository
from tests.support.stream import Stream, clean_environment
from tests.support.waiting import wait_for

GOLDEN = Path(__file__).parent / "golden" / "codex"


def answered(stream: Stream, answer: dict[str, Any]) -> None:
    data = stream.agent.answer(stream.next("asked").data, answer)
    assert data is not None
    stream.send(data)


def edit(stream: Stream) -> None:
    stream.say('Do it. [[write path=a.py text="x = 1\\n"]] [[sh=touch b]] [[commit=Add a]] [[say=All done.]]')
    answered(stream, {"key": "allow"})
    answered(stream, {"key": "deny"})
    answered(stream, {"key": "always"})
    stream.next("turn_ended")
    stream.turn("More. [[say=Nothing to do.]]")


def questions(stream: Stream) -> None:
    stream.say('x [[ask q="Which colour?" options="Blue|Red"]] [[say=saw {{result}}]]')
    answered(stream, {"key": "2"})
    stream.next("turn_ended")
    stream.say('x [[ask q="Colour?"]] [[ask q="Size?" options="S|M"]] [[say=fine]]')
    answered(stream, {"text": "warm\n2"})
    stream.next("turn_ended")


def interrupt(stream: Stream) -> None:
    stream.say("x [[sh=touch y]]")
    stream.next("asked")
    stream.interrupt(2)
    stream.next("turn_ended")
    stream.say("x [[say=begun]] [[slow=60]]")
    wait_for(lambda: stream.state.get("turn"))
    stream.interrupt(4)
    stream.next("turn_ended")


def trouble(stream: Stream) -> None:
    for fault in ("err=529x1", "err=401x9", "overflow=9", "cut=1", "garbage=1"):
        stream.turn(f"x [[{fault}]] [[say=fine]]")


CONVERSATIONS: dict[str, Callable[[Stream], None]] = {
    "edit": edit,
    "questions": questions,
    "interrupt": interrupt,
    "trouble": trouble,
}


def record(name: str, play: Callable[[Stream], None], server: ModelServer, folder: Path) -> None:
    repo = Repository.create(folder / "repo", {"README.md": "# sample\n"})
    env = {**clean_environment(folder / "home", server.url), **codex.environment(folder / "home")}
    arguments = (*codex.arguments(server.url), *codex.OPEN)
    spec = AgentSpec("codex", "codex", command=(str(codex.program()),), args=arguments)
    context = SessionContext(name, "r/t", repo.path, folder, env, None, False, codex.MODEL, codex.ASKING)
    agent = CodexAgent()
    launch = agent.launch(spec, context)
    with Stream(agent, launch, repo.path) as stream:
        play(stream)
        stream.close()
    lines = [scrubbed(line, folder) for line in stream.lines]
    (GOLDEN / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    state: dict[str, Any] = dict(launch.state)
    signals = [[s.type, s.data] for line in lines for s in agent.parse(line.encode(), state)]
    text = "[\n" + ",\n".join(json.dumps(signal, default=asdict) for signal in signals) + "\n]\n"
    (GOLDEN / f"{name}.signals.json").write_text(text, encoding="utf-8")


def scrubbed(line: bytes, folder: Path) -> str:
    text = line.decode().replace(str(folder), "/home/person")
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:18081", text)
    text = re.sub(r'"(serverName|platformOs|installationId)":"[^"]*"', r'"\1":"x"', text)
    return re.sub(r"\(Debian [^)]*\)", "(x)", text)


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    with ModelServer() as server:
        for name, play in CONVERSATIONS.items():
            # not below the folder for temporary files, where codex will not keep helpers
            with tempfile.TemporaryDirectory(prefix="record-", dir=Path.home()) as folder:
                record(name, play, server, Path(folder))


if __name__ == "__main__":
    main()
