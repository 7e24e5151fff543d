"""What a quick command imports. A list, not a stopwatch: each of these costs more than the whole command may."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stretto.home import Home
from tests.support import rows
from tests.support.repository import Repository

HEAVY = {
    "asyncio", "concurrent.futures", "ctypes", "email", "http.client", "httpx", "httpx2", "importlib.metadata",
    "importlib.resources", "mcp", "multiprocessing", "psutil", "pydantic", "rich", "ssl", "starlette", "subprocess",
    "tempfile", "textual", "urllib.request", "uvicorn",
}  # fmt: skip

#: what the plain forms of the commands that are asked all day long do without (see `cli.quick`)
SPARED = {"click", "dataclasses", "hashlib", "inspect", "pathlib", "urllib.parse"}

PROGRAM = """
import sys
from stretto.__main__ import main
sys.argv = ["stretto", *sys.argv[1:]]
code = main()
sys.stderr.write("\\n".join(sorted(sys.modules)))
sys.exit(code)
"""


def imported(repo: Repository, *words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=repo.path, env={**os.environ}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines())


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help(home: Path, repo: Repository, words: list[str]) -> None:
    found = imported(repo, *words)
    assert found & (HEAVY | {"sqlite3", "stretto.client", "stretto.cli.status"}) == set()


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["inbox"], ["next"], ["queue", "--json"]])
def test_status_without_a_daemon(home: Path, repo: Repository, stored: Callable[..., None], words: list[str]) -> None:
    stored(rows.run(), rows.started(), rows.turn())
    found = imported(repo, *words)
    assert found & (HEAVY | SPARED) == set()
    assert not {name for name in found if name.startswith(("stretto.git", "stretto.engine", "stretto.daemon"))}


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["status", "--all"]])
def test_status_from_the_daemon(home: Path, repo: Repository, daemon: Callable[..., Home], words: list[str]) -> None:
    daemon()
    found = imported(repo, *words)
    assert found & (HEAVY | SPARED | {"sqlite3", "stretto.store.sqlite", "stretto.reads.status"}) == set()
    assert "stretto.core.model" not in found, "the daemon has done the thinking"


def test_watch_imports_no_library_of_a_screen_before_there_is_one() -> None:
    code = "import sys, stretto.cli.watch; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & (HEAVY | {"sqlite3", "stretto.core.model"}) == set()
