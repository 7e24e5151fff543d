"""Where git keeps the registration of a linked worktree: a folder in `<common>/worktrees`.

Removal moves that folder aside as a whole (HEAD, index, reflog, lock), so that `undo` gives back the very same state.
The worktree's own `.git` file is written by whoever works in it and is believed only when git's side agrees.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from stretto import files

#: bytes of a HEAD or a pointer, and of a reflog
_SHORT, _LOG = 8192, 64 << 20
_OID = re.compile(rb"^([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64}) ", re.MULTILINE)


def name_of(common: Path, path: Path, guess: str | None = None) -> str | None:
    """The name of the registration of the worktree at `path`, None if there is none. `guess` is tried first."""
    folder = common / "worktrees"
    for name in _candidates(folder, guess):
        data = files.read_plain(folder / name / "gitdir", _SHORT)
        if data is None or b"\0" in data:
            continue
        place = os.fsdecode(data).rstrip("\n")
        place = place if os.path.isabs(place) else os.path.join(folder / name, place)  # noqa: PTH117, PTH118
        if os.path.realpath(os.path.dirname(place)) == os.path.realpath(path):  # noqa: PTH120
            return name
    return None


def _candidates(folder: Path, guess: str | None) -> Iterator[str]:
    if guess is not None:
        yield guess
    if folder.is_dir():
        yield from (path.name for path in folder.iterdir() if path.name != guess)


def head_of(common: Path, name: str) -> str:
    """What the HEAD of a registered worktree says: a full ref name, or a commit; empty if it says neither."""
    data = files.read_plain(common / "worktrees" / name / "HEAD", _SHORT)
    return "" if data is None else data.decode("utf-8", "replace").strip().removeprefix("ref: ")


def half_made(common: Path, path: Path) -> bool:
    """Whether what is at `path` can only be a worktree of this repository that was begun: empty, or pointing to it."""
    if path.is_symlink() or not path.is_dir():
        return False
    with os.scandir(path) as entries:
        if next(entries, None) is None:
            return True
    data = files.read_plain(path / ".git", _SHORT)
    if data is None or b"\0" in data:
        return False
    kind, _, place = os.fsdecode(data).strip().partition(": ")
    target = Path(os.path.normpath(path / place))
    return kind == "gitdir" and Path(os.path.realpath(target.parent)) == Path(os.path.realpath(common / "worktrees"))


def reflog(common: Path, *logs: str) -> list[str]:
    """Every commit that these reflogs (paths below `<common>`) name, newest last, each once."""
    found: dict[str, None] = {}
    for log in logs:
        data = files.read_plain(common / log, _LOG)
        for old, new in _OID.findall(data or b""):
            found.update({oid.decode(): None for oid in (old, new) if oid.strip(b"0")})
    return list(found)
