"""Find the repository of a folder, or say in one sentence why there is none that we can work on."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from stretto import process
from stretto.core.errors import GitFailed, StrettoError
from stretto.git import foreign, run
from stretto.git.context import read_config

_LIST = ("worktree", "list", "--porcelain", "-z")
#: how often git is asked for its worktrees while one is being added, and the seconds between
_LOOKS, _PAUSE = 20, 0.05


@dataclass(frozen=True, slots=True)
class Found:
    """A repository that we can work on."""

    common: Path
    root: Path
    object_format: str


def discover(cwd: Path) -> Found:
    """The repository that `cwd` lies in; from a linked worktree its main one.

    Raises StrettoError with code `not_a_repository`, `unsafe_repository`, `bare_repository`, `unborn_branch`,
    `partial_clone` or `unsupported_repository`; Unavailable when git is missing or too old.
    """
    run.version()
    if not cwd.is_dir():
        raise StrettoError(f"the folder {cwd} does not exist", object=str(cwd), code="not_a_repository")
    common, object_format = _ask(cwd)
    config = read_config(common).of("local", "worktree")
    _refuse_unsupported(common, config)
    root = _main_checkout(cwd, common)
    _refuse_unnamable(common, root)
    _refuse_unborn(common, root)
    return Found(common, root, object_format)


def _ask(cwd: Path) -> tuple[Path, str]:
    """Ask as the person would, with their own configuration: git's check of the owner shall hold."""
    try:
        words = ("rev-parse", "--path-format=absolute", "--git-common-dir", "--show-object-format")
        done = run.run(None, *words, cwd=cwd, env=run.personal_environment())
    except GitFailed as error:
        raise _why_not(cwd, error) from error
    common, object_format = run.text(done).rsplit("\n", 1)
    return Path(os.path.realpath(common)), object_format


def _why_not(cwd: Path, error: GitFailed) -> StrettoError:
    if "dubious ownership" in error.stderr:
        return StrettoError(
            f"the repository at {cwd} belongs to another user",
            object=str(cwd),
            code="unsafe_repository",
            hint=f"git config --global --add safe.directory {cwd}",
        )
    if "not a git repository" in error.stderr:
        return StrettoError(
            f"{cwd} is not inside a git repository", object=str(cwd), code="not_a_repository", hint="git init"
        )
    return error


def _refuse_unsupported(common: Path, config: dict[str, str]) -> None:
    if "extensions.partialclone" in config or any(name.endswith(".promisor") for name in config):
        raise StrettoError(
            "the repository is a partial clone: objects that a merge needs may be missing",
            object=str(common),
            code="partial_clone",
            hint="make a full clone of it, and run stretto there",
        )
    storage = config.get("extensions.refstorage", "files")
    if storage != "files":
        raise StrettoError(
            f"the repository keeps its refs as {storage}, which stretto does not know yet",
            object=str(common),
            code="unsupported_repository",
            hint="git refs migrate --ref-format=files",
        )


def _refuse_unnamable(common: Path, root: Path) -> None:
    """The database and every answer are UTF-8, and a repository is known by its path."""
    for path in (common, root):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise StrettoError(
                f"the path of the repository is not UTF-8: {os.fsencode(path).decode(errors='backslashreplace')}",
                object=os.fsencode(path).decode(errors="backslashreplace"),
                code="unsupported_repository",
                hint="rename the folder (mv), and run stretto there",
            ) from None


def _main_checkout(cwd: Path, common: Path) -> Path:
    """The folder of the main worktree. git lists it first; a moved git directory tells it by `core.worktree`."""
    foreign.require_plain_heads(common)
    done = _worktrees(common)
    first = run.fields(done.stdout.split(b"\0\0")[0] + b"\0")
    if "bare" in first:
        raise StrettoError(
            "the repository is bare: it has no checkout of yours to work from",
            object=str(common),
            code="bare_repository",
            hint="git clone it, and run stretto in the clone",
        )
    root = Path(os.path.realpath(first[0].removeprefix("worktree ")))
    if root != common:
        return root
    return _separate_checkout(cwd, common)


def _worktrees(common: Path) -> process.Completed:
    """What git lists. It gives up at a worktree that is just being added, with empty files: once more."""
    for _ in range(_LOOKS - 1):
        try:
            return run.run(run.Place(common), *_LIST)
        except GitFailed as error:
            if "failed to read" not in error.message:
                raise
            time.sleep(_PAUSE)
    return run.run(run.Place(common), *_LIST)


def _separate_checkout(cwd: Path, common: Path) -> Path:
    """With `--separate-git-dir` git does not record the checkout: it must be where we are."""
    words = ("rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir")
    done = run.run(None, *words, cwd=cwd, env=run.personal_environment())
    top, git_dir = run.text(done).rsplit("\n", 1)
    if Path(os.path.realpath(git_dir)) != common:
        raise StrettoError(
            "the main checkout of this repository cannot be found from a linked worktree",
            object=str(common),
            code="unsupported_repository",
            hint="run stretto in the main checkout",
        )
    return Path(os.path.realpath(top))


def _refuse_unborn(common: Path, root: Path) -> None:
    done = run.run(run.Place(common), "rev-parse", "--verify", "-q", "HEAD^{commit}", ok=(0, 1))
    if done.code == 0:
        return
    refs = run.run(run.Place(common), "for-each-ref", "--count=1", "refs/heads/", "refs/remotes/")
    if refs.stdout:
        return  # HEAD is on a branch without commits, but there is work to start from: the caller names a base
    raise StrettoError(
        "the repository has no commit yet",
        object=str(root),
        code="unborn_branch",
        hint='git commit --allow-empty -m "Start"',
    )
