"""Drive an agent of style `stream` with plain pipes, as the shim does: its adapter's argv, records and parser."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from stretto.core.model import Usage
from stretto.interfaces import Agent, Launch, Signal

NAMES = ("input", "output", "cache_read", "cache_write")


def clean_environment(home: Path, url: str) -> dict[str, str]:
    """As `env -i` would start it: a scratch home, a dummy key, only loopback, no telemetry."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.defpath,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": os.environ["TMPDIR"],
        "STRETTO_TEST_RUN": os.environ["STRETTO_TEST_RUN"],
        "GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"],
        "GIT_CONFIG_NOSYSTEM": "1",
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "dummy",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }


def total(signals: list[Signal]) -> Usage:
    """The sum of all usage signals; a key that comes twice is a mistake of the parser."""
    counted = [signal.data for signal in signals if signal.type == "usage"]
    assert len({data["key"] for data in counted}) == len(counted)
    return Usage(**{name: sum(getattr(data["usage"], name) for data in counted) for name in NAMES})


@dataclass
class Stream:
    """A running agent. `state` may be kept for the next process, as a daemon does."""

    agent: Agent
    launch: Launch
    cwd: Path
    state: dict[str, Any] = field(default_factory=dict)
    signals: list[Signal] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    records: int = 0

    def __enter__(self) -> Stream:
        self._changed = threading.Condition()
        self._seen = 0
        self.process = subprocess.Popen(
            self.launch.argv,
            cwd=self.cwd,
            env=self.launch.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._errors: list[bytes] = []
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()
        self.state.update(self.launch.state)
        for kind, data in self.launch.first:
            assert kind == "control"
            self.send(data)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for thread in self._threads:
            thread.join(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    @property
    def errors(self) -> str:
        return b"".join(self._errors).decode(errors="replace")

    def send(self, data: str) -> None:
        assert self.process.stdin is not None
        assert "\n" not in data
        self.records += 1
        self.process.stdin.write(data.encode() + b"\n")
        self.process.stdin.flush()

    def turn(self, text: str) -> Signal:
        """Say something and wait until the turn is over."""
        self.say(text)
        return self.next("turn_ended")

    def say(self, text: str) -> None:
        """Begin a turn, once the agent takes turns."""
        self._wait(lambda: not self.state.get("handshake"))
        self.send(self.agent.turn(text, self.state))

    def interrupt(self, number: int) -> None:
        kind, data = self.agent.interrupt(number, self.state)
        assert kind == "interrupt"
        self.send(data)

    def next(self, *types: str, timeout: float = 60) -> Signal:
        """The next signal of one of these types that was not returned before."""
        found: list[Signal] = []

        def look() -> bool:
            for at in range(self._seen, len(self.signals)):
                if self.signals[at].type in types:
                    self._seen = at + 1
                    found.append(self.signals[at])
                    return True
            return False

        self._wait(look, timeout)
        if not found:
            raise AssertionError(f"no {types} came; signals: {self.signals[-20:]}\nstderr: {self.errors[-2000:]}")
        return found[0]

    def _wait(self, until: Callable[[], Any], timeout: float = 60) -> None:
        over = lambda: self.process.poll() is not None and not self._threads[0].is_alive()  # noqa: E731
        with self._changed:
            self._changed.wait_for(lambda: until() or over(), timeout)

    def close(self) -> int:
        """End the conversation as the shim does, and return the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip(b"\n"))
                found = self.agent.parse(line.rstrip(b"\n"), self.state)
                self.signals += found
                for one in found:
                    if one.type == "reply":
                        self.send(one.data["data"])
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)
