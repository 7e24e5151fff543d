"""Replace the index that somebody else works with, under git's own lock for it.

Specification. The new index is prepared beside the old one; `index.lock`, the lock that git takes, is made as a second
name of the prepared file. So while we work every git command of the other stops at the lock, and after a crash the lock
is known as ours: it is completed if the prepared file is whole (then it carries the commit in its name) and HEAD is at
that commit, else it is dropped. A lock of somebody else is waited for and never removed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stretto import files
from stretto.core.errors import Conflict
from stretto.failpoints import failpoint
from stretto.git import run
from stretto.git.context import Context
from stretto.git.shadow import Worktree

_PREFIX = "stretto-index-"
_PART = f"{_PREFIX}part"
#: what git leaves of a merge in progress; over when HEAD holds the merge
_MERGING = ("MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "AUTO_MERGE")
#: seconds to wait for a git command of the other to let go of the index
_PATIENCE = 5.0


@contextmanager
def locked(worktree: Worktree, commit: str) -> Iterator[Callable[[Path], None]]:
    """Hold the index's lock for the block, which calls the yielded function with a file that is the index of `commit`.

    That takes effect when the block ends; when it raises, the old index stays. Raises Conflict (`index_locked`).
    """
    part = worktree.admin / _PART
    prepared = worktree.admin / f"{_PREFIX}{commit}"
    part.unlink(missing_ok=True)
    part.touch(0o644)

    def write(source: Path) -> None:
        shutil.copyfile(source, part)
        status = source.stat()
        os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
        files.move_over(part, prepared)

    try:
        _take(worktree, part)
        yield write
    except BaseException:  # the lock is given back, whatever interrupts; raised again
        _drop(worktree, part)
        _drop(worktree, prepared)
        raise
    _complete(worktree, prepared)


def _take(worktree: Worktree, part: Path) -> None:
    lock = worktree.admin / "index.lock"
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            os.link(part, lock)
        except FileExistsError:
            if time.monotonic() >= deadline:
                raise Conflict(
                    f"{lock} exists: a git command works in {worktree.path}, or was killed there",
                    object=str(lock),
                    code="index_locked",
                    hint=f"if no git runs there: rm {lock}",
                ) from None
            time.sleep(0.02)
        else:
            failpoint("daemon.git.index.locked")
            return


def _complete(worktree: Worktree, prepared: Path) -> None:
    files.move_over(worktree.admin / "index.lock", worktree.index)
    prepared.unlink()
    end_merge(worktree)


def end_merge(worktree: Worktree) -> None:
    """Let git know that no merge is in progress; HEAD holds it."""
    for name in _MERGING:
        (worktree.admin / name).unlink(missing_ok=True)


def _drop(worktree: Worktree, prepared: Path) -> None:
    lock = worktree.admin / "index.lock"
    with suppress(FileNotFoundError):
        if lock.samefile(prepared):
            lock.unlink()
    prepared.unlink(missing_ok=True)


def recover(context: Context, worktree: Worktree) -> None:
    """Finish or drop what a crash interrupted."""
    for prepared in worktree.admin.glob(f"{_PREFIX}*"):
        lock = worktree.admin / "index.lock"
        held = lock.exists() and lock.samefile(prepared)
        if held and prepared.name == f"{_PREFIX}{_head(context, worktree)}":
            _complete(worktree, prepared)
        else:
            _drop(worktree, prepared)


def _head(context: Context, worktree: Worktree) -> str:
    place = run.Place(worktree.admin)
    return run.text(run.run(place, "rev-parse", "--verify", "-q", "HEAD", ok=(0, 1), cwd=context.common))
