"""Run something as a user without privileges: as root a read-only folder is writable, and such a test proves nothing.

Specification. As root the child runs as uid and gid 65534 without groups; otherwise it runs as we are, which is
unprivileged already. Where our interpreter lies below a folder that others cannot enter (a Python below /root, say), a
child that is Python keeps CAP_DAC_READ_SEARCH: it can read and enter everything, but writes nothing that it may not
write. Tests about what cannot be *read* start a program of the system (`argv` without our interpreter).
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from tests.support.world import ROOT, SOURCES, person

NOBODY = 65534
P = ParamSpec("P")
T = TypeVar("T")

_CALL = """
import pickle, sys
function, arguments, named = pickle.load(sys.stdin.buffer)
out, sys.stdout = sys.stdout.buffer, sys.stderr
try:
    answer = (True, function(*arguments, **named))
except BaseException as error:
    answer = (False, error)
pickle.dump(answer, out)
"""


class Unprivileged:
    """A user without privileges, with a short `folder` that is theirs (0700) and a home with a git identity in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**person(folder / "person"), "STRETTO_LEASES": str(folder / "leases" / "ports.db")}
        self.own(folder)

    def own(self, path: Path) -> Path:
        """Give `path` and everything below it to this user."""
        if os.geteuid() == 0:
            for each in (path, *path.rglob("*")):
                os.chown(each, NOBODY, NOBODY, follow_symlinks=False)
        return path

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user and return how it ended. `env` is added to the environment."""
        return subprocess.run(
            [*_prefix(argv[0]), *map(str, argv)],
            cwd=cwd or self.folder,
            env={**os.environ, **self.environment, **(env or {})},
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call a module-level function as this user in a fresh interpreter; return its value or raise its exception."""
        done = subprocess.run(
            [*_prefix(sys.executable), sys.executable, "-c", _CALL],
            cwd=self.folder,
            env={**os.environ, **self.environment, "PYTHONPATH": os.pathsep.join((str(SOURCES), str(ROOT)))},
            input=pickle.dumps((function, arguments, named)),
            capture_output=True,
            timeout=120.0,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"the unprivileged interpreter exited {done.returncode}:\n{done.stderr.decode()}")
        fine, answer = cast("tuple[bool, Any]", pickle.loads(done.stdout))
        if not fine:
            raise answer
        return cast("T", answer)


def _prefix(program: str | Path) -> list[str]:
    if os.geteuid() != 0:
        return []
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if str(program) == sys.executable and not _reachable():
        drop += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    else:
        drop += ["--inh-caps=-all"]
    return [*drop, "--"]


def _reachable() -> bool:
    """Whether others may enter every folder above our interpreter, its libraries and our sources."""
    places = [Path(sys.executable), Path(sys.executable).resolve(), Path(sys.prefix), Path(sys.base_prefix), ROOT]
    folders = {parent for place in places for parent in (place, *place.parents)}
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in folders)
