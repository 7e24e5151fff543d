"""What a new worktree gets besides its tracked files: named copies of ignored files, and the environment file.

Nothing is copied unless `.worktreeinclude` or `[workspace] copy` names it, and only to paths that git ignores there:
what is copied can never be committed. Copies are private (0600) and real: no link leads back to the main checkout.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stretto import files
from stretto.core.errors import StrettoError
from stretto.interfaces import Git
from stretto.workspace.environment import with_block

INCLUDE = ".worktreeinclude"


def patterns(git: Git, commit: str, configured: Sequence[str]) -> tuple[str, ...]:
    """The patterns of files to copy: those of the configuration and those of `.worktreeinclude` in this commit."""
    text = (git.show(commit, INCLUDE) or b"").decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    return (*configured, *(line for line in lines if line and not line.startswith("#")))


def copy_ignored(git: Git, root: Path, tree: Path, wanted: Iterable[str]) -> list[str]:
    """Copy the files that match from the main checkout into the worktree; returns the paths that were copied.

    What exists in the worktree already, or would not be ignored there, is left out. Raises StrettoError for a pattern
    that leads out of the checkout.
    """
    found = sorted({name for pattern in wanted for name in _matches(root, pattern)})
    missing = [name for name in found if not os.path.lexists(tree / name)]
    if not missing:
        return []
    ignored = git.ignored(tree, missing)
    copied = [name for name in missing if name in ignored]
    for name in copied:
        _copy(root / name, tree / name, tree)
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
            yield from (os.path.relpath(os.path.join(folder, entry), root) for entry in entries)  # noqa: PTH118
    elif path.is_file() and files.within(root, path):
        yield name


def _copy(source: Path, target: Path, tree: Path) -> None:
    if not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.parent != tree and not files.within(tree, target.parent):
        raise StrettoError(f"{target} leads out of the worktree", object=str(target), code="copy")
    half = target.with_name(f".{target.name}.stretto-copy")
    with suppress(FileNotFoundError):
        half.unlink()
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    half.chmod(0o700 if source.stat().st_mode & 0o100 else 0o600)
    files.rename(half, target)


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
