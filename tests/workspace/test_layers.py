"""Layers of a workspace are taken, given, brought back and purged as one transaction, whatever fails or dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.interfaces import Workspace
from stretto.workspace import Bays
from stretto.workspace.settings import Settings
from tests.support.layers import BRANCH, UID, Shelf, bays
from tests.support.repository import Repository

KEY = "plan-abcd-search"


class House:
    """A repository, two shelves, and workspaces that have a layer on each."""

    def __init__(self, repo: Repository) -> None:
        self.repo = repo
        self.shelves = repo.path.parent / "shelves"
        self.one, self.two = Shelf("one", self.shelves), Shelf("two", self.shelves)

    def bays(self) -> Bays:
        return bays(self.repo.path, self.one, self.two)

    def ensure(self) -> Workspace:
        return self.bays().ensure(UID, "task", self.repo.oid("main"), BRANCH, {})

    def remove(self) -> str:
        return self.bays().remove(UID, self.path, BRANCH, "asked").id

    @property
    def path(self) -> Path:
        return self.repo.path.parent / "bays" / "01"

    def marker(self) -> dict[str, object] | None:
        path = self.repo.path.parent / "bays" / ".stretto" / "bays" / "01.json"
        return json.loads(path.read_text()) if path.exists() else None

    def steps(self) -> dict[str, str]:
        marker = self.marker()
        layers = {} if marker is None else marker["layers"]
        assert isinstance(layers, dict)
        return {name: step["state"] for name, step in layers.items()}

    def run(self, verb: str, **env: str) -> int:
        """Do it in a process of its own, which may die."""
        argv = [sys.executable, "-m", "tests.support.layers", str(self.repo.path), verb]
        done = subprocess.run(argv, env={**os.environ, **env}, cwd=Path(__file__).parents[2], capture_output=True)
        assert done.returncode in (0, -9), done.stderr.decode()
        return done.returncode


@pytest.fixture
def house(make_repo) -> House:
    return House(make_repo("repo", {"a.txt": "a\n", ".gitignore": "*.log\n"}))


def test_layers_are_taken_in_order_and_described_without_being_asked(house: House):
    space = house.ensure()
    assert space.env["SHELF_ONE"] == str(house.one.on / KEY)
    assert space.env["SHELF_TWO"] == str(house.two.on / KEY)
    assert house.steps() == {"one": "taken", "two": "taken"}
    marker = house.marker()
    assert marker is not None
    assert marker["layers"]["two"]["data"]["before"] == ["SHELF_ONE"]  # type: ignore[index]  # plain JSON
    house.one.calls.clear()
    found = house.bays().find(UID, "task", {})
    assert found is not None
    assert found.env["SHELF_TWO"] == space.env["SHELF_TWO"]
    assert house.one.calls == []


def test_a_workspace_env_may_use_what_a_layer_gives(house: House):
    house.one.name = "port"
    house.one.variables = lambda: frozenset({"PORT_API"})  # type: ignore[method-assign]
    house.one.values = lambda place, data: {"PORT_API": "20001"}  # type: ignore[method-assign]
    found = bays(house.repo.path, house.one, house.two, settings=Settings(env={"API": "http://127.0.0.1:{port.api}/"}))
    space = found.ensure(UID, "task", house.repo.oid("main"), BRANCH, {"PORT_API": "80"})
    assert (space.env["API"], space.env["PORT_API"]) == ("http://127.0.0.1:20001/", "20001")


def test_what_is_not_wanted_is_not_taken(house: House):
    house.two.is_wanted = False
    house.ensure()
    assert house.steps() == {"one": "taken"}
    assert house.two.held() == []


def test_taking_again_finds_it_and_writes_nothing(house: House):
    house.ensure()
    before = (house.repo.path.parent / "bays" / ".stretto" / "bays" / "01.json").stat().st_ino
    house.ensure()
    assert (house.repo.path.parent / "bays" / ".stretto" / "bays" / "01.json").stat().st_ino == before
    assert house.one.calls.count("take") == 2


def test_a_layer_that_fails_undoes_the_workspace(house: House):
    house.two.refuse = {"take"}
    with pytest.raises(StrettoError, match="two refuses"):
        house.ensure()
    assert house.marker() is None
    assert not house.path.exists()
    assert house.repo.refs("refs/heads/stretto/") == {}
    assert (house.one.held(), house.one.kept(), house.two.kept()) == ([], [], [])
    assert sorted(path.name for path in house.path.parent.iterdir()) == [".quarantine", ".stretto"]
    house.two.refuse = set()
    assert house.ensure().bay == 1


def test_what_cannot_be_undone_stays_recorded_and_is_completed_later(house: House):
    house.two.refuse = {"take"}
    house.one.refuse = {"purge"}
    with pytest.raises(StrettoError, match="two refuses"):
        house.ensure()
    assert house.steps() == {"one": "taken"}
    house.one.refuse = house.two.refuse = set()
    house.ensure()
    assert (house.one.held(), house.two.held()) == ([KEY], [KEY])


def test_a_failing_layer_leaves_a_workspace_with_work_in_it_alone(house: House):
    house.ensure()
    (house.path / "work.txt").write_text("work")
    house.two.refuse = {"take"}
    with pytest.raises(StrettoError, match="two refuses"):
        house.ensure()
    assert (house.path / "work.txt").read_text() == "work"
    assert house.two.held() == [KEY]


def test_removal_gives_undo_brings_back_purge_ends(house: House):
    house.ensure()
    (house.one.on / KEY / "rows").write_text("1,2,3")
    removal = house.remove()
    assert (house.one.held(), house.one.kept(), house.two.kept()) == ([], [KEY], [KEY])
    house.bays().undo(removal)
    assert (house.one.on / KEY / "rows").read_text() == "1,2,3"
    assert house.steps() == {"one": "taken", "two": "taken"}
    removal = house.remove()
    house.bays().purge([removal])
    assert (house.one.kept(), house.two.kept(), house.bays().removals()) == ([], [], [])


def test_a_removal_goes_in_reverse(house: House):
    said: list[str] = []
    for shelf in (house.one, house.two):
        whole = shelf._say

        def say(step: str, shelf: Shelf = shelf, whole=whole) -> None:
            said.append(f"{shelf.name} {step}")
            whole(step)

        shelf._say = say  # type: ignore[method-assign]
    house.ensure()
    house.bays().undo(house.remove())
    assert said == ["one take", "two take", "two give", "one give", "one back", "two back"]


def test_a_layer_that_cannot_be_given_now_is_given_later_and_nothing_else_is_begun(house: House):
    house.ensure()
    house.one.refuse = {"give"}
    with pytest.raises(StrettoError, match="one refuses"):
        house.remove()
    assert not house.path.exists()
    with pytest.raises(StrettoError, match="one refuses"):
        house.remove()
    with pytest.raises(StrettoError, match="not wholly removed") as caught:
        house.ensure()
    assert caught.value.code == "incomplete"
    house.one.refuse = set()
    assert house.ensure().fresh
    assert [each.owner for each in house.bays().removals()] == [UID]


def test_an_undo_whose_layer_does_not_come_back_is_taken_back_whole(house: House):
    house.ensure()
    (house.path / "work.log").write_text("work")
    removal = house.remove()
    house.two.refuse = {"back"}
    with pytest.raises(StrettoError, match="two refuses"):
        house.bays().undo(removal)
    assert (house.one.held(), house.one.kept(), house.two.kept()) == ([], [KEY], [KEY])
    assert not house.path.exists()
    house.two.refuse = set()
    house.bays().undo(removal)
    assert (house.path / "work.log").read_text() == "work"
    assert (house.one.held(), house.two.held()) == ([KEY], [KEY])


def test_what_this_stretto_does_not_know_is_refused_not_forgotten(house: House):
    house.ensure()
    alone = bays(house.repo.path, house.one)
    with pytest.raises(StrettoError, match="knows no layer 'two'") as caught:
        alone.remove(UID, house.path, BRANCH, "asked")
    assert caught.value.code == "unknown_layer"
    assert house.two.held() == [KEY]
    house.remove()
    assert house.two.kept() == [KEY]


def test_what_is_held_for_nobody_is_told(house: House):
    house.ensure()
    (house.two.on / "old").mkdir()
    found = house.bays().layer_leftovers([UID])
    assert [(each.layer, each.what) for each in found] == [("two", str(house.two.on / "old"))]
    removal = house.remove()
    assert removal
    assert [each.layer for each in house.bays().layer_leftovers([])] == ["two"]
    house.two.refuse = {"leftovers"}
    assert house.bays().layer_leftovers([]) == []


POINTS = [
    (verb, f"daemon.workspace.layer.{step}.{when}@{n}")
    for verb, step in (("ensure", "take"), ("remove", "give"), ("undo", "back"), ("purge", "purge"))
    for when in ("before", "after")
    for n in (1, 2)
]
#: what was written down at each step: the n-th durable write of the call
WRITES = [
    (verb, f"daemon.files.replace.after@{n}")
    for verb, count in (("ensure", 7), ("remove", 4), ("undo", 4), ("purge", 3))
    for n in range(1, count + 1)
]
BEFORE = {"ensure": [], "remove": ["ensure"], "undo": ["ensure", "remove"], "purge": ["ensure", "remove"]}


@pytest.mark.faults
@pytest.mark.parametrize(("verb", "point"), [*POINTS, *WRITES], ids=lambda value: value.rpartition("daemon.")[2])
def test_killed_at_any_step_it_is_completed_by_the_next_call(house: House, verb: str, point: str):
    for earlier in BEFORE[verb]:
        assert house.run(earlier) == 0
        if earlier == "ensure":
            (house.path / "work.log").write_text("work")
            (house.one.on / KEY / "rows").write_text("1,2,3")
    assert house.run(verb, STRETTO_TESTING="1", STRETTO_FAILPOINT=f"{point}=kill") == -9
    if verb == "ensure":
        space = house.ensure()
        assert space.path == house.path
        assert house.steps() == {"one": "taken", "two": "taken"}
        assert (house.one.held(), house.two.held()) == ([KEY], [KEY])
    elif verb == "remove":
        house.remove()
        assert (house.one.kept(), house.two.kept(), house.path.exists()) == ([KEY], [KEY], False)
        house.bays().undo(house.bays().removals()[0].id)
        assert (house.one.on / KEY / "rows").read_text() == "1,2,3"
        assert (house.path / "work.log").read_text() == "work"
    elif verb == "undo":
        found = house.bays()
        for removal in found.removals():
            found.undo(removal.id)
        assert (house.one.on / KEY / "rows").read_text() == "1,2,3"
        assert (house.path / "work.log").read_text() == "work"
        assert house.steps() == {"one": "taken", "two": "taken"}
        assert house.ensure().fresh is False
    else:
        found = house.bays()
        found.purge([each.id for each in found.removals()])
        assert (house.one.kept(), house.two.kept(), found.removals()) == ([], [], [])


@pytest.mark.faults
@pytest.mark.parametrize("point", [point for verb, point in POINTS if verb == "ensure"])
def test_a_workspace_that_died_half_made_can_be_given_up(house: House, point: str):
    """The task is cancelled after the crash: removal finds what the layers hold, recorded or not."""
    assert house.run("ensure", STRETTO_TESTING="1", STRETTO_FAILPOINT=f"{point}=kill") == -9
    house.remove()
    assert (house.one.held(), house.two.held()) == ([], [])
    found = house.bays()
    found.purge([each.id for each in found.removals()])
    assert (house.one.kept(), house.two.kept()) == ([], [])
