"""A line: the turns of many processes come in the order in which they came, and the dead hold up nobody."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from stretto.workspace import line
from stretto.workspace.line import Line
from tests.support.waiting import wait_for

WAITER = """
import sys
from pathlib import Path
from stretto.workspace.line import Line
log = open(sys.argv[2], "a", buffering=1)
print("here", flush=True)
with Line(Path(sys.argv[1])).turn(float(sys.argv[4])):
    log.write(sys.argv[3] + "\\n")
    sys.stdin.readline()
"""


class Waiting:
    """A process that waits in line, writes its name when it is its turn, and goes on when it is told to."""

    def __init__(self, folder: Path, name: str, patience: float = 600.0) -> None:
        argv = [sys.executable, "-c", WAITER, str(folder / "line"), str(folder / "log"), name, str(patience)]
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "here\n"

    def go_on(self) -> None:
        self.child.communicate("on\n")

    def kill(self) -> None:
        self.child.kill()
        self.child.communicate()


def said(folder: Path) -> list[str]:
    return (folder / "log").read_text().split() if (folder / "log").exists() else []


def tickets(folder: Path) -> int:
    """The next ticket: how many came so far, and one."""
    data = (folder / "line").read_bytes() if (folder / "line").exists() else b""
    return line._NUMBERS.unpack(data)[0] if len(data) == line._NUMBERS.size else 1


def _came(folder: Path, wanted: int) -> bool:
    return tickets(folder) >= wanted


def _said(folder: Path, count: int) -> bool:
    return len(said(folder)) == count


def come(folder: Path, *names: str) -> list[Waiting]:
    """Let these come one after the other."""
    found = []
    for name in names:
        wanted = tickets(folder) + 1
        found.append(Waiting(folder, name))
        wait_for(partial(_came, folder, wanted))
    return found


def test_turns_come_in_the_order_of_coming(tmp_path: Path):
    waiting = come(tmp_path, "a", "b", "c", "d", "e", "f")
    for number, each in enumerate(waiting, 1):
        wait_for(partial(_said, tmp_path, number))
        each.go_on()
    assert said(tmp_path) == ["a", "b", "c", "d", "e", "f"]


def test_whoever_dies_in_its_turn_holds_up_nobody(tmp_path: Path):
    first, second = come(tmp_path, "a", "b")
    wait_for(lambda: said(tmp_path) == ["a"])
    first.kill()
    wait_for(lambda: said(tmp_path) == ["a", "b"])
    second.go_on()


def test_whoever_dies_while_it_waits_is_passed_over(tmp_path: Path):
    first, second, third = come(tmp_path, "a", "b", "c")
    wait_for(lambda: said(tmp_path) == ["a"])
    second.kill()
    first.go_on()
    wait_for(lambda: said(tmp_path)[-1] == "c")
    third.go_on()


def test_nobody_waits_longer_than_its_patience(tmp_path: Path):
    (first,) = come(tmp_path, "a")
    wait_for(lambda: said(tmp_path) == ["a"])
    hasty = Waiting(tmp_path, "b", 0.01)
    wait_for(lambda: said(tmp_path) == ["a", "b"])
    hasty.go_on()
    first.go_on()


@pytest.mark.parametrize("what", ["no folder", "a folder", "a link", "a word", "other words"])
def test_without_a_usable_file_nobody_waits(tmp_path: Path, what: str):
    path = tmp_path / "x" / "line" if what == "no folder" else tmp_path / "line"
    if what == "a folder":
        path.mkdir()
    elif what == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif what == "a word":
        path.write_text("hello")
    elif what == "other words":
        path.write_bytes(b"\x7f" * 100)
    began = []
    with Line(path).turn(60.0):
        began.append(time.monotonic())
    assert began
    assert not (tmp_path / "elsewhere").exists()


def test_one_line_serves_again_and_again(tmp_path: Path):
    ours = Line(tmp_path / "line")
    for _ in range(3):
        with ours.turn(60.0):
            pass
    ours.close()
    with ours.turn(60.0):
        pass
    assert tickets(tmp_path) == 5
    fd = os.open(tmp_path / "line", os.O_RDWR)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 0)  # nothing of it is locked
    finally:
        os.close(fd)
