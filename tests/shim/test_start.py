"""How a shim starts: the lock, the secrets, the spec, the nudge, and what it costs to have many."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from stretto import failpoints
from stretto.core.errors import Conflict, Unavailable, UsageError
from stretto.shim import constants, host_system
from stretto.shim.control import FolderShims
from tests.shim.sessions import python, shell
from tests.support.waiting import wait_for

ENVIRONMENT = python("import os, json; print(json.dumps(dict(os.environ)), flush=True); input()")


def host(folder: Path, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-I", "-S", str(constants.HOST), str(folder)]
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=20, check=False)


def framed(value: object) -> bytes:
    body = json.dumps(value).encode()
    return len(body).to_bytes(8, "big") + body


def test_the_copies_in_the_shim_are_equal():
    for name in ("SCHEMA", "EXIT_LOCKED", "EXIT_SECRETS", "EXIT_SPEC", "KINDS", "PRIVATE"):
        assert getattr(constants, name) == getattr(host_system, name)
    for name in ("SEGMENT_BYTES", "KEEP_BYTES", "STOP_SECONDS"):
        assert getattr(constants, name) == getattr(host_system, name)
    assert [name for name in failpoints.POINTS if name.startswith("shim.")] == list(host_system.POINTS)


def test_every_fail_point_of_the_shim_stands_somewhere():
    sources = [
        constants.HOST.with_name(f"host{part}.py").read_text() for part in ("", "_session", "_streams", "_system")
    ]
    text = "".join(sources)
    for name in host_system.POINTS:
        marked = f'failpoint("{name}")' in text
        assert marked or (name in ("shim.attempting", "shim.delivered") and 'failpoint(f"shim.{word}")' in text)


def test_the_shim_imports_the_standard_library_only(tmp_path):
    for part in ("", "_session", "_streams", "_system"):
        tree = ast.parse(constants.HOST.with_name(f"host{part}.py").read_text())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top in sys.stdlib_module_names or top.startswith("host_") or top in ("stretto", "launch_sandbox")
    argv = [sys.executable, "-I", "-S", "-X", "importtime", str(constants.HOST), str(tmp_path)]
    told = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert told.returncode == constants.EXIT_SECRETS
    loaded = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert {"host_session", "select"} <= loaded
    assert not {"stretto", "subprocess", "asyncio", "pathlib", "typing", "dataclasses", "threading"} & loaded


def test_a_second_shim_on_a_folder_exits_with_3_and_a_second_start_changes_nothing(session):
    one = session(shell("cat")).start()
    pid = one.state.pid
    assert host(one.folder, framed({})).returncode == constants.EXIT_LOCKED
    one.start()
    assert (one.state.pid, one.state.alive) == (pid, True)


def test_a_slow_shim_of_an_earlier_daemon_cannot_come_between(session, tmp_path):
    slow = tmp_path / "python"
    slow.write_text(f'#!/bin/sh\nsleep 1.5\nexec "{sys.executable}" "$@"\n')
    slow.chmod(0o755)
    one = session(shell("cat"))
    one.shims = FolderShims(python=str(slow))
    starter = threading.Thread(target=one.start)
    starter.start()
    wait_for(lambda: (one.folder / "spec.json").exists(), what="the look at what was left")
    assert host(one.folder, framed({})).returncode == constants.EXIT_LOCKED
    starter.join()
    assert one.state.alive


@pytest.mark.parametrize(
    "stdin",
    [b"", b"\0\0\0", framed({"A": "b"})[:-1], framed({"A": "b"}) + b"x", framed(["A"]), framed({"A": 1}), b"\0" * 8],
)
def test_secrets_that_did_not_arrive_whole_start_nothing(session, stdin):
    one = session(shell("echo started > started"))
    one.folder.mkdir(parents=True)
    (one.folder / "spec.json").write_text(json.dumps({"schema": 1, "marker": f"STRETTO_SESSION={one.id}", **one.spec}))
    done = host(one.folder, stdin)
    assert (done.returncode, done.stderr) == (constants.EXIT_SECRETS, b"")
    assert sorted(path.name for path in one.folder.iterdir()) == ["lock", "spec.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}'])
def test_a_bad_spec_is_named_and_starts_nothing(session, text):
    one = session(shell("true"))
    one.folder.mkdir(parents=True)
    (one.folder / "spec.json").write_text(text)
    done = host(one.folder, framed({}))
    assert done.returncode == constants.EXIT_SPEC
    assert str(one.folder).encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_start_says_why_a_shim_did_not_come_up(session):
    one = session([])
    with pytest.raises(Unavailable, match="has no argv") as caught:
        one.start()
    assert caught.value.code == "shim_failed"


def test_secrets_reach_the_agent_and_no_file_and_no_command_line(session):
    secret = "s3cret-Ω-value"
    one = session(ENVIRONMENT, env={"PATH": os.environ["PATH"], "API_KEY": secret, "PLAIN": "p"})
    one.start({"API_KEY": secret})
    got = json.loads(one.said(b"}\n"))
    assert got["API_KEY"] == secret
    (one.folder / "out.000001").unlink()  # the agent itself printed it there
    held = [path.read_bytes() for path in one.folder.rglob("*") if path.is_file()]
    held += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (one.shim, one.agent)]
    for data in held:
        assert secret.encode() not in data
        assert json.dumps(secret).encode().strip(b'"') not in data


def test_the_agent_gets_the_spec_s_environment_the_marker_and_nothing_of_ours(session, monkeypatch):
    monkeypatch.setenv("STRETTO_TESTING", "1")
    monkeypatch.setenv("SOMETHING_OF_THE_DAEMON", "x")
    one = session(ENVIRONMENT, env={"A": "ü", "STRETTO_FAILPOINT": "x", "STRETTO_TEST_CLOCK": "y"}).start()
    got = json.loads(one.said(b"}\n"))
    got.pop("LC_CTYPE", None)  # Python sets it itself
    assert got == {"A": "ü", "STRETTO_SESSION": one.id}


def test_files_are_private(session):
    one = session(shell("cat")).start()
    one.send("a")
    one.said(b"a\n")
    one.delivered(1)
    assert one.folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in one.folder.rglob("*")} == {
        path.name: "0o0" for path in one.folder.rglob("*")
    }


def test_a_wrapper_goes_before_the_program(session):
    one = session(shell("echo $WRAPPED"), wrapper=["/usr/bin/env", "WRAPPED=yes"]).start()
    one.over()
    assert one.output() == b"yes\n"


def test_the_daemon_is_nudged_at_each_change_and_not_needed(session, short_folder):
    os.mkfifo(short_folder / "nudge", 0o600)
    one = session(shell("while read -r line; do echo $line; done")).start()  # nobody listens yet
    one.send("a")
    one.said(b"a\n")
    fd = os.open(short_folder / "nudge", os.O_RDONLY | os.O_NONBLOCK)
    one.send("b")
    wait_for(lambda: read_nonblocking(fd).startswith(f"{one.id}\n".encode()), what="the nudge")
    one.send("", "stop")
    one.over()
    assert set(read_nonblocking(fd).split()) == {one.id.encode()}
    os.close(fd)


def read_nonblocking(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return b""


def test_a_full_nudge_or_one_that_is_a_file_does_no_harm(session, short_folder):
    (short_folder / "nudge").write_text("a file\n")
    one = session(shell("cat")).start()
    one.send("a")
    one.said(b"a\n")
    assert (short_folder / "nudge").read_text() == "a file\n"
    (short_folder / "nudge").unlink()
    os.mkfifo(short_folder / "nudge", 0o600)
    fd = os.open(short_folder / "nudge", os.O_RDWR | os.O_NONBLOCK)
    fill(fd)
    one.send("b")
    one.said(b"b\n")
    os.close(fd)


def fill(fd: int) -> None:
    """Write until nothing fits any more."""
    with suppress(BlockingIOError):
        while os.write(fd, b"x" * 4096):
            pass


def test_append_is_idempotent_by_number_and_keeps_the_order(session):
    one = session(shell("cat")).start()
    one.shims.append(one.folder, "turn", "a", 1)
    one.shims.append(one.folder, "turn", "something else", 1)
    with pytest.raises(Conflict, match="record 3 cannot follow record 1"):
        one.shims.append(one.folder, "turn", "c", 3)
    with pytest.raises(UsageError):
        one.shims.append(one.folder, "shout", "b", 2)
    one.shims.append(one.folder, "turn", "b" * 200_000, 2)
    one.shims.append(one.folder, "turn", "c", 3)
    one.said(b"c\n")
    assert one.output() == b"a\n" + b"b" * 200_000 + b"\nc\n"
    assert len((one.folder / "in.jsonl").read_bytes().splitlines()) == 3


def test_many_idle_shims_cost_next_to_nothing(session):
    many = [session(shell("exec sleep 600")).start() for _ in range(5)]
    between_turns = [session(shell("true"), "turns").start() for _ in range(5)]
    for one in between_turns:
        one.send("a")
        one.turn_over(1)
    many += between_turns
    pids = [one.shim for one in many]
    before = [cpu_ticks(pid) for pid in pids]
    end = time.monotonic() + 2.5  # more than one tick of each
    wait_for(lambda: time.monotonic() > end)
    assert sum(cpu_ticks(pid) for pid in pids) - sum(before) <= 5  # of 2500 possible ones
    assert max(kilobytes(pid) for pid in pids) < 12_000


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def kilobytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])
