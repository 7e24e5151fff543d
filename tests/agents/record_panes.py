"""Record what agents show and write in a pane: `PYTHONPATH=src:. python -m tests.agents.record_panes`.

The real Gemini CLI, in a terminal of our own, against the model server: its screens as tmux captures them, and the
recording of its conversation. Look at the difference before you commit it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from stretto.agents.gemini_tui import GeminiTui
from stretto.agents.tui import View
from stretto.terminal.pane import Pane
from stretto.terminal.tmux import Terminal
from stretto.testing.modelserver import ModelServer
from tests.agents.record import GOLDEN
from tests.support import gemini
from tests.support.waiting import wait_for

STEPS = (
    '[[sh=touch yes]] [[ask q="Which colour?" options="Blue|Red"]] [[write path=a.txt text="a"]] '
    "[[say=All of it done.]]"
)
CONVERSATION = str(uuid.UUID(int=7))


class Recorder:
    """One interface, and the files into which its screens go."""

    def __init__(self, folder: Path, url: str) -> None:
        self.home, self.work = folder / "home", folder / "work"
        self.work.mkdir()
        env = {**os.environ, **gemini.environment(self.home, url), "GEMINI_CLI_TRUST_WORKSPACE": "false"}
        self.terminal = Terminal(folder / "tmux", env)
        argv = [str(gemini.program()), "-m", gemini.MODEL, "--session-id", CONVERSATION]
        self.terminal.start("stretto", argv, self.work)
        self.pane, self.tui = Pane(self.terminal, "stretto"), GeminiTui()

    def view(self) -> View:
        self.pane.facts()
        return self.tui.view(self.pane.look())

    def shows(self, name: str, what: Callable[[View], bool]) -> None:
        """Wait for a view and keep its screen; its first line is the title."""
        wait_for(lambda: what(self.view()), 90, what=lambda: self.pane.look().text, interval=0.2)
        title = self.pane.facts().title
        shown = self.terminal.command("capture-pane", "-p", "-e")
        (GOLDEN / "gemini_pane" / f"{name}.screen").write_text(f"{title}\n{shown}".replace(str(self.work), "/repo"))

    def send(self, text: str) -> None:
        self.pane.paste(text)
        wait_for(lambda: bool(self.view().composer), 30)
        subprocess.run(["sleep", "0.5"], check=True)
        self.pane.press("Enter")

    def chat(self) -> str:
        (path,) = (self.home / ".gemini" / "tmp").glob("*/chats/session-*.jsonl")
        return path.read_text()


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="record-"))
    os.environ.setdefault("GIT_CONFIG_GLOBAL", "/dev/null")
    with ModelServer() as server:
        one = Recorder(folder, server.url)
        try:
            play(one)
        finally:
            one.terminal.command("kill-server")
            shutil.rmtree(folder, ignore_errors=True)


def play(one: Recorder) -> None:
    """Everything that a person can see."""
    one.shows("idle", lambda v: v.composer == "" and not v.working)
    one.pane.paste("a thought of mine\nand another")
    one.shows("draft", lambda v: bool(v.composer) and not v.working)
    one.pane.press(*["BSpace"] * 40)
    one.shows("empty", lambda v: v.composer == "" and not v.working)
    one.pane.paste("\n".join(f"line {n} of many" for n in range(60)))
    one.shows("folded", lambda v: v.folded)
    one.pane.press("C-c")
    one.shows("cleared", lambda v: v.composer == "" and not v.working)
    one.send(STEPS)
    one.shows("permission", lambda v: v.dialog is not None and v.dialog.permission)
    one.pane.press("1")
    one.shows("question", lambda v: v.dialog is not None and not v.dialog.permission)
    one.pane.press("2")
    one.shows("edit", lambda v: v.dialog is not None and v.dialog.permission)
    one.pane.press("1")
    one.shows("done", lambda v: v.composer == "" and not v.working)
    one.send("[[slow=60]] [[say=never]]")
    one.shows("working", lambda v: v.working)
    one.pane.press("Escape")
    one.shows("cancelled", lambda v: v.composer == "" and not v.working)
    one.send("[[err=401x9]] [[say=never]]")
    wait_for(lambda: '"type":"error"' in one.chat(), 90)
    (GOLDEN / "gemini_pane" / "recording.txt").write_text(one.chat().replace(str(one.work), "/repo"))


if __name__ == "__main__":
    main()
