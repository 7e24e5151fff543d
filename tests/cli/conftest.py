"""The `stretto` program as a person starts it, and stored rows to look at without a daemon."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stretto.__main__ import main
from stretto.home import Home, open_home
from stretto.store.sqlite import Store
from tests.support.repository import Repository
from tests.support.world import ROOT, STRETTO

Stretto = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stretto(home: Path, repo: Repository, monkeypatch: pytest.MonkeyPatch) -> Stretto:
    """Run the program's `main` in the repository, inside this process; how it ended."""

    def run(*words: str, cwd: Path | None = None, input: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch:
            patch.chdir(cwd or repo.path)
            patch.setattr(sys, "argv", ["stretto", *words])
            patch.setattr(sys, "stdin", io.StringIO(input))
            for name, value in env.items():
                patch.setenv(name, value)
            with redirect_stdout(out), redirect_stderr(err):
                code = main()
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def program(home: Path, repo: Repository) -> Stretto:
    """Run the program in the repository as a process of its own; the completed process."""

    def run(*words: str, cwd: Path | None = None, input: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*STRETTO, *words],
            cwd=cwd or repo.path,
            env={**os.environ, **env},
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def stored(home: Path, repo: Repository) -> Iterator[Callable[..., None]]:
    """Write rows into the home's database, for the repository."""
    store = Store(open_home().database, lambda: 1000.0)

    def add(*values: Any) -> None:
        key = str(repo.path / ".git")
        with store.write() as tx:
            for value in values:
                tx.insert(replace(value, repo=key) if hasattr(value, "repo") else value)
                tx.event("told", repo=key, run="demo-abcd", text="a \x1b[31m text")

    yield add
    store.close()


@pytest.fixture
def daemon(home: Path) -> Iterator[Callable[..., Home]]:
    """Start the stand-in daemon for the home."""
    from stretto.client import Client
    from tests.support.waiting import wait_for

    children: list[subprocess.Popen[bytes]] = []

    def start(**env: str) -> Home:
        child = subprocess.Popen([sys.executable, "-m", "tests.daemon.fake"], cwd=ROOT, env={**os.environ, **env})
        children.append(child)
        found = open_home()
        wait_for(Client(found).ping)
        return found

    yield start
    for child in children:
        child.kill()
        child.wait()
