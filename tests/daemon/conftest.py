"""Real daemon processes over the fake backend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stretto.client import Client
from stretto.home import Home, open_home
from tests.support.waiting import wait_for
from tests.support.world import ROOT

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def open_one(home: Path) -> Home:
    return open_home()


@pytest.fixture
def start(open_one: Home) -> Iterator[Start]:
    """Start a daemon process; `ready=False` does not wait for its answer."""
    children: list[subprocess.Popen[str]] = []

    def run(ready: bool = True, **env: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.daemon.fake"],
            cwd=ROOT,
            env={**os.environ, **env},
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        if ready:
            wait_for(lambda: child.poll() is not None or Client(open_one).ping(), what="the daemon's answer")
            assert child.poll() is None, child.stderr and child.stderr.read()
        return child

    yield run
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.fixture
def client(start: Start, open_one: Home) -> Client:
    start()
    return Client(open_one)


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    """The home of a daemon that the tests of one file share."""
    folder = Path(tempfile.mkdtemp())
    env = {**os.environ, "STRETTO_HOME": str(folder)}
    child = subprocess.Popen([sys.executable, "-m", "tests.daemon.fake"], cwd=ROOT, env=env)
    found = Home(str(folder))
    wait_for(Client(found).ping)
    yield found
    child.kill()
    child.wait()
    shutil.rmtree(folder)
