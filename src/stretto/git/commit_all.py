"""Commit what an agent left in its worktree at the end of a turn: by plumbing, no hook and no filter runs.

Specification.
- The commit holds every file that is not ignored, on the branch that the worktree has out, with the person's identity.
  The branch moves by compare-and-swap; then the worktree's own index shows the new commit.
- A merge that the agent resolved but did not commit becomes a merge commit; one with conflict markers left is refused.
  Any other paused operation is refused, as is a tree whose attributes name a filter (DECISIONS 22).
"""

from __future__ import annotations

from pathlib import Path

from stretto import files
from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.git import diff, index, refs, run, shadow, survey
from stretto.git.context import Context
from stretto.git.shadow import Worktree
from stretto.git.survey import Look

#: bytes of MERGE_HEAD, and of a file in which conflict markers are looked for
_LONGEST, _LARGEST = 64 << 10, 64 << 20


def commit_all(context: Context, path: Path, branch: str, message: str) -> str | None:
    """Commit everything in the worktree to `branch`, which it must have out; None if there is nothing to commit.

    Raises StrettoError: `not_on_branch`, `busy` (a paused operation), `unresolved`, `filter`, `no_identity`; Conflict:
    `index_locked`, `ref_moved`. Then nothing has changed.
    """
    worktree = shadow.find_worktree(context, path)
    with shadow.shadow(context, worktree) as place:
        index.recover(context, worktree)
        found = survey.look(context, worktree, place)
        head = _require_branch(found, branch)
        merged = _merge_heads(context, worktree, head)
        _require_settled(worktree, found)
        tree = survey.tree_of(found)
        if tree == found.tree and not merged:
            _show(found, head)
            return None
        _refuse_filters(context, tree)
        commit = refs.commit_tree(context, tree, [head, *merged], message)
        failpoint("daemon.git.commit_all.before")
        _move(context, found, branch, head, commit)
        shadow.set_given(context, worktree, place, commit, tree)
        shadow.replace_index(place, place.git_dir / "index.full", commit, tree)
    failpoint("daemon.git.commit_all.after")
    return commit


def _require_branch(found: Look, branch: str) -> str:
    if found.branch == branch and found.head is not None:
        return found.head
    at = found.branch or f"the detached commit {found.head}"
    raise StrettoError(
        f"{found.worktree.path} is at {at}, not on {branch}",
        object=str(found.worktree.path),
        code="not_on_branch",
        hint=f"git -C {found.worktree.path} switch {branch}",
    )


def _merge_heads(context: Context, worktree: Worktree, head: str) -> list[str]:
    """The commits that a merge in progress brings in; what HEAD contains already is a left-over."""
    lines = (files.read_plain(worktree.admin / "MERGE_HEAD", _LONGEST) or b"").decode("ascii", "replace").split()
    return [run.oid(line) for line in lines if not refs.is_ancestor(context, line, head)]


def _require_settled(worktree: Worktree, found: Look) -> None:
    doing = survey.operation(worktree)
    if doing not in (None, "merge"):
        raise StrettoError(
            f"{worktree.path} is in the middle of a {doing}",
            object=str(worktree.path),
            code="busy",
            hint=f"finish it there, or: git -C {worktree.path} {doing} --abort",
        )
    left = [path for path in _unmerged(found) if _has_markers(worktree.path / path)]
    if left:
        raise StrettoError(
            f"conflicts are not resolved in {', '.join(left[:5])}",
            object=str(worktree.path),
            code="unresolved",
            hint="remove the conflict markers",
            details={"paths": left},
        )


def _unmerged(found: Look) -> list[str]:
    index = shadow.borrow_index(found.worktree, found.shadow)
    if index is None:
        return []
    place = run.Place(found.shadow.git_dir, found.shadow.work_tree, index)
    done = run.run(place, "ls-files", "--unmerged", "-z", ok=(0, 128))
    return list(dict.fromkeys(entry.partition("\t")[2] for entry in run.fields(done.stdout)))


def _has_markers(path: Path) -> bool:
    """Whether a file still holds both ends of a conflict, each at the beginning of a line."""
    text = b"\n" + (files.read_plain(path, _LARGEST) or b"")
    return b"\n<<<<<<< " in text and b"\n>>>>>>> " in text


def _refuse_filters(context: Context, tree: str) -> None:
    named = diff.filters(context, tree)
    if named:
        raise StrettoError(
            f"attributes name a filter, which stretto does not run: {named[0]}",
            object=named[0],
            code="filter",
            hint="take the filter out of the attributes",
        )


# ---------------------------------------------------------------- the branch and the index move together


def _move(context: Context, found: Look, branch: str, head: str, commit: str) -> None:
    full = found.shadow.git_dir / "index.full"
    with index.locked(found.worktree, commit) as write:
        write(full)
        refs.update_ref(context, f"refs/heads/{branch}", commit, head, "turn ended")


def _show(found: Look, head: str) -> None:
    """Nothing to commit: all files are as HEAD has them. Let the index say so too, where it does not."""
    place = run.Place(found.shadow.git_dir, found.shadow.work_tree, shadow.borrow_index(found.worktree, found.shadow))
    words = ("diff-index", "--cached", "--quiet", "--ignore-submodules=none", head)
    if place.index is None or run.run(place, *words, ok=(0, 1, 128)).code != 0:
        with index.locked(found.worktree, head) as write:
            write(found.shadow.git_dir / "index")
    index.end_merge(found.worktree)
