"""Bring a kept state back: into the worktree that it was taken from, or laid out in a folder of its own.

Specification. `restore` writes only what differs between the present state, which the caller has snapshotted, and the
wanted one; ignored files, HEAD and the worktree's own index stay. git refuses before it writes anything if a file
changed meanwhile. `export` writes into an empty folder and makes no repository of it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.git import run, shadow, survey
from stretto.git.context import Context


def restore(context: Context, path: Path, commit: str) -> None:
    """Give the worktree at `path` the files of a snapshot's commit.

    Raises StrettoError (`busy`) in the middle of a rebase or merge, GitFailed when files change meanwhile.
    """
    worktree = shadow.find_worktree(context, path)
    doing = survey.operation(worktree)
    if doing is not None:
        raise StrettoError(
            f"the worktree is in the middle of a {doing}",
            object=str(path),
            code="busy",
            hint="finish or abort it, or restore into another folder with --to",
        )
    with shadow.shadow(context, worktree) as place:
        now = survey.tree_of(survey.look(context, worktree, place))
        full = replace(place, index=place.git_dir / "index.full")  # holds `now` after that
        failpoint("daemon.git.restore.before")
        run.run(full, "read-tree", "-m", "-u", now, run.oid(commit), timeout=run.LONG)
        failpoint("daemon.git.restore.after")


def export(context: Context, commit: str, folder: Path) -> None:
    """Lay the files of a commit out in `folder`; raises StrettoError (`in_the_way`) if that is not empty."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise StrettoError(
            f"the folder {folder} is not empty", object=str(folder), code="in_the_way", hint="name another with --to"
        )
    index = context.folder / f"export-{folder.stat().st_ino}.index"
    place = replace(context.plain, work_tree=folder, index=index)
    try:
        run.run(place, "read-tree", "-m", "-u", run.oid(commit), timeout=run.LONG)
    finally:
        index.unlink(missing_ok=True)
