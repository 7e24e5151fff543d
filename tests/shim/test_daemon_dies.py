"""kill -9 of the daemon's side at each of its own points: the next daemon goes on, the agent notices nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.shim.sessions import Session, shell

pytestmark = pytest.mark.faults

DAEMON = """
import json, sys
from pathlib import Path
from stretto.shim.control import FolderShims
folder, spec, steps = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
shims = FolderShims()
if "start" in steps:
    shims.start(folder, spec, {"TOKEN": "t"})
shims.append(folder, "turn", "one", 1)
shims.append(folder, "turn", "two", 2)
"""
CAT = shell('echo "hello $TOKEN"; while read -r line; do echo "$line"; done')


def daemon(one: Session, steps: str, failpoint: str) -> int:
    one.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = [sys.executable, "-c", DAEMON, str(one.folder), json.dumps(one.spec), steps]
    env = {**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": failpoint}
    return subprocess.run(argv, env=env, check=False, timeout=60).returncode


@pytest.mark.parametrize(
    "point",
    [
        "daemon.files.replace.before",
        "daemon.files.replace.after",
        "daemon.shim.spawn.before",
        "daemon.shim.spawn.after",
        "daemon.shim.append.before",
        "daemon.shim.append.after",
        "daemon.shim.append.before@2",
        "daemon.shim.append.after@2",
    ],
)
def test_kill_at(session, point):
    one: Session = session(CAT)
    assert daemon(one, "start", f"{point}=kill") == -signal.SIGKILL
    agent = one.state.agent_pid
    one.start({"TOKEN": "t"})
    one.shims.append(one.folder, "turn", "one", 1)
    one.shims.append(one.folder, "turn", "two", 2)
    assert one.said(b"two\n") == b"hello t\none\ntwo\n"
    one.delivered(2)
    assert agent in (None, one.agent), "the agent has survived the daemon"
