"""The shared fixtures do what they promise; a test that relies on them can fail for its own reasons only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import processes, world
from tests.support.repository import Repository
from tests.support.unprivileged import NOBODY, Unprivileged
from tests.support.waiting import wait_for


def test_nothing_of_the_person_leaks_in(home: Path) -> None:
    assert os.environ["STRETTO_HOME"] == str(home)
    assert os.environ["HOME"].startswith(os.environ["TMPDIR"])
    assert home.stat().st_mode & 0o777 == 0o700
    assert len(str(home / "sessions" / ("0" * 32) / "agent.sock")) < 90
    leaked = {name for name in os.environ if name.startswith(("XDG_", "ANTHROPIC_", "GIT_AUTHOR", "GIT_DIR"))}
    assert leaked == set()


def test_a_repository_is_real(repo: Repository) -> None:
    second = repo.commit("Second", {"a/b.txt": "text\n", "README.md": None})
    assert repo.files() == ["a/b.txt"]
    assert repo.subjects() == ["Second", "Start"]
    assert repo.refs("refs/heads/") == {"refs/heads/main": second}
    assert repo.git("log", "-1", "--format=%an <%ae>") == "Test Person <person@example.com>"


def test_waiting_returns_the_value_and_names_what_did_not_come() -> None:
    looks = iter([None, "", "here"])
    assert wait_for(lambda: next(looks), 5) == "here"
    with pytest.raises(AssertionError, match="in vain for the moon"):
        wait_for(lambda: False, 0.02, what="the moon")


def write(path: Path) -> int:
    path.write_text("x", encoding="utf-8")
    return os.getuid()


def test_the_unprivileged_cannot_write_where_they_may_not(unprivileged: Unprivileged, tmp_path: Path) -> None:
    mine = unprivileged.folder / "mine"
    assert unprivileged.call(write, mine) == (NOBODY if os.geteuid() == 0 else os.getuid())
    assert mine.read_text(encoding="utf-8") == "x"
    closed = unprivileged.own(unprivileged.folder / "person")
    closed.chmod(0o500)
    with pytest.raises(PermissionError):
        unprivileged.call(write, closed / "new")


def test_an_unprivileged_program_has_no_capabilities(unprivileged: Unprivileged) -> None:
    shut = unprivileged.folder / "shut"
    shut.mkdir(mode=0o000)
    unprivileged.own(shut)
    done = unprivileged.run(["/bin/ls", shut])
    assert done.returncode != 0
    assert "denied" in done.stderr


def test_a_process_of_this_run_is_found_and_ended(short_folder: Path) -> None:
    sleeper = subprocess.Popen(["/bin/sleep", "1000"], cwd=short_folder, env={}, start_new_session=True)
    wait_for(lambda: "sleep 1000" in processes.described(processes.holding(str(short_folder))))
    found = processes.holding(str(short_folder))
    assert [process.pid for process in found] == [sleeper.pid]
    assert "sleep 1000" in processes.described(found)
    processes.end(found)
    assert sleeper.wait(5) == -9
    assert processes.gone(str(short_folder), 1) == []


SKIPPING = """
import pytest

def test_fine(): pass

@pytest.mark.skip(reason="the moon is full")
def test_skipped(): pass
"""


def nested(
    folder: Path, text: str, *options: str, ci: str = "1", where: tuple[str, ...] = ("tests",)
) -> subprocess.CompletedProcess[str]:
    """Run pytest on one file below a copy of our conftest, as a run of its own."""
    tests = folder / "tests"
    tests.mkdir()
    (tests / "support").symlink_to(world.ROOT / "tests" / "support")
    (tests / "conftest.py").write_text((world.ROOT / "tests" / "conftest.py").read_text("utf-8"), "utf-8")
    (tests / "test_nested.py").write_text(text, "utf-8")
    (folder / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\npythonpath = ['.']\ntestpaths = ['tests']\nmarkers = ['faults']\n"
        "addopts = '--import-mode=importlib -p no:cacheprovider'\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != world.RUN_VARIABLE}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "xdist", *options, *where],
        cwd=folder,
        env={**environment, "STRETTO_CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_a_skip_fails_in_ci_and_is_named(tmp_path: Path, options: list[str]) -> None:
    done = nested(tmp_path, SKIPPING, *options)
    assert done.returncode == 1, done.stdout
    assert "test_nested.py::test_skipped: Skipped: the moon is full" in done.stdout


def test_a_skipped_file_fails_in_ci(tmp_path: Path) -> None:
    done = nested(tmp_path, "import pytest\npytest.importorskip('no_such_module_here')\n", "-n", "1")
    assert done.returncode != 0, done.stdout
    assert "no_such_module_here" in done.stdout


def test_in_ci_a_run_of_everything_holds_every_kind_of_test(tmp_path: Path) -> None:
    marked = "import pytest\n@pytest.mark.faults\ndef test_fine(): pass\n"
    done = nested(tmp_path, marked, "-n", "1", where=())
    assert done.returncode == 1, done.stdout
    assert "no test that is marked claude ran\nno test that is marked e2e ran\n" in done.stdout


def test_in_ci_a_failure_is_told_before_the_run_ends(tmp_path: Path) -> None:
    done = nested(tmp_path, "def test_red(): assert 1 == 2\n\ndef test_fine(): pass\n")
    told = done.stdout.index("failed in its call: tests/test_nested.py::test_red")
    assert told < done.stdout.index("FAILURES")


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    done = nested(tmp_path, SKIPPING, ci="0")
    assert done.returncode == 0, done.stdout


LEAVING = """
import subprocess
def test_forgets_its_child():
    subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True).returncode = 0
"""


def test_a_process_that_is_left_behind_fails_the_run(tmp_path: Path) -> None:
    done = nested(tmp_path, LEAVING)
    assert done.returncode == 1, done.stdout
    assert "sleep 1000" in done.stdout
    assert "test_forgets_its_child" in done.stdout
