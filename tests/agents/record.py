"""Record the golden lines of the real programs: `PYTHONPATH=src:. python -m tests.agents.record [NAME…]`.

Each file holds what a program wrote in one scripted conversation, and the signals that the adapter made of it; where it
was ended from outside, `NAME.exit.json` how its process ended. Look at the difference before you commit it: it is what
changed between two versions of the program, or in the adapter. `NAME/CONVERSATION` records one of them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from stretto import agents
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext
from stretto.testing.modelserver import ModelServer
from tests.e2e.real_agents import KINDS, Kind
from tests.support.repository import Repository
from tests.support.stream import Stream, clean_environment
from tests.support.waiting import wait_for
from tests.support.world import SOURCES

GOLDEN = Path(__file__).parent / "golden"
Conversation = Callable[[Stream], None]


def answered(stream: Stream, answer: dict[str, Any]) -> None:
    data = stream.agent.answer(stream.next("asked").data, answer)
    assert data is not None
    stream.send(data)


def edit(*answers: dict[str, Any], steps: str) -> Conversation:
    def play(stream: Stream) -> None:
        stream.say(f"Do it. {steps} [[say=All done.]]")
        for answer in answers:
            answered(stream, answer)
        stream.next("turn_ended")
        stream.turn("More. [[say=Nothing to do.]]")

    return play


def questions(said: str = "warm\n1,2", second: str = '[[ask q="Sizes?" options="S|M" multi]]') -> Conversation:
    def play(stream: Stream) -> None:
        stream.say('x [[ask q="Which colour?" options="Blue|Red"]] [[say=saw {{result}}]]')
        answered(stream, {"key": "2"})
        stream.next("turn_ended")
        stream.say(f'x [[ask q="Colour?"]] {second} [[say=fine]]')
        answered(stream, {"text": said})
        stream.next("turn_ended")

    return play


def interrupt(*, asks: bool = False) -> Conversation:
    """`asks`: every command is asked for."""

    def play(stream: Stream) -> None:
        stream.say("x [[sh=touch y]]")
        stream.next("asked")
        stream.interrupt(2)
        stream.next("turn_ended")
        stream.say("x [[sh=echo begun]] [[slow=60]]")
        if asks:
            answered(stream, {"key": "allow"})
        wait_for(lambda: any(b"begun" in line and b"echo" not in line for line in stream.lines))
        stream.interrupt(4)
        stream.next("turn_ended")

    return play


def busy(stream: Stream) -> None:
    """Begin a turn whose model does not answer after a command that was allowed."""
    stream.say("x [[sh=touch made]] [[slow=60]]")
    answered(stream, {"key": "allow"})
    wait_for((stream.cwd / "made").exists)


def interrupt_asking(stream: Stream) -> None:
    """While it asks for permission, and while it waits for its model."""
    stream.say("x [[sh=touch y]]")
    asked = stream.next("asked")
    stream.interrupt(2)
    stream.send(stream.agent.taken_back(asked.data))  # type: ignore[attr-defined]  # those of this protocol can
    stream.next("turn_ended")
    busy(stream)
    stream.interrupt(4)
    stream.next("turn_ended")


def interrupt_at_once(stream: Stream) -> None:
    stream.say("x [[sh=touch y]]")
    stream.next("asked")
    stream.interrupt(2)
    stream.next("turn_ended")
    stream.say("x [[say=begun]] [[slow=60]]")
    wait_for(lambda: stream.state.get("turn") or stream.state.get("running"))
    stream.interrupt(4)
    stream.next("turn_ended")


def trouble(*faults: str) -> Conversation:
    def play(stream: Stream) -> None:
        for fault in faults:
            stream.turn(f"x [[{fault}]] [[say=fine]]")

    return play


def sub_agent(stream: Stream) -> None:
    inner = "do \\u005b\\u005bsay=sub\\u005d\\u005d"
    stream.say(f'x [[tool Task {{"description":"sub","prompt":"{inner}"}}]] [[say=main]]')
    stream.next("turn_ended")


def asking_sub_agent(stream: Stream) -> None:
    """What a sub-agent may not do unasked is asked for as well."""
    inner = "do \\u005b\\u005bsh=touch child\\u005d\\u005d"
    arguments = f'{{"description":"sub","prompt":"{inner}","subagent_type":"general"}}'
    stream.say(f"x [[tool task {arguments}]] [[say=main]]")
    answered(stream, {"key": "allow"})
    stream.next("turn_ended")


def refused_prompt(stream: Stream) -> None:
    trouble("err=500x1", "err=401x9", "overflow=9", "cut=1")(stream)
    stream.send('{"type":"prompt","message":7}')
    stream.next("turn_ended")
    stream.turn("x [[say=still there]]")


def limits(more: int = 9) -> Conversation:
    """A vendor that takes no more now: it is waited for, then it takes no more for `more` tries."""

    def play(stream: Stream) -> None:
        stream.turn("x [[err=429x1]] [[say=fine]]")
        stream.say(f"x [[err=429x{more}]] [[say=late]]")
        stream.next("turn_ended", timeout=600)  # some try for minutes, and say nothing of it

    return play


def ended(number: signal.Signals, *, idle: bool = False) -> Conversation:
    """Its process is ended from outside: in the middle of a turn, or when it is `idle`."""

    def play(stream: Stream) -> None:
        if idle:
            stream.turn("x [[say=fine]]")
        else:
            busy(stream)
        tree = psutil.Process(stream.process.pid).children(recursive=True)
        stream.process.send_signal(number)
        stream.process.wait(30)
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                one.kill()

    return play


#: how each may be ended from outside
ENDS = {
    "killed": ended(signal.SIGKILL),
    "signalled": ended(signal.SIGINT),
    "quit": ended(signal.SIGTERM, idle=True),
}


@dataclass(frozen=True)
class Recording:
    """What is played with a program, and how its lines are made the same on every machine."""

    conversations: dict[str, Conversation]
    scrubbed: Callable[[str], str] = lambda line: line
    #: where the scratch folder may be: codex keeps no helpers below the folder for temporary files
    below: Path | None = None


_TROUBLE = ("err=529x1", "err=401x9", "overflow=9", "cut=1", "garbage=1")
_ALLOW, _DENY = {"key": "allow"}, {"key": "deny"}
_WRITE = '[[write path=a.py text="x = 1\\n"]]'
#: long lists that say nothing to the adapter
_LISTS = ("commands", "models", "tools", "slash_commands", "skills", "agents", "plugins", "capabilities")


def _claude(line: str) -> str:
    line = re.sub(r"-tmp-record-[\w-]+-repo", "-home-person-repo", line)
    line = re.sub(r"/tmp/(cc-socks|claude-\d+)/(\d+)?", r"/tmp/\1/", line)
    message = json.loads(line)
    for place in (message, message.get("response", {}).get("response", {}) or {}):
        if message["type"] in ("system", "control_response") and isinstance(place, dict):
            place.update({key: [] for key in _LISTS if key in place})
            place.update({key: 1 for key in ("pid",) if key in place})
    return json.dumps(message, separators=(",", ":"))


def _codex(line: str) -> str:
    line = re.sub(r'"(serverName|platformOs|installationId)":"[^"]*"', r'"\1":"x"', line)
    return re.sub(r"\(Debian [^)]*\)", "(x)", line)


def _pi(line: str) -> str:
    message = json.loads(line)
    said = message.get("message")
    if isinstance(said, dict) and said.get("role") == "system":
        message["message"] = {"role": "system", "content": ""}
    if message["type"] == "agent_end":
        message["messages"] = []
    if message["type"] == "turn_end":
        message["message"], message["toolResults"] = {"role": "assistant"}, []
    return json.dumps(message, separators=(",", ":"))


RECORDINGS: dict[str, Recording] = {
    "claude": Recording(
        {
            "edit": edit(_ALLOW, {"text": "no commits please"}, steps=f"{_WRITE} [[commit=Add a]]"),
            "questions": questions(),
            "interrupt": interrupt(),
            "trouble": trouble(*_TROUBLE),
            "sub_agent": sub_agent,
            "limits": limits(),
            **ENDS,
        },
        _claude,
    ),
    "codex": Recording(
        {
            "edit": edit(_ALLOW, _DENY, {"key": "always"}, steps=f"{_WRITE} [[sh=touch b]] [[commit=Add a]]"),
            "questions": questions("warm\n2", '[[ask q="Size?" options="S|M"]]'),
            "interrupt": interrupt_at_once,
            "trouble": trouble(*_TROUBLE),
            "limits": limits(),
            **ENDS,
        },
        _codex,
        Path.home(),
    ),
    "pi": Recording(
        {
            "edit": edit(_ALLOW, {"text": "no commits please"}, steps=f"{_WRITE} [[commit=Add a]]"),
            "questions": questions(),
            "interrupt": interrupt(asks=True),
            "trouble": refused_prompt,
            "limits": limits(),
            **ENDS,
        },
        _pi,
    ),
    "opencode": Recording(
        {
            "edit": edit(
                _ALLOW, {"text": "no b please"}, {"key": "always"}, steps=f"{_WRITE} [[sh=touch b]] [[sh=ls]]"
            ),
            "questions": questions(),
            "interrupt": interrupt_at_once,
            "trouble": trouble("err=529x1", "err=401x9", "overflow=9", "cut=1"),
            "sub_agent": asking_sub_agent,
            "limits": limits(),
            **ENDS,
        },
    ),
    "gemini": Recording(
        {
            "edit": edit(_ALLOW, _DENY, steps=f"{_WRITE} [[sh=touch b]]"),
            "trouble": trouble("err=401x9", "cut=1", "overflow=9"),
            "interrupt": interrupt_asking,
            "limits": limits(30),
            **ENDS,
        },
    ),
    "acp": Recording(
        {
            "edit": edit(_ALLOW, _DENY, steps=f"{_WRITE} [[sh=touch b]]"),
            "trouble": trouble("err=500x1", "err=401x1", "overflow=9"),
            "interrupt": interrupt_asking,
            "limits": trouble("err=429x1"),
            **ENDS,
        },
    ),
}
#: an agent of our own stands for all that speak the protocol
OWN = replace(
    KINDS["gemini"],
    name="acp",
    model="",
    program=lambda: Path(sys.executable),
    environment=lambda home, url: {"PYTHONPATH": str(SOURCES), "HOME": str(home)},
    arguments=lambda url: ("-m", "stretto.testing.acpagent", "../home"),
)


def record(kind: Kind, what: Recording, name: str, server: ModelServer, folder: Path) -> None:
    repo = Repository.create(folder / "repo", {"README.md": "# sample\n"})
    home = folder / "home"
    env = {**clean_environment(home, server.url), **kind.environment(home, server.url)}
    spec = AgentSpec(kind.name, kind.name, command=(str(kind.program()),), args=tuple(kind.arguments(server.url)))
    context = SessionContext(name, "r/t", repo.path, folder, env, None, False, kind.model, kind.asking)
    agent = agents.find(kind.name)
    launch = agent.launch(spec, context)
    with Stream(agent, launch, repo.path) as stream:
        what.conversations[name](stream)
        stream.close()
    exit = how_it_ended(stream.process.returncode) if name in ENDS else None
    lines = [what.scrubbed(scrubbed(line, folder)) for line in stream.lines]
    into = GOLDEN / kind.name
    into.mkdir(parents=True, exist_ok=True)
    (into / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    state: dict[str, Any] = dict(launch.state)
    signals = [[s.type, s.data] for line in lines for s in agent.parse(line.encode(), state)]
    text = "[\n" + ",\n".join(json.dumps(signal, default=asdict) for signal in signals) + "\n]\n"
    (into / f"{name}.signals.json").write_text(text, encoding="utf-8")
    if exit is not None:
        (into / f"{name}.exit.json").write_text(json.dumps(exit) + "\n", encoding="utf-8")


def how_it_ended(returned: int) -> dict[str, Any]:
    """A process' end in the words of a shim's `exit.json`."""
    return {"code": returned if returned >= 0 else None, "signal": -returned if returned < 0 else None}


def scrubbed(line: bytes, folder: Path) -> str:
    """No path, no port of this machine."""
    text = line.decode()
    for path, other in ((str(folder), "/home/person"), (str(folder).replace("/", "-"), "-home-person")):
        text = text.replace(path, other)
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:18081", text)


def alone(folder: Path) -> None:
    """What the tests get from their conftest: a place for temporary files, a mark, an identity for commits."""
    settings = "[user]\nname = Person\nemail = person@example.com\n[init]\ndefaultBranch = main\n"
    (folder / "gitconfig").write_text(settings)
    os.environ.setdefault("TMPDIR", tempfile.gettempdir())
    os.environ |= {"STRETTO_TEST_RUN": "record", "GIT_CONFIG_GLOBAL": str(folder / "gitconfig")}


def main(names: list[str]) -> None:
    kinds = {**KINDS, "acp": OWN}
    with ModelServer() as server, tempfile.TemporaryDirectory(prefix="recorder-") as own:
        alone(Path(own))
        for kind, _, one in (name.partition("/") for name in names or list(RECORDINGS)):
            what = RECORDINGS[kind]
            for name in [one] if one else what.conversations:
                with tempfile.TemporaryDirectory(prefix="record-", dir=what.below) as folder:
                    record(kinds[kind], what, name, server, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
