"""A shim is the launcher of its agent's sandbox itself, and nothing of the shim is left in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stretto import proctree
from stretto.shim.constants import marker
from stretto.shim.recover import recover
from stretto.workspace import sandbox
from stretto.workspace.sandbox import places
from stretto.workspace.sandbox.recipe import Recipe
from tests.shim.sessions import Session, shell
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults


@pytest.fixture
def confined(session: Callable[..., Session], short_folder: Path) -> Callable[..., Session]:
    """Build a session whose agent, a line of shell, is in a sandbox."""

    def make(text: str, style: str = "stream", env: dict[str, str] | None = None) -> Session:
        system, links = places.system()
        work = short_folder / "work"
        work.mkdir()
        recipe = Recipe(str(work), "/home/sandbox", system=system, links=links)
        words = sandbox.wrapper(recipe, sandbox.require(), sys.executable)
        full = {"PATH": os.environ["PATH"], **(env or {})}
        return session(shell(text), style, wrapper=words, launcher=str(sandbox.LAUNCH), env=full, cwd=str(work))

    return make


def test_the_launcher_is_a_fork_of_the_shim_and_the_agent_has_its_own_environment(
    confined: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_SHIM", "secret")
    made = confined('tr "\\0" "\\n" < /proc/1/environ; echo up $OWN; read line; exit 7', env={"OWN": "mine"}).start()
    said = made.said(b"up mine\n")
    assert b"OWN=mine" in said
    assert b"OF_THE_SHIM" not in said
    own = f"/proc/{made.agent}"
    assert b"host.py" in Path(own, "cmdline").read_bytes()
    left = {os.path.realpath(fd) for fd in Path(own, "fd").iterdir()}
    assert not any(str(made.folder) in each for each in left), left
    made.send("go")
    assert made.over()["code"] == 7


def test_turns_are_confined_each_by_a_launcher_of_its_own(confined: Callable[..., Session]) -> None:
    made = confined('echo "turn $STRETTO_TURN of $$"; exit $((STRETTO_TURN + 2))', "turns").start()
    assert made.turn_over(made.send("one"))["code"] == 3
    assert made.turn_over(made.send("two"))["code"] == 4


def test_a_program_that_is_not_there_is_told(confined: Callable[..., Session], tmp_path: Path) -> None:
    made = confined("true")
    made.spec["argv"] = ["/no/such/program"]
    assert made.start().over()["code"] == 127


def test_a_killed_shim_leaves_its_lock_free_and_recovery_ends_the_sandbox(confined: Callable[..., Session]) -> None:
    made = confined("trap '' TERM; (setsid sleep 600 &); echo up; sleep 600").start()
    made.said(b"up\n")
    launcher = (made.agent, proctree.start_time(made.agent) or 0.0)
    inside = proctree.marked(marker(made.id))
    assert len(inside) >= 4  # bubblewrap, the first process inside, the shell and what left its session
    made.kill_shim()
    assert recover(made.folder, grace=0.5).ended
    wait_for(lambda: not any(proctree.alive(*each) for each in [launcher, *inside]), what="the end of all")
