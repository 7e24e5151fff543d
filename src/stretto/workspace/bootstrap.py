"""What a new worktree gets besides its tracked files: named copies of ignored files, and the environment file.

Nothing is copied unless `.worktreeinclude` or `[workspace] copy` names it, and only to paths that git ignores there, so
that it is committed only by force, which does not land (`git/rules.py`). Copies are private (0600) and real: no link
leads back to the main checkout.
"""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from stretto import files
from stretto.core.errors import StrettoError
from stretto.interfaces import Git
from stretto.workspace import clone
from stretto.workspace.environment import with_block

INCLUDE = ".worktreeinclude"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be copied: globs of `[workspace] copy`, and lines of `.worktreeinclude`, in the form of .gitignore."""

    globs: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def wanted(git: Git, commit: str, configured: Sequence[str]) -> Wanted:
    """What the configuration and the `.worktreeinclude` of this commit name.

    Raises StrettoError for a pattern that leads out of the checkout.
    """
    text = (git.show(commit, INCLUDE) or b"").decode("utf-8", errors="replace")
    lines = tuple(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for line in lines:
        if ".." in Path(line.lstrip("!")).parts:
            raise StrettoError(
                f"{INCLUDE}: {line!r} leads out of the checkout",
                object=line,
                hint=f"name files inside of the repository in {INCLUDE}",
                code="copy",
            )
    return Wanted(tuple(configured), lines)


def copy_ignored(git: Git, root: Path, tree: Path, wanted: Wanted) -> list[str]:
    """Copy the files that match from the main checkout into the worktree; returns the paths that were copied.

    What exists in the worktree already, would not be ignored there, or lies behind a link that leads out of the
    checkout is left out. Raises StrettoError for a pattern that leads out of the checkout, and for a folder of the
    worktree that is a link.
    """
    found = {name for pattern in wanted.globs for name in _matches(root, pattern)}
    if wanted.lines:
        found.update(name for name in git.matching(root, wanted.lines) if _is_inside(root, root / name))
    missing = sorted(name for name in found if not os.path.lexists(tree / name))
    if not missing:
        return []
    ignored = git.ignored(tree, missing)
    copied = [name for name in missing if name in ignored]
    for name in copied:
        _copy(root / name, tree, name)
    return copied


def _matches(root: Path, pattern: str) -> Iterator[str]:
    plain = pattern.strip().removeprefix("/").rstrip("/")
    if not plain or ".." in Path(plain).parts:
        raise StrettoError(
            f"[workspace] copy: {pattern!r} does not name files of the checkout", object=pattern, code="copy"
        )
    # glob, not Path.glob: links to folders are not walked, hidden files are found, names stay relative
    for name in glob.iglob(plain, root_dir=root, recursive=True, include_hidden=True):  # noqa: PTH207
        yield from _files(root, name)


def _files(root: Path, name: str) -> Iterator[str]:
    """The regular files at or below a match. Links to folders are not followed, nor anything that leads outside."""
    path = root / name
    if Path(name).parts[0] == ".git":
        return
    if path.is_dir() and not path.is_symlink():
        for folder, _, entries in os.walk(path):
            inside = (os.path.join(folder, entry) for entry in entries)  # noqa: PTH118
            yield from (os.path.relpath(each, root) for each in inside if _is_inside(root, Path(each)))
    elif _is_inside(root, path):
        yield name


def _is_inside(root: Path, path: Path) -> bool:
    """Whether this is a regular file of the checkout once every link is resolved."""
    return path.is_file() and files.within(root, path)


def _copy(source: Path, tree: Path, name: str) -> None:
    """Copy one file to `name` in the tree, 0600; never through a link, never onto one."""
    *folders, last = Path(name).parts
    half = f".{last}.stretto-copy"
    with ExitStack() as stack:
        handle = _opened(stack, tree, None)
        for part in folders:
            handle = _entered(stack, handle, part, tree / name)
        with suppress(FileNotFoundError):
            os.unlink(half, dir_fd=handle)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(half, flags, 0o600, dir_fd=handle)
        with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
            clone.copy(reader, writer)
            os.fchmod(writer.fileno(), 0o700 if os.fstat(reader.fileno()).st_mode & 0o100 else 0o600)
        # by its descriptor: what becomes of the folder's name meanwhile leads nowhere else
        held = Path(f"/proc/self/fd/{handle}")
        place = held if held.exists() else (tree / name).parent
        files.rename(place / half, place / last)


def _opened(stack: ExitStack, folder: Path | str, within: int | None) -> int:
    handle = os.open(folder, _FOLDER, dir_fd=within)
    stack.callback(os.close, handle)
    return handle


def _entered(stack: ExitStack, handle: int, part: str, target: Path) -> int:
    """The folder `part` in an open one, made if it is not there."""
    with suppress(FileExistsError):
        os.mkdir(part, 0o777, dir_fd=handle)
    try:
        return _opened(stack, part, handle)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise StrettoError(
            f"{target} cannot be copied: {part} is a link or a file in the worktree",
            object=str(target),
            hint="take it out of what is copied, or the link out of the repository",
            code="copy",
        ) from error


def write_env_file(git: Git, tree: Path, name: str, values: Mapping[str, str]) -> bool:
    """Repeat these values in the file `name` of the worktree, as a marked block at its end, 0600.

    False, and nothing written, where the file is tracked or not ignored: it would be committed. Raises StrettoError
    for a name that leads out of the worktree or is no regular file.
    """
    path = tree / name
    inside = not Path(name).is_absolute() and (path.parent == tree or files.within(tree, path.parent))
    if not inside or path.is_symlink() or path.is_dir():
        raise StrettoError(
            f"[workspace] env_file {name} does not name a file of the worktree",
            object=name,
            hint="name a file inside the repository, .env.local say",
            code="env_file",
        )
    if name not in git.ignored(tree, [name]):
        return False
    text = path.read_bytes().decode("utf-8", errors="surrogateescape") if path.exists() else ""
    wanted = with_block(text, values)
    if wanted != text or path.stat().st_mode & 0o077:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, wanted.encode("utf-8", errors="surrogateescape"), 0o600)
    return True
