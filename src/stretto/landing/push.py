"""Push what landed to the remote that the target follows, expecting there what was last seen there."""

from __future__ import annotations

from stretto.core.errors import Conflict, StrettoError
from stretto.interfaces import Git

#: seconds that a push may take
TIMEOUT = 120.0


def push(git: Git, branch: str, new: str, timeout: float = TIMEOUT) -> str:
    """Push `new` to the branch that `branch` follows; returns `remote/branch`. Pushed already: nothing happens.

    The remote must still hold what it held when it was last looked at; never looked at, it is asked. Raises
    StrettoError with the reason and the next command when there is no remote branch, or when the remote refuses.
    """
    upstream = git.upstream(branch)
    if upstream is None:
        raise StrettoError(
            f"{branch} follows no remote branch",
            object=branch,
            hint=f"git push --set-upstream origin {branch}",
            code="no_upstream",
        )
    remote, theirs = upstream
    tracking = f"refs/remotes/{remote}/{theirs}"
    try:
        seen = git.read_ref(tracking) or git.fetch(remote, theirs, timeout)
        if seen is not None and not git.is_ancestor(seen, new):
            raise Conflict(f"{remote}/{theirs} has commits that {branch} has not")
        git.push(remote, theirs, new, seen, timeout)
    except StrettoError as error:
        raise _refused(remote, theirs, branch, error.message, error.hint) from error
    return f"{remote}/{theirs}"


def _refused(remote: str, theirs: str, branch: str, why: str, hint: str | None = None) -> StrettoError:
    return StrettoError(
        f"the push of {branch} to {remote}/{theirs} was refused: {why}",
        object=f"{remote}/{theirs}",
        hint=hint or f"git fetch {remote}, then merge {remote}/{theirs} into {branch}, then answer retry",
        code="push_refused",
    )
