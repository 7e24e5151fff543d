"""A person with a home, a daemon and repositories, and proof that what was refused has left nothing half-made.

Specification. `Person` runs the real program as a process of its own. `refused` demands an error with code, message,
object and hint, and compares the world before and after: rows of the repository, refs, worktrees, what lies in and
beside the folder, and processes that hold it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import processes, world
from tests.support.repository import Repository
from tests.support.waiting import wait_for

PLAN = "# Sample\n\n## a: Do a\nDo it.\nAccept: it is done.\n- files: a.txt\n"
AGENT = "command:sh -c 'echo $STRETTO_TASK > $STRETTO_TASK.txt'"


@dataclass(frozen=True, slots=True)
class Ended:
    """How one call of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of the output, which is JSON."""
        value: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return value


class Person:
    """One home with its own daemon; repositories are made below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "h"
        self.home.mkdir(mode=0o700)
        self.environment = {**os.environ, **world.person(folder / "person"), "STRETTO_HOME": str(self.home)}
        self.repo: Repository | None = None

    def repository(self, name: str = "repo", files: Mapping[str, str | bytes] | None = None) -> Repository:
        """A fresh repository in a folder of its own, where the next calls are made."""
        files = {"README.md": "# sample\n"} if files is None else files
        self.repo = Repository.create(self.folder / secrets.token_hex(2) / name, files)
        return self.repo

    def __call__(
        self,
        *words: str,
        cwd: Path | None = None,
        input: str | bytes = b"",
        timeout: float = 120.0,
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run the program; how it ended."""
        done = subprocess.run(
            [*world.STRETTO, *words],
            cwd=cwd or (self.repo.path if self.repo else self.folder),
            env={**self.environment, **(env or {})},
            input=input.encode() if isinstance(input, str) else input,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def run(self, plan: str | bytes = PLAN, *words: str, cwd: Path | None = None, agent: str = AGENT) -> Ended:
        """`run` of a plan on standard input, as JSON, where nothing but the case itself is refused."""
        common = ("--agent", agent, "--leave-checkout", "--no-fetch", "--json")
        return self("run", "-", *common, *words, cwd=cwd, input=plan)

    def started(self, plan: str | bytes = PLAN, *words: str, agent: str = AGENT) -> list[str]:
        """The uids of a run that was taken on."""
        done = self.run(plan, *words, agent=agent)
        assert done.code == 0, done
        return [str(uid) for uid in done.json["tasks"]]

    def refused_run(self, code: str, plan: str | bytes = PLAN, *words: str, cwd: Path | None = None) -> dict[str, Any]:
        """The error of a run that is refused and leaves nothing."""
        with self.nothing_left(cwd):
            return refusal(self.run(plan, *words, cwd=cwd), code)

    def refused(self, code: str | None, *words: str, exit_code: int | None = None, **how: Any) -> dict[str, Any]:
        """The error of a call that is refused and leaves nothing."""
        with self.nothing_left(how.get("cwd")):
            return refusal(self(*words, "--json", **how), code, exit_code)

    # ------------------------------------------------------------ looking

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the database, read beside the daemon; none if there is no database."""
        path = self.home / "stretto.db"
        if not path.exists():
            return []
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def states(self) -> dict[str, str]:
        """id -> state of every task of the repository."""
        return {task["id"]: task["state"] for task in self("status", "--json").json["tasks"]}

    def task(self, uid: str) -> dict[str, Any]:
        """A task as `status` shows it."""
        return next(task for task in self("status", "--all", "--json").json["tasks"] if task["uid"] == uid)

    def item(self, kind: str, timeout: float = 120.0) -> dict[str, Any]:
        """The first item of this kind of the repository's inbox, awaited."""

        def look() -> dict[str, Any] | None:
            items = self("inbox", "--json").json["inbox"]
            return next((item for item in items if item["kind"] == kind), None)

        return wait_for(look, timeout, what=lambda: f"{kind}: {self('status').out}{self('inbox').out}")

    def wait(self, state: str, id: str = "a", timeout: float = 120.0) -> None:
        """Wait until the task is in this state."""
        wait_for(lambda: self.states().get(id) == state, timeout, what=lambda: self("status").out)

    def traces(self, cwd: Path | None = None) -> dict[str, Any]:
        """Everything that a refused call could have left in or beside the folder that it was made in."""
        here = cwd or (self.repo.path if self.repo else self.folder)
        found: dict[str, Any] = {
            # beside the test's own folder others work at the same time
            "beside": [] if here == self.folder else sorted(path.name for path in here.parent.iterdir()),
            "inside": sorted(path.name for path in here.iterdir()),
            "processes": [(p.pid, processes.described([p])) for p in processes.holding(str(here))],
            "rows": {},
        }
        git = Repository(here)
        key = git.git("rev-parse", "--path-format=absolute", "--git-common-dir", check=False)
        if key:
            found["refs"] = git.git("for-each-ref", check=False)
            found["worktrees"] = git.git("worktree", "list", "--porcelain", check=False)
            found["rows"] = {name: self._count(name, key) for name in ("runs", "tasks", "events")}
        return found

    def _count(self, table: str, key: str) -> int:
        if not self.rows("SELECT name FROM sqlite_master WHERE name = 'runs'"):
            return 0
        return int(self.rows(f"SELECT COUNT(*) FROM {table} WHERE repo = ?", os.path.realpath(key))[0][0])

    @contextmanager
    def nothing_left(self, cwd: Path | None = None) -> Iterator[None]:
        """What happens inside leaves the world as it was."""
        before = self.traces(cwd)
        yield
        deadline = time.monotonic() + 5.0  # a process that is just ending is none that was left
        while (after := self.traces(cwd)) != before and time.monotonic() < deadline:
            time.sleep(0.1)
        assert after == before, {k: (before[k], after[k]) for k in after if after[k] != before.get(k)}

    def close(self) -> None:
        """End everything of this person and remove it."""
        processes.end(processes.holding(str(self.folder)))
        shutil.rmtree(self.folder, ignore_errors=True)


def refusal(done: Ended, code: str | None = None, exit_code: int | None = None) -> dict[str, Any]:
    """The error of a refused call, in the form that CONTRACTS promises."""
    assert "Traceback" not in done.out + done.err
    found = done.json
    assert found["schema"] == 1
    error: dict[str, Any] = found["error"]
    assert code in (None, error["code"]), error
    assert done.code == exit_code if exit_code is not None else done.code in (1, 2), (done.code, error)
    assert all(error[name] for name in ("message", "object", "hint")), error
    return error


def new_person() -> Person:
    """A person in a fresh short folder of the test run's world."""
    folder = Path(os.environ["TMPDIR"]) / secrets.token_hex(3)
    folder.mkdir(mode=0o755)
    return Person(folder)
