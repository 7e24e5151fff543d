"""After a landing, look whether it is what it was meant to be (DECISIONS 24). Nothing is believed because we did it.

1. The landed commit's first parent is the old target.
2. Its tree is the tested tree, and a second merge of the same two commits gives that tree again.
3. All earlier landings are still ancestors.
4. Content that earlier landings brought is unchanged on every path that this entry did not touch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stretto.core.model import Entry
from stretto.interfaces import Git

#: earlier landings that are asked for one by one; each of the older was an ancestor of one of these when that landed
RECENT = 20
#: paths that are named in one sentence
NAMED = 5

#: commit, tree and paths of an earlier landing
Earlier = tuple[str, str, Sequence[str]]


def verify(git: Git, entry: Entry, earlier: Sequence[Earlier]) -> list[str]:
    """What is wrong with the landing of this entry, each as a sentence; an empty list means that it is right.

    `earlier`: landings on the same target before this one, oldest first.
    """
    candidate, old = entry.candidate, entry.old
    if candidate is None or old is None or entry.tree is None:
        return [f"the landing of {entry.task} has no record of what was tested"]
    return [
        *_form(git, entry, candidate, old, entry.tree),
        *_history(git, candidate, earlier),
        *_content(git, entry, candidate, old, earlier),
    ]


def ask_ahead(git: Git, entry: Entry, earlier: Sequence[Earlier]) -> None:
    """Ask git, while the gate runs, what `verify` will want to know of commits and trees: such answers are kept.

    Not the second merge: that one is made when the landing is there.
    """
    if entry.candidate is not None and entry.old is not None:
        git.parents(entry.candidate)
        _history(git, entry.candidate, earlier)
        _content(git, entry, entry.candidate, entry.old, earlier)


def _form(git: Git, entry: Entry, candidate: str, old: str, tested: str) -> list[str]:
    wrong: list[str] = []
    parents = git.parents(candidate)
    if not parents or parents[0] != old:
        wrong.append(f"the first parent of {candidate[:12]} is not the old target {old[:12]}")
    if entry.head not in parents[1:]:
        wrong.append(f"{candidate[:12]} does not merge {entry.head[:12]}, which was approved")
    tree = git.tree_of(candidate)
    if tree != tested:
        wrong.append(f"the tree of {candidate[:12]} is {tree[:12]}, tested was {tested[:12]}")
    again = git.merge(old, entry.head)
    if not again.clean or again.tree != tree:
        wrong.append(f"merging {entry.head[:12]} into {old[:12]} once more does not give the tree that landed")
    return wrong


def _history(git: Git, candidate: str, earlier: Sequence[Earlier]) -> list[str]:
    recent = [commit for commit, _, _ in earlier[-RECENT:]]
    if git.contains_all(candidate, recent):
        return []
    lost = [commit for commit in recent if not git.is_ancestor(commit, candidate)]
    return [f"the earlier landing {commit[:12]} is no longer in the history of {candidate[:12]}" for commit in lost]


def _content(git: Git, entry: Entry, candidate: str, old: str, earlier: Sequence[Earlier]) -> list[str]:
    base = git.merge_base(old, entry.head)
    if base is None:
        return [f"{entry.head[:12]} and {old[:12]} have no common history"]
    touched = git.changed_paths(base, entry.head)
    changed = git.changed_paths(old, candidate)
    strange = {path: sides for path, sides in changed.items() if path not in touched and sides[0]}
    if strange:
        strange = _unexplained(git, strange, touched, changed, base, old)
    owner = {path: commit for commit, _, paths in earlier for path in paths}
    named = [f"{path} (landed by {owner[path][:12]})" if path in owner else path for path in sorted(strange)]
    if not named:
        return []
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return [f"{candidate[:12]} changes what {entry.task} did not touch: {', '.join(named[:NAMED])}{more}"]


def _unexplained(
    git: Git,
    strange: Mapping[str, tuple[str, str]],
    touched: Mapping[str, tuple[str, str]],
    changed: Mapping[str, tuple[str, str]],
    base: str,
    old: str,
) -> dict[str, tuple[str, str]]:
    """Leave out what a rename on one side explains: git carried the other side's change along to the new name.

    The target renamed a file that this entry changes: a path that is new in the target since the base may change. This
    entry renamed a folder in which the target made a file: that file may move, its content being what it was.
    """
    since = git.changed_paths(base, old)
    gone = {path for path in touched if path in since and not since[path][1]}
    arrived = {sides[1] for path, sides in changed.items() if not sides[0]}

    def explained(path: str, before: str, after: str) -> bool:
        followed = bool(gone) and path in since and not since[path][0]
        moved = not after and before in arrived
        return followed or moved

    return {path: sides for path, sides in strange.items() if not explained(path, *sides)}
