"""Merges in memory that only depend on the two commits (DECISIONS 22).

Specification. `git merge-tree` runs in the neutral directory, which has no worktree: in-tree attributes, the file
`info/attributes` of the repository, its merge drivers, `merge.default` and its rename settings have no say, so that the
same two commits give the same tree for everyone. The result's objects land in the repository.
"""

from __future__ import annotations

from stretto.git import run
from stretto.git.context import Context
from stretto.interfaces import Merged


def merge(context: Context, ours: str, theirs: str) -> Merged:
    """Merge two commits. With conflicts the tree holds the files with markers, and the conflicting paths are named.

    Raises GitFailed for a commit that is not there: git exits with 1 for that, too.
    """
    words = ("merge-tree", "--write-tree", "-z", "--name-only", "--messages", run.oid(ours), run.oid(theirs))
    done = context.git(*words, ok=(0, 1))
    head, _, tail = done.stdout.partition(b"\0\0")
    tree, *paths = run.fields(head + b"\0")
    if done.code == 0:
        return Merged(tree)
    if not run.is_oid(tree):
        raise run.failed(done, context.common)
    touched, messages = _messages(run.fields(tail))
    conflicts = tuple(dict.fromkeys(paths)) or tuple(dict.fromkeys(touched)) or ("(unknown path)",)
    return Merged(tree, conflicts, "\n".join(messages))


def _messages(parts: list[str]) -> tuple[list[str], list[str]]:
    """Paths and texts of git's remarks: each is a number of paths, the paths, a type, a text."""
    paths: list[str] = []
    texts: list[str] = []
    while parts:
        number = int(parts[0])
        subject, kind, text = parts[1 : 1 + number], parts[1 + number], parts[2 + number]
        parts = parts[3 + number :]
        if kind != "Auto-merging":
            paths += subject
            texts.append(text.strip())
    return paths, texts
