"""The real Playwright with its tool server, for the tests of browsers (`make agents` installs the pinned ones)."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.world import ROOT

INSTALLED = ROOT / ".cache" / "playwright"


def programs() -> Path:
    """The folder with `playwright`, `mcp` and `node_modules`. Skips the test without one, and CI fails on a skip."""
    folder = Path(os.environ.get("STRETTO_PLAYWRIGHT") or INSTALLED)
    if not os.access(folder / "playwright", os.X_OK):
        pytest.skip(f"no playwright in {folder}: run `make agents`")
    return folder


def chromium() -> str:
    """The program of Debian's Chromium."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed")
    return found


class ToolServer:
    """A tool server that speaks over its standard streams, as an agent starts it: with the environment alone."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [str(programs() / "mcp")], env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._number = 0
        self._rest = b""
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
        self._ask("initialize", about)
        self._say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, tool: str, **arguments: Any) -> str:
        """What a tool answers, as text."""
        found = self._ask("tools/call", {"name": tool, "arguments": arguments})
        return "\n".join(part.get("text", "") for part in found["content"])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        self._say({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        end = time.monotonic() + 60
        while (answer := self._line(end)).get("id") != self._number:
            pass
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _line(self, end: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the tool server does not answer"
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            assert data, "the tool server has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found
