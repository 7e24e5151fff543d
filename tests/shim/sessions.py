"""Real sessions for tests: a folder, a shim, an agent that is a few lines of shell or Python."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stretto import proctree
from stretto.interfaces import ShimState
from stretto.shim import folder as folders
from stretto.shim.constants import marker
from stretto.shim.control import FolderShims, wake
from tests.support.waiting import wait_for

SHELL = "/bin/sh"


def python(text: str) -> list[str]:
    """An agent in Python, quick to start."""
    return [sys.executable, "-I", "-S", "-c", text]


def shell(text: str) -> list[str]:
    return [SHELL, "-c", text]


class Session:
    """One session folder below `root`, driven as the daemon does."""

    def __init__(self, root: Path, name: str, argv: list[str], style: str = "stream", **spec: Any) -> None:
        self.shims = FolderShims()
        self.id = f"{root.parent.name}-{root.name}-{name}"  # the marker must be unique on the machine
        self.folder = root / "sessions" / name
        self.spec: dict[str, Any] = {
            "session": self.id,
            "style": style,
            "argv": argv,
            "cwd": str(root),
            "env": {"PATH": os.environ["PATH"]},
            "nudge": str(root / "nudge"),
            "stop_seconds": 5,
            **spec,
        }
        self.number = 0

    def start(self, secrets: Mapping[str, str] | None = None) -> Session:
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.shims.start(self.folder, self.spec, secrets or {})
        return self

    def send(self, data: str, kind: str = "turn") -> int:
        self.number += 1
        self.shims.append(self.folder, kind, data, self.number)
        return self.number

    @property
    def state(self) -> ShimState:
        return self.shims.state(self.folder)

    def output(self, stream: str = "out", cursor: int = 0) -> bytes:
        """Everything from a position on, as a reader sees it that keeps a cursor."""
        parts: list[bytes] = []
        while True:
            data, cursor = self.shims.read(self.folder, stream, cursor, 1 << 20)
            if not data:
                return b"".join(parts)
            parts.append(data)

    def said(self, text: bytes, stream: str = "out", timeout: float = 120.0) -> bytes:
        """Wait until the agent has said this."""
        wait_for(
            lambda: text in self.output(stream), timeout, what=lambda: f"{text!r} in {self.output(stream)[-500:]!r}"
        )
        return self.output(stream)

    def delivered(self, n: int) -> None:
        wait_for(lambda: self.state.delivered >= n, what=lambda: f"delivery of {n}: {self.state}")

    def turn_over(self, n: int, timeout: float = 120.0) -> dict[str, Any]:
        wait_for(lambda: n in self.state.turns, timeout, what=lambda: f"the end of turn {n}: {self.state}")
        return self.state.turns[n]

    def over(self, timeout: float = 120.0) -> dict[str, Any]:
        """Wait until the shim is gone; its last words."""
        wait_for(lambda: self.state.alive is False, timeout, what=lambda: f"the end of the session: {self.state}")
        return self.state.exit or {}

    @property
    def agent(self) -> int:
        """Pid of the agent, as soon as it is known."""
        return wait_for(lambda: self.state.agent_pid, what="the agent")

    @property
    def shim(self) -> int:
        """Pid of the shim."""
        return wait_for(lambda: self.state.pid, what="the shim")

    def processes(self) -> list[int]:
        """Pids that carry this session's marker."""
        return [pid for pid, _ in proctree.marked(marker(self.id))]

    def kill_shim(self) -> None:
        os.kill(self.shim, signal.SIGKILL)
        wait_for(lambda: self.state.alive is False, what="the lock to come free")

    def raw(self, line: bytes, *, waking: bool = True) -> None:
        """Append to in.jsonl behind the back of `append`."""
        with (self.folder / "in.jsonl").open("ab") as file:
            file.write(line)
        if waking:
            wake(self.folder)

    def json(self, name: str) -> dict[str, Any] | None:
        return folders.read_json(self.folder / name)

    def log(self) -> str:
        return (self.folder / "shim.log").read_text()


def record(n: int, kind: str = "turn", data: str = "x") -> bytes:
    return json.dumps({"n": n, "kind": kind, "data": data}).encode() + b"\n"
