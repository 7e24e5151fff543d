"""Gemini CLI's own lines, and between them what each of its requests used, which it tells a file and nobody else.

    python -I -S gemini_bridge.py GEMINI [WORDS…] --acp …

Specification. Run by a shim as the agent of a session; standard library only, nothing of stretto is imported. Input and
output of the program are passed on line by line, as they are. Before each line of its output, what was added to the
recording of the conversation (`.gemini/tmp/*/chats/session-*-ID.jsonl`) is looked at: a request that it tells for the
first time becomes a line {usage: {id, model, tokens}}. The recording is read, never written; one that cannot be found
or read tells nothing. What it held when the conversation was loaded was told by an earlier session.

The end of the input ends the program, which would not end by itself; its end is ours, with its exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: seconds to a polite end
END = 5.0


class Recording:
    """The file in which the program records one conversation."""

    def __init__(self, home: str) -> None:
        self._tmp = Path(home) / ".gemini" / "tmp"
        self._path: Path | None = None
        self._offset = 0
        self._told: set[str] = set()
        self.id = ""

    def begin(self, id: str, *, loaded: bool) -> None:
        """From now on it is this conversation. `loaded`: what is there already is old."""
        self.id, self._path, self._offset = id, None, 0
        if loaded:
            self.news()

    def news(self) -> list[dict[str, Any]]:
        """The requests that it did not tell before."""
        found = []
        for line in self._lines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if not isinstance(said, dict) or not isinstance(said.get("tokens"), dict):
                continue
            id = str(said.get("id"))
            if id not in self._told:
                self._told.add(id)
                found.append({"id": id, "model": said.get("model"), "tokens": said["tokens"]})
        return found

    def _lines(self) -> list[bytes]:
        """Whole lines that were added."""
        try:
            if self._path is None:
                named = self._tmp.glob("*/chats/session-*.jsonl")
                self._path = next((path for path in named if self._ours(path)), None)
            if self._path is None or self._path.stat().st_size == self._offset:
                return []
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole, _, _ = data.rpartition(b"\n")
        self._offset += len(whole) + 1 if whole else 0
        return whole.split(b"\n") if whole else []

    def _ours(self, path: Path) -> bool:
        """Its name holds the beginning of the id only; its first line holds all of it."""
        if not path.stem.endswith(self.id[:8]):
            return False
        with path.open("rb") as file:
            return self.id.encode() in file.readline()


def tell(data: bytes) -> None:
    """A line of our output."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def pass_on(process: subprocess.Popen[bytes], recording: Recording) -> None:
    """The program's output, with the news of the recording before each line."""
    for line in process.stdout or ():
        if b'"id":"session"' in line:
            begin(line, recording)
        elif recording.id:
            for used in recording.news():
                tell(json.dumps({"usage": used}, separators=(",", ":")).encode() + b"\n")
        tell(line if line.endswith(b"\n") else line + b"\n")


def begin(line: bytes, recording: Recording) -> None:
    """A new conversation is named by the answer to the request for it."""
    try:
        new = json.loads(line)["result"]["sessionId"]
    except (ValueError, KeyError, TypeError):
        return
    if isinstance(new, str) and new != recording.id:
        recording.begin(new, loaded=False)


def feed(process: subprocess.Popen[bytes], recording: Recording) -> None:
    """Our input, until it ends; then the program is ended."""
    for line in sys.stdin.buffer:
        if b'"session/load"' in line:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # the program will say that it makes no sense
                recording.begin(str(json.loads(line)["params"]["sessionId"]), loaded=True)
        try:
            if process.stdin is not None:
                process.stdin.write(line)
                process.stdin.flush()
        except OSError:
            return
    end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Politely, then not: the program and what it started itself, for it is a launcher of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END)
        if not group_lives(process.pid):
            return


def group_lives(group: int) -> bool:
    """Whether any process of it is left, after a while in which they may end."""
    until = time.monotonic() + END
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.02)
    return True


def main(argv: list[str]) -> int:
    """Until either end."""
    recording = Recording(os.environ.get("GEMINI_CLI_HOME") or os.environ.get("HOME") or "/nonexistent")
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
    except OSError as error:
        os.write(2, f"{argv[0]} cannot be started: {error.strerror}\n".encode())
        return 127
    threading.Thread(target=feed, args=(process, recording), daemon=True).start()
    try:
        pass_on(process, recording)
    except KeyboardInterrupt:
        end(process)
        return 130
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.buffer.flush()
    os._exit(code)
