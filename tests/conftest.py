"""Fixtures for all tests, and what holds for the whole run: a scratch world, no skips in CI, no process left behind."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stretto.workspace.databases import programs
from tests.support import ci, counts, processes, world
from tests.support.postgres import Cluster
from tests.support.repository import Repository
from tests.support.unprivileged import Unprivileged

WORLD = world.enter()
# a busy machine makes no example wrong; in CI the examples are those of last time, so that red means changed code
settings.register_profile(
    "stretto",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("STRETTO_CI") == "1",
)
settings.load_profile("stretto")
LEFT_BEHIND: list[str] = []
COUNTED: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    if ci.wanted(config):
        config.pluginmanager.register(ci.Strict(config), "stretto-ci")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After the last test no process of this run may live: whoever started it forgot to end it."""
    if hasattr(session.config, "workerinput") or not WORLD.owner:
        return
    remaining = processes.gone(WORLD.id)
    if remaining:
        LEFT_BEHIND.append(processes.described(remaining))
        processes.end(remaining)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    COUNTED.extend(counts.told(WORLD.folder))
    if session.exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(WORLD.folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in COUNTED:
        terminalreporter.line(line)
    if LEFT_BEHIND:
        terminalreporter.section("processes that the tests left behind (ended now)", red=True)
        terminalreporter.line("\n".join(LEFT_BEHIND))
    if WORLD.owner and WORLD.folder.exists():
        terminalreporter.line(f"kept for a look: {WORLD.folder}")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A fresh folder whose path is short enough for a Unix socket in it; others may pass through it."""
    folder = WORLD.folder / secrets.token_hex(3)
    folder.mkdir()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server of this worker, of the newest version that is installed."""
    cluster = Cluster(programs.servers()[0], WORLD.folder / f"pg{secrets.token_hex(2)}")
    yield cluster
    cluster.stop()


@pytest.fixture
def home(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh STRETTO_HOME (0700) and a fresh HOME; whatever still works for that home is ended afterwards."""
    for name, value in world.person(short_folder / "person").items():
        monkeypatch.setenv(name, value)
    folder = short_folder / "h"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("STRETTO_HOME", str(folder))
    yield folder
    processes.end(processes.holding(str(short_folder)))


@pytest.fixture
def make_repo(tmp_path: Path) -> Callable[..., Repository]:
    """Build a repository below the test's folder: `make_repo("name", {"path": "text"})`."""

    def make(name: str = "repo", files: Mapping[str, str | bytes] | None = None, *, bare: bool = False) -> Repository:
        return Repository.create(tmp_path / name, files, bare=bare)

    return make


@pytest.fixture
def repo(make_repo: Callable[..., Repository]) -> Repository:
    """A repository with one commit on `main`."""
    return make_repo("repo", {"README.md": "# sample\n"})


@pytest.fixture
def unprivileged() -> Iterator[Unprivileged]:
    """A user without privileges (uid 65534 when the tests run as root) with a folder of their own."""
    folder = WORLD.folder / f"u{secrets.token_hex(3)}"
    folder.mkdir(mode=0o700)
    yield Unprivileged(folder)
    os.chmod(folder, 0o700)  # noqa: PTH101  # the test may have taken the rights away
    shutil.rmtree(folder, ignore_errors=True)
