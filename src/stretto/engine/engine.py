"""The engine of one home: introduces the adapters to each other, and runs the loops.

Specification. Starting is recovering: nothing distinguishes a start after a crash from any other. `start` ends leftover
checks of an earlier daemon, reads what sessions wrote meanwhile, opens their sockets and looks at every task; it waits
for that, so that nobody is told what was true before, but for `CATCH_UP` at the most: there may be much to read. `stop`
leaves at once; agents go on in their shims. All threads are daemonic: nothing here must be finished for safety.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import secrets
import select
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stretto import files
from stretto.agents import find as find_agent
from stretto.checks.run import CheckRunner
from stretto.core.errors import StrettoError
from stretto.core.model import Run, Session
from stretto.engine import aftermath
from stretto.engine.clock import SystemClock
from stretto.engine.disk import Disk
from stretto.engine.lander import Lander
from stretto.engine.parts import Parts, Repositories
from stretto.engine.pump import Pump
from stretto.engine.reconcile import Reconciler
from stretto.engine.silence import Silence
from stretto.engine.sockets import Sockets
from stretto.engine.spares import Spares, Want
from stretto.engine.warmth import Warmth
from stretto.git.repository import Repository
from stretto.home import Home
from stretto.interfaces import Agent, Checks, Clock, Git, Shims, Workspaces
from stretto.shim.control import FolderShims
from stretto.store.sqlite import Store
from stretto.workspace import home_name, port_leases
from stretto.workspace.bays import Bays

_log = logging.getLogger(__name__)

#: name, size and time of change of everything in a session's folder
Stamp = frozenset[tuple[str, int, int]]
LIVE_SESSIONS = "SELECT id, folder FROM sessions WHERE ended_at IS NULL"

#: effects that may run at once; checks start threads of their own
POOL = 16
#: seconds to gather nudges in after a round of them: as long as the round took, at most this
GATHER = 0.05
#: seconds between looks at all sessions, for nudges that were lost
SWEEP = 2.0
#: seconds for which a start waits until sessions of the daemon before have been read, and their tasks looked at
CATCH_UP = 2.0
#: of so many sweeps one reads every session, the others only those whose folder looks different
THOROUGH = 15


class Engine:
    """Everything that runs behind the daemon's API."""

    def __init__(
        self,
        home: Home,
        *,
        clock: Clock | None = None,
        shims: Shims | None = None,
        checks: Checks | None = None,
        agent: Callable[[str], Agent] | None = None,
    ) -> None:
        self.home = home
        self.clock = clock or SystemClock()
        self.store = Store(home.database, self.clock.now)
        self.parts = Parts(
            home=home,
            store=self.store,
            clock=self.clock,
            shims=shims or FolderShims(),
            checks=checks or CheckRunner(str(home.path)),
            repositories=Repositories(self._open_git, self._open_workspaces),
            agent=agent or find_agent,
            token=_token(home),
            nudge=self._nudge,
        )
        self.disk = Disk(home)
        self.store.on_full = self.disk.give_back
        self.pump = Pump(self.parts)
        self.parts.drain = self._drain
        self._silence = Silence(self.parts)
        self._pool = ThreadPoolExecutor(POOL, thread_name_prefix="act")
        self._landing = ThreadPoolExecutor(8, thread_name_prefix="land")
        self._landers: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._swept = threading.Event()
        self._threads: list[threading.Thread] = []
        self.reconciler = Reconciler(self.parts, self._pool, self._after_pass, self.disk.low)
        self._checkouts = aftermath.Watch(self.parts)
        self._warmth = Warmth(self.parts, self._stopping.is_set)
        self._spares = Spares(self.parts)
        self.sockets = Sockets(self.parts)
        self._fifo = -1
        self._sweeps = 0
        self._stamps: dict[str, Stamp | None] = {}

    def _nudge(self, uid: str | None) -> None:
        self.reconciler.nudge(uid)

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Recover and run. Returns when what is told of sessions is true again, or after `CATCH_UP`."""
        self._clear_up()
        self._fifo = _open_fifo(self.home.nudge)
        self.sockets.start()
        self.sockets.sync()
        until = time.monotonic() + CATCH_UP if live_sessions(self) else 0.0
        for target, name, done in (
            (self._listen, "nudge", self._swept),
            (self.reconciler.loop, "reconcile", self.reconciler.passed),
        ):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
            done.wait(max(0.0, until - time.monotonic()))
        with self.store.write() as tx:
            tx.event("daemon.started", pid=os.getpid())

    def stop(self) -> None:
        """Leave: new work is not begun, agents go on in their shims."""
        self._stopping.set()
        self.reconciler.stop()
        _write_byte(self.home.nudge)
        for thread in self._threads:
            thread.join(timeout=2.0)
        self.sockets.stop()  # after the threads that open sockets
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._landing.shutdown(wait=False, cancel_futures=True)

    def subscribe(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener(last event id)` after each commit; returns the way to stop it."""
        return self.store.listen(listener)

    def _clear_up(self) -> None:
        """What an earlier daemon of this home left half done."""
        clean = CheckRunner(str(self.home.path)).end_leftovers()
        self._hold_ports()
        with self.store.write() as tx:
            lost = tx.execute("DELETE FROM checks WHERE result IS NULL")
            if lost or not clean:
                tx.event("daemon.recovered", checks=lost, clean=clean)
        _write_program(self.home)
        self.home.reports.mkdir(mode=0o700, exist_ok=True)
        self.home.checks.mkdir(mode=0o700, exist_ok=True)
        self.home.repositories.mkdir(mode=0o700, exist_ok=True)

    def _hold_ports(self) -> None:
        """The ports of the earlier daemon's workspaces are this one's now."""
        try:
            port_leases.registry().adopt(home_name(self.home.path), port_leases.Holder.current())
        except StrettoError as error:  # whoever needs a port is told; a daemon starts without
            _log.warning("%s", error.message)

    # ------------------------------------------------------------ sessions

    def _listen(self) -> None:
        """Wait for shims to say that there is something; look at all sessions now and then."""
        swept = float("-inf")
        while not self._stopping.is_set():
            left = swept + SWEEP - time.monotonic()
            if left <= 0:
                self._sweep()
                self._swept.set()
                swept, left = time.monotonic(), SWEEP
            select.select([self._fifo], [], [], left)
            began = time.monotonic()
            for session in _read_names(self._fifo):
                self._pump_one(session)
            # many sessions that talk at once are read together, and never take more than half of our time
            self._stopping.wait(min(GATHER, time.monotonic() - began))

    def _sweep(self) -> None:
        """Read the sessions whose folder has changed since the last sweep; now and then all of them."""
        with self.store.read() as db:
            live = {str(row["id"]): row["folder"] for row in db.rows(LIVE_SESSIONS)}
        known = {} if self._sweeps % THOROUGH == 0 else self._stamps
        self._sweeps += 1
        self._stamps = {}
        for session, folder in live.items():
            self._stamps[session] = stamp = _stamp(folder)  # before the read: what comes meanwhile is seen next time
            if stamp is None or stamp != known.get(session):
                self._pump_one(session)
        try:
            self._silence.look()
        except StrettoError as error:
            _log.warning("silence: %s", error.message)
        except Exception:  # one failure is logged and must not end the loop for all others
            _log.exception("silence")

    def _pump_one(self, session: str) -> None:
        try:
            uid = self.pump.pump(session)
        except StrettoError as error:
            _log.warning("session %s: %s", session, error.message)
        except Exception:  # one failure is logged and must not end the loop for all others
            _log.exception("session %s", session)
        else:
            if uid is not None:
                self.reconciler.nudge(uid)

    def _drain(self, session: str) -> None:
        """Take over all that a session has written."""
        self.pump.pump(session)

    # ------------------------------------------------------------ landing

    def _after_pass(self) -> None:
        """Give each queue with work a lander, and each new session a socket."""
        self.sockets.sync()
        with self.store.read() as db:
            rows = db.rows("SELECT DISTINCT repo, target FROM queue WHERE state IN ('waiting', 'testing', 'landing')")
            queues = {(str(row["repo"]), str(row["target"])) for row in rows} | set(aftermath.debtors(db))
            low = self.disk.low()
            cold = [] if low else self._warmth.cold(db)
            wants = [] if low else self._spares.wanted(db)
        for repo, target in sorted(queues):
            self._land(repo, target, functools.partial(self._land_entries, repo, target))
        for run, uid in cold:
            self._land(run.repo, run.target, functools.partial(self._warmth.warm, run, uid))
        for want in wants:
            self._landing.submit(self._make_spares, want)
        for found in self._checkouts.changed():
            self._landing.submit(self._look, *found)

    def _look(self, repo: str, root: str, branch: str) -> None:
        """A checkout that was behind has changed: see where it is now."""
        try:
            self._checkouts.look(repo, root, branch)
        except StrettoError as error:
            _log.info("the checkout %s: %s", root, error.message)

    def _make_spares(self, want: Want) -> None:
        def run_of(uid: str) -> Run | None:
            with self.store.read() as db:
                return db.one(Run, "id = (SELECT run FROM tasks WHERE uid = ?)", uid)

        try:
            self._spares.make(want, run_of)
        except Exception:  # a saving of time that fails is logged, and nobody waits for it
            _log.exception("the warm pool for %s", want.run.id)

    def _land(self, repo: str, target: str, work: Callable[[], None]) -> None:
        """Let a thread work at a queue, unless one does: it looks at all that is there."""
        with self._lock:
            if (repo, target) in self._landers or self._stopping.is_set():
                return
            self._landers.add((repo, target))
        self._landing.submit(self._work_at, repo, target, work)

    def _land_entries(self, repo: str, target: str) -> None:
        Lander(self.parts, repo, target, self._stopping.is_set).work()

    def _work_at(self, repo: str, target: str, work: Callable[[], None]) -> None:
        with self.store.read() as db:
            before = db.cursor
        try:
            work()
        except StrettoError as error:
            _log.warning("landing on %s: %s", target, error.message)
        except Exception:  # one failure is logged and must not end the loop for all others
            _log.exception("landing on %s", target)
        finally:
            with self._lock:
                self._landers.discard((repo, target))
            with self.store.read() as db:
                moved = db.cursor != before
            if moved:
                self.reconciler.nudge(None)

    # ------------------------------------------------------------ adapters

    def _open_git(self, root: Path) -> Git:
        return Repository.open(root, self.home.path)

    def check_bays(self, git: Git, config: Mapping[str, Any]) -> None:
        """Raise StrettoError if no bay could be made for this repository; changes nothing."""
        self._open_bays(git, config).check()

    def _open_workspaces(self, git: Git, config: Mapping[str, Any]) -> Workspaces:
        return self._open_bays(git, config)

    def _open_bays(self, git: Git, config: Mapping[str, Any]) -> Bays:
        return Bays.open(git, self.home.path, config)


def live_sessions(engine: Engine) -> list[Session]:
    """Sessions whose agent may be running."""
    with engine.store.read() as db:
        return db.select(Session, "ended_at IS NULL ORDER BY started_at")


def _token(home: Home) -> str:
    """The home's secret, made on first use."""
    try:
        return home.token_file.read_text().strip()
    except FileNotFoundError:
        token = secrets.token_hex(32)
        files.replace(home.token_file, token.encode() + b"\n")
        return token


def _open_fifo(path: Path) -> int:
    """The FIFO by which shims wake us; held open for writing too, so that it never ends."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _stamp(folder: str) -> Stamp | None:
    """What a session's folder looks like; None if it cannot be told."""
    try:
        with os.scandir(folder) as entries:
            looks = ((each.name, each.stat(follow_symlinks=False)) for each in entries)
            return frozenset((name, look.st_size, look.st_mtime_ns) for name, look in looks)
    except OSError:
        return None


def _write_byte(path: Path) -> None:
    """Wake whoever listens at the FIFO."""
    with contextlib.suppress(OSError):
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(fifo, b"\n")
        os.close(fifo)


def _read_names(fifo: int) -> list[str]:
    """Sessions that were named since the last look, each once."""
    data = b""
    while True:
        try:
            chunk = os.read(fifo, 65536)
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EWOULDBLOCK}:
                break
            raise
        data += chunk
        if len(chunk) < 65536:
            break
    return list(dict.fromkeys(line.decode("ascii", "replace") for line in data.split(b"\n") if line))


def _write_program(home: Home) -> None:
    """A folder that holds only `stretto`, for the agents' PATH (DECISIONS 3)."""
    folder = home.path / "bin"
    folder.mkdir(mode=0o700, exist_ok=True)
    # -P: an agent's worktree must not shadow our modules; the path: we may not be installed where this Python looks
    where = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.append({where!r}); from stretto.__main__ import main; sys.exit(main())"
    text = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -c {shlex.quote(code)} "$@"\n'
    program = folder / "stretto"
    if not program.exists() or program.read_text() != text:
        files.replace(program, text.encode(), 0o700)
