"""opencode's own interface in a pane: its server, the interface that shows it, and two files by which we take part.

    python -I -S opencode_pane.py OPENCODE [WORDS…]

Specification. Run in a pane (terminal/launch.py), inside the session's sandbox if it has one; STRETTO_PANE_FOLDER is a
folder that the pane's host sees, too. It starts `OPENCODE [WORDS…] serve` as the stream mode does (opencode_bridge.py:
loopback, a port and a password of its own), does each line that is added to the file `asked` there, a request {id,
method, path, body}, and adds to the file `told` what came of it, and the server's events. When the request with the id
`session` has told a conversation, `OPENCODE [WORDS…] attach` shows it in this terminal. The requests before it are few
and may fail; without a conversation there is nothing to show, which is said, and the end.

The end of the interface, of the server or of its events is ours, and ends the others: with the interface's exit code,
else with 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

if __name__ == "__main__":  # a program of its own: our package is found from here, whatever the Python path is
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from stretto.agents.opencode_bridge import BEGIN, HOST, Output, Server, listen, one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: the files of the folder, and what the server prints
ASKED, TOLD, LOG = "opencode.asked", "opencode.told", "opencode.log"
#: how it is said that a conversation cannot be gone on with
NONE_SUCH = "opencode has no such conversation"
#: the id of the request that begins or finds the conversation (opencode_stream.SESSION)
SESSION = "session"
#: seconds between two looks at what is asked
PAUSE = 0.05


def requests(path: Path) -> Iterator[bytes]:
    """The whole lines that are added to a file, for ever."""
    rest = b""
    with path.open("ab+") as file:
        file.seek(0)
        while True:
            data = file.read()
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
            if not data:
                time.sleep(PAUSE)


def write(text: str) -> None:
    """A line in the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Pane:
    """The programs of one session."""

    def __init__(self, argv: list[str], folder: Path) -> None:
        self.argv, self.folder = argv, folder
        self.log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.server = Server(argv, self.log)
        self.output = Output((folder / TOLD).open("ab"))
        self.told = threading.Event()
        self.conversation, self.why = "", "its server told no conversation"
        self.face: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Until something ends; the exit code."""
        write("starting opencode …")
        if (failure := self.server.start()) is not None:
            return self.fail(failure)
        ready = threading.Event()
        threading.Thread(target=self.hear, args=(ready,), daemon=True).start()
        ready.wait(BEGIN)
        threading.Thread(target=self.serve, daemon=True).start()
        self.told.wait(BEGIN)
        if not self.conversation:
            self.server.end()
            return self.fail(self.why)
        url = f"http://{HOST}:{self.server.port}"
        words = ["attach", url, "--dir", str(Path.cwd()), "--session", self.conversation]
        self.face = subprocess.Popen(
            [*self.argv, *words], env={**os.environ, "OPENCODE_SERVER_PASSWORD": self.server.password}
        )
        code = self.face.wait()
        self.server.end()
        return code if code >= 0 else 128 - code

    def fail(self, why: str) -> int:
        """Say why there is nothing to show."""
        write(f"opencode cannot begin: {why}")
        return 1

    def hear(self, ready: threading.Event) -> None:
        """Pass the events on. Nothing is heard any more after them, so nothing goes on."""
        listen(self.server, self.output, ready)
        if not self.server.ending:
            self.told.set()
            if self.face is not None:
                self.face.terminate()

    def serve(self) -> None:
        """Do what is asked for, one after the other."""
        for line in requests(self.folder / ASKED):
            answer = one(self.server, line)
            if answer is None:
                continue
            self.output.tell(answer)
            if answer["id"] == SESSION and not self.told.is_set():
                self.begun(answer)

    def begun(self, answer: dict[str, Any]) -> None:
        """The conversation is there, or cannot be."""
        status, body = answer["status"], answer["body"]
        if 200 <= status < 300 and isinstance(body, dict) and isinstance(body.get("id"), str):
            self.conversation = body["id"]
        else:
            self.why = NONE_SUCH if status == 404 else f"its server answered {status}: {json.dumps(body)[:300]}"
        self.told.set()


def main(argv: list[str]) -> int:
    """In this terminal."""
    return Pane(argv, Path(os.environ["STRETTO_PANE_FOLDER"])).run()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
