"""What git ignores by the rules of a commit, whatever a worktree's own `.gitignore` says now."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from stretto.git import diff, run, shadow
from stretto.git.context import Context
from stretto.git.shadow import Worktree

#: bytes of ids and names that are held
_LIMIT = 1 << 28


def ignored_at(context: Context, place: run.Place, commit: str, paths: Iterable[str]) -> list[str]:
    """Those of the paths that git would ignore if the files were those of a commit. `place`: any shadow."""
    listing = b"".join(os.fsencode(path) + b"\0" for path in paths)
    names = sorted({str(parent / ".gitignore") for path in paths for parent in PurePosixPath(path).parents})
    rules = diff.read_blobs(context, [f"{commit}:{name}" for name in names])
    with tempfile.TemporaryDirectory(prefix="stretto-rules-") as folder:
        for name, text in zip(names, rules, strict=True):
            if text is not None:
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(text)
        words = ("check-ignore", "-z", "--stdin", "--no-index")
        done = run.run(replace(place, work_tree=Path(folder)), *words, input=listing, ok=(0, 1), timeout=run.LONG)
    return run.fields(done.stdout)


def private(context: Context, base: str, head: str) -> tuple[str, ...]:
    """Files of the person's checkout that git ignores at `base`, and that a commit from there to `head` adds.

    Every commit counts: what one adds and a later one takes away again is read in the history for ever.
    """
    commits = run.run(context.plain, "rev-list", f"{run.oid(base)}..{run.oid(head)}", limit=_LIMIT).stdout
    if not commits:
        return ()
    words = ("diff-tree", "--stdin", "-r", "-m", "--root", "--no-renames", "--diff-filter=A", "--no-commit-id")
    done = run.run(context.plain, *words, "--name-only", "-z", input=commits, limit=_LIMIT, timeout=run.LONG)
    held = sorted(path for path in set(run.fields(done.stdout)) if os.path.lexists(context.root / path))
    if not held:
        return ()
    with shadow.shadow(context, Worktree(context.root, context.common)) as place:
        found = ignored_at(context, place, base, held)
    there = diff.read_blobs(context, [f"{base}:{path}" for path in found])
    return tuple(path for path, text in zip(found, there, strict=True) if text is None)
