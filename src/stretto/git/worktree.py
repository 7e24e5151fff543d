"""Worktrees: registered under a lock, filled outside it, in a form in which nothing of the repository is started.

Specification.
- Creation has two phases (git's own fails now and then when several run at once): `git worktree add --no-checkout`
  under the lock in the common directory, some milliseconds; then the files, by `read-tree -m -u` through the shadow.
  Both may be repeated: what a crash left is completed.
- An existing branch is used as it is, whatever commit is asked for: it may hold work.
- Line ends and encodings are applied as the person's git would; filters are not (a target that names one is refused).
- A worktree that we make is locked, with a reason, so that no `prune` takes it away.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from stretto import files
from stretto.core.errors import Conflict, GitFailed, StrettoError
from stretto.failpoints import failpoint
from stretto.git import foreign, loose, refs, run, shadow, survey
from stretto.git.context import Context
from stretto.git.shadow import Worktree
from stretto.process import Completed


def worktrees(context: Context) -> dict[Path, str | None]:
    """All registered worktrees, the main one first, with the branch that each has out (None: detached)."""
    try:
        heads = loose.heads(context.common, context.root)
    except loose.Unsure:
        return _listed(context)
    return {path: ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else None for path, ref in heads}


def _listed(context: Context) -> dict[Path, str | None]:
    done = _list(context)
    found: dict[Path, str | None] = {}
    path: Path | None = None
    for line in run.fields(done.stdout):
        if line.startswith("worktree "):
            first = path is None
            path = context.root if first else Path(line.removeprefix("worktree "))
            found[path] = None
        elif line.startswith("branch refs/heads/") and path is not None:
            found[path] = line.removeprefix("branch refs/heads/")
    return found


def holder(context: Context, branch: str) -> Path | None:
    """The worktree, main or linked, that has this branch out; the main one first."""
    try:
        if (context.common / "HEAD").read_bytes() == b"ref: refs/heads/%b\n" % os.fsencode(branch):
            return context.root
    except OSError:
        pass  # git says what is wrong with it
    found = [path for path, name in worktrees(context).items() if name == branch]
    return next((path for path in found if path == context.root), found[0] if found else None)


def _list(context: Context) -> Completed:
    """`git worktree list` gives up when a registration goes while it reads: then it is asked again."""
    foreign.require_plain_heads(context.common)
    for _ in range(20):
        try:
            return run.run(context.real, "worktree", "list", "--porcelain", "-z")
        except GitFailed as error:
            if "worktrees/" not in error.message:
                raise
            time.sleep(0.01)
    return run.run(context.real, "worktree", "list", "--porcelain", "-z")


def add_worktree(context: Context, path: Path, branch: str | None, commit: str, reason: str) -> None:
    """Make a worktree at `path` with `branch` (made at `commit` unless it exists), or detached at `commit`.

    Safe to repeat. Raises Conflict when something else is at `path`, StrettoError (`branch_checked_out`,
    `branch_in_the_way`) when the branch cannot be had.
    """
    failpoint("daemon.git.worktree_add.before")
    run.oid(commit)
    with files.lock(context.lock, wait=run.TIMEOUT):
        worktree = _registered(context, path, branch)
        if worktree is None:
            _register(context, path, branch, commit, reason)
            worktree = shadow.find_worktree(context, path)
    failpoint("daemon.git.worktree_add.registered")
    if not worktree.index.exists():
        _fill(context, worktree)
    failpoint("daemon.git.worktree_add.after")


def _registered(context: Context, path: Path, branch: str | None) -> Worktree | None:
    """The worktree that an earlier try has registered here, if it is the one that is wanted."""
    try:
        found = shadow.find_worktree(context, path)
    except StrettoError:
        if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
            raise Conflict(f"{path} is in the way", object=str(path), code="path_in_the_way") from None
        return None
    has = worktrees(context).get(path, "?")
    if has != branch or not (path / ".git").exists():
        raise Conflict(f"another worktree is registered at {path}", object=str(path), code="path_in_the_way")
    return found


def _register(context: Context, path: Path, branch: str | None, commit: str, reason: str) -> None:
    words = ["worktree", "add", "--no-checkout", "--lock", f"--reason={reason}"]
    if branch is None:
        words += ["--detach", "--", str(path), commit]
    elif refs.read_ref(context, f"refs/heads/{run.plain(branch)}") is None:
        words += ["--no-track", "-b", branch, "--", str(path), commit]
    else:
        words += ["--", str(path), branch]
    try:
        run.run(context.real, *words)
    except GitFailed as error:
        raise _why_not(context, branch, error) from error


def _why_not(context: Context, branch: str | None, error: GitFailed) -> StrettoError:
    if branch is None:
        return error
    holder = next((path for path, name in worktrees(context).items() if name == branch), None)
    if holder is not None:
        return StrettoError(
            f"the branch {branch} is checked out at {holder}", object=str(holder), code="branch_checked_out"
        )
    blocker = refs.in_the_way(context, f"refs/heads/{branch}")
    if blocker is not None:
        return refs.blocked(f"refs/heads/{branch}", blocker)
    return error


def _fill(context: Context, worktree: Worktree) -> None:
    """Write the files of HEAD. The index appears last and as a whole: it is the proof that all files are there."""
    with shadow.shadow(context, worktree) as place:
        shadow.set_head(worktree, place)
        head, tree = run.text(run.run(place, "rev-parse", "HEAD^{commit}", "HEAD^{tree}")).split()
        full = replace(place, index=place.git_dir / "index.full")
        run.run(full, "read-tree", "--reset", "-u", head, timeout=run.LONG)
        shadow.replace_index(place, place.git_dir / "index.full", head, tree)
        shadow.copy_index(place.git_dir / "index.full", worktree.index)
        shadow.set_given(context, worktree, place, head, tree)


def switch_worktree(context: Context, path: Path, commit: str) -> None:
    """Let a worktree of ours show a commit: detached, clean, untracked files gone, ignored files kept.

    For gates, whose files nobody owns. Safe to repeat; a lock that a killed git left in it is removed.
    """
    run.oid(commit)
    worktree = shadow.find_worktree(context, path)
    if path == context.root:
        raise StrettoError("the main checkout is never switched", object=str(path), code="not_ours")
    with shadow.shadow(context, worktree) as place:
        (worktree.admin / "index.lock").unlink(missing_ok=True)
        failpoint("daemon.git.worktree_switch.before")
        _detach(context, worktree, commit)
        failpoint("daemon.git.worktree_switch.detached")
        _show(context, worktree, place, commit)
    failpoint("daemon.git.worktree_switch.after")


def turn_worktree(context: Context, path: Path, branch: str, commit: str, reason: str) -> None:
    """Let a worktree of ours show a branch, made at `commit` unless it exists: clean, ignored files kept.

    For one that nobody has worked in; `reason` is why it is locked now. Safe to repeat. Raises StrettoError as
    `add_worktree` does when the branch cannot be had.
    """
    run.oid(commit)
    worktree = shadow.find_worktree(context, path)
    ref = f"refs/heads/{run.plain(branch)}"
    if path == context.root:
        raise StrettoError("the main checkout is never switched", object=str(path), code="not_ours")
    with files.lock(context.lock, wait=run.TIMEOUT):
        taken = holder(context, branch)
        if taken not in (None, path):
            raise StrettoError(
                f"the branch {branch} is checked out at {taken}", object=str(taken), code="branch_checked_out"
            )
        if refs.read_ref(context, ref) is None:
            blocker = refs.in_the_way(context, ref)
            if blocker is not None:
                raise refs.blocked(ref, blocker)
            refs.update_ref(context, ref, commit, None, f"branch: Created from {commit}")
        _attach(context, worktree, ref)
        files.replace(worktree.admin / "locked", os.fsencode(reason))
    failpoint("daemon.git.worktree_turn.attached")
    with shadow.shadow(context, worktree) as place:
        (worktree.admin / "index.lock").unlink(missing_ok=True)
        _show(context, worktree, place, refs.read_ref(context, ref) or commit)
    failpoint("daemon.git.worktree_turn.after")


def _show(context: Context, worktree: Worktree, place: run.Place, commit: str) -> None:
    """Write the files of the commit at HEAD over what is there; untracked files go, ignored ones stay."""
    shadow.set_head(worktree, place)
    full = replace(place, index=place.git_dir / "index.full")
    if (place.git_dir / "index").exists():
        shadow.copy_index(place.git_dir / "index", place.git_dir / "index.full")
    run.run(full, "read-tree", "--reset", "-u", commit, timeout=run.LONG)
    run.run(full, "clean", "-ffdq", timeout=run.LONG)
    shadow.replace_index(place, place.git_dir / "index.full", commit, refs.tree_of(context, commit))
    shadow.copy_index(place.git_dir / "index.full", worktree.index)
    survey.remember_unforced(context, worktree, place, commit)


def _attach(context: Context, worktree: Worktree, ref: str) -> None:
    """Let HEAD be a branch, as `_detach` lets it be a commit."""
    lock = worktree.admin / "HEAD.lock"
    lock.unlink(missing_ok=True)
    if not os.path.lexists(context.common / "reftable"):
        lock.write_text(f"ref: {ref}\n")
        files.move_over(lock, worktree.admin / "HEAD")
        return
    run.run(run.Place(worktree.admin), "symbolic-ref", "-m", "stretto: turned", "HEAD", ref, cwd=context.common)


def _detach(context: Context, worktree: Worktree, commit: str) -> None:
    """Let HEAD be the commit: in its file under git's lock for it, as git does; what git left locked is let go."""
    lock = worktree.admin / "HEAD.lock"
    lock.unlink(missing_ok=True)
    if not os.path.lexists(context.common / "reftable"):
        lock.write_text(f"{commit}\n")
        files.move_over(lock, worktree.admin / "HEAD")
        return
    words = ("update-ref", "--no-deref", "-m", "stretto: gate", "--", "HEAD", commit)
    run.run(run.Place(worktree.admin), *words, cwd=context.common)


def forget_worktree(context: Context, path: Path) -> None:
    """Drop the registration of a worktree whose folder is gone; one that is not registered is a success.

    Raises Conflict when something is still at `path`.
    """
    with files.lock(context.lock, wait=run.TIMEOUT):
        try:
            shadow.find_worktree(context, path)
        except StrettoError:
            return
        if os.path.lexists(path):
            raise Conflict(f"{path} still exists", object=str(path), code="path_in_the_way")
        failpoint("daemon.git.worktree_forget.before")
        run.run(context.real, "worktree", "remove", "--force", "--force", "--", str(path))
        failpoint("daemon.git.worktree_forget.after")
