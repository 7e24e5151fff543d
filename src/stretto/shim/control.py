"""The daemon's side of session shims: start, tell, end. What the folder says is read by folder.py.

Specification.
- `start` returns when the shim stands (its identity is recorded under its lock) or raises; a shim that lives already is
  left as it is. What an earlier, dead shim left running is ended first: never two agents in one session.
- The lock is taken here and inherited by the shim: it is never free between the look at what was left and the shim's
  own life, so a shim that an earlier daemon started and that was slow cannot come in between.
- `append` makes a record durable before it returns and is idempotent by number: a record that is there is not written
  again. A torn line of a crashed writer is cut off first. Waking the shim may fail; it looks by itself every 2 s.
- `end` ends the session whatever the shim does: asked first, then killed with all that it owns, then by the marker.
- Secrets go through the shim's stdin only; a secret's name in the spec's environment is dropped from it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stretto import files, proctree, spawn
from stretto.core.errors import Conflict, StrettoError, Unavailable, UsageError
from stretto.failpoints import failpoint
from stretto.interfaces import ShimState
from stretto.shim import folder as folders
from stretto.shim.constants import HOST, KINDS, PRIVATE, SCHEMA, STOP_SECONDS, marker
from stretto.shim.recover import recover, recover_locked

#: variables of ours that the shim needs itself; its agent gets `spec["env"]` only
_SHIM_ENV = ("PATH", "HOME", "TMPDIR", *PRIVATE)


class FolderShims:
    """The `Shims` of interfaces/: real processes, spoken with through their folders. Thread-safe, without state."""

    def __init__(self, python: str = sys.executable, ready_seconds: float = 30.0) -> None:
        self._python = python
        self._ready_seconds = ready_seconds

    def start(self, folder: Path, spec: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        """Start a shim on this folder. `spec` as in the shim protocol; `session` is the least it needs besides argv.

        Raises Unavailable (`shim_failed`) if the shim does not come up, `survivors` if processes of an earlier life
        cannot be ended.
        """
        files.make_private_dir(folder)
        lock = _lock(folder)
        if lock is None:
            return
        try:
            _prepare(folder, spec, secrets)
            failpoint("daemon.shim.spawn.before")
            pid = spawn.detached(
                [self._python, "-I", "-S", str(HOST), str(folder), str(lock)],
                cwd=Path("/"),
                env={name: os.environ[name] for name in _SHIM_ENV if name in os.environ},
                stdin_bytes=_framed(secrets),
                output=folder / "shim.log",
                inherit=(lock,),
            )
        finally:
            os.close(lock)
        failpoint("daemon.shim.spawn.after")
        self._await_ready(folder, pid)

    def _await_ready(self, folder: Path, pid: int) -> None:
        deadline = time.monotonic() + self._ready_seconds
        pause = 0.002
        while True:
            running = proctree.start_time(pid) is not None and _not_zombie(pid)
            if (folders.read_json(folder / "shim.json") or {}).get("pid") == pid or _held_by_other(folder, running):
                return
            if not running or time.monotonic() > deadline:
                raise _not_up(folder, running)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def append(self, folder: Path, kind: str, data: str, number: int) -> None:
        """Make record `number` of `in.jsonl` durable and wake the shim.

        Raises Conflict (`record_order`) if the record before it is not there, Unavailable (`disk`) if it cannot be
        written, UsageError for an unknown kind.
        """
        if kind not in KINDS:
            raise UsageError(f"{kind!r} is no kind of record", object=kind)
        line = json.dumps({"n": number, "kind": kind, "data": data}).encode() + b"\n"
        try:
            with files.lock(folder / "in.jsonl") as fd:
                _append(fd, line, number, folder)
        except OSError as error:
            raise Unavailable(
                f"message {number} cannot be recorded: {error.strerror}",
                code="disk",
                object=str(folder),
                hint="make room on the disk of STRETTO_HOME; it is tried again",
            ) from error
        wake(folder)

    def state(self, folder: Path) -> ShimState:
        """What the folder says now."""
        return folders.state(folder)

    def read(self, folder: Path, stream: str, cursor: int, limit: int) -> tuple[bytes, int]:
        """Output at or after the absolute position `cursor`, and the position after it; see folder.read."""
        return folders.read(folder, stream, cursor, limit)

    def tail(self, folder: Path, stream: str, limit: int) -> bytes:
        """The last bytes of a stream."""
        return folders.tail(folder, stream, limit)

    def end(self, folder: Path, timeout: float) -> bool:
        """End the session and all its processes within about `timeout` seconds. True when none is left."""
        deadline = time.monotonic() + timeout
        known = _ask_to_end(folder, deadline)
        if folders.shim_alive(folder):
            spec = folders.read_json(folder / "spec.json") or {}
            pid, start = known or (None, None)
            proctree.end_tree(pid, start, spec.get("marker"), grace=0.0)
        if not folder.exists():
            return True
        try:
            return recover(folder, grace=max(0.0, deadline - time.monotonic())).ended
        except Conflict:  # it could not be killed, or is not far enough to be known
            return False


def _ask_to_end(folder: Path, deadline: float) -> tuple[int, float] | None:
    """TERM the shim and wait until it is gone or the time is over. Returns who it is."""
    known = None
    while folders.shim_alive(folder) and time.monotonic() < deadline:
        if known is None and (known := folders.identity(folder, "shim.json")) is not None:
            proctree.send_signal(*known, signal.SIGTERM)
            proctree.send_signal(*known, signal.SIGCONT)
        time.sleep(0.01)
    return known or folders.identity(folder, "shim.json")


# ---------------------------------------------------------------- start


def _lock(folder: Path) -> int | None:
    """The folder's lock; None if a shim has it. Somebody who only asks whether it is free has it for a moment."""
    for _ in range(20):
        if (lock := files.try_lock(folder / "lock")) is not None:
            return lock
        known = folders.identity(folder, "shim.json")
        if known is not None and proctree.alive(*known):
            return None
        time.sleep(0.025)
    return None


def _prepare(folder: Path, spec: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Write `spec.json`; end what an earlier shim left. The caller holds the lock."""
    old = folders.read_json(folder / "spec.json")
    full: dict[str, Any] = {"schema": SCHEMA, "wrapper": [], "marker": marker(str(spec["session"])), **spec}
    full["env"] = {name: text for name, text in dict(spec.get("env") or {}).items() if name not in secrets}
    if old is not None:
        recovery = recover_locked(folder, STOP_SECONDS)
        if not recovery.ended:
            raise Unavailable(
                f"processes {list(recovery.left)} of session {spec['session']} cannot be ended",
                code="survivors",
                object=str(spec["session"]),
                hint="end them by hand, then try again",
            )
        if "segment_bytes" in old:
            full["segment_bytes"] = old["segment_bytes"]  # positions in the streams depend on it
    (folder / "shim.json").unlink(missing_ok=True)
    files.replace(folder / "spec.json", json.dumps(full).encode() + b"\n")


def _framed(secrets: Mapping[str, str]) -> bytes:
    body = json.dumps(dict(secrets)).encode()
    return len(body).to_bytes(8, "big") + body


def _not_zombie(pid: int) -> bool:
    found = proctree.look(pid)
    return found is not None and not found.zombie


def _held_by_other(folder: Path, running: bool) -> bool:
    """Our shim gave up because another one, started at the same time, is there."""
    return not running and bool(folders.shim_alive(folder)) and folders.identity(folder, "shim.json") is not None


def _not_up(folder: Path, running: bool) -> StrettoError:
    lines = (folder / "shim.log").read_text(errors="replace").strip().splitlines()[-1:]
    what = "does not answer" if running else f"ended at once: {lines[0] if lines else 'no message'}"
    return Unavailable(
        f"the shim of session {folder.name} {what}",
        code="shim_failed",
        object=str(folder),
        hint=f"see {folder / 'shim.log'}",
    )


# ---------------------------------------------------------------- append


def _append(fd: int, line: bytes, number: int, folder: Path) -> None:
    """Write one record after the last whole one, unless it is there. All or nothing."""
    last, end = folders.last_record(fd)
    if last is None and end > 0:
        raise Conflict(f"{folder / 'in.jsonl'} is damaged", code="record_order", object=str(folder))
    before = last.n if last else 0
    if number <= before:
        return
    if number != before + 1:
        raise Conflict(f"record {number} cannot follow record {before}", code="record_order", object=str(folder))
    failpoint("daemon.shim.append.before")
    os.ftruncate(fd, end)
    try:
        view = memoryview(line)
        while view:
            view = view[os.pwrite(fd, view, end + len(line) - len(view)) :]
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, end)
        raise
    failpoint("daemon.shim.append.after")


def wake(folder: Path) -> None:
    """Let the shim look now. It may not be there, or have enough to read already."""
    try:
        fd = os.open(folder / "wake", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.write(fd, b"\n")
    except OSError:
        return
    finally:
        os.close(fd)
