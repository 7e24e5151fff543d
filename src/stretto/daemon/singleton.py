"""One daemon for each home: the lock, and what the running daemon tells of itself.

Specification. The lock (`flock` on `home/lock`, held until the process dies) is the only proof that a daemon runs; pid
files and sockets are hints that a crash leaves behind. The lock file carries the holder's identity from the moment it
is taken, `daemon.json` appears when the socket answers. Whoever holds the lock may remove a socket and a
`daemon.json` that it finds: their writer is dead. A pid counts only together with its start time and the boot. A
process that was killed is seen as gone a moment before the last of its threads lets go of the lock: who finds it held
by nobody that lives waits for that moment.
"""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stretto import __version__
from stretto.core.errors import Conflict, Unavailable
from stretto.files import replace, try_lock
from stretto.home import Home
from stretto.proctree import alive, boot_id, start_time

#: seconds that a process which is gone may hold on to what it had
_LETTING_GO = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process a daemon is. `start_time` as `process.start_time`, `started_at` seconds since the epoch."""

    pid: int
    start_time: float
    boot_id: str
    version: str
    home: str
    started_at: float
    socket: str

    @property
    def living(self) -> bool:
        """Whether exactly this process still runs."""
        return self.boot_id == boot_id() and alive(self.pid, self.start_time)


def this_process(home: Home) -> Identity:
    """Our own identity as the daemon of this home."""
    pid = os.getpid()
    return Identity(
        pid=pid,
        start_time=start_time(pid) or 0.0,
        boot_id=boot_id(),
        version=__version__,
        home=str(home.path),
        started_at=time.time(),
        socket=str(home.default_socket),
    )


def acquire(home: Home) -> tuple[int, Identity]:
    """Become the daemon of this home: the descriptor that holds the lock, and who we are.

    Raises Conflict (`daemon_running`) naming the daemon that runs, Unavailable where locks do not work.
    """
    fd = _lock(home)
    until = time.monotonic() + _LETTING_GO
    while fd is None and time.monotonic() < until and not _held_by_the_living(home):
        time.sleep(0.02)
        fd = _lock(home)
    if fd is None:
        raise already_running(home)
    identity = this_process(home)
    text = json.dumps(asdict(identity)).encode()
    os.ftruncate(fd, 0)
    os.pwrite(fd, text, 0)
    sweep(home)
    return fd, identity


def _held_by_the_living(home: Home) -> bool:
    """Whether the process that the lock names runs; one that has just taken it may not have written its name yet."""
    holder = read_identity(home.lock)
    return holder is not None and holder.living


def _lock(home: Home) -> int | None:
    try:
        return try_lock(home.lock)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        raise Unavailable(
            f"the file system of {home.path} has no working locks ({error.strerror}), as on some network shares",
            code="home",
            object=str(home.path),
            hint="set STRETTO_HOME to a folder on a local disk",
        ) from error


def already_running(home: Home) -> Conflict:
    """The error that names the daemon which holds the lock."""
    holder = read_identity(home.lock) or read_identity(home.daemon_file)
    details: dict[str, Any] = {"home": str(home.path)}
    if holder is None:
        who = "another process"
    else:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.started_at))
        who = f"process {holder.pid}, started {began}"
        details |= {"pid": holder.pid, "start_time": holder.start_time}
    return Conflict(
        f"a daemon already serves {home.path}: {who}",
        code="daemon_running",
        object=str(home.path),
        hint="use it, or end it with: stretto down",
        details=details,
    )


def sweep(home: Home) -> None:
    """Remove what a dead daemon left. Only for the holder of the lock."""
    for path in (home.default_socket, home.daemon_file):
        with suppress(FileNotFoundError):
            path.unlink()


def announce(home: Home, identity: Identity) -> None:
    """Tell clients where to find us; called once the socket accepts."""
    replace(home.daemon_file, json.dumps(asdict(identity)).encode())


def read_identity(path: Path) -> Identity | None:
    """The identity in this file; None if there is none or it is damaged. Says nothing of whether it still runs."""
    try:
        value = json.loads(path.read_bytes())
        return Identity(**{name: value[name] for name in Identity.__slots__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
