"""`stretto driver`: the agent that the person plans with, at a real terminal, and what it may do."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Stretto
from tests.support.repository import Repository
from tests.support.waiting import wait_for
from tests.support.world import STRETTO

#: an agent with a face: it writes down how it was started, does what it was told to, and says what came of it
FACE = """#!{python}
import json, os, pathlib, subprocess, sys
out = pathlib.Path({folder!r})
with (out / "started.jsonl").open("a") as file:
    told = {{"argv": sys.argv[1:], "cwd": os.getcwd(), "marker": os.environ.get("STRETTO_DRIVER"), "tty": os.isatty(0)}}
    file.write(json.dumps(told) + "\\n")
done = []
for words in json.loads((out / "orders.json").read_text()):
    ran = subprocess.run(["stretto", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    done.append([words[0], ran.returncode, ran.stdout, ran.stderr])
(out / "done.json").write_text(json.dumps(done))
print("bye")
"""
WORKER = """#!/bin/sh
case "$STRETTO_TASK" in
  ask*) stretto agent ask "Which colour?" --option red --option blue > colour.txt ;;
  *) echo "$STRETTO_TASK" > work.txt; cp "$STRETTO_PROMPT_FILE" prompt.txt ;;
esac
"""


class Desk:
    """A person's terminal with a driver on it."""

    def __init__(self, stretto: Stretto, repo: Repository, folder: Path) -> None:
        self.stretto, self.repo, self.folder = stretto, repo, folder
        face, worker = folder / "face.py", folder / "worker.sh"
        face.write_text(FACE.format(python=sys.executable, folder=str(folder)))
        worker.write_text(WORKER)
        for path in (face, worker):
            path.chmod(0o755)
        repo.commit(
            "agents",
            {
                "stretto.toml": 'schema = 1\n[roles.driver]\nagent = "face"\n[roles.implementer]\nagent = "worker"\n'
                f'[agents.face]\ntype = "claude"\ncommand = ["{face}"]\n'
                f'[agents.worker]\ntype = "command"\ncommand = ["{worker}"]\n'
            },
        )

    def drive(self, *words: str, orders: list[list[str]] | None = None) -> tuple[int, str]:
        """`stretto driver` on a terminal of its own: its exit code and what the terminal showed."""
        (self.folder / "orders.json").write_text(json.dumps(orders or []))
        master, slave = pty.openpty()
        argv = [*STRETTO, "driver", *words]
        child = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=self.repo.path,
            env=dict(os.environ),
            start_new_session=True,
        )
        os.close(slave)
        shown = b""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    shown += os.read(master, 65536)
                except OSError:
                    break
            elif child.poll() is not None:
                break
        code = child.wait(30)
        os.close(master)
        return code, shown.decode(errors="replace")

    def started(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "started.jsonl").read_text().splitlines()]

    def log(self) -> list[list[Any]]:
        return list(json.loads((self.folder / "done.json").read_text()))

    def done(self) -> dict[str, tuple[int, str, str]]:
        found = json.loads((self.folder / "done.json").read_text())
        return {word: (code, out, err) for word, code, out, err in found}

    def tasks(self) -> list[dict[str, Any]]:
        return list(json.loads(self.stretto("status", "--all", "--json").stdout)["tasks"])


@pytest.fixture
def desk(stretto: Stretto, repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    person = tmp_path / "person"
    person.mkdir()
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    yield Desk(stretto, repo, tmp_path)
    stretto("down", "--all", "--json")


def test_a_driver_hands_over_work_and_decides_nothing(desk: Desk) -> None:
    assert desk.stretto("trust", "--yes").returncode == 0
    orders = [
        ["plan", "lint", "PLAN.md"],
        ["add", "Write the work file.", "--accept", "work.txt is there.", "--title", "Work", "--json"],
        ["status", "--json"],
        ["add", "Work.\nAccept: ok.\n- sandbox: none\n- checks: []", "--title", "Open"],
        ["trust", "--yes"],
        ["cancel", "work"],
        ["approve", "work"],
        ["down", "--all"],
        ["workspace", "new", "mine"],
    ]
    desk.repo.commit("plan", {"PLAN.md": "# P\n\n## a: A\nDo a.\nAccept: ok.\n- files: a\n"})
    code, shown = desk.drive("--trust", orders=orders)
    assert (code, "bye" in shown) == (0, True), shown
    (started,) = desk.started()
    assert started["tty"]
    assert started["marker"]
    assert Path(started["cwd"]).parent.name == f"{desk.repo.path.name}.worktrees"
    assert started["argv"][-2] == "--"
    assert "stretto plan lint" in started["argv"][-1]
    assert started["cwd"] in started["argv"][-1]
    done = desk.done()
    assert done["plan"][0] == 0, done["plan"]
    (_, *added), (_, *opened) = [entry for entry in desk.log() if entry[0] == "add"]
    assert added[0] == 0, added
    assert opened[0] == 1
    assert "a driver cannot say checks in a task" in opened[2]
    assert json.loads(done["status"][1])["tasks"][0]["title"] == "Work"
    for verb in ("trust", "cancel", "approve", "down", "workspace"):
        assert done[verb][0] == 1, (verb, done[verb])
        assert "that is for the person" in done[verb][2]
    assert desk.tasks()[0]["state"] != "cancelled"


def test_a_driver_writes_to_an_agent_but_not_in_the_place_of_an_answer(desk: Desk) -> None:
    added = desk.stretto("add", "Ask for the colour.", "--title", "Ask", "--trust", "--leave-checkout", "--json")
    uid = json.loads(added.stdout)["tasks"][0]
    wait_for(lambda: json.loads(desk.stretto("inbox", "--json").stdout)["inbox"])
    other = desk.stretto("add", "Write the work file.", "--title", "Work", "--leave-checkout", "--json")
    work = json.loads(other.stdout)["tasks"][0]
    wait_for(lambda: len(json.loads(desk.stretto("inbox", "--json").stdout)["inbox"]) == 2)
    orders = [["answer", "i-1", "red"], ["send", uid, "take red"]]
    desk.drive("--trust", orders=orders)
    done = desk.done()
    assert "that is for the person" in done["answer"][2]
    assert "waits for the person" in done["send"][2]
    desk.drive("--trust", orders=[["send", work, "and a \x1b[31mred line"]])
    assert desk.done()["send"][0] == 0, desk.done()
    told = wait_for(lambda: _prompt(desk, work))
    assert "The driver, the agent with whom the person plans" in told
    assert "and a red line" in told
    assert "<!--" not in told, "the line for programs"
    assert '"text": "<!-- stretto: origin=start' in desk.stretto("prompt", work, "--json").stdout


def _prompt(desk: Desk, uid: str) -> str | None:
    said = desk.stretto("prompt", uid).stdout
    return said if "red line" in said else None


def test_the_conversation_goes_on_unless_a_new_one_is_wanted(desk: Desk, tmp_path: Path) -> None:
    desk.drive("--trust")
    place = desk.started()[0]["cwd"]
    folder = Path(os.environ["HOME"]) / ".claude" / "projects" / "".join(c if c.isalnum() else "-" for c in place)
    folder.mkdir(parents=True)
    (folder / "11111111-1111-1111-1111-111111111111.jsonl").write_text("{}\n")
    assert "goes on" in desk.drive()[1]
    words = desk.started()[1]["argv"]
    assert words[:4] == ["--continue", "--model", "opus", "--settings"]
    assert json.loads(words[4]) == {"permissions": {"defaultMode": "default"}}
    assert len(words) == 5
    assert "begins" in desk.drive("--new")[1]
    assert "--session-id" in desk.started()[2]["argv"]
    assert desk.started()[2]["cwd"] == place


def test_here_is_the_person_s_checkout_and_makes_no_workspace(desk: Desk) -> None:
    code, shown = desk.drive("--here", "--trust")
    assert code == 0, shown
    (started,) = desk.started()
    assert started["cwd"] == str(desk.repo.path)
    assert "the person's own checkout" in started["argv"][-1]
    assert not desk.repo.path.with_name(f"{desk.repo.path.name}.worktrees").exists()


def test_what_cannot_drive_is_refused_with_a_sentence(desk: Desk) -> None:
    refused = desk.stretto("driver", "--json")
    assert refused.returncode == 2
    refused = desk.stretto("driver")
    assert refused.returncode == 1
    assert "needs a terminal" in refused.stderr
    assert "has no face of its own" in desk.drive("--agent", "worker", "--trust")[1]
    toml = (desk.repo.path / "stretto.toml").read_text()
    desk.repo.commit("bold", {"stretto.toml": toml.replace('agent = "face"', 'agent = "face"\npermissions = "skip"')})
    shown = desk.drive("--trust")[1]
    assert "would never ask" in shown or "refuses permissions" in shown
