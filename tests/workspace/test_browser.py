"""The layer `browser`: a profile for each workspace, kept and brought back with it, and an end for what uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stretto import proctree
from stretto.workspace import Bays, browser, stack
from stretto.workspace.port_leases import block
from tests.support import layers
from tests.support.layers import BRANCH, UID
from tests.support.repository import Repository
from tests.support.waiting import wait_for


class House:
    """A repository whose workspaces have a browser, and nothing else besides ports if `config` says so."""

    def __init__(self, repo: Repository) -> None:
        self.repo = repo
        self.folder = repo.path.parent / "bays"
        self.profiles = self.folder / ".stretto" / "browsers"

    def bays(self) -> Bays:
        return layers.bays(self.repo.path, layers.browser(self.repo.path))

    def configured(self, **config: object) -> Bays:
        git = self.bays()._git
        return Bays(git, self.folder, "home-1", layers=stack.configured(git, self.folder, "home-1", config))

    def run(self, verb: str, **env: str) -> int:
        words = [sys.executable, "-m", "tests.support.layers", str(self.repo.path), verb, "browser"]
        root = Path(__file__).parents[2]
        done = subprocess.run(words, env={**os.environ, **env}, cwd=root, check=False, capture_output=True)
        assert done.returncode in (0, -9), done.stderr.decode()
        return done.returncode

    def profile(self) -> Path:
        (found,) = [path for path in self.profiles.iterdir() if path.is_dir()]
        return found / "profile"


@pytest.fixture
def house(make_repo) -> House:
    return House(make_repo("repo", {"a.txt": "a\n", ".gitignore": "*.log\n"}))


@contextmanager
def using(profile: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a browser on this profile, with a child of its own."""
    program = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    words = [sys.executable, "-c", program, f"--user-data-dir={profile}"]
    process = subprocess.Popen(words, start_new_session=True)
    try:
        yield process
    finally:
        proctree.end_tree(process.pid, proctree.start_time(process.pid), None, 0.1)
        process.wait()


def test_each_workspace_has_its_own_and_keeps_it(house: House) -> None:
    found = house.configured(browser="port")
    main = house.repo.oid("main")
    one = found.ensure(UID, "task", main, BRANCH, {})
    two = found.ensure("plan-abcd/other", "task", main, "stretto/plan-abcd/other/work", {})
    gate = found.ensure("gate/main", "gate", main, None, {})
    profiles = {space.env["STRETTO_BROWSER_PROFILE"] for space in (one, two, gate)}
    assert len(profiles) == 3
    for space in (one, two, gate):
        profile = Path(space.env["STRETTO_BROWSER_PROFILE"])
        assert profile.stat().st_mode & 0o777 == 0o700
        assert space.env["PLAYWRIGHT_MCP_USER_DATA_DIR"] == str(profile)
        assert Path(space.env["PLAYWRIGHT_MCP_OUTPUT_DIR"]).is_dir()
        assert int(space.env["STRETTO_BROWSER_PORT"]) == block(int(space.env["STRETTO_SLOT"])).start + 18
        (profile / "Cookies").write_text("mine")
    again = {
        s.owner: s
        for s in (found.ensure(UID, "task", main, BRANCH, {}), found.ensure("gate/main", "gate", main, None, {}))
    }
    assert Path(again[UID].env["STRETTO_BROWSER_PROFILE"], "Cookies").read_text() == "mine"
    assert not Path(again["gate/main"].env["STRETTO_BROWSER_PROFILE"], "Cookies").exists()


def test_without_the_word_there_is_none_and_a_pipe_has_no_port(house: House) -> None:
    main = house.repo.oid("main")
    plain = house.configured().ensure(UID, "task", main, BRANCH, {})
    assert not [name for name in plain.env if "BROWSER" in name or "PLAYWRIGHT" in name]
    piped = house.configured(browser="pipe").ensure("plan-abcd/x", "task", main, "stretto/plan-abcd/x/work", {})
    assert "STRETTO_BROWSER_PROFILE" in piped.env
    assert "STRETTO_BROWSER_PORT" not in piped.env


def test_the_shared_programs_of_playwright_are_found_from_any_home(house: House, tmp_path: Path) -> None:
    (tmp_path / ".cache" / "ms-playwright").mkdir(parents=True)
    found = house.configured(browser="pipe")
    space = found.ensure(UID, "task", house.repo.oid("main"), BRANCH, {"HOME": str(tmp_path)})
    assert space.env["PLAYWRIGHT_BROWSERS_PATH"] == str(tmp_path / ".cache" / "ms-playwright")
    assert browser.shown(space.env)[1] == [space.env["PLAYWRIGHT_BROWSERS_PATH"]]


def test_a_removal_ends_the_browser_and_undo_brings_the_profile_back(house: House) -> None:
    found = house.configured(browser="port")
    space = found.ensure(UID, "task", house.repo.oid("main"), BRANCH, {})
    profile = Path(space.env["STRETTO_BROWSER_PROFILE"])
    (profile / "Cookies").write_text("mine")
    with using(profile) as process, using(profile.parent / "profile-of-another") as other:
        children = wait_for(
            lambda: [p for p in proctree.processes().values() if p.parent == process.pid], what="a child"
        )
        removal = found.remove(UID, space.path, BRANCH, "asked")
        assert process.wait(10) < 0
        assert not proctree.alive(children[0].pid, children[0].start_time)
        assert other.poll() is None
    assert not profile.exists()
    assert found.layer_leftovers([]) == []
    found.undo(removal.id)
    assert (profile / "Cookies").read_text() == "mine"
    back = found.find(UID, "task", {})
    assert back is not None
    assert int(back.env["STRETTO_BROWSER_PORT"]) == block(int(back.env["STRETTO_SLOT"])).start + 18
    gone = found.remove(UID, space.path, BRANCH, "asked")
    found.purge([gone.id])
    assert not gone.quarantine.exists()


def test_one_that_nobody_knows_is_told(house: House) -> None:
    found = house.bays()
    found.ensure(UID, "task", house.repo.oid("main"), BRANCH, {})
    assert found.layer_leftovers([UID]) == []
    (told,) = found.layer_leftovers([])
    assert (told.layer, told.what) == ("browser", str(house.profile().parent))


POINTS = [
    *[("ensure", f"daemon.files.replace.after@{n}") for n in (2, 3, 4, 5)],
    *[("remove", f"daemon.files.rename.{when}@{n}") for when in ("before", "after") for n in (2, 3)],
    ("remove", "daemon.workspace.drop.before"),
    ("remove", "daemon.workspace.drop.after"),
    *[("undo", f"daemon.files.rename.{when}") for when in ("before", "after")],
    ("purge", "daemon.workspace.layer.purge.after"),
]


@pytest.mark.faults
@pytest.mark.parametrize(("verb", "point"), POINTS, ids=lambda value: value.rpartition("daemon.")[2])
def test_killed_at_any_step_the_profile_is_whole(house: House, verb: str, point: str) -> None:
    for earlier in {"ensure": [], "remove": ["ensure"]}.get(verb, ["ensure", "remove"]):
        assert house.run(earlier) == 0
        if earlier == "ensure":
            (house.profile() / "Cookies").write_text("mine")
    assert house.run(verb, STRETTO_TESTING="1", STRETTO_FAILPOINT=f"{point}=kill") == -9
    found = house.bays()
    if verb == "ensure":
        found.ensure(UID, "task", house.repo.oid("main"), BRANCH, {})
        assert house.profile().is_dir()
        return
    if verb == "remove":
        found.remove(UID, house.folder / "01", BRANCH, "asked")
        assert not house.profiles.exists() or not [p for p in house.profiles.iterdir() if p.is_dir()]
    if verb in ("remove", "undo"):
        for removal in found.removals():
            found.undo(removal.id)
        assert (house.profile() / "Cookies").read_text() == "mine"
        return
    for removal in found.removals():
        found.purge([removal.id])
    assert not list(house.folder.rglob("Cookies"))
    assert found.layer_leftovers([]) == []
