"""A small real repository, a real daemon on it, and a person who drives a run through everything that it can do.

Specification. The daemon is a child process (`python -m stretto.daemon`), which may die at any time: whoever drives it
starts it again and goes on by what the rows say, as a person would who looks at `stretto status` and `stretto inbox`
and repeats what went unanswered. Every wait is for a condition.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stretto.client import Client
from stretto.core.errors import StrettoError
from stretto.core.model import Item, Message, Session, State, Task
from stretto.home import Home, open_home
from stretto.proctree import look, start_time
from stretto.store.sqlite import Reader, open_readonly
from tests.support.repository import Repository
from tests.support.waiting import wait_for
from tests.support.world import SOURCES

PLAYER = Path(__file__).with_name("player.py")
#: seconds in which a run with a crash in it must be over
PATIENCE = 150.0

PLAN = """\
---
checks: ["test ! -e bad"]
---
# Everything once

## first: Fails its check at first
Write the first file.
Accept: it is there.

## left: One side of a conflict
Write the shared file.
Accept: it is there.

## right: The other side
Write the shared file.
Accept: it is there.

## asker: Asks the person
Ask and write down the answer.
Accept: it is there.

## doomed: Is taken away
Write something.
Accept: it is there.

## lost: Loses its worktree
Write its file.
Accept: it is there.

## study: Looks around
Look around and report.
Accept: there is a report.
- kind: research

## slow: Takes its time
Work for a while.
Accept: it is there.
"""


@dataclass(slots=True)
class House:
    """One repository with a remote, one home, at most one daemon."""

    folder: Path
    home: Home
    repo: Repository
    remote: Repository
    log: Path
    daemon: subprocess.Popen[bytes] | None = None
    deaths: list[int] = field(default_factory=list)
    starts: int = 0

    # ------------------------------------------------------------ the daemon

    def up(self, **env: str) -> None:
        """Start a daemon and wait until it answers or has died."""
        self.starts += 1
        with (self.folder / f"daemon-{self.starts}.out").open("wb") as out:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "stretto.daemon"], env={**os.environ, **env}, stdout=out, stderr=out, cwd="/"
            )
        wait_for(lambda: self.died() or Client(self.home).ping(), 30, what=self.story)

    def died(self) -> bool:
        """Whether the daemon is not running (any more); its exit is kept."""
        if self.daemon is None:
            return True
        if self.daemon.poll() is None:
            return False
        self.deaths.append(self.daemon.returncode)
        self.daemon = None
        return True

    def kill(self) -> None:
        """kill -9 of the daemon, and only of it."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
        self.daemon = None

    def call(self, op: str, **args: Any) -> dict[str, Any] | None:
        """One operation. None: refused or lost, as a daemon that dies in the middle does."""
        try:
            return Client(self.home).call(op, cwd=str(self.repo.path), **args)
        except StrettoError as error:
            self.said.append(f"{op} {args}: {error.code}: {error.message}")
            return None

    said: list[str] = field(default_factory=list)

    def run(self, plan: str = PLAN, **args: Any) -> dict[str, Any] | None:
        """Submit a plan; once more if it is running already."""
        path = self.folder / "PLAN.md"
        path.write_text(plan)
        env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG")}
        words: dict[str, Any] = {"approve": "human", "open": 8, "push": True, "checkout": "update", **args}
        agent = f"command:{sys.executable} -I -S {PLAYER} {SOURCES} {self.log}"
        return self.call(
            "run", plan_path=str(path), plan_text=plan, agent=agent, trust=True, fetch=True, env=env, **words
        )

    # ------------------------------------------------------------ what is there

    @contextmanager
    def rows(self) -> Iterator[Reader]:
        """The database, read-only."""
        reader = open_readonly(self.home.database)
        try:
            yield reader
        finally:
            reader.connection.close()

    def tasks(self) -> dict[str, Task]:
        """All tasks by id."""
        if not self.home.database.exists():
            return {}
        try:
            with self.rows() as db:
                return {task.id: task for task in db.select(Task, "1 ORDER BY created_at, position")}
        except StrettoError:  # the daemon died before its first table
            return {}
        except Exception as error:
            if "no such table" in str(error):
                return {}
            raise

    def items(self) -> list[Item]:
        """What waits for the person."""
        with self.rows() as db:
            return db.select(Item, "closed_at IS NULL AND answered_at IS NULL ORDER BY opened_at, id")

    def removals(self, task: str | None = None) -> list[dict[str, Any]]:
        """All removals by age, or those of one task only; landed tasks are removed as well."""
        with self.rows() as db:
            rows = [dict(row) for row in db.rows("SELECT id, task, undone_at, purged_at FROM removals ORDER BY at")]
        return [row for row in rows if task is None or row["task"].endswith(f"/{task}")]

    def owed(self) -> list[str]:
        """What landings still owe to the checkout and the remote."""
        with self.rows() as db:
            sql = "SELECT o.value FROM repos, json_each(repos.data, '$.owed') o"
            return [str(row[0]) for row in db.rows(sql)]

    def turns(self) -> list[Message]:
        with self.rows() as db:
            return db.select(Message, "kind = 'turn' ORDER BY task, n")

    def played(self, task: str | None = None) -> list[dict[str, Any]]:
        """What the agents wrote down."""
        found = []
        for path in sorted(self.log.glob(f"{task or '*'}.jsonl")):
            lines = path.read_text(encoding="utf-8").splitlines()
            found += [{"task": path.stem, **json.loads(line)} for line in lines]
        return found

    def shims(self) -> list[tuple[Path, int, bool]]:
        """Each session's folder, the pid of its shim, and whether that lives."""
        found = []
        for path in sorted(self.home.sessions.glob("*/shim.json")):
            who = json.loads(path.read_text())
            found.append((path.parent, int(who["pid"]), start_time(who["pid"]) == who["start_time"]))
        return found

    def dead_shims(self, *, after_exit: bool = False) -> list[Path]:
        """Sessions whose shim died without recording an end, or (`after_exit`) after that."""
        return [
            folder for folder, _, lives in self.shims() if not lives and (folder / "exit.json").exists() is after_exit
        ]

    @staticmethod
    def runs(pid: int) -> bool:
        """Whether this process runs; one that nobody has reaped does not."""
        found = look(pid)
        return found is not None and not found.zombie

    def shell(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the person's in the repository."""
        return subprocess.run(
            argv, cwd=self.repo.path, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=60
        )

    def answers(self) -> bool:
        """Whether a daemon answers."""
        return Client(self.home).ping() is not None

    def sessions(self) -> list[Session]:
        with self.rows() as db:
            return db.select(Session, "1 ORDER BY task, generation")

    def release(self) -> None:
        """Let the slow agent finish."""
        (self.log / "go").touch()

    def story(self) -> str:
        """All that is known, for a failure."""
        lines = [f"deaths {self.deaths}, starts {self.starts}", *self.said[-12:]]
        for id, task in self.tasks().items():
            lines.append(f"{id}: {task.outcome} {task.outcome_reason} cleaned={task.cleaned} ws={task.workspace}")
        if self.tasks():
            with self.rows() as db:
                lines += [f"view {tuple(row)}" for row in db.rows("SELECT uid, stage, state, reason FROM views")]
                lines += [f"item {i.task} {i.kind.value} {i.text[:200]}" for i in self.items()]
                rows = db.rows("SELECT id, task, type, data FROM events ORDER BY id DESC LIMIT 120")
                lines += [f"{r['id']} {r['task']} {r['type']} {r['data'][:200]}" for r in reversed(rows)]
        if self.home.daemon_log.exists():
            lines += self.home.daemon_log.read_text(errors="replace").splitlines()[-30:]
        for path in sorted(self.folder.glob("daemon-*.out")):
            lines += [f"{path.name}: {line}" for line in path.read_text(errors="replace").splitlines()[-5:]]
        return "\n".join(lines)


#: enough for what a shim does
SMALL = PLAN[: PLAN.index("## left")] + PLAN[PLAN.index("## asker") : PLAN.index("## doomed")]
SMALL += PLAN[PLAN.index("## slow") :]


def build(folder: Path) -> House:
    """A fresh house in `folder`, with STRETTO_HOME as its home."""
    folder.mkdir(exist_ok=True)
    repo = Repository.create(
        folder / "repo", {"README.md": "# sample\n", "shared.txt": "base\n", ".gitignore": "*.log\n"}
    )
    remote = Repository.create(folder / "remote.git", bare=True)
    repo.git("remote", "add", "origin", str(remote.path))
    repo.git("push", "--quiet", "--set-upstream", "origin", "main")
    log = folder / "log"
    log.mkdir()
    return House(folder, open_home(), repo, remote, log)


class Person:
    """Looks at what waits, and does the next thing. Every look is fresh: nothing is remembered over a crash."""

    def __init__(self, house: House, plan: str = PLAN) -> None:
        self.house = house
        self.plan = plan
        self.brought_back: list[str] = []

    def step(self) -> bool:
        """One look around; True when there is nothing left to do."""
        house = self.house
        tasks = house.tasks()
        if not tasks:
            house.run(self.plan)
            return False
        for item in house.items():
            self.answer(item, tasks)
        if (doomed := tasks.get("doomed")) is not None:
            self.take_away(doomed)
        if self.all_but("slow"):
            house.release()
        return self.all_but(None)

    def all_but(self, task: str | None) -> bool:
        """Whether all other tasks are over and cleaned up."""
        for id, row in self.house.tasks().items():
            if id == task:
                continue
            if row.outcome is None or (row.outcome is State.LANDED and not row.cleaned):
                return False
        live = [s for s in self.house.sessions() if s.ended_at is None and not s.task.endswith(f"/{task}")]
        purged = "## doomed" not in self.plan or any(row["purged_at"] for row in self.house.removals("doomed"))
        return not live and purged and not self.house.owed()

    def answer(self, item: Item, tasks: Mapping[str, Task]) -> None:
        id = item.task.rpartition("/")[2]
        match item.kind.value:
            case "question":
                self.say(item, "2")
            case "review" if item.payload.get("report"):
                self.say(item, "accept")
            case "review" if id == "lost" and not (self.house.log / "lost").exists():
                (self.house.log / "lost").touch()
                shutil.rmtree(str(tasks["lost"].workspace))
            case "review" if self.may_land(id, tasks):
                self.say(item, "approve")
            case "interrupted":
                self.say(item, "continue")
            case "undelivered":
                self.undelivered(item)
            case "failure" | "conflict" | "setup":
                self.say(item, "retry")
            case "nochange":
                self.say(item, "send-back do it")

    def say(self, item: Item, answer: str) -> None:
        self.house.call("answer", item=item.id, answer=answer)

    @staticmethod
    def may_land(id: str, tasks: Mapping[str, Task]) -> bool:
        """`left` lands after `right` has begun, and `right` after `left`: so they meet."""
        if id == "left":
            return tasks["right"].workspace is not None
        if id == "right":
            return tasks["left"].outcome is not None
        return id != "doomed"

    def undelivered(self, item: Item) -> None:
        """Send it again only if the agent has surely not got it: the person looks at what the agent did."""
        n = item.payload["n"]
        text = next(m.text for m in self.house.turns() if m.task == item.task and m.n == n)
        id = item.task.rpartition("/")[2]
        got = any(row.get("text") == text for row in self.house.played(id))
        if got:
            self.house.call("send", task=item.task, text="go on")
        else:
            self.say(item, "retry")

    def take_away(self, task: Task) -> None:
        """Remove, undo, remove again, purge: each repeated until the rows say that it is done."""
        removals = self.house.removals("doomed")
        standing = [row for row in removals if row["undone_at"] is None and row["purged_at"] is None]
        undone = any(row["undone_at"] for row in removals)
        if any(row["purged_at"] for row in removals):
            return
        if standing and not undone:
            self.house.call("undo", id=standing[0]["id"])
        elif standing:
            self.house.call("purge", ids=[standing[0]["id"]])
        elif undone and task.workspace:
            if self.restored(Path(task.workspace)):
                self.house.call("remove", task=task.uid)
        elif task.outcome is not None or any(
            i.task == task.uid and i.kind.value == "review" for i in self.house.items()
        ):
            self.house.call("remove", task=task.uid)

    def restored(self, path: Path) -> bool:
        """Bring the snapshot of the removal back over a change, until the file is what it was."""
        file = path / "doomed.txt"
        if not file.exists():
            return True  # taken away again by a daemon that could not say so
        with self.house.rows() as db:
            done = db.value("SELECT COUNT(*) FROM events WHERE type = 'workspace.restored'")
        if done:
            assert file.read_text() == "not wanted after all\n"
            return True
        if not (self.house.log / "changed").exists():
            self.look_at_what_came_back(path)
            (self.house.log / "changed").touch()
        file.write_text("changed by the person\n")
        snapshots = self.house.repo.refs("refs/stretto/snap/")
        self.house.call("restore", task="doomed", ref=min(ref for ref in snapshots if "/doomed/" in ref))
        return False

    def look_at_what_came_back(self, path: Path) -> None:
        for row in self.house.played("doomed"):
            if row["event"] == "wrote" and path.exists():
                self.brought_back.append(row["path"])
                assert (path / row["path"]).read_text() == row["text"], f"undo did not bring back {row['path']}"


def drive(
    house: House,
    person: Person,
    *,
    points: Sequence[str] = (),
    patience: float = PATIENCE,
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Let the person act until all is over; a daemon that has died is started again.

    The daemon's first life dies at the first of `points` (`name` or `name@n`), its next one at the second, and so on.
    Returns those at which one died. `env`: more variables of the first daemon.
    """
    end = time.monotonic() + patience + 5 * len(points)
    reached: list[str] = []
    house.up(**armed(points[:1]), **(env or {}))
    while time.monotonic() < end:
        if house.died():
            assert house.deaths[-1] == -signal.SIGKILL, f"the daemon ended by itself:\n{house.story()}"
            reached += points[len(reached) : len(reached) + 1]
            house.up(**armed(points[len(reached) : len(reached) + 1]))
        if person.step():
            return reached
        time.sleep(0.06)
    raise AssertionError(f"not over after {patience:g} s:\n{house.story()}")


def armed(points: Sequence[str]) -> dict[str, str]:
    """The environment of a process that shall die at this point."""
    return {"STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"{points[0]}=kill"} if points else {}
