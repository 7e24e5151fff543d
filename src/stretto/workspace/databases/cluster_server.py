"""The process of a PostgreSQL server of our own: as whom it runs, where its socket lies, who it is, how it ends.

Specification.
- A server is a data directory, in `<folder>/data`, and at most one process. It is started when somebody needs it and
  found by what it wrote into `postmaster.pid`: a pid counts only if that process began when the file says, or works in
  the data directory. So a daemon that died, a reboot and a pid that was used again change nothing.
- It listens on a Unix socket in a short folder of its own. Who may pass there is its user alone; a sandbox shows it to
  its own workspace. Only with a `port` it listens on 127.0.0.1, too, and wants a password there.
- It never runs as root, PostgreSQL refuses that: as root it is `nobody`, who owns the data directory and nothing above
  it. So it is handed that folder open, as a descriptor, and knows it by `/proc/self/fd`. Where `nobody` cannot pass to
  the programs it keeps the right to read (CAP_DAC_READ_SEARCH), and where that cannot be given it is refused with the
  folder that is in the way.
- It ends by SIGINT: sessions are ended, all is written. What does not end within `PATIENCE` is killed; the next start
  recovers.

Accepted: it does not wait for the disk (`fsync`). What a killed server or daemon leaves is whole, and so is it after an
orderly reboot; after a power cut a task's database may have to be reset. A golden template counts only until the next
boot for that reason.

Callers hold the lock of the server (`<folder>/lock`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stretto import files, process, proctree, spawn
from stretto.core.errors import StrettoError, Unavailable
from stretto.failpoints import failpoint
from stretto.home import runtime_folder
from stretto.workspace import deletion
from stretto.workspace.databases import programs
from stretto.workspace.databases.copying import copy_data

#: who may do everything in a server of ours; its password never leaves our folder
ADMIN = "stretto_admin"
DEFAULT_PORT = 5432
#: by which `stretto ports` knows whose a listener is
WORKSPACE = "STRETTO_WORKSPACE"
#: seconds that a start or an end may take; a start after a crash reads its whole log
PATIENCE = 60.0
#: a little memory, since there is one for each task, and nothing waits for the disk
_SETTINGS = {
    "shared_buffers": "32MB",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "synchronous_commit": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
}
_READ_SEARCH = 2
_LOOK = 0.02


class ClusterServer:
    """The server in `folder`. `socket`: the folder of its socket; `port`: 0, or where it listens on 127.0.0.1."""

    def __init__(self, folder: Path, socket: Path, port: int = 0) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.socket = socket
        self.port = port
        self.log = folder / "log"

    @property
    def number(self) -> int:
        """The port, by which the file of the socket is called too."""
        return self.port or DEFAULT_PORT

    # ------------------------------------------------------------ make

    def init(self, password: str) -> None:
        """Make the data directory, whole or not at all, with the newest programs that this machine has."""
        found = require()
        making = self._empty(self.folder if os.geteuid() else _socket_root())
        secret = making.with_name(f"{making.name}.secret")
        files.replace(secret, password.encode() + b"\n")
        _give(secret)
        words = ["-D", str(making), "-U", ADMIN, "-A", "scram-sha-256", f"--pwfile={secret}", "-N", "-E", "UTF8"]
        argv = [*_prefix(found), str(found / "initdb"), *words, "--locale=C", "--wal-segsize=1"]
        try:
            done = process.run(argv, cwd=Path("/"), env=_environment(), timeout=PATIENCE)
            if not done.ok:
                raise self._failed("could not be made", done.stderr.decode(errors="replace"))
            try:
                files.rename(making, self.data)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self.copy_from(making)
        finally:
            secret.unlink(missing_ok=True)
            deletion.delete(making.parent, making.name, gently=False)

    def copy_from(self, source: Path) -> None:
        """Take over the data directory of a server that does not run, whole or not at all."""
        making = self._empty(self.folder)
        copy_data(source, making, _owner())
        files.rename(making, self.data)

    def _empty(self, parent: Path) -> Path:
        """A new empty folder of the server's user, in the place of what an attempt that died has left."""
        making = parent / f"new-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]}"
        deletion.delete(making.parent, making.name, gently=False)
        making.mkdir(mode=0o700)
        _give(making)
        return making

    # ------------------------------------------------------------ start and stop

    def start(self, role: str, worktree: Path) -> None:
        """Let it answer; nothing happens if it does.

        `role` gets in through the socket without a password; `worktree`: the workspace to which it belongs.
        """
        if self.running() is not None:
            self._await_ready()
            return
        found = self._programs()
        prefix = _prefix(found)
        self._write_access(role)
        self._make_socket_folder()
        self.log.unlink(missing_ok=True)
        settings = {
            **_SETTINGS,
            "unix_socket_directories": str(self.socket),
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.number),
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with _opened(self.data) as (place, inherit):
            failpoint("daemon.database.spawn.before")
            pid = spawn.detached(
                [*prefix, str(found / "postgres"), "-D", place, *words],
                cwd=Path("/"),
                env={**_environment(), WORKSPACE: str(worktree)},
                output=self.log,
                inherit=inherit,
            )
            failpoint("daemon.database.spawn.after")
        self._await_ready(pid)

    def _programs(self) -> Path:
        version = (self.data / "PG_VERSION").read_text().strip()
        for folder in programs.servers():
            if str(programs.major(folder)) == version:
                return folder
        raise Unavailable(
            f"the database was made by PostgreSQL {version}, which this machine has no more",
            object=str(self.data),
            code="program_missing",
            hint=f"install PostgreSQL {version} again, or: stretto db reset TASK",
        )

    def _write_access(self, role: str) -> None:
        lines = [f"local all {ADMIN} scram-sha-256", f"local all {role} trust"]
        lines += [f"host all {role} 127.0.0.1/32 scram-sha-256"] if self.port else []
        access = self.data / "pg_hba.conf"
        files.replace(access, "".join(f"{line}\n" for line in lines).encode())
        _give(access)

    def _make_socket_folder(self) -> None:
        _socket_root()
        files.make_private_dir(self.socket) if os.geteuid() else _shared_with_nobody(self.socket)

    def _await_ready(self, pid: int | None = None) -> None:
        """Wait until it answers. `pid`: of one that was started just now, which may end before it does."""
        began = proctree.start_time(pid) if pid is not None else None
        deadline = time.monotonic() + PATIENCE
        while self._state() != "ready":
            if pid is not None and (began is None or not proctree.alive(pid, began)):
                raise self._failed("ended before it answered", self._said())
            if time.monotonic() > deadline:
                raise self._failed(f"did not answer within {PATIENCE:g} s", self._said())
            time.sleep(_LOOK)

    def _state(self) -> str:
        lines = self._pidfile()
        return lines[7].strip() if len(lines) > 7 and self.running() is not None else ""

    def stop(self, *, lose: bool = False) -> None:
        """End it, with all that is written on disk; `lose`: at once, as nobody will ask for it again.

        Nothing happens if it does not run.
        """
        found = self.running()
        if found is None:
            return
        pid, began = found
        failpoint("daemon.database.stop")
        proctree.send_signal(pid, began, signal.SIGQUIT if lose else signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        while proctree.alive(pid, began):
            if time.monotonic() > deadline:
                proctree.end_tree(pid, began, None, grace=0.0)
                return
            time.sleep(_LOOK)

    def forget_socket(self) -> None:
        """Take the folder of its socket away."""
        with suppress(OSError):
            for path in self.socket.glob(".s.PGSQL.*"):
                path.unlink()
            self.socket.rmdir()

    def running(self) -> tuple[int, float] | None:
        """Pid and start time of its first process, None if there is none."""
        lines = self._pidfile()
        if len(lines) < 3 or not lines[0].strip().isdigit():
            return None
        pid = int(lines[0])
        found = proctree.look(pid)
        if found is None or found.zombie:
            return None
        there = proctree.folder_of(pid) == os.path.realpath(self.data)
        return (pid, found.start_time) if there or _began(found.start_time, lines[2]) else None

    def _pidfile(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text("utf-8", "replace").split("\n")
        except OSError:
            return []

    def _said(self) -> str:
        try:
            return self.log.read_text("utf-8", "replace")
        except OSError:
            return ""

    def _failed(self, what: str, said: str) -> StrettoError:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        wanted = [line for line in lines if re.search(r"FATAL|PANIC|ERROR|error:", line)] or lines
        why = f": {wanted[-1]}" if wanted else ""
        return Unavailable(
            f"the PostgreSQL server in {self.folder} {what}{why}",
            object=str(self.folder),
            code="database_down",
            hint=f"its words: {self.log}",
        )


def require() -> Path:
    """The programs of the newest server: the machine's own, else the wheel's. Raises Unavailable if there is none."""
    found = sorted(programs.servers(), key=lambda folder: (not programs.of_wheel(folder), programs.major(folder)))
    if not found:
        raise Unavailable(
            "a PostgreSQL server of its own is wanted for each task, and none is installed",
            object="postgres",
            code="program_missing",
            hint="apt install postgresql, or: pip install 'stretto[postgres]'",
        )
    return found[-1]


def socket_of(folder: Path) -> Path:
    """Where the socket of the server in `folder` lies: always the same, and short enough for a Unix socket."""
    return _socket_root() / hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


def _socket_root() -> Path:
    """A private folder of the user; as root one through which `nobody` can pass to what they own there."""
    root = runtime_folder()
    if os.geteuid() != 0:
        return files.make_private_dir(root / "pg")
    root = root.with_name(f"{root.name}-pg")
    root.mkdir(mode=0o711, exist_ok=True)
    status = root.lstat()
    if status.st_uid != 0 or root.is_symlink() or not root.is_dir():
        raise StrettoError(f"{root} is not a folder of yours", object=str(root), code="not_private")
    root.chmod(0o711)
    return root


def _shared_with_nobody(folder: Path) -> None:
    """`nobody` may write, root may pass without any capability, others may not."""
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, _nobody(), 0, follow_symlinks=False)
    folder.chmod(0o710)


# ---------------------------------------------------------------- as whom


def _nobody() -> int:
    return pwd.getpwnam("nobody").pw_uid


def _owner() -> int | None:
    """The user to whom the files of a server belong, if that is not us."""
    return None if os.geteuid() else _nobody()


def _give(path: Path) -> None:
    owner = _owner()
    if owner is not None:
        os.chown(path, owner, -1, follow_symlinks=False)


@contextmanager
def _opened(data: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """How the server is told of its data directory, and the descriptors that it needs for that."""
    if os.geteuid() != 0:
        yield str(data), ()
        return
    fd = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}", (fd,)
    finally:
        os.close(fd)


def _prefix(found: Path) -> list[str]:
    """The words before a server's program that make it an unprivileged user's. Raises Unavailable if it cannot be."""
    if os.geteuid() != 0:
        return []
    if not sys.platform.startswith("linux"):
        raise _refused("a server is made another user's on Linux only", "let stretto run as a user")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise _refused("setpriv, which would make it another user's, is missing", "apt install util-linux")
    nobody = _nobody()
    words = [setpriv, f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    closed = next((path for path in (*found.parents, found) if path.stat().st_mode & 0o011 != 0o011), None)
    if closed is None:
        return [*words, "--inh-caps=-all", "--bounding-set=-all", "--"]
    if not _may_read_everything():
        raise _refused(f"{closed} is closed to the user nobody", f"chmod a+x {closed}, or let stretto run as a user")
    return [*words, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--"]


def _may_read_everything() -> bool:
    """Whether the system lets us give CAP_DAC_READ_SEARCH to a process."""
    said = re.search(r"^CapBnd:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.M)
    return said is not None and bool(int(said[1], 16) >> _READ_SEARCH & 1)


def _refused(why: str, hint: str) -> StrettoError:
    return Unavailable(f"PostgreSQL does not run as root: {why}", object="postgres", code="database_denied", hint=hint)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _began(start_time: float, said: str) -> bool:
    """Whether a process began at the time (seconds since the epoch) that a server wrote down, give or take a few."""
    if not said.strip().isdigit():
        return False
    began = start_time
    if sys.platform.startswith("linux"):
        began += time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return abs(began - int(said)) < 5.0
