"""Run a command that must pass.

Specification.
- The argv is `[/bin/sh, -c, TEXT]`, TEXT being exactly the string that the person trusted; a sandbox's stands before.
- The check gets a session and process group of its own and two variables: `STRETTO_CHECK` names this one execution,
  `STRETTO_CHECK_HOME` the home whose daemon runs it. By them whatever it leaves behind is found and ended: when it is
  over, when its time is up, when it is cancelled, and by the next daemon after a crash (`end_leftovers`).
- Passed: exit 0. Error, which says nothing of the work: it could not be started, exited with 126 or 127, ran out of
  time, was cancelled, or its output could not be kept. Failed: everything else, signals included.
- Outside of a sandbox keeper.py stands before it and adopts what leaves parent, session and environment behind: that is
  ended, too. Within one, the process namespace ends everything.
- Both streams go to one file (0600) that keeps beginning and end; the place of a gap is marked in it.

Accepted, on systems without subreapers: a process that forks away from a check that ends by itself, and clears its
environment, is not found.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stretto import files, process, proctree
from stretto.core.errors import Unavailable
from stretto.core.escapes import without_sequences
from stretto.core.model import CheckResult, CheckSpec
from stretto.failpoints import failpoint
from stretto.interfaces import CheckOutcome

#: bytes of output that one execution may leave on disk
OUTPUT_LIMIT = 16 << 20
#: seconds between TERM and KILL
GRACE = 5.0

_KEEPER = (sys.executable, "-I", "-S", str(Path(__file__).resolve().with_name("keeper.py")))
#: what stands before a command that no sandbox holds: all that it starts ends with it, or may go on while it is wanted
KEPT: tuple[str, ...] = (*_KEEPER, "end") if sys.platform.startswith("linux") else ()
SERVED: tuple[str, ...] = (*_KEEPER, "stay") if sys.platform.startswith("linux") else ()
#: variables that say where a command runs, not what it finds there: equal trees give equal results whatever they are
_PLACE = re.compile(
    r"STRETTO_\w+|PORT|PORT_\w+|COMPOSE_(PROJECT_NAME|FILE)|DATABASE_URL|PWD|OLDPWD|SHLVL|_|TERM|COLUMNS|LINES"
    r"|PLAYWRIGHT_(MCP_USER_DATA_DIR|MCP_OUTPUT_DIR|BROWSERS_PATH)"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class CheckRunner:
    """Implements `interfaces.Checks`. `home` is a word that names the home folder of the calling daemon."""

    def __init__(self, home: str, *, grace: float = GRACE, limit: int = OUTPUT_LIMIT) -> None:
        self._home = home
        self._grace = grace
        self._limit = limit

    @property
    def home(self) -> str:
        """The word that names the home folder of the calling daemon."""
        return self._home

    def run(
        self,
        spec: CheckSpec,
        cwd: Path,
        env: Mapping[str, str],
        output: Path,
        stop: Callable[[], bool],
        wrapper: Sequence[str] = (),
    ) -> CheckOutcome:
        """Run it to its end; never raises for what the command does. `stop` is asked several times a second.

        `wrapper`: words that are put before it, a sandbox's.
        """
        began = time.monotonic()
        watch = _Watch(f"STRETTO_CHECK={secrets.token_hex(8)}", spec.timeout, self._grace, stop)
        try:
            files.make_private_dir(output.parent)
            failpoint("daemon.check.spawn.before")
            done = process.run(
                [*(wrapper or KEPT), "/bin/sh", "-c", spec.run],
                cwd=cwd,
                env=self._environment(env, watch.marker),
                timeout=None,
                output=output,
                limit=self._limit,
                grace=self._grace,
                stop=watch,
                started=watch.begin,
            )
        except (Unavailable, OSError) as error:
            return CheckOutcome(CheckResult.ERROR, time.monotonic() - began, output, _cause(error))
        finally:
            proctree.end_tree(None, None, watch.marker, self._grace)
        result, reason = (CheckResult.ERROR, watch.reason) if watch.reason else _judge(done.code)
        return CheckOutcome(result, done.seconds, output, reason, None if watch.reason else done.code)

    def end_leftovers(self) -> bool:
        """End every process of checks that an earlier daemon of this home started. False: some could not be ended."""
        return proctree.end_tree(None, None, f"STRETTO_CHECK_HOME={self._home}", self._grace)

    def _environment(self, env: Mapping[str, str], marker: str) -> dict[str, str]:
        name, _, value = marker.partition("=")
        return {**process.clean_environment(env), name: value, "STRETTO_CHECK_HOME": self._home}


class _Watch:
    """Decides when a running check must end, and then ends its whole tree, whatever sessions its parts made."""

    def __init__(self, marker: str, timeout: float, grace: float, stop: Callable[[], bool]) -> None:
        self.marker = marker
        self.reason = ""
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._grace = grace
        self._stop = stop
        self._pid: int | None = None
        self._start: float | None = None

    def begin(self, pid: int) -> None:
        self._pid, self._start = pid, proctree.start_time(pid)
        failpoint("daemon.check.spawn.after")

    def __call__(self) -> bool:
        if time.monotonic() >= self._deadline:
            self.reason = f"timed out after {self._timeout:g} s"
        elif self._stop():
            self.reason = "cancelled"
        else:
            return False
        proctree.end_tree(self._pid, self._start, self.marker, self._grace)
        return True


def _judge(code: int) -> tuple[CheckResult, str]:
    if code == 0:
        return CheckResult.PASSED, ""
    if code == 127:
        return CheckResult.ERROR, "a command was not found (exit 127)"
    if code == 126:
        return CheckResult.ERROR, "a command could not be executed (exit 126)"
    if code < 0:
        return CheckResult.FAILED, f"ended by {_signal_name(-code)}"
    return CheckResult.FAILED, f"exit {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _cause(error: Unavailable | OSError) -> str:
    if isinstance(error, Unavailable):
        return error.message
    return f"its output could not be kept: {error.strerror}"


def tail(path: Path, limit: int = 8192, lines: int = 100) -> str:
    """The end of a captured output, fit for a prompt: at most `limit` bytes and `lines` lines, as plain text.

    Escape sequences and control characters are left out, bytes that are not UTF-8 are replaced, of a line that was
    rewritten with carriage returns the last version stays. Empty if there is no such file.
    """
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - 4 * limit)
            file.seek(start)
            data = file.read(4 * limit)
    except FileNotFoundError:
        return ""
    if start:
        data = data[data.find(b"\n") + 1 :]
    text = data.decode("utf-8", errors="replace").rstrip()
    rows = without_sequences(text).split("\n")
    written = [_CONTROLS.sub("", row.rstrip("\r").rpartition("\r")[2]).rstrip() for row in rows]
    shown = "\n".join(written[-lines:]).encode()
    if len(shown) > limit:
        shown = shown[-limit:]
        shown = shown[shown.find(b"\n") + 1 :]
    return shown.decode("utf-8", errors="ignore")


def environment_key(env: Mapping[str, str]) -> str:
    """Names what in an environment can change a result: a hash over all but the variables of the place.

    >>> environment_key({"LANG": "C", "STRETTO_SLOT": "1"}) == environment_key({"LANG": "C", "PORT": "9"})
    True
    >>> environment_key({"LANG": "C"}) == environment_key({"LANG": "de_DE"})
    False
    """
    kept = {name: value for name, value in sorted(env.items()) if not _PLACE.fullmatch(name)}
    return hashlib.sha256(json.dumps(kept).encode("utf-8", errors="surrogateescape")).hexdigest()[:16]
