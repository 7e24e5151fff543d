"""The person's main checkout is switched to another branch, for a task that works in it on purpose, and back.

Specification.
- Only a clean checkout is switched: nothing changed, staged or untracked, no paused operation, nothing that git ignores
  in the way of a file. Else it is a refusal that names the paths, and nothing has changed. Nothing is ever deleted but
  files that are exactly as the commit at HEAD has them; of those what git ignores by the rules of the other commit
  stays: a file of the person's that was committed by force, or while it was not ignored, is still theirs.
- First the files, then HEAD, then the index, the latter two under git's own lock for the index. HEAD is the proof:
  as long as it says the old branch, the same call completes what a crash has left, and takes for the person's whatever
  is neither as the old commit has it nor as the new one.
- Who commits or switches while we look is not overruled: HEAD is looked at again under the lock.
- A branch that moves just while the checkout is switched to it is followed.
- HEAD's log says it as git does, so that `git switch -` leads back.
- No hook runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from stretto import files
from stretto.core.errors import Conflict, StrettoError
from stretto.failpoints import failpoint
from stretto.git import checkout, diff, index, refs, rules, run, shadow, survey
from stretto.git.context import Context, read_config
from stretto.git.shadow import Worktree
from stretto.git.worktree import holder


def switch_checkout(context: Context, branch: str | None, commit: str) -> None:
    """Let the main checkout show `branch`, made at `commit` unless it is there; None: the commit itself, detached.

    Safe to repeat. Raises StrettoError (`checkout_dirty` with the paths in details, `busy`, `sparse_checkout`,
    `branch_checked_out`, `branch_in_the_way`), Conflict (`index_locked`, `ref_moved`): then nothing has changed.
    """
    run.oid(commit)
    worktree = Worktree(context.root, context.common)
    with shadow.shadow(context, worktree) as place:
        index.recover(context, worktree)
        at = _head(context)
        if at == (branch or commit):
            return
        _require_usable(context, worktree)
        if branch is not None:
            commit = _have_branch(context, branch, commit)
        old = refs.resolve(context, "HEAD")
        if old is None:
            raise StrettoError(
                f"your checkout {context.root} is on a branch without a commit",
                object=str(context.root),
                code="unborn_branch",
                hint=f"git -C {context.root} switch BRANCH",
            )
        _require_clean(context, worktree, place, old, commit)
        full = replace(place, index=place.git_dir / "index.full")
        start = _shown(context, place, full, old, commit)
        start = _without_ignored(context, full, start, commit)
        with index.locked(worktree, commit) as write:
            _require_unmoved(context, at, old)
            failpoint("daemon.git.checkout_switch.before")
            run.run(full, "read-tree", "-m", "-u", start, commit, timeout=run.LONG)
            failpoint("daemon.git.checkout_switch.written")
            write(place.git_dir / "index.full")
            _turn(context, at, branch, commit)
            failpoint("daemon.git.checkout_switch.turned")
        shadow.replace_index(place, place.git_dir / "index.full", commit, refs.tree_of(context, commit))
    tip = refs.read_ref(context, f"refs/heads/{branch}") if branch is not None else None
    if branch is not None and tip not in (None, commit):  # it moved meanwhile, and whoever moved it saw it nowhere out
        checkout.fast_forward_checkout(context, branch, commit, str(tip))
    failpoint("daemon.git.checkout_switch.after")


def _head(context: Context) -> str:
    """The branch at HEAD of the main checkout, else the commit."""
    return checkout.current_branch(context) or str(refs.resolve(context, "HEAD"))


def _require_usable(context: Context, worktree: Worktree) -> None:
    checkout.require_no_operation(context, worktree)
    said = read_config(context.common).of("local", "worktree").get("core.sparsecheckout", "false")
    if said.lower() not in ("false", "no", "off", "0", ""):
        raise StrettoError(
            f"your checkout {context.root} is sparse, and stretto does not switch it",
            object=str(context.root),
            code="sparse_checkout",
            hint=f"git -C {context.root} sparse-checkout disable",
        )


def _have_branch(context: Context, branch: str, commit: str) -> str:
    """The commit of a branch that may be had here; it is made if it is not there."""
    ref = f"refs/heads/{run.plain(branch)}"
    with files.lock(context.lock, wait=run.TIMEOUT):
        taken = holder(context, branch)
        if taken not in (None, context.root):
            raise StrettoError(
                f"the branch {branch} is checked out at {taken}", object=str(taken), code="branch_checked_out"
            )
        tip = refs.read_ref(context, ref)
        if tip is None:
            blocker = refs.in_the_way(context, ref)
            if blocker is not None:
                raise refs.blocked(ref, blocker)
            refs.update_ref(context, ref, commit, None, f"branch: Created from {commit}")
    return tip or commit


def _require_clean(context: Context, worktree: Worktree, place: run.Place, old: str, new: str) -> None:
    """Nothing but what an earlier try has written may differ from the commit at HEAD."""
    found = survey.look(context, worktree, place)
    staged = survey.staged_paths(worktree, place, old)
    moved = diff.changed_paths(context, old, new)
    # of an earlier try, whose index was not put in place, nothing is staged
    theirs = [*staged, *(path for path in (*found.changed, *found.odd) if path not in moved)]
    if theirs:
        raise dirty(context, theirs)


def _shown(context: Context, place: run.Place, full: run.Place, old: str, new: str) -> str:
    try:
        return checkout.what_it_shows(context, place, full, old, new)
    except StrettoError as error:
        if error.code != "checkout_dirty":
            raise
        raise dirty(context, error.details["paths"]) from error


def _without_ignored(context: Context, full: run.Place, start: str, new: str) -> str:
    """The tree that the files are taken for, without those that `new` would take away although it ignores them."""
    change = diff.changed_paths(context, start, new)
    added = {path for path, (before, _) in change.items() if not before}
    folders = {str(parent) for path in added for parent in PurePosixPath(path).parents}
    gone = [path for path, (_, after) in change.items() if not after and path not in folders]
    gone = [path for path in gone if not any(str(parent) in added for parent in PurePosixPath(path).parents)]
    kept = rules.ignored_at(context, full, new, gone) if gone else []
    if not kept:
        return start
    listing = b"".join(os.fsencode(path) + b"\0" for path in kept)
    run.run(full, "update-index", "--force-remove", "-z", "--stdin", input=listing, timeout=run.LONG)
    return run.text(run.run(full, "write-tree", timeout=run.LONG))


def _require_unmoved(context: Context, at: str, old: str) -> None:
    """Under the lock, HEAD must be what we looked at."""
    if (_head(context), refs.resolve(context, "HEAD")) != (at, old):
        raise Conflict(
            f"your checkout {context.root} was switched or committed in just now",
            object=str(context.root),
            code="ref_moved",
        )


def dirty(context: Context, paths: Iterable[str]) -> StrettoError:
    """The refusal to switch a checkout in which somebody works."""
    names = sorted(set(paths))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return StrettoError(
        f"your checkout {context.root} has changes of its own in {', '.join(names[:5])}{more}",
        object=str(context.root),
        code="checkout_dirty",
        hint=f"commit them, or let git ignore them (.git/info/exclude); see: git -C {context.root} status",
        details={"paths": names},
    )


def _turn(context: Context, at: str, branch: str | None, commit: str) -> None:
    """Let HEAD be the branch or commit."""
    message = f"checkout: moving from {at} to {branch or commit}"
    if branch is not None:
        run.run(context.real, "symbolic-ref", "-m", message, "HEAD", f"refs/heads/{branch}")
        return
    run.run(context.real, "update-ref", "--no-deref", "-m", message, "--", "HEAD", commit)
