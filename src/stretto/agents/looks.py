"""What is there of an agent on this machine: its program, its version, the evidence of a login.

Specification. Nothing is changed and no agent is started. Only a program that its declaration names is asked for its
version, found as the environment's PATH says: a command of the configuration is text of the repository and is not run
to look at it. A login is known by the presence of a variable or a file; neither is read.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stretto import agents, process
from stretto.agents.declaration import Declaration
from stretto.core.errors import StrettoError
from stretto.core.model import AgentSpec

#: seconds that a program has to tell its version
PATIENCE = 20.0
#: the exit code of what ran in a sandbox, and that of a program which does not know its words
_CONFINED, _MISUSED = 42, 2
_VERSION = re.compile(rb"\d+(?:\.\d+)+(?:[-+.]?[0-9A-Za-z]+)*")


@dataclass(frozen=True, slots=True)
class Sight:
    """An agent as it was found. `missing`: why it cannot be started; None for `version` and `login`: not known."""

    path: str | None
    missing: str | None
    version: str | None
    tested: bool | None
    login: bool | None
    evidence: str


def look(spec: AgentSpec, env: Mapping[str, str]) -> Sight:
    """Look for an agent as this environment would start it. Raises UsageError for an unknown type."""
    said = agents.declared(spec.type)
    merged = {**env, **spec.env}
    missing = agents.find(spec.type).probe(spec, env)
    path = program_of(spec, env)
    own = path is not None and not spec.command and bool(said.version)
    version = version_of([str(path), *said.version], merged) if own else None
    tested = version in said.tested if version is not None and said.tested else None
    login, evidence = logged_in(said, merged)
    return Sight(path, missing, version, tested, login, evidence)


def program_of(spec: AgentSpec, env: Mapping[str, str]) -> str | None:
    """Where the program of an agent is; None: it is not there, or none is named. Raises UsageError: unknown type."""
    program = spec.command[0] if spec.command else agents.declared(spec.type).program
    return _path(program, {**env, **spec.env}) if program else None


def remedy(spec: AgentSpec, env: Mapping[str, str]) -> str:
    """What to do about an agent that cannot be started; a program that is there need not be installed."""
    other = "choose another with --agent NAME"
    try:
        return other if program_of(spec, env) else f"install it, or {other}"
    except StrettoError:
        return other


def _path(program: str, env: Mapping[str, str]) -> str | None:
    if "/" in program:
        path = Path(env.get("STRETTO_ROOT") or Path.cwd()) / Path(program).expanduser()
        return str(path) if path.is_file() else None
    return shutil.which(program, path=env.get("PATH", os.defpath))


def version_of(argv: list[str], env: Mapping[str, str]) -> str | None:
    """The first thing like a version that a program prints; None if it fails or prints none."""
    try:
        done = process.run(argv, cwd=Path("/"), env=process.clean_environment(env), timeout=PATIENCE, check=False)
    except StrettoError:
        return None
    found = _VERSION.search(done.stdout) or _VERSION.search(done.stderr)
    return found[0].decode() if found and done.code == 0 else None


def confines(spec: AgentSpec, env: Mapping[str, str]) -> str | None:
    """Why the own sandbox of an agent's program cannot start here, in its words; None: it can, or it has none we know.

    One that does not know the words (its version is another) has said nothing. It keeps what it writes in folders
    that are gone afterwards. Raises UsageError for an unknown type.
    """
    said = agents.declared(spec.type)
    path = program_of(spec, env)
    if path is None or spec.command or not said.confines:
        return None
    # two folders: Codex refuses a home below the folder for temporary files
    with tempfile.TemporaryDirectory(prefix="stretto-") as home, tempfile.TemporaryDirectory(prefix="stretto-") as rest:
        own = {**env, **spec.env, "HOME": home, "TMPDIR": rest, said.folder or "HOME": home}
        argv, cwd = [path, *said.confines, "/bin/sh", "-c", f"exit {_CONFINED}"], Path("/")
        try:
            done = process.run(argv, cwd=cwd, env=process.clean_environment(own), timeout=PATIENCE, check=False)
        except StrettoError:
            return None
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    if done.code == _CONFINED or done.code == _MISUSED or not lines:
        return None
    return lines[-1][:300]


def logged_in(said: Declaration, env: Mapping[str, str]) -> tuple[bool | None, str]:
    """Whether there is evidence of a login, and which; None when the declaration knows none to look for."""
    if not said.keys and not said.logins:
        return None, "it keeps no login that stretto knows of"
    for name in said.keys:
        if env.get(name):
            return True, f"{name} is set"
    for pattern in said.logins:
        path = _login_file(pattern, env)
        if path is not None and path.exists():
            return True, f"{path} is there"
    return False, f"neither {' nor '.join((*said.keys, *said.logins))}"


def _login_file(pattern: str, env: Mapping[str, str]) -> Path | None:
    first, _, rest = pattern.partition("/")
    folder = env.get("HOME") if first == "~" else env.get(first.removeprefix("$")) if first.startswith("$") else "/"
    return Path(folder) / rest if folder else None
