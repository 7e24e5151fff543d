"""The real claude, a real daemon and the loopback model server: the words that the tests of the whole way speak.

What the model does is written into the plan as markers (testing.scenario). Nothing of the person leaks in: scratch home
and configuration, a dummy key, no telemetry, loopback only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from stretto.client import Client
from stretto.home import Home, open_home
from stretto.testing.modelserver import ModelServer
from tests.support import claude, processes
from tests.support.repository import Repository
from tests.support.stream import NAMES, clean_environment
from tests.support.waiting import wait_for
from tests.support.world import STRETTO

Json = dict[str, Any]
MODEL = "claude-sonnet-4-5"
#: what the agents of most tests may do without asking
FREE = "allow Write, Edit, Bash"
PATIENCE = 60.0


@dataclass
class Stage:
    """One repository, one home, one daemon. `server` is shared by the tests of a file."""

    repo: Repository
    folder: Path
    server: ModelServer
    home: Home = field(default_factory=open_home)

    def end(self, home: Path) -> None:
        """End all as a person ends it: of what holds `home`, nothing may be left."""
        self.stretto("down", "--all")
        processes.require_none(str(home))

    # ------------------------------------------------------------ commands

    def stretto(self, *words: str, code: int = 0, timeout: float = PATIENCE) -> str:
        """A command of the person; its standard output."""
        done = subprocess.run(
            [*STRETTO, *words],
            cwd=self.repo.path,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str, code: int = 0) -> Json:
        found: Json = json.loads(self.stretto(*words, "--json", code=code))
        return found

    def call(self, op: str, **args: Any) -> Json:
        """The same without the cost of a process: for looks that are repeated."""
        return Client(self.home).call(op, cwd=str(self.repo.path), **args)

    # ------------------------------------------------------------ configuration and plan

    def configure(self, permissions: str = FREE, command: list[str] | None = None, more: str = "", **env: str) -> None:
        """Commit a stretto.toml that leads claude to the model server."""
        own = clean_environment(self.folder / "agent-home", self.server.url)
        for name in ("PATH", "HOME", "LANG", "TMPDIR", "STRETTO_TEST_RUN"):
            own.pop(name)
        lines = ["schema = 1", "[agents.claude]", f"command = {json.dumps(command or [str(claude.program())])}"]
        lines += [f"permissions = {json.dumps(permissions)}", f"model = {json.dumps(MODEL)}", "[agents.claude.env]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in {**own, **env}.items()]
        path = self.repo.path / "stretto.toml"
        path.write_text("\n".join([*lines, more, ""]))
        self.repo.git("add", "stretto.toml")
        self.repo.git("commit", "-q", "-m", "Configure")

    def run(self, *tasks: str, checks: str = '["true"]', approve: str = "human", words: tuple[str, ...] = ()) -> Json:
        path = self.plan(*tasks, checks=checks)
        approval = ("--approve", approve, "--leave-checkout", "--no-fetch")
        return self.json("run", str(path), "--trust", *approval, *words)

    def plan(self, *tasks: str, checks: str = '["true"]') -> Path:
        path = self.folder / "PLAN.md"
        path.write_text(f"---\nchecks: {checks}\n---\n# A plan\n\nContext.\n\n" + "\n".join(tasks))
        return path

    # ------------------------------------------------------------ looks

    def task(self, id: str) -> Json:
        return next(t for t in self.call("status")["tasks"] if t["id"] == id)

    def told(self, id: str) -> Json:
        """Everything about a task."""
        return self.call("task", task=id)

    def messages(self, id: str, *kinds: str) -> list[Json]:
        return [m for m in self.call("messages", task=id)["messages"] if m["kind"] in (kinds or ("turn",))]

    def inbox(self) -> list[Json]:
        found: list[Json] = self.call("inbox")["inbox"]
        return found

    def events(self, type: str) -> list[Json]:
        return [e for e in self.call("events", since=0, limit=100_000)["events"] if e["type"] == type]

    def conversations(self, id: str) -> list[str]:
        """The conversation of each generation of a task's sessions."""
        return [str(s["conversation"]) for s in self.told(id)["sessions"]]

    def prompts(self, session: str) -> list[str]:
        """The user messages that claude was given in a session, as the shim recorded them."""
        found = [json.loads(r["data"]) for r in self.records(session) if r["kind"] == "turn"]
        return [str(one["message"]["content"]) for one in found]

    def records(self, session: str) -> list[Json]:
        """Everything that was given to the shim of a session."""
        lines = (self.home.sessions / session / "in.jsonl").read_bytes().splitlines()
        return [json.loads(line) for line in lines]

    def pid(self, session: str, who: str) -> int:
        """The process of a session: `agent` or `shim`."""
        path = self.home.sessions / session / f"{who}.json"
        wait_for(path.exists, what=f"{path}")
        found: int = json.loads(path.read_text())["pid"]
        return found

    def said(self, session: str, word: bytes) -> bool:
        """Whether claude has written this; read without a daemon."""
        return any(word in path.read_bytes() for path in (self.home.sessions / session).glob("out.0*"))

    def story(self) -> str:
        """What happened, for the reader of a failure."""
        try:
            found = self.call("events", since=0, limit=100_000)["events"]
        except Exception as error:  # the daemon may be dead; the failure itself matters more
            return f"no events: {error}"
        lines = [f"{e['id']} {e['task'] or ''} {e['type']} {e['data']}" for e in found]
        errors = [
            f"{p.parent.name}: {p.read_text(errors='replace')[-500:]}" for p in self.home.sessions.glob("*/err.*")
        ]
        return "\n".join([*lines[-80:], *errors])

    # ------------------------------------------------------------ waiting

    def wait(self, what: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        return wait_for(what, timeout, what=self.story, interval=0.05)

    def wait_item(self, kind: str, timeout: float = PATIENCE) -> Json:
        found: Json = self.wait(lambda: next((i for i in self.inbox() if i["kind"] == kind), None), timeout)
        return found

    def wait_state(self, id: str, *states: str, timeout: float = PATIENCE) -> Json:
        def look() -> Json | None:
            task = self.task(id)
            assert task["state"] in states or task["state"] not in ("failed", "cancelled"), self.story()
            return task if task["state"] in states else None

        found: Json = self.wait(look, timeout)
        return found

    def wait_served(self, count: int, id: str) -> None:
        """Until the model has served so many requests of the task's conversations, and stretto has counted them."""
        self.wait(lambda: self.served(id) >= count and self.task(id)["usage"]["input"] >= 1200 * count)

    def wait_edited(self, id: str, path: str) -> None:
        """Until the agent has written the file, and its first request is counted."""
        self.wait(lambda: (worktree := self.task(id)["worktree"]) and (Path(worktree) / path).exists())
        self.wait_served(1, id)

    def served(self, id: str) -> int:
        found = set(self.conversations(id))
        return sum(len([s for s in self.server.served(c) if s.outcome == "served"]) for c in found)

    # ------------------------------------------------------------ usage

    def served_usage(self, id: str) -> dict[str, int]:
        """What the model server counted for all conversations of a task."""
        parts = [self.server.usage(c) for c in dict.fromkeys(self.conversations(id))]
        return {name: sum(getattr(p, name) for p in parts) for name in NAMES}

    def counted(self, id: str) -> dict[str, int]:
        """What `status --json` says of a task."""
        task = next(t for t in self.json("status")["tasks"] if t["id"] == id)
        return {name: task["usage"][name] for name in NAMES}

    def usage_is_right(self, id: str) -> dict[str, int]:
        counted, served = self.counted(id), self.served_usage(id)
        assert counted == served, f"counted {counted}, served {served}"
        assert counted["input"] > 0
        return counted

    # ------------------------------------------------------------ the daemon

    def up(self) -> int:
        found: int = self.json("up")["pid"]
        return found

    def kill_daemon(self) -> None:
        """kill -9."""
        pid = int(json.loads(self.home.daemon_file.read_text())["pid"])
        process = psutil.Process(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def task(id: str, spec: str, **fields: str) -> str:
    """A task of a plan."""
    rows = "".join(f"- {k}: {v}\n" for k, v in fields.items())
    return f"## {id}: Do {id}\n{spec}\nAccept: it is done.\n{rows}\n"
