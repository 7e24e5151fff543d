"""The agent of the fault tests: `python -I -S player.py SOURCES LOG`, one process a turn, driven by what it finds.

Specification. What it does depends on the task's name and on the state of its worktree only, so that a turn that was
cut off anywhere can be taken up by the next one. Everything it gets and does is written to `LOG/<task>.jsonl`, outside
of the tree: `begin` with its pid, start time and the text of the turn, `wrote` for each file once its bytes are there,
`end` before it exits. What an earlier process of its task left alive is written down at `begin`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCES, LOG = Path(sys.argv[1]), Path(sys.argv[2])
TASK = os.environ["STRETTO_TASK"]
MINE = LOG / f"{TASK}.jsonl"


def started(pid: int | str) -> int | None:
    """The start of a process in clock ticks since boot, None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def say(**facts: Any) -> None:
    """One line, written at once."""
    line = json.dumps({"pid": os.getpid(), "start": started("self"), "at": time.monotonic(), **facts})
    with MINE.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def before() -> list[int]:
    """Processes of earlier turns of this task that are still alive."""
    lines = MINE.read_text(encoding="utf-8").splitlines() if MINE.exists() else []
    told = {(row["pid"], row["start"]) for row in map(json.loads, lines)}
    return [pid for pid, start in told if started(pid) == start]


def write(path: str, text: str, *, ignored: bool = False) -> None:
    Path(path).write_text(text, encoding="utf-8")
    say(event="wrote", path=path, text=text, ignored=ignored)


def git(*words: str) -> int:
    return subprocess.run(["git", *words], check=False, stdin=subprocess.DEVNULL).returncode


def first(head: dict[str, str]) -> None:
    """Its first turn fails the check, the second one repairs it."""
    if Path("bad").exists():
        Path("bad").unlink()
        write("first.txt", "good\n")
    elif not Path("first.txt").exists():
        write("bad", "to be found by the check\n")
        write("first.txt", "draft\n")


def right(head: dict[str, str]) -> None:
    """Writes what `left` writes too, and resolves the conflict when it is told of one."""
    side("right", head)


def left(head: dict[str, str]) -> None:
    """The other side."""
    side("left", head)


def side(word: str, head: dict[str, str]) -> None:
    if head.get("origin") == "conflict":
        git("merge", "--no-edit", head["merge"])
        write("shared.txt", "left and right\n")
        git("add", "shared.txt")
        git("commit", "--quiet", "--no-edit", "--allow-empty")
    elif Path("shared.txt").read_text() == "base\n":
        write("shared.txt", f"{word}\n")


def asker(head: dict[str, str]) -> None:
    """Asks the person once and writes down the answer."""
    sys.path.insert(0, str(SOURCES))
    from stretto.agentapi.client import AgentClient

    answer = AgentClient.from_environment(os.environ).ask("Which colour?", ["red", "blue"])
    write("colour.txt", answer.text + "\n")


def doomed(head: dict[str, str]) -> None:
    """Work that the person will take away and bring back."""
    write("doomed.txt", "not wanted after all\n")
    write("loose.log", "ignored, and yet to be kept\n", ignored=True)


def study(head: dict[str, str]) -> None:
    """Reads, and reports."""
    Path(os.environ["STRETTO_REPORT_FILE"]).write_text("all is well\n", encoding="utf-8")
    print("studied")


def slow(head: dict[str, str]) -> None:
    """Works for as long as the test wants, and talks a lot if it is told to."""
    write("slow.txt", "begun\n")
    if (LOG / "loud").exists():
        for number in range(150):
            print(f"{number} " + "x" * 65000, flush=True)
    while not (LOG / "go").exists():
        time.sleep(0.02)
    write("slow.txt", "done\n")


def plain(head: dict[str, str]) -> None:
    """Writes a file of its own, and takes a moment for it."""
    write(f"{TASK}.txt", f"half of {TASK}\n")
    time.sleep(float(os.environ.get("STRETTO_TURN", "1")) * 0.05)
    while (LOG / "hold").exists():
        time.sleep(0.02)
    write(f"{TASK}.txt", f"{TASK}\n")


PARTS: dict[str, Callable[[dict[str, str]], None]] = {
    part.__name__: part for part in (first, left, right, asker, doomed, study, slow)
}


def main() -> None:
    """One turn."""
    text = Path(os.environ["STRETTO_PROMPT_FILE"]).read_text(encoding="utf-8")
    line = text.partition("\n")[0]
    head = dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
    session = os.environ.get("STRETTO_SESSION")
    say(event="begin", session=session, turn=os.environ["STRETTO_TURN"], text=text, alive=before())
    PARTS.get(TASK, plain)(head)
    say(event="end")


main()
