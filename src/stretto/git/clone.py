"""A clone of its own for the user of a worktree, and what is brought over between the two.

For us and for the person the worktree stays a linked one of the repository. Its user, confined (recipe C of the
sandbox), sees another file `.git` there, which leads to the clone: a git directory in our private folder that borrows
the repository's objects and has everything else for itself (refs, index, stash, reflog, configuration).

Specification.
- No git of ours ever works in the clone: its small files are read as those of a stranger (`foreign.py`), its objects
  come by a fetch from a git directory of ours that merely borrows them (`clone_objects.py`). So nothing that is
  written there has a say here, and only sound, connected objects come over, not more bytes than `MOST`.
- Brought over: the task's own branches (all below its folder of branches), HEAD, the index with what is staged, and
  what tells that a merge or rebase goes on. Other refs of the clone stay there.
- `sync` compares both sides with what they were after the last time: what changed on one side is brought to the other.
  A branch that moved on both goes to the one that contains the other; if none does, the clone's commit is kept and the
  person is told (`clone_diverged`): nothing is dropped. It may be repeated at any time, also after a crash at any step.
- The task's main branch goes first. A side branch that cannot be brought over (it moved on both, or its name is in the
  way of another's) holds up nothing: its commit is kept, and `side_branches` and the daemon's log say so.
- Outside, HEAD says no branch and no commit that is not here: one of the agent's own is shown as the commit it is at.
- What we put into the clone we put as git does, under git's own locks. Commits that come from here are held by kept
  refs, so that no `git gc` in the repository takes away what the clone borrows.

Accepted: a branch that is deleted in the clone stays here. While an index is brought over, the other's newest change of
it can be missed for one more `sync`. Who starts a rebase in the clone must end it there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from stretto import files
from stretto.core import names
from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.git import clone_objects, foreign, neutral, refs, run
from stretto.git.clone_sides import (
    AUTHOR,
    COMMITS,
    OID,
    REF,
    Clone,
    Index,
    State,
    look_at_head,
    loose,
    packed,
    sync_head,
    sync_marks,
)
from stretto.git.context import Context

_log = logging.getLogger(__name__)
#: bytes of a file that is read
_MOST_FILE = 1 << 20
#: settings of the directory that borrows: any object may be asked for, and what says more than the objects is ignored
_BORROWING = (
    ("uploadpack", "allowAnySHA1InWant", "true"),
    ("core", "commitGraph", "false"),
    ("core", "multiPackIndex", "false"),
)
_LOG = re.compile(rb"^([0-9a-f]{40,64}) ([0-9a-f]{40,64}) ", re.MULTILINE)


# ---------------------------------------------------------------- which there are


def _folder(context: Context) -> Path:
    return context.folder / "clones"


def _aside(context: Context, name: str) -> Path:
    return context.folder / "clones-aside" / name


def _place(context: Context, path: Path) -> Clone:
    return Clone(_folder(context) / hashlib.sha256(os.fsencode(path)).hexdigest()[:16])


def find(context: Context, path: Path) -> Clone | None:
    """The clone of the worktree at this path, None if it has none."""
    clone = _place(context, path)
    return clone if clone.state.exists() else None


def clones(context: Context) -> dict[Path, str]:
    """Worktrees that have a clone, and whose each is."""
    found = {}
    for place in _folder(context).glob("*/state.json"):
        with suppress(OSError, ValueError, TypeError):
            state = State(**json.loads(place.read_bytes()))
            found[Path(state.path)] = state.owner
    return found


def side_branches(context: Context, path: Path) -> dict[str, str]:
    """Branches that the last `sync` could not bring over -> the kept ref of each; empty if it holds nothing."""
    clone = find(context, path)
    if clone is None:
        return {}
    state = _state(clone)
    return {
        ref.removeprefix("refs/heads/"): _tip_ref(state, there) if there else "" for ref, there in state.kept.items()
    }


@contextmanager
def _hold(context: Context, clone: Clone) -> Iterator[None]:
    files.make_private_dir(_folder(context))
    with files.lock(clone.folder.with_name(f"{clone.folder.name}.lock"), wait=run.LONG):
        yield


# ---------------------------------------------------------------- make, put aside, bring back


def make(context: Context, path: Path, admin: Path, branch: str, owner: str) -> None:
    """Give the worktree at `path`, registered at `admin`, a clone for its user. Safe to repeat.

    Raises StrettoError as `sync` does.
    """
    clone = _place(context, path)
    with _hold(context, clone):
        try:
            _furnish(context, clone, path)
        except OSError as error:
            raise clone_objects.refused(clone, f"{error.strerror} ({error.filename})") from error
        if not clone.state.exists():
            _write(clone, State(str(path), owner, branch))
    sync(context, path, admin)


def _furnish(context: Context, clone: Clone, path: Path) -> None:
    """Everything but refs and index; brought up to date where the repository was moved."""
    git_dir = clone.git_dir
    git_dir.mkdir(parents=True, exist_ok=True)
    for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info", "hooks", "logs"):
        with files.folder_below(git_dir, name, make=True):
            pass
    _keep_there(git_dir, clone_objects.ALTERNATES, clone_objects.alternates(context))
    _keep_there(git_dir, "config", _config(context, path))
    _keep(clone.pointer, b"gitdir: " + os.fsencode(git_dir) + b"\n")
    for name in ("info/exclude", "shallow"):
        with suppress(FileNotFoundError):
            foreign.put(git_dir, name, (context.common / name).read_bytes())
    if foreign.look(git_dir, "HEAD") is None:
        foreign.put(git_dir, "HEAD", b"ref: refs/heads/unborn\n")
    base = clone.folder / "base"
    for name in ("objects/info", "objects/pack", "refs"):
        (base / name).mkdir(parents=True, exist_ok=True)
    _keep(base / "objects" / "info" / "alternates", os.fsencode(git_dir / "objects") + b"\n")
    with suppress(FileNotFoundError):
        _keep(base / "shallow", (context.common / "shallow").read_bytes())
    neutral.ensure(clone.folder / "look.git", base, context.object_format, _BORROWING)


def _keep(path: Path, data: bytes) -> None:
    """Let a file of ours hold this."""
    if not path.exists() or path.read_bytes() != data:
        files.replace(path, data, 0o644)


def _keep_there(git_dir: Path, name: str, data: bytes) -> None:
    """Let a file of a clone hold this."""
    found = foreign.read(git_dir, name, _MOST_FILE)
    if found is None or found[0] != data:
        foreign.put(git_dir, name, data)


def _config(context: Context, path: Path) -> bytes:
    settings = [
        ("core", "bare", "false"),
        ("core", "worktree", str(path)),
        ("core", "logAllRefUpdates", "true"),
        *neutral.carried_over(context.settings()),
    ]
    return neutral.config(context.object_format, settings)


def set_aside(context: Context, path: Path, admin: Path | None, name: str) -> None:
    """Put the clone of a worktree away under a name; what only its stash and its reflogs hold is kept by a ref.

    One that is put away already is a success.
    """
    clone = _place(context, path)
    if admin is not None and clone.state.exists():
        with suppress(StrettoError):  # what cannot be brought over stays in what is put away
            sync(context, path, admin)
    with _hold(context, clone):
        if not clone.folder.exists():
            return
        with suppress(StrettoError, OSError, ValueError, TypeError):
            _keep_past(context, clone, name)
        files.make_private_dir(_aside(context, name).parent)
        files.rename(clone.folder, _aside(context, name))


def bring_back(context: Context, path: Path, name: str) -> None:
    """Bring back what was put away under a name; one that is back already is a success."""
    clone = _place(context, path)
    with _hold(context, clone):
        if not clone.folder.exists() and _aside(context, name).exists():
            files.rename(_aside(context, name), clone.folder)


def aside(context: Context, name: str) -> Path | None:
    """The folder that was put away under a name."""
    place = _aside(context, name)
    return place if os.path.lexists(place) else None


def _keep_past(context: Context, clone: Clone, name: str) -> None:
    """Hold by one ref what the clone's reflogs and stash name and nothing of ours has yet."""
    logs = [each for each in foreign.names(clone.git_dir, "logs") if each.startswith("logs/")]
    known: dict[str, None] = {}
    for log in logs:
        found = foreign.read(clone.git_dir, log, _MOST_FILE)
        for pair in _LOG.findall(found[0] if found else b""):
            known.update({oid.decode(): None for oid in pair if oid.strip(b"0") and OID.fullmatch(oid)})
    commits = clone_objects.missing(context, clone_objects.commits(context, clone, list(known)[-1000:]))
    if not commits:
        return
    state = _state(clone)
    clone_objects.fetch(context, clone, commits)
    held = refs.commit_tree(context, refs.tree_of(context, commits[0]), commits, "Kept of a clone", person=AUTHOR)
    refs.update_ref(context, names.ref_name("keep", state.owner, name, "clone"), held, None, "clone put away")


# ---------------------------------------------------------------- both sides alike


def sync(context: Context, path: Path, admin: Path) -> None:
    """Bring over what changed on either side of a worktree that has a clone; nothing for one that has none.

    Raises StrettoError: `clone_diverged`, `clone_too_large`, `harvest_refused`; Conflict: `index_locked`.
    """
    clone = find(context, path)
    if clone is None:
        return
    try:
        _sync(context, clone, admin)
    except OSError as error:
        raise clone_objects.refused(clone, f"{error.strerror} ({error.filename})") from error


def _sync(context: Context, clone: Clone, admin: Path) -> None:
    with _hold(context, clone):
        if not clone.state.exists():
            return  # put away meanwhile
        state = _state(clone)
        before = asdict(state)
        index = Index(clone, admin, state)
        theirs = _branches(clone, state)
        head = look_at_head(clone)
        wanted = [*theirs.values(), *([head.commit] if head.commit else []), *_going_on(clone)]
        _harvest(context, clone, state, wanted, index)
        given = _sync_refs(context, clone, state, theirs)
        sync_head(context, clone, admin, state, head)
        index.sync(prefer_ours=given)
        sync_marks(clone, admin, state)
        if asdict(state) != before:
            _write(clone, state)
        failpoint("daemon.git.clone.synced")


def _state(clone: Clone) -> State:
    return State(**json.loads(clone.state.read_bytes()))


def _write(clone: Clone, state: State) -> None:
    files.replace(clone.state, json.dumps(asdict(state)).encode())


def _branches(clone: Clone, state: State) -> dict[str, str]:
    """The task's own branches as the clone has them; what is no plain ref is left out."""
    top = f"refs/heads/{state.branch.removesuffix('/work')}"
    files_of = foreign.names(clone.git_dir, top) if top.removeprefix("refs/heads/") != state.branch else [top]
    read = {ref: loose(clone.git_dir, ref) for ref in files_of if _is_ours(state, ref)}
    found = {ref: oid for ref, oid in packed(clone.git_dir).items() if _is_ours(state, ref)}
    return found | {ref: oid for ref, oid in read.items() if oid is not None}


def _is_ours(state: State, ref: str) -> bool:
    plain = not ref.endswith(".lock") and ".." not in ref and REF.fullmatch(ref) is not None
    return plain and state.owns(ref)


def _going_on(clone: Clone) -> list[str]:
    found = [foreign.read(clone.git_dir, name, _MOST_FILE) for name in COMMITS]
    return [oid.decode() for data in found if data for oid in data[0].split() if OID.fullmatch(oid)]


# ---------------------------------------------------------------- objects


def _harvest(context: Context, clone: Clone, state: State, wanted: Iterable[str], index: Index) -> None:
    """Have the objects of what is to be brought over."""
    known = {*state.refs.values(), *(word for sign in state.head[:1] for word in sign.split())}
    new = [oid for oid in dict.fromkeys(wanted) if oid not in known]
    if index.moved_there:
        clone_objects.look_over(context, clone)
    staged = index.staged(context)
    clone_objects.fetch(context, clone, clone_objects.missing(context, [*new, *([staged] if staged else [])]))


# ---------------------------------------------------------------- refs


def _sync_refs(context: Context, clone: Clone, state: State, theirs: dict[str, str]) -> bool:
    """Whether the task's branch was brought into the clone. What a side branch meets does not hold up the rest."""
    main = f"refs/heads/{state.branch}"
    given = _sync_ref(context, clone, state, main, theirs.get(main))
    for ref in sorted({*theirs, *state.refs} - {main}):
        there = theirs.get(ref)
        try:
            _sync_ref(context, clone, state, ref, there)
        except StrettoError as error:
            _set_by(context, state, ref, there or "", error)
        else:
            state.kept.pop(ref, None)
    return given


def _sync_ref(context: Context, clone: Clone, state: State, ref: str, there: str | None) -> bool:
    """Whether it was brought into the clone."""
    ours, last = refs.read_ref(context, ref), state.refs.get(ref)
    if ours is not None and _goes_down(context, ref, ours, there, last, state):
        _give(context, clone, state, ref, ours, there)
        return True
    if there is not None and there != ours and (ours == last or there != last):
        refs.update_ref(context, ref, there, ours, "from its clone")
        state.refs[ref] = there
    elif ours is not None and ours == there:
        state.refs[ref] = ours
    return False


def _set_by(context: Context, state: State, ref: str, there: str, error: StrettoError) -> None:
    """Hold what a side branch of the clone is at, and say once why the branch itself is not brought over."""
    if state.kept.get(ref) == there:
        return
    kept = _keep_tip(context, state, there) if there else "nothing of it"
    _log.warning("%s of the clone of %s stays there (%s is kept): %s", ref, state.owner, kept, error.message)
    state.kept[ref] = there


def _keep_tip(context: Context, state: State, there: str) -> str:
    """Let a kept ref, which is returned, hold a commit of the clone."""
    kept = _tip_ref(state, there)
    refs.update_ref(context, kept, there, refs.read_ref(context, kept), "moved here and in its clone")
    return kept


def _tip_ref(state: State, there: str) -> str:
    return names.ref_name("keep", state.owner, f"clone-{there[:12]}")


def _goes_down(context: Context, ref: str, ours: str, there: str | None, last: str | None, state: State) -> bool:
    """Whether our value is to be given to the clone. Raises StrettoError (`clone_diverged`) if neither is newer."""
    if ours in (there, last):
        return False
    if there == last or (there is not None and refs.is_ancestor(context, there, ours)):
        return True
    if there is None or refs.is_ancestor(context, ours, there):
        return False
    kept = _keep_tip(context, state, there)
    raise StrettoError(
        f"{ref} was moved here to {ours[:12]} and by the task's agent to {there[:12]}",
        object=ref,
        code="clone_diverged",
        hint=f"git -C {state.path} merge {kept}",
    )


def _give(context: Context, clone: Clone, state: State, ref: str, ours: str, there: str | None) -> None:
    """Let a branch of the clone be at our commit, which is held for it, unless it moves just now."""
    kept = names.ref_name("keep", state.owner, "given", ours[:20])
    if refs.read_ref(context, kept) is None:
        refs.update_ref(context, kept, ours, None, "given to its clone")
    if foreign.put(clone.git_dir, ref, f"{ours}\n".encode(), still=lambda: _branches(clone, state).get(ref) == there):
        state.refs[ref] = ours
