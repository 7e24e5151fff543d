"""One folder with what programs read in /etc: shown as a whole, for each mount costs time at every start.

Specification.
- A copy lies in the private folder under a name that stands for the names, times, sizes and modes of all that it was
  made from: when one of them changes, the next sandbox gets a new copy. It appears as a whole, by a rename.
- Only what everybody on this machine may read is copied: what root alone may read in /etc (keys beside certificates)
  is not there, even for root.
- Links stay links where they lead to something that is shown; any other file is copied in their place.
- A copy that is in use is never changed. One that no sandbox began with for a month is deleted with the next new one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stretto import files, proctree
from stretto.workspace import deletion
from stretto.workspace.sandbox.recipe import ETC, SYSTEM

#: bytes of a file, and of all together, beyond which the rest is left out; seconds after which a copy is given up
_MOST, _ALL, _MONTH = 8 << 20, 64 << 20, 30 * 86400.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is copied: its name below the root; a folder, a link (`leads` somewhere) or a file; how it was then."""

    name: str
    source: Path
    folder: bool
    leads: str
    facts: tuple[int, ...]


def folder(private: Path, root: Path = Path("/etc")) -> Path:
    """The copy of what is there now, made if there is none. Raises OSError."""
    found = list(_found(root))
    facts = repr((proctree.boot_id(), [(each.name, each.leads, each.facts) for each in found]))
    above = files.make_private_dir(private / "etc")
    place = above / hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    if not place.is_dir():
        _make(above, place, found)
    os.utime(place)
    return place


def _found(root: Path) -> Iterator[_Entry]:
    left = _ALL
    for name in ETC:
        for path in _below(root / name):
            entry = _entry(path, root)
            if entry is None or (not entry.folder and entry.facts[1] > min(_MOST, left)):
                continue
            left -= 0 if entry.folder else entry.facts[1]
            yield entry


def _below(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        for above, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(above, name) for name in sorted((*folders, *names)))


def _entry(path: Path, root: Path) -> _Entry | None:
    """None for what not everybody may read, is neither file nor folder, or is a folder that lies elsewhere."""
    try:
        status = path.lstat()
        linked = stat.S_ISLNK(status.st_mode)
        leads = _shown(path, root) if linked else ""
        status = path.stat() if linked and not leads else status
    except OSError:
        return None
    inside = stat.S_ISDIR(status.st_mode)
    readable = status.st_mode & (0o005 if inside else 0o004) == (0o005 if inside else 0o004)
    if not leads and (not readable or (inside and linked) or not (inside or stat.S_ISREG(status.st_mode))):
        return None
    facts = (status.st_mode, 0 if inside else status.st_size, status.st_mtime_ns, status.st_ino)
    return _Entry(str(path.relative_to(root)), path, inside, leads, facts)


def _shown(link: Path, root: Path) -> str:
    """Where a link leads in the end, if that is there inside: of the system, or copied as well."""
    real = Path(os.path.realpath(link))
    known = (*SYSTEM, *(str(root / name) for name in ETC))
    return str(real) if real.exists() and any(real.is_relative_to(place) for place in known) else ""


def _make(above: Path, place: Path, found: list[_Entry]) -> None:
    part = above / f".{place.name}.{os.getpid()}.{time.monotonic_ns()}"
    part.mkdir(0o755)
    for entry in found:
        target = part / entry.name
        if entry.name in ETC:
            target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # it, or the folder that it lies in, cannot be read: then it is not there inside
            _copy(entry, target)
    try:
        files.move_over(part, place)
    except OSError:  # another has made the same meanwhile
        deletion.delete(above, part.name)
    for old in above.iterdir():
        if old != place and time.time() - old.stat().st_mtime > _MONTH:
            deletion.delete(above, old.name)


def _copy(entry: _Entry, target: Path) -> None:
    if entry.leads:
        target.symlink_to(entry.leads)
    elif entry.folder:
        target.mkdir(0o755, exist_ok=True)
    else:
        shutil.copyfile(entry.source, target)
        target.chmod(0o755 if entry.facts[0] & 0o001 else 0o644)
