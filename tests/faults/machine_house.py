"""The world of the state machine: a repository, a home with a real daemon, agents that leave tokens, and what is kept.

Specification. Nothing here knows what should be true: it acts, and it looks. `missing` is the tokens that were written
and are nowhere any more: not in an object that a ref leads to, not in a file below the bays (quarantine included).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stretto.client import Client, connect
from stretto.core.errors import StrettoError
from stretto.home import Home, open_home
from stretto.proctree import alive, start_time
from stretto.reads import read
from stretto.store.sqlite import Reader, open_readonly
from tests.support.repository import Repository
from tests.support.waiting import wait_for

AGENT = Path(__file__).with_name("machine_agent.sh")
#: keys of `status` that change while nothing happens, or that only a daemon can know
AGES = {"age_s", "waiting_s", "elapsed_s", "daemon", "cursor", "evidence"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Token:
    """What an agent (or the person) wrote, and where."""

    task: str
    path: str
    text: str

    @property
    def data(self) -> bytes:
        return f"{self.text}\n".encode()

    @property
    def blob(self) -> str:
        return hashlib.sha1(b"blob %d\0%s" % (len(self.data), self.data)).hexdigest()


@dataclass(slots=True)
class House:
    """One repository, one home, at most one daemon."""

    folder: Path
    home: Home
    repo: Repository
    log: Path
    clock: Path
    told: list[str] = field(default_factory=list)
    base: str = ""

    # ------------------------------------------------------------ the daemon

    def up(self) -> None:
        connect(start=True, home=self.home)

    def kill(self) -> bool:
        """kill -9 of the daemon, and only of it; whether there was one."""
        try:
            told = json.loads(self.home.daemon_file.read_bytes())
        except OSError:
            return False
        pid, start = int(told["pid"]), float(told["start_time"])
        if not alive(pid, start):
            return False
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid, start))
        return True

    def shims(self) -> list[int]:
        """The pids of the shims that live, in the order of their sessions."""
        found = [json.loads(path.read_text()) for path in sorted(self.home.sessions.glob("*/shim.json"))]
        return [who["pid"] for who in found if start_time(who["pid"]) == who["start_time"]]

    def call(self, op: str, **args: Any) -> Json:
        """One operation; raises as the client does."""
        try:
            done = Client(self.home).call(op, cwd=str(self.repo.path), **args)
        except StrettoError as error:
            self.told.append(f"{op} {_short(args)} -> refused {error.code}: {error.message}")
            raise
        self.told.append(f"{op} {_short(args)} -> {_short(done)}")
        return done

    def look(self, op: str, **args: Any) -> Json:
        """A read, without a line in the story."""
        return Client(self.home).call(op, cwd=str(self.repo.path), **args)

    # ------------------------------------------------------------ what is there

    def status(self) -> Json:
        return self.look("status")

    def stored(self) -> Json:
        """The status as it is read without a daemon."""
        with self.rows() as db:
            return read("status", db, {"cwd": str(self.repo.path), "now": self.now()})

    def now(self) -> float:
        import time

        return time.time() + float(self.clock.read_text())

    @contextmanager
    def rows(self) -> Iterator[Reader]:
        reader = open_readonly(self.home.database)
        try:
            yield reader
        finally:
            reader.connection.close()

    def query(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self.rows() as db:
            return db.rows(sql, *values)

    def events(self, since: int = 0) -> list[Json]:
        """All events after a cursor, page by page."""
        found: list[Json] = []
        while True:
            page = self.look("events", since=since, limit=1000)
            found += page["events"]
            if not page["more"]:
                return found
            since = page["cursor"]

    # ------------------------------------------------------------ what agents wrote

    def tokens(self) -> list[Token]:
        found = []
        for path in sorted(self.log.glob("*.tokens")):
            lines = path.read_text().splitlines()
            found += [Token(path.stem, *line.split(" ", 1)) for line in lines]
        return found

    def note(self, task: str, path: str, text: str) -> None:
        """A token that the person wrote."""
        with (self.log / f"{task}.tokens").open("a") as file:
            file.write(f"{path} {text}\n")

    def missing(self) -> set[Token]:
        """Tokens that are nowhere any more."""
        tokens = self.tokens()
        reachable = set(self.repo.git("rev-list", "--objects", "--all", "--no-object-names").split())
        rest = {token for token in tokens if token.blob not in reachable}
        lying = _lying(self.bays, {token.path.rpartition("/")[2] for token in rest}) if rest else set()
        return {token for token in rest if token.data not in lying}

    @property
    def bays(self) -> Path:
        return self.repo.path.with_name(f"{self.repo.path.name}.worktrees")

    def since(self, before: Json, what: str) -> str:
        """What was told since that status, for a failure."""
        told = [f"{e['id']} {e['task']} {e['type']} {e['data']}" for e in self.events(before["cursor"])]
        return "\n".join([what, *told, self.story()])

    def story(self) -> str:
        """All that is known, for a failure."""
        lines = ["", "--- what was done", *self.told, "--- how it stands"]
        try:
            state = self.stored()
            lines += [f"{t['uid']} {t['stage']} {t['state']}: {t['reason']} ws={t['worktree']}" for t in state["tasks"]]
            lines += [f"item {i['id']} {i['task']} {i['kind']} {i['text'][:160]}" for i in state["inbox"]]
            lines += [f"queue {q['task']} {q['state']} {q['reason']}" for q in state["queue"]]
            rows = self.query("SELECT id, task, type, data FROM events ORDER BY id DESC LIMIT 60")
            lines += [f"{r['id']} {r['task']} {r['type']} {r['data'][:200]}" for r in reversed(rows)]
        except (StrettoError, sqlite3.Error, OSError) as error:
            lines.append(f"no status: {error}")
        if self.home.daemon_log.exists():
            lines += ["--- the log", *self.home.daemon_log.read_text(errors="replace").splitlines()[-25:]]
        return "\n".join(lines)


def build(folder: Path) -> House:
    """A fresh house in `folder`, with STRETTO_HOME as its home."""
    folder.mkdir(exist_ok=True)
    files = {"README.md": "# sample\n", "shared.txt": "base\n", ".gitignore": "*.log\n"}
    repo = Repository.create(folder / "repo", files)
    log = folder / "log"
    log.mkdir()
    return House(folder, open_home(), repo, log, Path(os.environ["STRETTO_TEST_CLOCK"]), base=repo.head)


def stripped(value: Any) -> Any:
    """A status without what changes by itself."""
    if isinstance(value, dict):
        kept = {key: stripped(inner) for key, inner in value.items() if key not in AGES}
        if "generation" in kept:  # a session: what is believed of it is watched, which takes a daemon
            kept.pop("status", None)
            kept.pop("belief", None)
        return kept
    return [stripped(inner) for inner in value] if isinstance(value, list) else value


def _lying(folder: Path, names: set[str]) -> set[bytes]:
    """The contents of the files of these names below a folder."""
    found = set()
    for root, folders, files in os.walk(folder):
        if ".git" in folders:
            folders.remove(".git")
        for name in names.intersection(files):
            found.add((Path(root) / name).read_bytes())
    return found


def _short(value: Json) -> str:
    text = json.dumps({key: inner for key, inner in value.items() if key not in {"plan_text", "env", "schema"}})
    return text if len(text) < 240 else text[:240] + "…"
