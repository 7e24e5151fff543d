"""Whether the packages in the person's own checkout are just what the lock file names, so that they may be copied.

Two managers leave a note of what they have installed, which can be held against the lock file: npm and pnpm. What
others have installed cannot be told without asking them, and is not taken.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stretto.workspace.dependencies.recognise import Wanted

_SAME = ("version", "resolved", "integrity", "link")


def up_to_date(root: Path, wanted: Wanted) -> bool:
    """Whether the folder of packages below `root` holds exactly what the lock file there names."""
    folder = root / wanted.folder
    try:
        if wanted.manager.name == "npm":
            lock = _packages(folder / wanted.locks[0])
            return _npm(lock, _packages(folder / "node_modules" / ".package-lock.json"))
        if wanted.manager.name == "pnpm":
            noted = folder / "node_modules" / ".pnpm" / "lock.yaml"
            return noted.read_bytes() == (folder / wanted.locks[0]).read_bytes()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return False


def _packages(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(path.read_bytes())["packages"]
    return found


def _npm(lock: dict[str, dict[str, Any]], there: dict[str, dict[str, Any]]) -> bool:
    """All that is there is what the lock says, and all that it says is there, but what may be left out (optional)."""
    inside = {name: one for name, one in lock.items() if name.startswith("node_modules/") or "/node_modules/" in name}
    for name, one in there.items():
        if name in lock and any(one.get(key) != lock[name].get(key) for key in _SAME):
            return False
        if name not in lock:
            return False
    return all(name in there for name, one in inside.items() if not one.get("optional"))
