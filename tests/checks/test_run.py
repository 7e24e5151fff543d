"""Checks against real shells: how they end, what they leave behind, what of their output is kept."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stretto import proctree
from stretto.checks import CheckRunner, environment_key, tail
from stretto.core.model import CheckResult, CheckSpec
from tests.support.waiting import wait_for

PYTHON = sys.executable


def never() -> bool:
    return False


class Bench:
    """A runner with a folder to work in and one for output."""

    def __init__(self, folder: Path) -> None:
        self.runner = CheckRunner(f"home-{folder.name}", grace=0.5, limit=200_000)
        self.cwd = folder / "tree"
        self.cwd.mkdir()
        self.output = folder / "out" / "one.log"
        self.env = {"PATH": os.environ["PATH"], "STRETTO_TEST_RUN": os.environ["STRETTO_TEST_RUN"]}

    def run(self, text: str, *, timeout: float = 120.0, stop=never, **env: str):
        spec = CheckSpec("check-1", text, timeout)
        return self.runner.run(spec, self.cwd, {**self.env, **env}, self.output, stop)

    def pid_in(self, name: str) -> int:
        path = self.cwd / name
        return int(wait_for(lambda: path.exists() and path.read_text().strip(), what=f"{name} to be written"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def gone(pid: int) -> bool:
    found = proctree.look(pid)
    return found is None or found.zombie


@pytest.mark.parametrize(
    ("text", "result", "reason", "code"),
    [
        ("true", CheckResult.PASSED, "", 0),
        ("exit 1", CheckResult.FAILED, "exit 1", 1),
        ("exit 125", CheckResult.FAILED, "exit 125", 125),
        ("exit 128", CheckResult.FAILED, "exit 128", 128),
        ("no-such-command-here", CheckResult.ERROR, "a command was not found (exit 127)", 127),
        ("/dev/null", CheckResult.ERROR, "a command could not be executed (exit 126)", 126),
        ("kill -SEGV $$", CheckResult.FAILED, "ended by SIGSEGV", -11),
        ('test "$1$0" = /bin/sh', CheckResult.PASSED, "", 0),
        ("read line", CheckResult.FAILED, "exit 1", 1),
        ("if", CheckResult.FAILED, "exit 2", 2),
    ],
)
def test_how_it_ends(bench: Bench, text, result, reason, code):
    outcome = bench.run(text)
    assert (outcome.result, outcome.reason, outcome.exit_code) == (result, reason, code)
    assert outcome.output == bench.output
    assert 0 <= outcome.seconds < 20


def test_the_text_reaches_the_shell_exactly(bench: Bench):
    text = "printf '%s|' \"$HOME\" 'a  b' \"$(echo 'x;y')\" # é\nprintf %s '--$1'"
    assert bench.run(text, HOME="/h").result is CheckResult.PASSED
    assert bench.output.read_text() == "/h|a  b|x;y|--$1"


def test_it_runs_in_the_folder_with_its_environment_only(bench: Bench):
    outcome = bench.run(
        "pwd; env | sort", STRETTO_TESTING="1", STRETTO_FAILPOINT="x=kill", STRETTO_AGENT_TOKEN="t", MINE="1"
    )
    lines = bench.output.read_text().splitlines()
    assert outcome.result is CheckResult.PASSED
    assert lines[0] == str(bench.cwd.resolve())
    assert "MINE=1" in lines
    assert not [line for line in lines if line.startswith(("STRETTO_TESTING", "STRETTO_FAILPOINT", "STRETTO_AGENT"))]
    assert len([line for line in lines if line.startswith("STRETTO_CHECK=")]) == 1


def test_both_streams_are_kept_privately(bench: Bench):
    assert bench.run("echo out; echo err >&2; exit 3").result is CheckResult.FAILED
    assert sorted(bench.output.read_text().split()) == ["err", "out"]
    assert stat.S_IMODE(bench.output.stat().st_mode) == 0o600
    assert stat.S_IMODE(bench.output.parent.stat().st_mode) == 0o700


def test_a_flood_of_output_keeps_its_beginning_and_end_and_says_what_is_missing(bench: Bench):
    flood = f"{PYTHON} -c \"print('first'); [print('x' * 99) for _ in range(50000)]; print('last')\""
    assert bench.run(flood).result is CheckResult.PASSED
    text = bench.output.read_text()
    assert text.startswith("first\n")
    assert text.endswith("last\n")
    assert "left out" in text
    assert bench.output.stat().st_size < 400_000


def test_a_missing_folder_is_an_error(bench: Bench):
    bench.cwd.rmdir()
    outcome = bench.run("true")
    assert outcome.result is CheckResult.ERROR
    assert str(bench.cwd) in outcome.reason


def test_output_that_cannot_be_kept_is_an_error(bench: Bench):
    bench.output.parent.mkdir()
    bench.output.mkdir()
    outcome = bench.run("true")
    assert outcome.result is CheckResult.ERROR
    assert "output" in outcome.reason


TREE = f"""
sleep 300 & echo $! > same-group
setsid sleep 300 & echo $! > own-session
{PYTHON} -c "
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open('orphan', 'w').write(str(os.getpid()))
        os.execv('/bin/sleep', ['sleep', '300'])
    os._exit(0)
os.wait()
"
env -i setsid /bin/sh -c 'echo $$ > cleared; trap "" TERM; while :; do sleep 300; done' &
while ! test -s cleared || ! test -s orphan; do sleep 0.01; done
"""
PARTS = ("same-group", "own-session", "orphan", "cleared")


def test_time_out_ends_the_whole_tree_and_is_an_error(bench: Bench):
    outcome = bench.run(TREE + "echo ready; sleep 300", timeout=2.0)
    assert (outcome.result, outcome.reason) == (CheckResult.ERROR, "timed out after 2 s")
    assert "ready" in bench.output.read_text()
    assert [name for name in PARTS if not gone(bench.pid_in(name))] == []


def test_cancelling_ends_the_whole_tree(bench: Bench):
    outcome = bench.run(TREE + "echo $$ > ready; sleep 300", stop=lambda: (bench.cwd / "ready").exists())
    assert (outcome.result, outcome.reason) == (CheckResult.ERROR, "cancelled")
    assert [name for name in (*PARTS, "ready") if not gone(bench.pid_in(name))] == []


def test_what_a_finished_check_leaves_behind_is_ended(bench: Bench):
    text = "sleep 300 & echo $! > a; setsid sleep 300 & echo $! > b; while ! test -s b; do :; done; exit 0"
    outcome = bench.run(text)
    assert outcome.result is CheckResult.PASSED
    assert outcome.seconds < 20
    assert gone(bench.pid_in("a"))
    assert gone(bench.pid_in("b"))


DAEMON = """
import sys
from pathlib import Path
from stretto.checks import CheckRunner
from stretto.core.model import CheckSpec
home, cwd, output = sys.argv[1:]
spec = CheckSpec("c", "echo $$ > pid; sleep 300 & wait", 900.0)
CheckRunner(home).run(spec, Path(cwd), {}, Path(output), lambda: False)
"""


def test_the_next_daemon_ends_what_a_killed_one_left(bench: Bench, tmp_path: Path):
    argv = [PYTHON, "-c", DAEMON, "home-x", str(bench.cwd), str(tmp_path / "log")]
    daemon = subprocess.Popen(argv, env={**os.environ, "PATH": os.environ["PATH"]})
    pid = bench.pid_in("pid")
    daemon.kill()
    daemon.wait()
    assert not gone(pid)
    assert CheckRunner("home-y", grace=0.5).end_leftovers()
    assert not gone(pid)
    assert CheckRunner("home-x", grace=0.5).end_leftovers()
    assert gone(pid)


def test_checks_run_at_the_same_time(bench: Bench, tmp_path: Path):
    """Each waits for the other's file: one after the other they would never end."""
    results: dict[str, CheckResult] = {}

    def one(mine: str, other: str) -> None:
        spec = CheckSpec(mine, f"touch {mine}; while ! test -e {other}; do sleep 0.01; done", 20.0)
        results[mine] = bench.runner.run(spec, bench.cwd, bench.env, tmp_path / f"{mine}.log", never).result

    threads = [threading.Thread(target=one, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"a": CheckResult.PASSED, "b": CheckResult.PASSED}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"", ""),
        (b"one\ntwo\n", "one\ntwo"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07text\x1b(B", "red text"),
        (b"10%\r50%\r100%\r\ndone\r\n", "100%\ndone"),
        (b"bad \xff\xfe bytes", "bad \ufffd\ufffd bytes"),
        (b"bell\x07 back\x08 nul\x00 tab\tkept", "bell back nul tab\tkept"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b]unterminated\nnext", "\nnext"),
        ("grün\n".encode(), "grün"),
    ],
)
def test_tail_is_plain_text(tmp_path: Path, written, shown):
    path = tmp_path / "log"
    path.write_bytes(written)
    assert tail(path) == shown


def test_tail_is_short_and_begins_at_a_line(tmp_path: Path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {number} é\n" for number in range(10_000)))
    assert tail(path, lines=3) == "line 9997 é\nline 9998 é\nline 9999 é"
    short = tail(path, limit=100)
    assert len(short.encode()) <= 100
    assert short.startswith("line 9")
    assert short.endswith("line 9999 é")
    path.write_text("x" * 1_000_000)
    assert tail(path, limit=100) == "x" * 100


def test_tail_of_a_missing_file_is_empty(tmp_path: Path):
    assert tail(tmp_path / "nothing") == ""


def test_the_environment_key_leaves_out_the_place_and_nothing_else():
    env = {"PATH": "/bin", "LANG": "C", "STRETTO_TASK": "a", "PORT": "1", "PORT_API": "2", "DATABASE_URL": "x"}
    assert environment_key(env) == environment_key({"LANG": "C", "PATH": "/bin", "STRETTO_TASK": "b"})
    assert environment_key(env) != environment_key({**env, "PATH": "/usr/bin"})
    assert environment_key(env) != environment_key({**env, "PORTAL": "1"})
    assert environment_key({"A": "b\udcff"}) == environment_key({"A": "b\udcff"})
