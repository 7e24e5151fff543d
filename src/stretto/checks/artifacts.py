"""What a check leaves besides its output: screenshots, traces, reports of a browser's tests.

Specification.
- Each execution has a folder beside its output (`0007-e2e.log` → `0007-e2e.files`, 0700). `STRETTO_ARTIFACTS` names
  it, and Playwright's HTML report goes into a folder in it. One that stays empty is taken away.
- When the check is over only regular files stay: a link could lead out, a pipe could hold up whoever reads. Of more
  than `LIMIT` bytes or `MOST` files the largest go first; a line at the end of the output says how many.
- All that the checks of one task have left may have `TASK_LIMIT` bytes: the oldest folders go first, never the one
  that was just written. `stretto purge` takes them all with the workspace.

Accepted race: a process that outlives its check (`checks/run.py`) may write there afterwards; the next check counts it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stretto import files

#: bytes and files that one execution may leave, and bytes for all of a task
LIMIT, MOST, TASK_LIMIT = 128 << 20, 2000, 512 << 20
SUFFIX = ".files"


@dataclass(frozen=True, slots=True)
class _File:
    """A file that was left: its folder, its name there, and its bytes."""

    folder: str
    name: str
    bytes: int


def folder_of(output: Path) -> Path:
    """Where the artefacts of the execution with this output lie.

    >>> folder_of(Path("checks/0007-e2e.log")).name
    '0007-e2e.files'
    """
    return output.with_suffix(SUFFIX)


def variables(folder: Path) -> dict[str, str]:
    """How a check is told."""
    return {"STRETTO_ARTIFACTS": str(folder), "PLAYWRIGHT_HTML_OUTPUT_DIR": str(folder / "playwright-report")}


@contextmanager
def kept(output: Path) -> Iterator[Path]:
    """The folder for one execution, bounded afterwards. Raises StrettoError if it cannot be made."""
    folder = folder_of(output)
    files.make_private_dir(folder)
    try:
        yield folder
    finally:
        with suppress(OSError):  # what cannot be tidied now is counted by the next check of the task
            dropped = _tidy(folder)
            if dropped:
                _note(output, dropped)
            _bound(folder)


def listed(output: Path) -> list[dict[str, object]]:
    """`{path, bytes}` of what the execution with this output has left, by path; empty if that is nothing."""
    folder = folder_of(output)
    found = sorted((os.path.join(one.folder, one.name), one.bytes) for one in _files(folder))  # noqa: PTH118 - text
    return [{"path": path, "bytes": size} for path, size in found[:MOST]]


def forget(folder: Path) -> None:
    """Delete what all checks have left whose outputs lie in this folder. What is gone already is no error."""
    for one in _folders(folder):
        _remove(one)


def _tidy(folder: Path) -> int:
    """Take away what is no file, and what is too much; how many files that were."""
    for _, names, others, handle in os.fwalk(folder, follow_symlinks=False):
        for name in (*names, *others):
            mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                os.unlink(name, dir_fd=handle)
    found = sorted(_files(folder), key=lambda one: -one.bytes)
    total, count = sum(one.bytes for one in found), len(found)
    dropped = 0
    while dropped < count and (total > LIMIT or count - dropped > MOST):
        os.unlink(os.path.join(found[dropped].folder, found[dropped].name))  # noqa: PTH108, PTH118 - text
        total -= found[dropped].bytes
        dropped += 1
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(path)  # noqa: PTH106 - only an empty one goes
    return dropped


def _remove(folder: Path) -> None:
    """Delete a folder of artefacts, by handles, so that no link in it leads elsewhere; what refuses is left."""
    for _, names, others, handle in os.fwalk(folder, topdown=False, follow_symlinks=False):
        for name in (*names, *others):
            with suppress(OSError):
                if stat.S_ISDIR(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                    os.rmdir(name, dir_fd=handle)
                else:
                    os.unlink(name, dir_fd=handle)
    with suppress(OSError):
        folder.rmdir()


def _note(output: Path, dropped: int) -> None:
    with output.open("ab") as file:
        file.write(f"\n[stretto: {dropped} files in $STRETTO_ARTIFACTS were too much, and are not kept]\n".encode())


def _bound(latest: Path) -> None:
    others = [one for one in _folders(latest.parent) if one != latest]
    sizes = {one: _bytes(one) for one in (*others, latest)}
    for one in sorted(others, key=lambda each: each.name):
        if sum(sizes.values()) <= TASK_LIMIT:
            return
        _remove(one)
        del sizes[one]


def _folders(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [one for one in folder.iterdir() if one.suffix == SUFFIX and one.is_dir() and not one.is_symlink()]
    return []


def _bytes(folder: Path) -> int:
    return sum(one.bytes for one in _files(folder))


def _files(folder: Path) -> Iterator[_File]:
    """The regular files below a folder, links not followed. One that vanishes meanwhile is left out."""
    for path, _, names in os.walk(folder, followlinks=False):
        for name in names:
            with suppress(OSError):
                facts = os.lstat(os.path.join(path, name))  # noqa: PTH118 - text
                if stat.S_ISREG(facts.st_mode):
                    yield _File(path, name, facts.st_size)
