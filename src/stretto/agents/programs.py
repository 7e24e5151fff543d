"""Can this program be started? The answer is a sentence for a person, without starting anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def why_not_startable(program: str, env: Mapping[str, str], wanted_by: str) -> str | None:
    """None if `program` can be started with this environment, else the reason as a sentence.

    A name without a slash is looked up on the environment's PATH; a relative path starts at the main checkout
    (`STRETTO_ROOT`), because the worktree in which it will run does not exist yet.
    """
    if "/" not in program:
        return _on_path(program, env, wanted_by)
    path = Path(env.get("STRETTO_ROOT") or Path.cwd()) / Path(program).expanduser()
    if not path.exists():
        return f"{wanted_by} needs {program}, which does not exist"
    if not path.is_file():
        return f"{wanted_by} needs {program}, which is not a file"
    if not os.access(path, os.X_OK):
        return f"{wanted_by} needs {program}, which is not executable: chmod +x {path}"
    return None


def _on_path(program: str, env: Mapping[str, str], wanted_by: str) -> str | None:
    path = env.get("PATH", os.defpath)
    if shutil.which(program, path=path):
        return None
    for folder in filter(None, path.split(os.pathsep)):
        found = Path(folder) / program
        if found.is_file():
            return f"{wanted_by} needs the program `{program}`: {found} is not executable (chmod +x {found})"
    return f"{wanted_by} needs the program `{program}`, which is not on PATH: install it or correct the command"
