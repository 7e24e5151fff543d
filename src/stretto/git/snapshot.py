"""Snapshots: the full non-ignored state of a worktree as a commit behind a hidden ref.

Specification.
- `refs/stretto/snap/<uid>/<n>`, n counting from 1; its parent is the worktree's HEAD, so that history is kept with it.
  What is staged and is neither in HEAD nor in the files is kept as a second parent.
- One is written only if the tree differs from the last one's (or HEAD is detached at another commit).
- Untracked files over 10 MiB, nested repositories and what is neither file nor link are left out and named.
- The branch, the worktree and its index stay as they are.
- Where HEAD leads to nothing that git can read, all files are held, large ones too, without a parent.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from stretto.core import names
from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.git import loose, refs, run, shadow, survey
from stretto.git.context import Context
from stretto.interfaces import Snapshot

#: bytes above which an untracked file is not held
LARGE = 10 << 20
_TRAILER = "Stretto-Snapshot: "
_AUTHOR = ("stretto", "stretto@localhost")


def prefix(uid: str) -> str:
    """What the refs of the snapshots of a task, or of another owner of workspaces, begin with."""
    if names.split_uid(uid):
        return names.ref_prefix("snap", uid)
    return f"{names.REF_ROOT}/snap/{names.slugify(uid)}/"


@dataclass(frozen=True, slots=True)
class _Stored:
    number: int
    parents: tuple[str, ...]
    snapshot: Snapshot


def _stored(context: Context, uid: str) -> list[_Stored]:
    start = prefix(uid)
    with suppress(loose.Unsure):
        if not loose.any_below(context.common, start):
            return []
    form = "%(refname)%00%(objectname)%00%(tree)%00%(parent)%00%(committerdate:unix)%00%(contents)%00"
    done = context.git("for-each-ref", f"--format={form}", "--", start)
    parts = run.fields(done.stdout)
    found = [_parse(start, *parts[at : at + 6]) for at in range(0, len(parts) - 5, 6)]
    return sorted((one for one in found if one is not None), key=lambda one: one.number)


def _parse(start: str, ref: str, commit: str, tree: str, parents: str, at: str, text: str) -> _Stored | None:
    ref = ref.lstrip("\n")
    number = ref.removeprefix(start)
    if not number.isdigit():
        return None
    trailer = next((line for line in reversed(text.splitlines()) if line.startswith(_TRAILER)), "")
    facts = json.loads(trailer.removeprefix(_TRAILER)) if trailer else {}
    snapshot = Snapshot(
        ref=ref,
        commit=commit,
        tree=tree,
        at=float(facts.get("at", at)),
        reason=str(facts.get("reason", "")),
        skipped=tuple(facts.get("skipped", ())),
    )
    return _Stored(int(number), tuple(parents.split()), snapshot)


def snapshots(context: Context, uid: str) -> list[Snapshot]:
    """All snapshots of a task, oldest first."""
    return [one.snapshot for one in _stored(context, uid)]


def snapshot(context: Context, path: Path, uid: str, reason: str, *, whole: bool = False) -> Snapshot | None:
    """Hold what a worktree contains now, large new files only if `whole`; None if the last snapshot holds it."""
    failpoint("daemon.git.snapshot.before")
    worktree = shadow.find_worktree(context, path, sure=False)
    with shadow.shadow(context, worktree) as place:
        try:
            found = survey.look(context, worktree, place)
        except StrettoError as error:
            if error.code not in ("git_failed", "broken_ref"):
                raise
            found, whole = survey.look_without_head(context, worktree, place), True
        large = [] if whole else [n for n in found.changed if n in found.untracked and _is_large(path / n)]
        tree, lost = survey.rescue(found, large)
        known = _stored(context, uid)
        if known and _same(known[-1], tree, found):
            return None
        parents = ([found.head] if found.head else []) + _staged(context, found, tree)
    skipped = (*large, *found.nested, *found.odd, *lost)
    made = _write(context, uid, known[-1].number + 1 if known else 1, tree, parents, reason, skipped)
    failpoint("daemon.git.snapshot.after")
    return made


def _is_large(path: Path) -> bool:
    try:
        return path.lstat().st_size > LARGE
    except OSError:
        return False


def _same(last: _Stored, tree: str, found: survey.Look) -> bool:
    kept = found.branch is not None or found.head in last.parents
    return last.snapshot.tree == tree and kept


def _staged(context: Context, found: survey.Look, tree: str) -> list[str]:
    """A commit of what is staged, if nothing else holds it. An index that cannot be written as a tree is left out."""
    staged = _staged_tree(context, found)
    if found.head is None or staged in ("", tree, found.tree):
        return []
    return [refs.commit_tree(context, staged, [found.head], "staged", person=_AUTHOR)]


def _staged_tree(context: Context, found: survey.Look) -> str:
    key = (found.shadow.git_dir, shadow.STAGED)
    state, tree = context.remembered.get(key, (None, ""))
    if state == (now := shadow.index_state(found.worktree)):
        return tree
    index = shadow.borrow_index(found.worktree, found.shadow)
    done = None if index is None else run.run(replace(found.shadow, index=index), "write-tree", ok=(0, 128))
    tree = run.text(done) if done is not None and done.code == 0 else ""
    context.remembered[key] = (now, tree)
    return tree


def _write(
    context: Context, uid: str, number: int, tree: str, parents: list[str], reason: str, skipped: tuple[str, ...]
) -> Snapshot:
    at = time.time()
    facts = json.dumps({"uid": uid, "reason": reason, "at": at, "skipped": skipped})
    message = f"Snapshot of {uid}\n\n{_TRAILER}{facts}\n"
    commit = refs.commit_tree(context, tree, parents, message, person=_AUTHOR)
    ref = f"{prefix(uid)}{number}"
    refs.update_ref(context, ref, commit, None, "snapshot")
    return Snapshot(ref, commit, tree, at, reason, skipped)
