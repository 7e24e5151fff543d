"""The scratch world of one test run: nothing of the user leaks in, nothing is left behind.

Specification. One run (with all its xdist workers) has one id and one folder `<tmp>/st-<id>`. The id is in the
environment (STRETTO_TEST_RUN, TMPDIR, HOME) of whatever the tests start, and in every path that they use; a process
belongs to the run when its environment, command line or working folder holds the id. The folder is short, because a
Unix socket's path has room for about 100 bytes, and others may pass through it, because some tests drop to uid 65534.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

RUN_VARIABLE = "STRETTO_TEST_RUN"
ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src"

#: the program under test, as an argv prefix
STRETTO = (sys.executable, "-m", "stretto")

#: variables of the person that would change what git, agents or stretto do
_LEAKS = ("GIT_", "STRETTO_", "XDG_", "CLAUDE", "ANTHROPIC_", "OPENAI_", "GEMINI_", "CODEX_", "TMUX", "PYTEST_DEBUG")
_LEAK_NAMES = {"EDITOR", "VISUAL", "PAGER", "LESS", "EMAIL", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"}
_LEAK_NAMES |= {"LANGUAGE", "TZ", "COLUMNS", "LINES", "PYTHONWARNINGS", "PYTHONHOME"}
_KEPT = {RUN_VARIABLE, "STRETTO_CI", "STRETTO_CLAUDE", "STRETTO_CODEX", "STRETTO_PI", "STRETTO_MACHINE"}
_KEPT |= {
    "STRETTO_OPENCODE",
    "STRETTO_GEMINI",
    "STRETTO_PLAYWRIGHT",
    "STRETTO_AGENTS",
    "STRETTO_FAULTS",
    "STRETTO_MANAGERS",
}

GIT_CONFIG = """\
[user]
    name = Test Person
    email = person@example.com
[init]
    defaultBranch = main
[gc]
    auto = 0
[maintenance]
    auto = false
[advice]
    detachedHead = false
"""


@dataclass(frozen=True, slots=True)
class World:
    """The run's id, its folder, and whether this process made it (an xdist worker inherits it)."""

    id: str
    folder: Path
    owner: bool


def enter() -> World:
    """Make the scratch world, or join the one whose id is in the environment, and clean `os.environ` for it."""
    inherited = os.environ.get(RUN_VARIABLE)
    base = Path(os.environ["TMPDIR"]).parent if inherited else _short_temporary_folder()
    run = inherited or secrets.token_hex(4)
    world = World(run, base / f"st-{run}", owner=not inherited)
    world.folder.mkdir(exist_ok=True)
    world.folder.chmod(0o755)
    _clean_environment(world)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun with `&` by a shell: our children must hear Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return world


def person(folder: Path) -> dict[str, str]:
    """Make a home folder of a person with a git identity in `folder`; return the variables that lead to it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / ".gitconfig"
    if not config.exists():
        config.write_text(GIT_CONFIG, encoding="utf-8")
    return {"HOME": str(folder), "GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_NOSYSTEM": "1"}


def _short_temporary_folder() -> Path:
    outer = Path(os.environ.get("TMPDIR", "/"))
    if outer.name.startswith("st-"):  # a run inside a run
        return outer
    short = Path("/tmp")  # macOS' own temporary folder is too long for a socket
    return short if os.access(short, os.W_OK) else Path(tempfile.gettempdir())


def _clean_environment(world: World) -> None:
    for name in list(os.environ):
        if name not in _KEPT and (name.startswith(_LEAKS) or name in _LEAK_NAMES or name.startswith("LC_")):
            del os.environ[name]
    os.environ.update(person(world.folder / "person"))
    os.environ[RUN_VARIABLE] = world.id
    os.environ["LANG"] = os.environ["LC_ALL"] = "C.UTF-8"
    os.environ["TMPDIR"] = str(world.folder)
    os.environ["STRETTO_LEASES"] = str(world.folder / "leases" / "ports.db")
    os.environ["PYTHONPATH"] = str(SOURCES)
    programs = str(Path(sys.executable).parent)
    if not os.environ.get("PATH", "").startswith(programs + os.pathsep):
        os.environ["PATH"] = programs + os.pathsep + os.environ.get("PATH", os.defpath)
    tempfile.tempdir = None
