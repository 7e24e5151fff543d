"""A shadow for every worktree: a git directory of our own to look at it with.

Specification.
- A shadow is a neutral directory (`neutral.py`) with an index of our own, equal to the commit that its file `synced`
  names. It remembers file times, so that a second look is cheap. The worktree's own index, which its user may hold
  locked, and which may carry "assume unchanged", is only ever copied.
- One user at a time per worktree, by a lock in the shadow, across processes. What a crash leaves in the shadow is
  removed under that lock; a shadow may be deleted at any time.
- The person's word on line ends, modes and ignored files is carried over; on ignored files only theirs, not what an
  agent may have written into the repository's configuration.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from stretto import files
from stretto.core.errors import StrettoError
from stretto.git import clone, neutral, run
from stretto.git.context import Context, read_config

#: seconds for which the person's settings are taken as known
_SETTINGS_AGE = 30.0


@dataclass(frozen=True, slots=True)
class Worktree:
    """A registered worktree. `admin` is its own git directory (for the main one: the common directory)."""

    path: Path
    admin: Path

    @property
    def index(self) -> Path:
        """The index that its user works with."""
        return self.admin / "index"


def find_worktree(context: Context, path: Path, *, sure: bool = True) -> Worktree:
    """The registered worktree at exactly this path, in step with its user's clone if they have one.

    Raises StrettoError (`not_a_worktree`) if there is none; if `sure`, also when the clone cannot be brought over.
    """
    if path == context.root:
        return Worktree(path, context.common)
    found = _registered(context, path)
    with nullcontext() if sure else suppress(StrettoError):
        clone.sync(context, path, found.admin)
    return found


def _registered(context: Context, path: Path) -> Worktree:
    wanted = os.path.realpath(path / ".git")
    for admin in _admin_folders(context, path.name):
        with suppress(OSError):
            if os.path.realpath(os.fsdecode((admin / "gitdir").read_bytes()).rstrip("\n")) == wanted:
                return Worktree(path, admin)
    raise StrettoError(f"{path} is not a worktree of this repository", object=str(path), code="not_a_worktree")


def _admin_folders(context: Context, name: str) -> Iterator[Path]:
    """The git directories of linked worktrees; first the one that git names after the worktree's folder."""
    folder = context.common / "worktrees"
    if (folder / name).exists():
        yield folder / name
    with suppress(FileNotFoundError):
        yield from sorted(each for each in folder.iterdir() if each.name != name)


@contextmanager
def shadow(context: Context, worktree: Worktree) -> Iterator[run.Place]:
    """The shadow of a worktree, locked for the block and free of what a crash left."""
    name = hashlib.sha256(os.fsencode(worktree.path)).hexdigest()[:16]
    folder = context.folder / "shadow" / name
    files.make_private_dir(folder)
    with files.lock(folder / "lock", wait=run.LONG):
        _prepare(context, folder)
        for left in ("index.lock", "HEAD.lock", "index.full", "index.full.lock", "index.theirs"):
            with suppress(FileNotFoundError):
                (folder / left).unlink()
        yield run.Place(folder, worktree.path, folder / "index")
        with suppress(StrettoError):  # what could not be brought over now is by the next look
            clone.sync(context, worktree.path, worktree.admin)


def _prepare(context: Context, folder: Path) -> None:
    age = time.monotonic() - context.refreshed.get(folder, -_SETTINGS_AGE)
    if age < _SETTINGS_AGE and (folder / "config").exists():
        return
    neutral.ensure(folder, context.common, context.object_format, _settings(context))
    neutral.link(folder / "info" / "exclude", context.common / "info" / "exclude")
    context.refreshed[folder] = time.monotonic()


def _settings(context: Context) -> tuple[neutral.Setting, ...]:
    """Everybody's word on how files and blobs correspond, but only the person's on what else is ignored."""
    config = read_config(context.common)
    trusted = config.of("system", "global")
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    excludes = trusted.get("core.excludesfile") or f"{home}/git/ignore"
    return (
        *neutral.carried_over(config.all()),
        ("core", "bare", "false"),
        ("core", "excludesFile", str(Path(excludes).expanduser())),
    )


#: bytes of a HEAD
_LONGEST = 8192
_HEAD = re.compile(rb"(ref: refs/[^\s]+|[0-9a-f]{40}|[0-9a-f]{64})\n?")


def set_head(worktree: Worktree, place: run.Place) -> None:
    """Let the shadow's HEAD say what the worktree's says. A HEAD that says nothing sensible is an error."""
    said = files.read_plain(worktree.admin / "HEAD", _LONGEST)
    if said is None:
        raise StrettoError(f"{worktree.path} has no HEAD", object=str(worktree.path), code="not_a_worktree")
    if not _HEAD.fullmatch(said):
        raise StrettoError(f"the HEAD of {worktree.path} is damaged", object=str(worktree.path), code="broken_ref")
    mine = place.git_dir / "HEAD"
    if mine.read_bytes() != said:
        mine.write_bytes(said)


def copy_index(source: Path, target: Path) -> None:
    """Copy an index with its time, by which git knows what may have changed since; appears as a whole."""
    sibling = target.with_name(f"{target.name}.copy")
    shutil.copyfile(source, sibling)
    status = source.stat()
    os.utime(sibling, ns=(status.st_atime_ns, status.st_mtime_ns))
    files.move_over(sibling, target)


def replace_index(place: run.Place, source: Path, commit: str, tree: str) -> None:
    """Give the shadow an index that is known to be the one of this commit, with the file times noted in it."""
    (place.git_dir / "synced").unlink(missing_ok=True)
    copy_index(source, place.git_dir / "index")
    set_synced(place, commit, tree)


def set_synced(place: run.Place, commit: str, tree: str) -> None:
    """The index of the shadow is now that of this commit."""
    (place.git_dir / "synced").write_text(f"{commit} {tree}")


def synced(place: run.Place) -> tuple[str, str]:
    """Commit and tree that the shadow's index equals; empty words if that is not known."""
    try:
        commit, _, tree = (place.git_dir / "synced").read_text().partition(" ")
    except FileNotFoundError:
        return "", ""
    return commit, tree


def borrow_index(worktree: Worktree, place: run.Place) -> Path | None:
    """A copy of the index that the worktree's user works with, None if there is none. Valid inside `shadow`."""
    copy = place.git_dir / "index.theirs"
    if not copy.exists():
        try:
            copy_index(worktree.index, copy)
        except OSError:
            return None
    return copy


#: what is remembered of the index of a worktree's user: it adds no ignored path by force; the tree that is staged
UNFORCED, STAGED = "unforced", "staged"


def set_given(context: Context, worktree: Worktree, place: run.Place, commit: str, tree: str) -> None:
    """Remember that the worktree's user was given `index.full` as the index of this commit.

    Nothing is remembered when that index is another one by now: a git command of theirs came in between.
    """
    state, ours = index_state(worktree), (place.git_dir / "index.full").stat()
    if state[1:3] == (ours.st_size, ours.st_mtime_ns):
        context.remembered[(place.git_dir, UNFORCED)] = ((state, commit), "")
        context.remembered[(place.git_dir, STAGED)] = (state, tree)


def index_state(worktree: Worktree) -> tuple[int, ...]:
    """Changes whenever git replaces the index of this worktree's user."""
    try:
        status = worktree.index.stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
