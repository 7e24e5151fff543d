"""Look at a worktree without trusting anything in it, and without touching what its user holds.

Specification.
- "Changed" is every path whose file differs from the commit at HEAD, and every untracked file that is not ignored. A
  path that the worktree's own index holds although it is ignored (`git add -f`) counts as well.
- Nested repositories are named and never entered: their configuration could start programs. The commit that a recorded
  gitlink points at is compared, nothing else of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from stretto.core.errors import GitFailed
from stretto.git import loose, run
from stretto.git.context import Context
from stretto.git.shadow import (
    UNFORCED,
    Worktree,
    borrow_index,
    copy_index,
    find_worktree,
    index_state,
    set_head,
    set_synced,
    shadow,
    synced,
)
from stretto.interfaces import WorktreeState


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found: `changed` can be committed, `nested` repositories and `odd` things (a pipe, say) cannot."""

    worktree: Worktree
    shadow: run.Place
    head: str | None
    tree: str
    branch: str | None
    changed: tuple[str, ...]
    untracked: frozenset[str]
    nested: tuple[str, ...]
    odd: tuple[str, ...]


# ---------------------------------------------------------------- the look


def look(context: Context, worktree: Worktree, place: run.Place) -> Look:
    """What differs from the commit at HEAD. To be called inside `shadow`."""
    set_head(worktree, place)
    return _look(context, worktree, place)


def look_without_head(context: Context, worktree: Worktree, place: run.Place) -> Look:
    """The same where HEAD leads to nothing that can be read: every file that is not ignored is a new one."""
    (place.git_dir / "HEAD").write_text("ref: refs/stretto/none\n")
    (place.git_dir / "synced").unlink(missing_ok=True)
    return _look(context, worktree, place)


def _look(context: Context, worktree: Worktree, place: run.Place) -> Look:
    entries = _status(place)
    commit, tree = synced(place)
    if commit != (entries.head or "none"):
        tree = _sync(place, entries.head)
        entries = _status(place)
    changed = entries.changed if worktree.path != context.root else _without_sparse(worktree, place, entries.changed)
    forced = _forced(context, worktree, place, entries)
    nested = tuple(path for path in entries.untracked if path.endswith("/"))
    listed = [*changed, *(path for path in (*entries.untracked, *forced) if not path.endswith("/"))]
    listed = list(dict.fromkeys(listed))
    odd = tuple(path for path in listed if not _holdable(worktree.path / path))
    return Look(
        worktree=worktree,
        shadow=place,
        head=entries.head,
        tree=tree,
        branch=_branch(place),
        changed=tuple(path for path in listed if path not in odd),
        untracked=frozenset((*entries.untracked, *forced)),
        nested=nested,
        odd=odd,
    )


def _keep_step(context: Context, worktree: Worktree, place: run.Place) -> None:
    """Let the shadow's index be that of HEAD; where the files say that it is, nothing is started to look."""
    set_head(worktree, place)
    said = os.fsdecode((place.git_dir / "HEAD").read_bytes()).strip()
    try:
        head = loose.read(context.common, said.removeprefix("ref: ")) if said.startswith("ref: ") else said
    except loose.Unsure:
        head = None
    if not head or synced(place)[0] != head or not (place.git_dir / "index").exists():
        _look(context, worktree, place)


@dataclass(frozen=True, slots=True)
class _Entries:
    head: str | None
    changed: tuple[str, ...]
    untracked: tuple[str, ...]


def _status(place: run.Place) -> _Entries:
    done = run.run(
        place,
        *("status", "--porcelain=v2", "-z", "--branch", "--untracked-files=all", "--ignored=no"),
        *("--no-renames", "--no-ahead-behind", "--ignore-submodules=dirty"),
        extra={"GIT_OPTIONAL_LOCKS": "1"},
        timeout=run.LONG,
    )
    head: str | None = None
    changed: list[str] = []
    untracked: list[str] = []
    for line in run.fields(done.stdout):
        kind, _, rest = line.partition(" ")
        if line.startswith("# branch.oid "):
            word = line.removeprefix("# branch.oid ")
            head = None if word == "(initial)" else word
        elif kind == "1":
            changed.append(rest.split(" ", 7)[7])
        elif kind == "u":
            changed.append(rest.split(" ", 9)[9])
        elif kind == "?":
            untracked.append(rest)
    return _Entries(head, tuple(changed), tuple(untracked))


def _sync(place: run.Place, head: str | None) -> str:
    """Make the shadow's index equal to the commit, whose tree is returned; file times of equal entries stay."""
    marker = place.git_dir / "synced"
    marker.unlink(missing_ok=True)
    # not `-m`, which refuses where files differ from the index
    words = ("read-tree", "--empty") if head is None else ("read-tree", "--reset", head)
    try:
        run.run(place, *words, timeout=run.LONG)
    except GitFailed:
        (place.git_dir / "index").unlink(missing_ok=True)  # ours, and only a memory of file times
        run.run(place, *words, timeout=run.LONG)
    tree = run.text(run.run(place, "rev-parse", f"{head}^{{tree}}")) if head else ""
    set_synced(place, head or "none", tree)
    return tree


def _branch(place: run.Place) -> str | None:
    said = os.fsdecode((place.git_dir / "HEAD").read_bytes()).strip()
    return said.removeprefix("ref: refs/heads/") if said.startswith("ref: refs/heads/") else None


def _without_sparse(worktree: Worktree, place: run.Place, changed: Sequence[str]) -> tuple[str, ...]:
    """Leave out what is missing because the person's checkout is sparse. Their flags count only in their checkout."""
    missing = [path for path in changed if not os.path.lexists(worktree.path / path)]
    theirs = replace(place, index=borrow_index(worktree, place))
    if not missing or theirs.index is None:
        return tuple(changed)
    listing = run.run(theirs, "ls-files", "-t", "-z", "--cached", ok=(0, 128), timeout=run.LONG)
    skipped = {entry[2:] for entry in run.fields(listing.stdout) if entry.startswith("S ")}
    return tuple(path for path in changed if path not in missing or path not in skipped)


def _forced(context: Context, worktree: Worktree, place: run.Place, entries: _Entries) -> list[str]:
    """Ignored paths that the worktree's user added by force. An index that cannot be read adds nothing."""
    key = (place.git_dir, UNFORCED)
    state = (index_state(worktree), entries.head)
    rules = any(path.rsplit("/", 1)[-1] == ".gitignore" for path in (*entries.changed, *entries.untracked))
    if not rules and context.remembered.get(key) == (state, ""):
        return []
    found = _read_forced(worktree, place)
    if not found:
        context.remembered[key] = (state, "")
    return found


def remember_unforced(context: Context, worktree: Worktree, place: run.Place, head: str) -> None:
    """The index of the worktree is ours, as it was just written from `head`: its user has added nothing by force."""
    context.remembered[(place.git_dir, "unforced")] = ((index_state(worktree), head), "")


def _read_forced(worktree: Worktree, place: run.Place) -> list[str]:
    theirs = replace(place, index=borrow_index(worktree, place))
    if theirs.index is None:
        return []
    words = ("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")
    done = run.run(theirs, *words, ok=(0, 128), timeout=run.LONG)
    if done.code != 0 or not done.stdout:
        return []
    known = set(run.fields(run.run(place, *words, timeout=run.LONG).stdout))
    return [path for path in run.fields(done.stdout) if path not in known]


def _holdable(path: Path) -> bool:
    """Whether a tree can hold what is there now: nothing, a file, a link, or a repository that is a gitlink."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return True
    if stat.S_ISREG(mode):
        return os.access(path, os.R_OK)
    return stat.S_ISLNK(mode) or stat.S_ISDIR(mode)


# ---------------------------------------------------------------- trees


def tree_of(found: Look) -> str:
    """Write what a look found as a tree. Leaves the index of it at `index.full`.

    Raises GitFailed for a file that the attributes say cannot be (an encoding that it has not, say).
    """
    return _write(found, list(found.changed), raw=None)


def rescue(found: Look, without: Sequence[str]) -> tuple[str, list[str]]:
    """The same for keeping: without some paths, and a file that cannot be converted is held byte for byte.

    Returns the tree and the paths that could not be held at all.
    """
    left = set(without)
    lost: list[str] = []
    return _write(found, [path for path in found.changed if path not in left], raw=lost), lost


def _write(found: Look, paths: list[str], raw: list[str] | None) -> str:
    full = found.shadow.git_dir / "index.full"
    copy_index(found.shadow.git_dir / "index", full)
    place = replace(found.shadow, index=full)
    if paths:
        try:
            _update(place, paths)
        except GitFailed:
            if raw is None:
                raise
            raw += [path for path in paths if not _update_one(place, found.worktree.path, path)]
    elif found.head is not None:
        return found.tree
    return run.text(run.run(place, "write-tree", timeout=run.LONG))


def _update(place: run.Place, paths: Sequence[str]) -> None:
    listing = b"".join(os.fsencode(path) + b"\0" for path in paths)
    words = ("update-index", "--add", "--remove", "--replace", "-z", "--stdin")
    run.run(place, *words, input=listing, timeout=run.LONG)


def _update_one(place: run.Place, root: Path, path: str) -> bool:
    """Hold one path as git would, else its bytes as they are; False if neither can be done."""
    with suppress(GitFailed):
        _update(place, [path])
        return True
    with suppress(GitFailed, OSError):
        mode = "100755" if os.access(root / path, os.X_OK) else "100644"
        blob = run.text(
            run.run(place, "hash-object", "-w", "--stdin", "--no-filters", input=(root / path).read_bytes())
        )
        entry = os.fsencode(f"{mode} {blob}\t{path}") + b"\0"
        run.run(place, "update-index", "--add", "--replace", "-z", "--index-info", input=entry)
        return True
    return False


# ---------------------------------------------------------------- answers

_OPERATIONS = (
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("BISECT_LOG", "bisect"),
)


def operation(worktree: Worktree) -> str | None:
    """What the user of a worktree has begun and not finished, None if nothing."""
    for name, word in _OPERATIONS:
        if os.path.lexists(worktree.admin / name):
            applying = (worktree.admin / name / "applying").exists()
            return "am" if applying else word
    return None


def worktree_state(context: Context, path: Path) -> WorktreeState:
    """HEAD, branch, changed paths and paused operation of a worktree; for the main checkout staged changes too."""
    worktree = find_worktree(context, path)
    with shadow(context, worktree) as place:
        found = look(context, worktree, place)
        staged = staged_paths(worktree, place, found.head) if path == context.root and found.head else ()
    changed = tuple(dict.fromkeys((*found.changed, *found.odd, *staged)))
    return WorktreeState(found.head, found.branch, changed, operation(worktree), found.nested)


def staged_paths(worktree: Worktree, place: run.Place, commit: str) -> tuple[str, ...]:
    """Paths whose staged content differs from a commit; if that is HEAD, a commit there would change them."""
    theirs = replace(place, index=borrow_index(worktree, place))
    if theirs.index is None:
        return ()
    words = ("diff-index", "--cached", "--name-only", "--no-renames", "-z", "--ignore-submodules=none", commit)
    return tuple(run.fields(run.run(theirs, *words, timeout=run.LONG).stdout))


def worktree_tree(context: Context, path: Path) -> str:
    """The tree of all files that are not ignored, as a commit of everything would have it."""
    worktree = find_worktree(context, path)
    with shadow(context, worktree) as place:
        return tree_of(look(context, worktree, place))


def ignored(context: Context, path: Path, names: Sequence[str]) -> frozenset[str]:
    """Which of these paths of a worktree git ignores; tracked ones are never among them."""
    if not names:
        return frozenset()
    worktree = find_worktree(context, path)
    request = b"".join(os.fsencode(name) + b"\0" for name in names)
    with shadow(context, worktree) as place:
        _keep_step(context, worktree, place)
        done = run.run(place, "check-ignore", "-z", "--stdin", input=request, ok=(0, 1), timeout=run.LONG)
    return frozenset(run.fields(done.stdout))


def matching(context: Context, path: Path, lines: Sequence[str]) -> tuple[str, ...]:
    """Untracked files of a worktree that these lines, in the form of .gitignore, name; links as files.

    Files below another repository are not named.
    """
    worktree = find_worktree(context, path)
    with shadow(context, worktree) as place:
        _keep_step(context, worktree, place)
        patterns = place.git_dir / "patterns"
        patterns.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
        words = ["--others", "--ignored", f"--exclude-from={patterns}", "-z"]
        done = run.run(place, "ls-files", *words, timeout=run.LONG)
    return tuple(name for name in run.fields(done.stdout) if not name.endswith("/"))
