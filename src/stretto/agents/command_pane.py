"""Any program in a pane: started once for each message, shown as it is, typed into by whoever sits there.

    python -I -S command_pane.py PROGRAM [WORDS…]

Specification. Run in a pane (terminal/launch.py), inside the session's sandbox if it has one; STRETTO_PANE_FOLDER is a
folder that the pane's host sees, too. Each line that is added to the file `asked` there is a request: {turn: TEXT}
starts the program as the stream mode does (STRETTO_PROMPT_FILE, STRETTO_TURN), {stop: true} interrupts it. A line that
a person types between two turns starts it as well. The file `told` gets what happens, a JSON object a line: began
{prompt}, text {text}, line {line} (of turn_runner.py, if that runs the program), ended {code, signal, interrupted}.

The program has a terminal of its own size and its own process group; what it writes is passed on and told. While it
runs, keys are its own; what was typed before and not sent stays, and stands there again afterwards. What a program
leaves running is its own affair until the session is over.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import tty
from contextlib import suppress
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ASKED, TOLD = "command.asked", "command.told"
#: what stands before the line of a person; the host knows by it that no turn runs
PROMPT = "message for the agent> "
#: how lines of turn_runner.py begin, and bytes of one that is waited for
OURS, LINE = b'{"stretto":', 1 << 16
#: seconds between two looks at what is asked
PAUSE = 0.1
_ESCAPE = re.compile(
    rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[ -/]*[0-~])|[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]"
)


class Runner:
    """The turns of one session in this terminal."""

    def __init__(self, argv: list[str], folder: Path) -> None:
        self.argv, self.folder = argv, folder
        self.told = (folder / TOLD).open("ab", buffering=0)
        self.asked, self.rest = (folder / ASKED).open("ab+"), b""
        self.asked.seek(0)
        self.turn = int(os.environ.get("STRETTO_TURN_OFFSET") or 0)
        self.process: subprocess.Popen[bytes] | None = None
        self.master, self.stopped = -1, 0
        self.draft, self.line, self.shown = b"", b"", 0

    def run(self) -> int:
        """Until the terminal goes away."""
        tty.setraw(0)
        signal.signal(signal.SIGWINCH, lambda *_: self.resize())
        self.prompt()
        while True:
            watched = [0] if self.process is None else [0, self.master]
            ready = select.select(watched, [], [], PAUSE)[0]
            if self.master in ready:
                self.output()
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if not data:
                    return 0
                self.keys(data)
            self.requests()

    # ---- what is asked

    def requests(self) -> None:
        """The new whole lines; the host asks for the next turn when the one before is over."""
        *lines, self.rest = (self.rest + self.asked.read()).split(b"\n")
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and isinstance(said.get("turn"), str) and self.process is None:
                self.start(said["turn"])
            elif isinstance(said, dict) and said.get("stop"):
                self.stop()

    def keys(self, data: bytes) -> None:
        """Of a person: the program's, or their line."""
        if self.process is not None:
            with suppress(OSError):
                os.write(self.master, data)
            return
        for key in (data[at : at + 1] for at in range(len(data))):
            if key == b"\r" and self.draft.strip():
                text, self.draft = self.draft.decode("utf-8", "replace"), b""
                self.start(text)
                return
            if key == b"\x7f":
                self.draft = self.draft.decode("utf-8", "ignore")[:-1].encode()
            elif key == b"\x15":
                self.draft = b""
            elif key >= b" " or key == b"\t":
                self.draft += key
        self.prompt()

    # ---- a turn

    def start(self, text: str) -> None:
        """The program, on a terminal of its own."""
        self.turn += 1
        prompt = self.folder / f"prompt-{os.getpid()}-{self.turn}"
        prompt.write_text(text, encoding="utf-8")
        show(f"\r\x1b[K── turn {self.turn}: {self.argv[0]}\r\n".encode())
        self.tell(began=True, prompt=text)
        self.master, slave = pty.openpty()
        self.resize()
        env = {**os.environ, "STRETTO_PROMPT_FILE": str(prompt), "STRETTO_TURN": str(self.turn)}
        self.stopped = 0
        try:
            self.process = subprocess.Popen(
                self.argv,
                env=env,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - we have one thread
            )
        except OSError as error:
            self.tell(text=f"cannot start {self.argv[0]}: {error.strerror}")
            self.over({"code": 127})
        finally:
            os.close(slave)

    def output(self) -> None:
        """What it writes; when nobody can write any more, it is over. Lines for us are told, and not shown."""
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:
            data = b""
        if not data:
            if self.process is not None:
                self.ended(self.process.wait())
            return
        *lines, rest = (self.line + data).split(b"\n")
        words = []
        for line in lines:
            if line.startswith(OURS):
                self.tell(line=line.decode("utf-8", "replace").strip())
            else:
                show(line[self.shown :] + b"\n")
                words.append(line)
            self.shown = 0
        if not OURS.startswith(rest[: len(OURS)]) and not rest.startswith(OURS):
            show(rest[self.shown :])
            self.shown = len(rest)
        if len(rest) > LINE:  # nobody waits for the end of such a line
            words.append(rest)
            rest, self.shown = b"", 0
        self.line = rest
        if words:
            self.text(b"\n".join(words))

    def ended(self, code: int) -> None:
        """Its exit."""
        if self.line:
            show(self.line[self.shown :])
            self.text(self.line)
        self.over({"code": code} if code >= 0 else {"signal": -code})

    def over(self, how: dict[str, Any]) -> None:
        """Back to the person's line."""
        os.close(self.master)
        self.process, self.line, self.shown = None, b"", 0
        self.tell(ended=True, interrupted=self.stopped > 0, **how)
        words = f"exit code {how['code']}" if "code" in how else f"ended by signal {how['signal']}"
        show(f"\x1b[0m\r\n── turn {self.turn}: {words}\r\n".encode())
        self.prompt()

    def stop(self) -> None:
        """Interrupt it; the second time, end it."""
        if self.process is not None:
            self.stopped += 1
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGINT if self.stopped == 1 else signal.SIGTERM)

    # ---- showing and telling

    def text(self, data: bytes) -> None:
        """What it wrote, as words."""
        words = (
            _ESCAPE.sub(b"", data.replace(b"\r\n", b"\n")).replace(b"\r", b"\n").decode("utf-8", "replace").strip("\n")
        )
        if words.strip():
            self.tell(text=words[-8192:])

    def tell(self, **event: object) -> None:
        """A line for the host."""
        self.told.write(json.dumps(event).encode() + b"\n")

    def prompt(self) -> None:
        """The line of a person, with what they have typed."""
        if self.process is None:
            show(f"\r\x1b[K{PROMPT}".encode() + self.draft)

    def resize(self) -> None:
        """Its terminal is as large as ours."""
        if self.master >= 0:
            with suppress(OSError):
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))


def show(data: bytes) -> None:
    """On our terminal."""
    while data:
        data = data[os.write(1, data) :]


def main(argv: list[str]) -> int:
    """In this terminal."""
    return Runner(argv, Path(os.environ["STRETTO_PANE_FOLDER"])).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
