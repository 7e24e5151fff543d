"""Is there a folder of control groups (cgroup v2) in which we may make one for a sandbox? A look at files, no change.

A group offers to those made in it what its `cgroup.subtree_control` names; it must offer memory and processes, and we
must be able to make one there and to move a process of ours into it. That is so in a session whose groups were
delegated (a service or scope with `Delegate=yes`), for root mostly, and in few containers. Settings of groups that are
not ours are never changed for it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_NEEDED = frozenset({"memory", "pids"})


def find(root: Path = Path("/")) -> str | None:
    """The folder nearest to our own group; None if there is none. `root`: where proc and the groups are mounted."""
    place = _mounted(root)
    own = _own(root)
    if place is None or own is None:
        return None
    mount, shown = place
    if own != shown and not own.is_relative_to(shown):
        return None  # our own group lies outside of what is mounted here
    below = root / mount.relative_to("/") / own.relative_to(shown)
    top = root / mount.relative_to("/")
    for folder in (below, *below.parents):
        if not folder.is_relative_to(top):
            break
        if _offers(folder):
            return str(folder)
    return None


def _mounted(root: Path) -> tuple[Path, Path] | None:
    """Where the groups are mounted, and which of them is shown there as the first."""
    with suppress(OSError):
        for line in (root / "proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
            before, _, after = line.partition(" - ")
            if after.startswith("cgroup2 "):
                words = before.split()
                return Path(words[4]), Path(words[3])
    return None


def _own(root: Path) -> Path | None:
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines():
            if line.startswith("0::/") and not line.startswith("0::/.."):
                return Path(line.removeprefix("0::"))
    return None


def _offers(folder: Path) -> bool:
    try:
        offered = set((folder / "cgroup.subtree_control").read_text("ascii").split())
        kind = (folder / "cgroup.type").read_text("ascii").strip() if (folder / "cgroup.type").exists() else "domain"
    except (OSError, UnicodeError):
        return False
    ours = os.access(folder, os.W_OK | os.X_OK) and os.access(folder / "cgroup.procs", os.W_OK)
    return offered >= _NEEDED and kind in ("domain", "domain threaded") and ours
