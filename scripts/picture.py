"""Make the picture of the board for the documents, from a real run.

usage: picture.py [FILE]      default: docs/pictures/board.svg

The demo's repository and plan are worked on by scripted agents, some of which stop where the picture is taken: one
asks, one repairs what a check found, one still works. The picture is what `stretto status` prints then, with colours.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import termios
import time
import tomllib
from pathlib import Path
from typing import Any

from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from stretto.demo.main import Stage, lay_out

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, LINE, LETTER, EDGE = 80, 18, 8.43, 14
#: how long a scripted agent stops, in seconds: longer than the picture takes
STOPS = 600
#: what the picture shows of each task
SCENE = {
    "schema": "landed",
    "search": "waiting: review",
    "tags": "waiting: question",
    "export": "repairs",
    "paging": "implement",
    "release": "blocked",
}
#: the colours of a terminal by their number
INK = {1: "#f07178", 2: "#a5d66f", 3: "#ffcb6b", 4: "#82aaff", 5: "#c792ea", 6: "#89ddff"}
PAPER, PLAIN, DIM = "#16202a", "#d6dee6", "#8593a0"


def main(arguments: list[str]) -> int:
    """Play the scene, take the picture."""
    out = Path(arguments[0]) if arguments else ROOT / "docs" / "pictures" / "board.svg"
    folder = Path(tempfile.mkdtemp(prefix="stretto-picture-"))
    try:
        stage = lay_out(folder)
        try:
            board = _play(stage)
        finally:
            stage.stretto("down", "--all")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out.write_text(svg(board), encoding="utf-8")
    print(f"wrote {out}")
    return 0


def _play(stage: Stage) -> str:
    """Run the plan up to the scene; return the board with its colours."""
    script = stage.folder / "scene.json"
    script.write_text(json.dumps(_scene(tomllib.loads((stage.folder / "script.toml").read_text("utf-8")))), "utf-8")
    started = stage.stretto(
        "run", str(stage.folder / "PLAN.md"), "--agent", f"scripted:{script}", "--open", "4", "--trust",
        "--update-checkout",
    )  # fmt: skip
    if not started.ok:
        raise SystemExit((started.stdout + started.stderr).decode())
    stage.stretto("wait", "schema", "--for", "inbox", "--timeout", "60")
    stage.stretto("approve", "schema")
    deadline = time.monotonic() + 60
    while True:
        board = _on_a_terminal(stage, [sys.executable, "-m", "stretto", "status"])
        lines = Text.from_ansi(board).plain.splitlines()
        missing = [task for task, words in SCENE.items() if not any(_shows(line, task, words) for line in lines)]
        if not missing:
            return board
        if time.monotonic() > deadline:
            raise SystemExit(f"the scene was not reached, {missing} should be {SCENE}:\n{board}")
        time.sleep(0.2)


def _on_a_terminal(stage: Stage, argv: list[str]) -> str:
    """What a command prints on a terminal of 80 columns and 24 lines."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, COLUMNS))
    env = {**stage.env, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    child = subprocess.Popen(argv, cwd=stage.repository, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the last writer is gone
            part = b""
        if not part:
            break
        said += part
    os.close(ours)
    if child.wait() != 0:
        raise SystemExit(said.decode(errors="replace"))
    return said.decode().replace("\r\n", "\n")


def _shows(line: str, task: str, words: str) -> bool:
    return bool(re.match(rf"\W+{task}\b", line)) and words in line


def _scene(script: dict[str, Any]) -> dict[str, Any]:
    """The demo's script, with an agent that stops in its first turn and one that stops in its repair."""
    stop = {"sleep": STOPS}
    script["tasks"]["paging"]["turns"][0]["steps"].insert(0, stop)
    next(turn for turn in script["tasks"]["export"]["turns"] if turn.get("when"))["steps"].insert(0, stop)
    return script


def svg(board: str) -> str:
    """A drawing of lines with the colours of a terminal; text stays text."""
    lines = [Text.from_ansi(line) for line in board.rstrip("\n").split("\n")]
    width, height = COLUMNS * LETTER + 2 * EDGE, len(lines) * LINE + 2 * EDGE
    drawn = "\n".join(_line(line, EDGE + LINE * (n + 0.75)) for n, line in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="The board of stretto during a run">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>\n'
        f'<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" fill="{PLAIN}" '
        f'xml:space="preserve">\n{drawn}\n</g>\n</svg>\n'
    )


def _line(line: Text, y: float) -> str:
    from rich.console import Console

    parts, column = [], 0
    for segment in line.render(Console(width=COLUMNS, color_system="standard", force_terminal=True), end=""):
        length = segment.cell_length
        if segment.text.strip():
            parts.append(_piece(segment, EDGE + column * LETTER, length * LETTER))
        column += length
    return f'<text y="{y:g}">{"".join(parts)}</text>'


def _piece(segment: Segment, x: float, length: float) -> str:
    style = segment.style or Style()
    number = style.color.number if style.color else None
    colour = INK.get(number) if number is not None else DIM if style.dim else None
    fill = f' fill="{colour}"' if colour else ""
    weight = ' font-weight="bold"' if style.bold else ""
    text = segment.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<tspan x="{x:.1f}" textLength="{length:.1f}"{fill}{weight}>{text}</tspan>'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
