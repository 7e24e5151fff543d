"""Can this machine make a sandbox? Tried for real, with the very program that would make it."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from stretto import process
from stretto.core.errors import StrettoError, Unavailable
from stretto.workspace.sandbox import groups, places
from stretto.workspace.sandbox.recipe import Limits, Recipe
from stretto.workspace.sandbox.wrap import wrapper

#: seconds for which an answer holds; seconds that a try may take
_AGE, _TIMEOUT = 60.0, 20.0
_lock = threading.Lock()
#: when it was tried, and what was found
_known: list[tuple[float, Found]] = []


@dataclass(frozen=True, slots=True)
class Found:
    """What this machine can do. `program`: bubblewrap, None if there can be no sandbox; then `reason` and `hint`.

    `group`: the folder of control groups in which a sandbox can have one of its own; empty: none can.
    """

    program: str | None
    reason: str = ""
    hint: str = ""
    group: str = ""

    @property
    def possible(self) -> bool:
        """Whether a sandbox can be made."""
        return self.program is not None


def look(*, fresh: bool = False) -> Found:
    """Try it; the answer is kept for a minute. Never raises."""
    with _lock:
        if not _known or fresh or time.monotonic() - _known[0][0] > _AGE:
            _known[:] = [(time.monotonic(), _try())]
        return _known[0][1]


def require() -> str:
    """The program. Raises StrettoError (`sandbox_impossible`) with the reason."""
    found = look()
    if found.program is None:
        raise StrettoError(
            f"this machine cannot make a sandbox: {found.reason}",
            code="sandbox_impossible",
            object="bubblewrap",
            hint=f'{found.hint}; or set [workspace] sandbox = "none"',
        )
    return found.program


def _try() -> Found:
    if not sys.platform.startswith("linux"):
        return Found(None, "bubblewrap is for Linux", "run the agents on Linux, in a virtual machine perhaps")
    program = shutil.which("bwrap")
    if program is None:
        return Found(None, "bubblewrap is not installed", "install it: apt-get install bubblewrap")
    system, links = places.system()
    here = str(Path(__file__).resolve().parent)
    group = groups.find() or ""
    limits = Limits(memory=1 << 30, processes=100, group=group)
    recipe = Recipe(here, "/home/sandbox", system=system, links=links, allow=("probe.invalid",), limits=limits)
    try:
        done = _start(recipe, program)
        if group and not _passed(done):  # it looked as if a group could be made
            group, recipe = "", replace(recipe, limits=replace(limits, group=""))
            done = _start(recipe, program)
    except Unavailable as error:
        return Found(None, error.message, "stretto doctor")
    if _passed(done):
        return Found(program, group=group)
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return Found(None, lines[-1] if lines else f"bubblewrap ended with {done.code}", _hint(done.stderr))


def _start(recipe: Recipe, program: str) -> process.Completed:
    env = process.clean_environment()
    return process.run([*wrapper(recipe, program), "/bin/true"], cwd=Path("/"), env=env, timeout=_TIMEOUT, limit=65536)


def _passed(done: process.Completed) -> bool:
    return done.code == 0 and not done.timed_out


def _hint(said: bytes) -> str:
    if Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").exists():
        return "allow bwrap user namespaces by an AppArmor profile (its line: userns,)"
    if b"amespace" in said or b"setting up uid map" in said:
        return "allow user namespaces: sysctl user.max_user_namespaces, or the settings of the container around us"
    return "see what `bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true` says"
