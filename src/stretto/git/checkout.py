"""The person's main checkout: looked at, and brought along by fast-forward when they ask for it (DECISIONS 25).

Specification of `fast_forward_checkout`.
- The branch has moved from `old` to `new` already; files and index still show `old`. Only a clean checkout is touched:
  every tracked file and everything staged is as `old` has it, or exactly as `new` has it (so a crash in the middle is
  completed by the next call). Untracked and ignored files stay; one that is in the way is a refusal, never overwritten.
- Which files changed is told by our own index, not by flags in the person's. Their index is locked meanwhile, and
  replaced as a whole at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from stretto.core.errors import Conflict, StrettoError
from stretto.failpoints import failpoint
from stretto.git import diff, index, refs, run, shadow, survey
from stretto.git.context import Context
from stretto.git.shadow import Worktree


def current_branch(context: Context) -> str | None:
    """The branch of the main checkout, None if its HEAD is detached."""
    said = run.text(run.run(context.real, "symbolic-ref", "-q", "HEAD", ok=(0, 1)))
    return said.removeprefix("refs/heads/") if said.startswith("refs/heads/") else None


def checkout_changes(context: Context) -> tuple[str, ...]:
    """Paths of the main checkout that are changed, staged or untracked: what no base commit holds."""
    return survey.worktree_state(context, context.root).changed


def checkout_staged(context: Context, commit: str) -> tuple[str, ...]:
    """Paths in which the index of the main checkout differs from a commit; its files are not looked at."""
    worktree = Worktree(context.root, context.common)
    with shadow.shadow(context, worktree) as place:
        return survey.staged_paths(worktree, place, run.oid(commit))


def fast_forward_checkout(context: Context, branch: str, old: str, new: str) -> None:
    """Bring files and index of the main checkout from `old` to `new`, where its branch is already. Safe to repeat.

    Raises Conflict (`ref_moved`, `index_locked`), StrettoError (`not_on_branch`, `busy`, `checkout_dirty` with the
    paths in details); then nothing has changed.
    """
    _require_branch(context, branch, run.oid(new))
    worktree = Worktree(context.root, context.common)
    require_no_operation(context, worktree)
    with shadow.shadow(context, worktree) as place:
        index.recover(context, worktree)
        full = replace(place, index=place.git_dir / "index.full")
        start = what_it_shows(context, place, full, run.oid(old), new)
        _require_unstaged(worktree, place, old, new)
        with index.locked(worktree, new) as write:
            failpoint("daemon.git.checkout.before")
            run.run(full, "read-tree", "-m", "-u", start, new, timeout=run.LONG)
            failpoint("daemon.git.checkout.written")
            write(place.git_dir / "index.full")
        shadow.replace_index(place, place.git_dir / "index.full", new, refs.tree_of(context, new))
    failpoint("daemon.git.checkout.after")


def _require_branch(context: Context, branch: str, new: str) -> None:
    at = current_branch(context)
    if at != branch:
        raise StrettoError(
            f"your checkout is at {at or 'a detached commit'}, not on {branch}",
            object=str(context.root),
            code="not_on_branch",
        )
    tip = refs.read_ref(context, f"refs/heads/{branch}")
    if tip != new:
        raise Conflict(f"{branch} is at {tip}, not at {new}", object=branch, code="ref_moved", details={"current": tip})


def what_it_shows(context: Context, place: run.Place, full: run.Place, old: str, new: str) -> str:
    """The tree of the files, which must be `old`'s but for paths that are as in `new` already; index.full has it."""
    if (place.git_dir / "index").exists():
        shadow.copy_index(place.git_dir / "index", place.git_dir / "index.full")
    run.run(full, "read-tree", "--reset", old, timeout=run.LONG)  # `-m` refuses where files differ from the index
    run.run(full, "update-index", "-q", "--refresh", ok=(0, 1), timeout=run.LONG)
    words = ("diff-files", "--name-only", "-z", "--no-renames", "--ignore-submodules=dirty")
    touched = set(run.fields(run.run(full, *words, timeout=run.LONG).stdout))
    change = diff.changed_paths(context, old, new)
    gone = {path for path, (_, after) in change.items() if not after}
    added = [path for path, (before, _) in change.items() if not before]
    blocked = [blocker for path in added for blocker in _blockers(context.root, path, gone)]
    present = [path for path in added if os.path.lexists(context.root / path) and path not in blocked]
    _require_clean(context, blocked)
    listing = b"".join(os.fsencode(path) + b"\0" for path in (*touched, *present))
    run.run(full, "update-index", "--add", "--remove", "-z", "--stdin", input=listing, timeout=run.LONG)
    start = run.text(run.run(full, "write-tree", timeout=run.LONG))
    left = diff.changed_paths(context, start, new)
    _require_clean(context, [path for path in (*touched, *present) if path in left])
    return start


def _blockers(root: Path, path: str, gone: set[str]) -> Iterable[str]:
    """What of the person's is in the way of a new file: a folder at its path, or a file where its folder must be."""
    here = root / path
    if here.is_dir() and not here.is_symlink():
        if any(not _is_gone(each, root, gone) for each in here.rglob("*") if not each.is_dir() or each.is_symlink()):
            yield path
        return
    for parent in here.parents:
        if parent == root:
            return
        name = str(parent.relative_to(root))
        if os.path.lexists(parent) and (parent.is_symlink() or not parent.is_dir()) and name not in gone:
            yield name


def _is_gone(path: Path, root: Path, gone: set[str]) -> bool:
    return str(path.relative_to(root)) in gone


def _require_clean(context: Context, paths: list[str]) -> None:
    if not paths:
        return
    names = sorted(set(paths))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    raise StrettoError(
        f"your checkout has changes of its own in {', '.join(names[:5])}{more}",
        object=str(context.root),
        code="checkout_dirty",
        hint="commit them elsewhere or put them away, then: stretto update-checkout",
        details={"paths": names},
    )


def _require_unstaged(worktree: Worktree, place: run.Place, old: str, new: str) -> None:
    """What is staged must be `old` or `new`, or it would be lost with the index."""
    theirs = replace(place, index=shadow.borrow_index(worktree, place))
    if theirs.index is None:
        return
    words = ("diff-index", "--cached", "--name-only", "--no-renames", "-z", "--ignore-submodules=none")
    staged = run.fields(run.run(theirs, *words, old, timeout=run.LONG).stdout)
    if staged and run.fields(run.run(theirs, *words, new, timeout=run.LONG).stdout):
        raise StrettoError(
            f"your checkout has staged changes in {', '.join(staged[:5])}",
            object=str(worktree.path),
            code="checkout_dirty",
            hint="commit them elsewhere or put them away, then: stretto update-checkout",
            details={"paths": staged},
        )


def require_no_operation(context: Context, worktree: Worktree) -> None:
    """Raise StrettoError (`busy`) if the person is in the middle of a merge, a rebase or the like there."""
    doing = survey.operation(worktree)
    if doing is None:
        return
    raise StrettoError(
        f"your checkout {context.root} is in the middle of a {doing}",
        object=str(context.root),
        code="busy",
        hint=f"finish it, or: git -C {context.root} {doing} {'reset' if doing == 'bisect' else '--abort'}",
    )
