"""A small interface of an agent in a terminal: a composer, a log, dialogs; its turns are played from a script.

It is what a person sees of the scripted agent in a pane, and it misbehaves on demand: COMPOSER_HABITS holds words
separated by `;`. `hold=FILE` draws nothing until the file is there; `draft=TEXT` begins with a text in the composer;
`dialog=TEXT` begins with a dialog over it, `blind=TEXT` with one that has no numbers; `swallow=N` takes no notice of
the first N Enters; `deaf` forgets what is sent; `mute` reports nothing; `quit` ends when something is sent;
`stumble=N` fails at its first N starts.
It reports in the file composer.jsonl of STRETTO_PANE_FOLDER, a JSON object a line: began {prompt}, text {text}, ended
{code, interrupted}.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess  # an agent's own commands: this process belongs to the agent, not to stretto
import sys
import termios
import time
import tty
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PROMPT = "❯ "
#: characters of a paste that are still shown as they are
SHOWN = 800
_OPEN, _CLOSE = b"\x1b[200~", b"\x1b[201~"


class Composer:
    """One conversation in this terminal."""

    def __init__(self, argv: Sequence[str]) -> None:
        said = os.environ.get("COMPOSER_HABITS", "").split(";")
        self.habits = dict(word.partition("=")[::2] for word in said if word)
        self.argv = list(argv)
        self.draft, self.log = self.habits.get("draft", ""), ["", "  a scripted agent"]
        self.dialog = self.habits.get("dialog") or self.habits.get("blind", "")
        self.swallow = int(self.habits.get("swallow", "0"))
        self.turn = int(os.environ.get("STRETTO_TURN_OFFSET", "0"))
        self.child: subprocess.Popen[bytes] | None = None
        self.input, self.quit, self.interrupted = b"", False, False

    # ---- the screen

    def draw(self) -> None:
        """All of it, from the bottom."""
        size = os.get_terminal_size(0)
        rule = "─" * size.columns
        if self.dialog:
            numbers = ("", "") if "blind" in self.habits else ("1. ", "2. ")
            options = [f" ❯ {numbers[0]}Yes", f"   {numbers[1]}No"]
            below = [rule, f" {self.dialog}", *options, "", " Esc to cancel"]
        else:
            shown = self.draft if len(self.draft) <= SHOWN else f"[Pasted text +{len(self.draft)} characters]"
            rows = [
                line[at : at + size.columns - 3] or ""
                for line in shown.split("\n")
                for at in range(0, max(1, len(line)), size.columns - 3)
            ]
            body = [PROMPT + rows[0], *("  " + row for row in rows[1:])] if shown else [PROMPT + "\x1b[2mSay it\x1b[0m"]
            foot = "  esc to interrupt" if self.child else "  ? for shortcuts"
            below = [rule, *body[-(size.lines - 8) :], rule, foot]
        above = self.log[-(size.lines - len(below)) :]
        lines = [*([""] * (size.lines - len(above) - len(below))), *above, *below]
        os.write(1, ("\x1b[H\x1b[2J" + "\r\n".join(lines)).encode())

    def say(self, **event: object) -> None:
        """Report, unless we are mute."""
        if "mute" not in self.habits:
            with Path(os.environ["STRETTO_PANE_FOLDER"], "composer.jsonl").open("a") as file:
                file.write(json.dumps(event) + "\n")

    # ---- keys

    def take(self, data: bytes) -> None:
        """What the terminal sent; an unfinished paste waits for its end."""
        self.input += data
        while self.input:
            if self.input.startswith(_OPEN):
                text, end, rest = self.input[len(_OPEN) :].partition(_CLOSE)
                if not end:
                    return
                self.draft += text.decode("utf-8", "replace")
                self.input = rest
            elif _OPEN.startswith(self.input[: len(_OPEN)]) and len(self.input) > 1:
                return
            else:
                key, self.input = self.input[:1], self.input[1:]
                while key[-1] >= 0x80 and self.input and 0x80 <= self.input[0] < 0xC0:
                    key, self.input = key + self.input[:1], self.input[1:]
                self.press(key.decode("utf-8", "replace"))

    def press(self, key: str) -> None:
        """One key."""
        if self.dialog:
            if key in "12\x1b":
                self.say(dialog=key)
                self.dialog = ""
        elif key == "\r":
            self.enter()
        elif key == "\x1b":
            self.interrupt()
        elif key == "\x03":
            self.quit, self.draft = not self.draft and self.child is None, ""
        elif key == "\x7f":
            self.draft = self.draft[:-1]
        elif key.isprintable():
            self.draft += key

    def enter(self) -> None:
        """Send what stands in the composer."""
        if not self.draft.strip():
            return
        if self.swallow > 0:
            self.swallow -= 1
            return
        text, self.draft = self.draft, ""
        if "quit" in self.habits:
            sys.exit(3)
        if "deaf" in self.habits:
            return
        self.log += ["", *(PROMPT + line for line in text.split("\n")[:5])]
        self.say(began=True, prompt=text)
        self.start(text)

    def start(self, text: str) -> None:
        """Play the turn."""
        self.turn += 1
        prompt = Path(os.environ["STRETTO_PANE_FOLDER"], f"prompt-{os.getpid()}-{self.turn}")
        prompt.write_text(text)
        env = {**os.environ, "STRETTO_PROMPT_FILE": str(prompt), "STRETTO_TURN": str(self.turn)}
        self.interrupted = False
        self.child = subprocess.Popen(
            self.argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def interrupt(self) -> None:
        """End the turn."""
        if self.child is not None:
            self.interrupted = True
            with suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGINT)

    def hear(self) -> None:
        """What the turn prints, and its end."""
        if self.child is None or self.child.stdout is None:
            return
        data = os.read(self.child.stdout.fileno(), 1 << 16)
        if data:
            lines = data.decode("utf-8", "replace").rstrip("\n").split("\n")
            self.log += [f"● {line}" for line in lines]
            self.say(text="\n".join(lines))
            return
        code = self.child.wait()
        self.child = None
        self.log = [*self.log[-500:], f"  done: {code}"]
        self.say(ended=True, code=code, interrupted=self.interrupted)

    # ---- life

    def run(self) -> int:
        """Until the person quits."""
        starts = Path(os.environ["STRETTO_PANE_FOLDER"], "starts")
        with starts.open("a") as file:
            file.write("started\n")
        if len(starts.read_text().splitlines()) <= int(self.habits.get("stumble", "0")):
            os.write(2, b"the terminal did not answer\r\n")
            return 3
        tty.setraw(0)
        while (hold := self.habits.get("hold")) and not Path(hold).exists():
            time.sleep(0.02)
        os.write(1, b"\x1b[?2004h")
        while not self.quit:
            self.draw()
            ready = [0] if self.child is None or self.child.stdout is None else [0, self.child.stdout.fileno()]
            found = select.select(ready, [], [], 1.0)[0]
            if 0 in found:
                data = os.read(0, 1 << 16)
                if not data:
                    break
                self.take(data)
            elif found:
                self.hear()
        return 0


def main(argv: Sequence[str]) -> int:
    """`argv` plays one turn. Returns the exit code."""
    before = termios.tcgetattr(0)
    composer = Composer(argv)
    try:
        return composer.run()
    finally:
        composer.interrupt()
        os.write(1, b"\x1b[?2004l\r\n")
        termios.tcsetattr(0, termios.TCSANOW, before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
