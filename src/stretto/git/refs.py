"""Refs and the commit graph, through the neutral directory: no hook runs and no configuration has a say.

Specification. A ref moves only by compare-and-swap. `old` None means that it must not exist. A ref that already has the
wanted value is a success, whatever `old` says: an effect that is repeated after a crash ends in the same place. What
full object ids say of each other never changes, and is asked once.
"""

from __future__ import annotations

from collections.abc import Sequence

from stretto.core.errors import Conflict, GitFailed, StrettoError
from stretto.failpoints import failpoint
from stretto.git import loose, run
from stretto.git.context import Context


def read_ref(context: Context, ref: str) -> str | None:
    """The object id that a full ref name holds, None if there is no such ref. Raises GitFailed for a broken one."""
    try:
        return loose.read(context.common, _full(ref))
    except loose.Unsure:
        return refs(context, ref).get(ref)


def refs(context: Context, prefix: str) -> dict[str, str]:
    """All refs below a prefix (`refs/stretto/snap/…/`), or exactly the one that it names, with their object ids."""
    done = context.git("for-each-ref", "--format=%(refname) %(objectname)", "--", _full(prefix))
    broken = [line for line in done.stderr.decode(errors="replace").splitlines() if "broken ref" in line]
    if broken:
        raise GitFailed(
            f"a ref is damaged: {broken[0].removeprefix('warning: ')}",
            argv=done.argv,
            returncode=done.code,
            stderr=broken[0],
            object=prefix,
            code="broken_ref",
            hint="git fsck",
        )
    return dict(line.rsplit(" ", 1) for line in run.text(done).splitlines())


def update_ref(context: Context, ref: str, new: str, old: str | None, reason: str) -> None:
    """Move a ref from `old` to `new`. Raises Conflict (details `current`) when it holds something else."""
    failpoint("daemon.git.update_ref.before")
    expected = context.zero if old is None else run.oid(old)
    words = ("update-ref", "--no-deref", "-m", f"stretto: {reason}", "--", _full(ref), run.oid(new), expected)
    if not _holds(context, ref, new):
        done = context.git(*words, ok=(0, 1, 128))
        if done.code != 0:
            current = read_ref(context, ref)
            if current != new:
                raise _why_not(context, ref, old, current, run.failed(done, context.common))
    failpoint("daemon.git.update_ref.after")


def _holds(context: Context, ref: str, value: str) -> bool:
    """Whether a ref is known, without asking git, to have this value."""
    try:
        return loose.read(context.common, ref) == value
    except loose.Unsure:
        return False


def delete_ref(context: Context, ref: str, old: str) -> None:
    """Delete a ref that holds `old`; one that is gone already is a success. Raises Conflict when it holds another."""
    failpoint("daemon.git.delete_ref.before")
    done = context.git("update-ref", "--no-deref", "-d", "--", _full(ref), run.oid(old), ok=(0, 1, 128))
    if done.code != 0:
        current = read_ref(context, ref)
        if current is not None:
            raise _why_not(context, ref, old, current, run.failed(done, context.common))
    failpoint("daemon.git.delete_ref.after")


def _why_not(context: Context, ref: str, old: str | None, current: str | None, error: GitFailed) -> StrettoError:
    if current != old:
        return Conflict(
            f"{ref} is at {current or 'nothing'}, not at {old or 'nothing'} as expected",
            object=ref,
            code="ref_moved",
            details={"current": current, "expected": old},
        )
    blocker = in_the_way(context, ref)
    return error if blocker is None else blocked(ref, blocker)


def blocked(ref: str, blocker: str) -> StrettoError:
    """The refusal to make a ref because another one is in its way."""
    return StrettoError(
        f"{ref} cannot be made: {blocker} is in the way",
        object=blocker,
        code="branch_in_the_way",
        hint=f"git branch -m {blocker.removeprefix('refs/heads/')} NEW-NAME",
    )


def in_the_way(context: Context, ref: str) -> str | None:
    """The ref that makes this one impossible: git keeps names like paths, one cannot be a folder and a file."""
    parts = ref.split("/")
    for end in range(3, len(parts)):
        parent = "/".join(parts[:end])
        if read_ref(context, parent) is not None:
            return parent
    return next(iter(refs(context, ref.rstrip("/") + "/")), None)


def _full(ref: str) -> str:
    if not run.plain(ref).startswith("refs/"):
        raise StrettoError(f"{ref} is not a full ref name", object=ref, code="bad_name")
    return ref


# ---------------------------------------------------------------- the commit graph


def resolve(context: Context, rev: str) -> str | None:
    """The commit that a person's word for a revision means; None if it means none."""
    if not rev or rev.startswith("-") or "\0" in rev:
        return None
    done = run.run(context.real, "rev-parse", "--verify", "-q", f"{rev}^{{commit}}", ok=(0, 1, 128))
    return run.text(done) if done.code == 0 else None


def tree_of(context: Context, commit: str) -> str:
    """The tree of a commit."""
    return _commit(context, commit)[0]


def parents(context: Context, commit: str) -> tuple[str, ...]:
    """The parents of a commit, in order."""
    return tuple(_commit(context, commit)[2:])


def is_ancestor(context: Context, older: str, newer: str) -> bool:
    """Whether `newer` contains `older`; a commit contains itself."""
    words = ("merge-base", "--is-ancestor", run.plain(older), run.plain(newer))
    return context.settled(("ancestor", older, newer), lambda: str(context.git(*words, ok=(0, 1)).code)) == "0"


def contains_all(context: Context, newer: str, older: Sequence[str]) -> bool:
    """Whether `newer` contains all of these commits."""
    if not older:
        return True
    words = ("rev-list", "--count", *(run.plain(each) for each in older), f"^{run.plain(newer)}", "--")
    return context.settled(("contains", newer, *older), lambda: run.text(context.git(*words))) == "0"


def merge_base(context: Context, a: str, b: str) -> str | None:
    """The best common ancestor, None if the histories are unrelated."""
    words = ("merge-base", run.plain(a), run.plain(b))
    return context.settled(("base", a, b), lambda: run.text(context.git(*words, ok=(0, 1)))) or None


def count(context: Context, older: str, newer: str) -> int:
    """How many commits `newer` has that `older` has not."""
    return int(run.text(context.git("rev-list", "--count", run.plain(newer), f"^{run.plain(older)}")))


def commit_time(context: Context, commit: str) -> float:
    """When a commit was made, as it says: seconds since the epoch."""
    return float(_commit(context, commit)[1])


def _commit(context: Context, commit: str) -> list[str]:
    """Tree, time and parents of a commit: one question for all of them."""
    words = ("rev-list", "--no-walk", "--no-commit-header", "--format=%T %ct %P", run.plain(commit))
    return context.settled(("commit", commit), lambda: run.text(context.git(*words))).split()


def commit_tree(
    context: Context,
    tree: str,
    parents: Sequence[str],
    message: str,
    *,
    person: tuple[str, str] | None = None,
    at: float | None = None,
) -> str:
    """Write a commit of the person, or of the given name and address; no hook and no signature. Returns its id.

    `at`: the time that it shall carry (whole seconds since the epoch, UTC); now if None.
    """
    if person is None:
        identity = context.require_identity()
        person = (identity.name, identity.email)
    words = [word for parent in parents for word in ("-p", run.oid(parent))]
    names = {"NAME": person[0], "EMAIL": person[1]} | ({} if at is None else {"DATE": f"@{int(at)} +0000"})
    extra = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in names.items()}
    done = context.git("commit-tree", run.oid(tree), *words, "-F", "-", input=message.encode(), extra=extra)
    return run.text(done)
