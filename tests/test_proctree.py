"""Real processes: identity, trees, who works where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from stretto import process, proctree, spawn
from tests.support.waiting import wait_for

ENV = {"PATH": os.environ["PATH"]}


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def gone(pid: int) -> bool:
    found = proctree.look(pid)
    return found is None or found.zombie


def test_identity_tells_a_reused_pid_and_a_zombie_from_the_living() -> None:
    child = subprocess.Popen(["sleep", "100"])
    at = proctree.start_time(child.pid)
    assert at is not None
    assert proctree.alive(child.pid, at)
    assert not proctree.alive(child.pid, at - 5)
    child.kill()
    wait_for(lambda: not proctree.alive(child.pid, at))
    assert proctree.look(child.pid) == proctree.Process(child.pid, at, os.getpid(), os.getpgrp(), zombie=True)
    child.wait()
    assert proctree.start_time(child.pid) is None


def test_boot_id_is_stable() -> None:
    assert proctree.boot_id() == proctree.boot_id() != ""


TREE = """
import os, subprocess, sys, time
mark = {"PATH": os.environ["PATH"], "MARK": os.environ["MARK"]}
log = open("pids", "a")
def note(pid): log.write(f"{pid}\\n"); log.flush()
note(os.getpid())
note(subprocess.Popen(["sleep", "100"]).pid)
note(subprocess.Popen(["sleep", "100"], start_new_session=True).pid)
note(subprocess.Popen(["sleep", "100"], start_new_session=True, env={"PATH": mark["PATH"]}).pid)
note(subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], start_new_session=True).pid)
text = "sleep 100 >/dev/null 2>&1 & echo $!"
orphan = subprocess.run(["/bin/sh", "-c", text], capture_output=True, start_new_session=True)
note(int(orphan.stdout))
log.write("end\\n"); log.flush()
time.sleep(100)
"""


def test_end_tree_ends_groups_sessions_orphans_and_the_stubborn_and_nobody_else(tmp_path: Path) -> None:
    mark = f"MARK={tmp_path}"
    env = ENV | {"MARK": str(tmp_path)}
    other = subprocess.Popen(["sleep", "100"], env=ENV | {"MARK": f"{tmp_path}x"})
    pid = spawn.detached([sys.executable, "-c", TREE], cwd=tmp_path, env=env)
    at = proctree.start_time(pid)
    try:
        wait_for(lambda: text_of(tmp_path / "pids").endswith("end\n"))
        pids = [int(line) for line in text_of(tmp_path / "pids").split()[:-1]]
        assert len(pids) == 6
        assert {p for p, _ in proctree.marked(mark)} >= set(pids) - {pids[3]}
        assert proctree.end_tree(pid, at, mark, grace=0.3)
        assert [one for one in pids if not gone(one)] == []
        assert proctree.marked(mark) == []
        assert other.poll() is None
    finally:
        proctree.end_tree(pid, at, mark, grace=0)
        other.kill()
        other.wait()


def test_end_tree_spares_us_even_if_we_carry_the_marker(tmp_path: Path) -> None:
    code = (
        "from stretto import proctree; import subprocess\n"
        "child = subprocess.Popen(['sleep', '100'])\n"
        "assert len(proctree.marked('MARK=1')) == 2\n"
        "assert proctree.end_tree(None, None, 'MARK=1', grace=1)\n"
        "print('alive', child.wait())"
    )
    env = ENV | {"PYTHONPATH": os.pathsep.join(sys.path), "MARK": "1"}
    done = process.run([sys.executable, "-c", code], cwd=tmp_path, env=env, timeout=30, check=True)
    assert done.stdout == b"alive -15\n"


def test_end_tree_does_not_touch_a_process_that_only_shares_the_pid() -> None:
    child = subprocess.Popen(["sleep", "100"])
    at = proctree.start_time(child.pid)
    assert at is not None
    assert proctree.end_tree(child.pid, at - 100, None, grace=0)
    assert child.poll() is None
    child.kill()
    child.wait()


def test_inside_names_who_works_in_a_folder(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    child = subprocess.Popen(["sleep", "100"], cwd=deep)
    near = subprocess.Popen(["sleep", "100"], cwd=tmp_path / "ab")
    try:
        wait_for(lambda: [v.command for v in proctree.inside(tmp_path / "a")] == ["sleep 100"])
        [visitor] = proctree.inside(tmp_path / "a")
        assert visitor.pid == child.pid
    finally:
        for one in (child, near):
            one.kill()
            one.wait()
