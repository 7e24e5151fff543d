"""Start the daemon on demand: detached from the caller's terminal, folder and git variables.

Specification. Two callers may start at once: the lock lets one daemon live, and both callers get it. It counts as
started when it answers on its socket, not before. When its process ends first, the caller is told with its own words.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stretto import spawn
from stretto.core.errors import BY_EXIT_CODE, StrettoError, Unavailable
from stretto.failpoints import failpoint
from stretto.home import Home
from stretto.process import clean_environment
from stretto.proctree import start_time

#: seconds in which a daemon must answer; recovery of many tasks counts in
PATIENCE = 30.0
#: variables of the caller that the daemon keeps although agents must not see them
_TESTING = ("STRETTO_TESTING", "STRETTO_FAILPOINT", "STRETTO_TEST_CLOCK")


def launch(home: Home, ping: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """Start a daemon for this home and return what it tells of itself. Raises Unavailable with the end of its log."""
    failpoint("cli.daemon.spawn.before")
    pid = spawn.detached(command(), cwd=home.path, env=environment(home), output=_fresh(home.daemon_output))
    failpoint("cli.daemon.spawn.after")
    deadline = time.monotonic() + PATIENCE
    pause = 0.01
    while time.monotonic() < deadline:
        if (told := ping()) is not None:
            return told
        if _ended(pid):
            return _after_end(home, ping)
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)
    raise _failed(home, f"the daemon (process {pid}) did not answer within {PATIENCE:g} s")


def command() -> list[str]:
    """The argv of a daemon."""
    return [sys.executable, "-P", "-m", "stretto.daemon"]


def environment(home: Home) -> dict[str, str]:
    """The caller's environment without agent tokens and git's variables; the home is named."""
    env = clean_environment()
    env |= {name: os.environ[name] for name in _TESTING if name in os.environ}
    if "PYTHONPATH" in env:  # the daemon starts in another folder
        env["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, env["PYTHONPATH"].split(os.pathsep)))
    return {**env, "STRETTO_HOME": str(home.path)}


def _fresh(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path


def _ended(pid: int) -> bool:
    from stretto.proctree import look

    found = look(pid)
    return found is None or found.zombie or start_time(pid) is None


def _after_end(home: Home, ping: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """Ours has ended: another one may have been quicker and be about to answer.

    Its last words can be gone or be another's: whoever starts next begins the file anew. The lock tells the truth.
    """
    from stretto.daemon.singleton import read_identity

    deadline = time.monotonic() + PATIENCE
    error = _its_error(home)
    while time.monotonic() < deadline:
        holder = read_identity(home.lock)
        if not (error is not None and error.code == "daemon_running") and (holder is None or not holder.living):
            break
        if (told := ping()) is not None:
            return told
        time.sleep(0.05)
    raise error or _failed(home, "the daemon could not be started")


def _its_error(home: Home) -> StrettoError | None:
    """Why it ended, in its own words; None if it could not say."""
    try:
        told = json.loads(_tail(home.daemon_output).strip().splitlines()[-1])
        error = told["error"]
        kind = BY_EXIT_CODE.get(told["exit_code"], StrettoError)
    except (ValueError, LookupError, TypeError):
        return None
    message = f"the daemon cannot start: {error['message']}"
    return kind(message, code=error["code"], object=error["object"], hint=error["hint"])


def _failed(home: Home, what: str) -> Unavailable:
    words = _tail(home.daemon_output).strip() or _tail(home.daemon_log).strip() or "it wrote nothing"
    return Unavailable(
        f"{what}:\n{words}",
        code="daemon_failed",
        object=str(home.daemon_log),
        hint=f"its log is {home.daemon_log}; look for the cause with: stretto doctor",
    )


def _tail(path: Path, size: int = 2000) -> str:
    try:
        return path.read_bytes()[-size:].decode(errors="replace")
    except OSError:
        return ""
