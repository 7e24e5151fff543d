"""`Repository`: all of git that the rest of stretto may use, as the `Git` protocol of `interfaces/`.

It is a table of contents: every method names the part of this package that does the work. Objects are safe to share
between threads; they hold no state but paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stretto.core.errors import StrettoError
from stretto.git import (
    checkout,
    clone,
    commit_all,
    diff,
    merge,
    patch,
    preflight,
    refs,
    remotes,
    restore,
    rules,
    shadow,
    snapshot,
    survey,
    switch,
    worktree,
)
from stretto.git.context import Context
from stretto.git.discover import discover
from stretto.interfaces import ClonePlaces, Identity, Merged, Patch, Snapshot, WorktreeState


@dataclass(slots=True)
class Repository:
    """One repository of the user, through hardened plumbing only.

    `common` is the realpath of the common git directory, the key of the repository; `root` the main checkout.
    """

    context: Context
    common: Path
    root: Path

    @classmethod
    def open(cls, path: Path, home: Path) -> Repository:
        """The repository that `path` lies in, with our own directories for it below `home`.

        Raises StrettoError as `discover` does.
        """
        found = discover(path)
        context = Context.make(found.common, found.root, found.object_format, home)
        return cls(context, found.common, found.root)

    def require_writable(self) -> None:
        """StrettoError (`not_writable`) if nothing can be made in the git directory."""
        preflight.require_writable(self.context)

    def require_room(self, prefix: str) -> None:
        """StrettoError (`branch_in_the_way`) if no branch can be made below a prefix."""
        preflight.require_room(self.context, prefix)

    # ------------------------------------------------------------ commits

    def resolve(self, rev: str) -> str | None:
        """The commit that a person's word means, None if it means none."""
        return refs.resolve(self.context, rev)

    def tree_of(self, commit: str) -> str:
        """The tree of a commit."""
        return refs.tree_of(self.context, commit)

    def parents(self, commit: str) -> tuple[str, ...]:
        """The parents of a commit, in order."""
        return refs.parents(self.context, commit)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`; a commit contains itself."""
        return refs.is_ancestor(self.context, older, newer)

    def contains_all(self, newer: str, older: Sequence[str]) -> bool:
        """Whether `newer` contains all of these commits."""
        return refs.contains_all(self.context, newer, older)

    def merge_base(self, a: str, b: str) -> str | None:
        """The best common ancestor, None if the histories are unrelated."""
        return refs.merge_base(self.context, a, b)

    def count(self, older: str, newer: str) -> int:
        """How many commits `newer` has that `older` has not."""
        return refs.count(self.context, older, newer)

    def commit_time(self, commit: str) -> float:
        """When a commit was made, as it says: seconds since the epoch."""
        return refs.commit_time(self.context, commit)

    def identity(self) -> Identity | None:
        """Who commits here; None if neither the repository nor the person says."""
        return self.context.identity()

    def require_identity(self) -> Identity:
        """The same, or StrettoError (`no_identity`) with the two commands that set it."""
        return self.context.require_identity()

    def commit(self, tree: str, parents: Sequence[str], message: str, *, at: float | None = None) -> str:
        """Write a commit with the person's identity; nothing refers to it yet. With `at` equal words, equal id."""
        return refs.commit_tree(self.context, tree, parents, message, at=at)

    # ------------------------------------------------------------ refs

    def read_ref(self, ref: str) -> str | None:
        """What a full ref name holds, None if there is no such ref. Raises GitFailed for a damaged one."""
        return refs.read_ref(self.context, ref)

    def refs(self, prefix: str) -> dict[str, str]:
        """All refs below a prefix, with their object ids."""
        return refs.refs(self.context, prefix)

    def update_ref(self, ref: str, new: str, old: str | None, reason: str) -> None:
        """Move a ref from `old` (None: it must not exist) to `new`; Conflict if it holds something else than both."""
        refs.update_ref(self.context, ref, new, old, reason)

    def delete_ref(self, ref: str, old: str) -> None:
        """Delete a ref that holds `old` or is gone; Conflict if it holds something else."""
        refs.delete_ref(self.context, ref, old)

    # ------------------------------------------------------------ clones of the users of worktrees

    def make_clone(self, path: Path, branch: str, owner: str) -> None:
        """Give the user of a worktree a clone of their own; safe to repeat, and brings both in step."""
        clone.make(self.context, path, shadow.find_worktree(self.context, path).admin, branch, owner)

    def clone(self, path: Path) -> ClonePlaces | None:
        """Where the clone of a worktree's user is; None if they have none."""
        found = clone.find(self.context, path)
        return None if found is None else ClonePlaces(found.git_dir, found.pointer)

    def clones(self) -> dict[Path, str]:
        """The worktrees whose users have a clone, and who owns each."""
        return clone.clones(self.context)

    def side_branches(self, path: Path) -> dict[str, str]:
        """Branches that could not be brought over from the clone of a worktree's user -> what holds them."""
        return clone.side_branches(self.context, path)

    def put_clone_aside(self, path: Path, name: str) -> None:
        """Put a clone away under a name, commits of its stash and reflogs kept; one that is gone is no error."""
        try:
            admin = shadow.find_worktree(self.context, path, sure=False).admin
        except StrettoError:
            admin = None
        clone.set_aside(self.context, path, admin, name)

    def bring_clone_back(self, path: Path, name: str) -> None:
        """Bring it back; one that is back already is a success."""
        clone.bring_back(self.context, path, name)

    def clone_aside(self, name: str) -> Path | None:
        """The folder of the clone that was put away under a name, None if there is none."""
        return clone.aside(self.context, name)

    # ------------------------------------------------------------ merges and differences

    def merge(self, ours: str, theirs: str) -> Merged:
        """Merge two commits in memory, whatever attributes and drivers say."""
        return merge.merge(self.context, ours, theirs)

    def patch(self, base: str, head: str) -> Patch:
        """The identity of the patch from merge-base(base, head) to `head`."""
        return patch.patch(self.context, base, head)

    def diff(self, base: str, head: str, *, stat: bool = False, color: bool = False) -> str:
        """The difference of two commits for people."""
        return diff.diff(self.context, base, head, stat=stat, color=color)

    def changed_paths(self, a: str, b: str) -> dict[str, tuple[str, str]]:
        """Paths in which two commits or trees differ, with `MODE:OID` (or "") on each side."""
        return diff.changed_paths(self.context, a, b)

    def show(self, commit: str, path: str) -> bytes | None:
        """The content of a file of a commit; None if it has none of this name."""
        return diff.show(self.context, commit, path)

    def filters(self, commit: str) -> tuple[str, ...]:
        """Attribute lines that name a filter, as `FILE: LINE`."""
        return diff.filters(self.context, commit)

    def tree_bytes(self, commit: str) -> int:
        """Bytes of all files of a commit, as a checkout would write them."""
        return diff.tree_bytes(self.context, commit)

    # ------------------------------------------------------------ worktrees

    def worktrees(self) -> dict[Path, str | None]:
        """All registered worktrees, the main one first, with the branch that each has out (None: detached)."""
        return worktree.worktrees(self.context)

    def holder(self, branch: str) -> Path | None:
        """The worktree, main or linked, that has this branch out; the main one first."""
        return worktree.holder(self.context, branch)

    def add_worktree(self, path: Path, branch: str | None, commit: str, reason: str) -> None:
        """Make a locked worktree; an existing branch is used as it is. Safe to repeat."""
        worktree.add_worktree(self.context, path, branch, commit, reason)

    def switch_worktree(self, path: Path, commit: str) -> None:
        """Let a gate's worktree show a commit: detached and clean; ignored files are kept."""
        worktree.switch_worktree(self.context, path, commit)

    def turn_worktree(self, path: Path, branch: str, commit: str, reason: str) -> None:
        """Give a detached worktree that nobody works in to a branch, made at `commit` unless it is there."""
        worktree.turn_worktree(self.context, path, branch, commit, reason)

    def forget_worktree(self, path: Path) -> None:
        """Drop the registration of a worktree whose folder is gone."""
        worktree.forget_worktree(self.context, path)

    def worktree_state(self, path: Path) -> WorktreeState:
        """HEAD, branch, changed paths and paused operation of a worktree."""
        return survey.worktree_state(self.context, path)

    def worktree_operation(self, path: Path) -> str | None:
        """What the user of a worktree has begun and not finished, None if nothing; no look at the files."""
        return survey.operation(shadow.find_worktree(self.context, path, sure=False))

    def worktree_tree(self, path: Path) -> str:
        """The tree of all files of a worktree that are not ignored."""
        return survey.worktree_tree(self.context, path)

    def ignored(self, path: Path, names: Sequence[str]) -> frozenset[str]:
        """Which of these paths of the worktree git ignores; tracked ones are never among them."""
        return survey.ignored(self.context, path, names)

    def matching(self, path: Path, lines: Sequence[str]) -> tuple[str, ...]:
        """Untracked files of the worktree that these lines, in the form of .gitignore, name."""
        return survey.matching(self.context, path, lines)

    def private(self, base: str, head: str) -> tuple[str, ...]:
        """Files of the main checkout that git ignores at `base`, and that a commit from there to `head` adds."""
        return rules.private(self.context, base, head)

    def commit_all(self, path: Path, branch: str, message: str) -> str | None:
        """Commit everything in the worktree to the branch it has out; None if there is nothing to commit."""
        return commit_all.commit_all(self.context, path, branch, message)

    def snapshot(self, path: Path, uid: str, reason: str, *, whole: bool = False) -> Snapshot | None:
        """Hold what a worktree contains now, large new files only if `whole`; None if the last snapshot holds it."""
        return snapshot.snapshot(self.context, path, uid, reason, whole=whole)

    def snapshots(self, uid: str) -> list[Snapshot]:
        """All snapshots of a task, oldest first."""
        return snapshot.snapshots(self.context, uid)

    def restore(self, path: Path, commit: str) -> None:
        """Give a worktree the files of a snapshot; its HEAD, index and ignored files stay."""
        restore.restore(self.context, path, commit)

    def export(self, commit: str, folder: Path) -> None:
        """Lay the files of a commit out in an empty folder."""
        restore.export(self.context, commit, folder)

    # ------------------------------------------------------------ the person's checkout

    def current_branch(self) -> str | None:
        """The branch of the main checkout, None if its HEAD is detached."""
        return checkout.current_branch(self.context)

    def checkout_changes(self) -> tuple[str, ...]:
        """Paths of the main checkout that are changed, staged or untracked."""
        return checkout.checkout_changes(self.context)

    def checkout_staged(self, commit: str) -> tuple[str, ...]:
        """Paths in which the index of the main checkout differs from a commit."""
        return checkout.checkout_staged(self.context, commit)

    def fast_forward_checkout(self, branch: str, old: str, new: str) -> None:
        """Bring a clean main checkout from `old` to `new`, where its branch is already. Safe to repeat."""
        checkout.fast_forward_checkout(self.context, branch, old, new)

    def switch_checkout(self, branch: str | None, commit: str) -> None:
        """Let the clean main checkout show a branch, made at `commit` unless it is there; None: that commit."""
        switch.switch_checkout(self.context, branch, commit)

    def refuse_dirty(self, paths: Sequence[str]) -> StrettoError:
        """The refusal to switch the main checkout while these paths are changed in it."""
        return switch.dirty(self.context, paths)

    # ------------------------------------------------------------ remotes

    def upstream(self, branch: str) -> tuple[str, str] | None:
        """Remote and branch there that a local branch follows, None if none."""
        return remotes.upstream(self.context, branch)

    def fetch(self, remote: str, branch: str, timeout: float) -> str | None:
        """Fetch a branch; the commit it is at now, None if the remote has no such branch."""
        return remotes.fetch(self.context, remote, branch, timeout)

    def push(self, remote: str, branch: str, new: str, old: str | None, timeout: float) -> None:
        """Move a remote branch from `old` (None: it must not exist) to `new`; Conflict if it is elsewhere."""
        remotes.push(self.context, remote, branch, new, old, timeout)
