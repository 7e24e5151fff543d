"""What a run needs of a repository, looked at before the first row is written. Changes nothing."""

from __future__ import annotations

import os
import shlex

from stretto.core.errors import StrettoError
from stretto.git import refs
from stretto.git.context import Context

#: folders of the git directory in which a landing makes files
_WRITTEN = (".", "objects", "refs", "refs/heads")


def require_writable(context: Context) -> None:
    """Raise StrettoError (`not_writable`) if we cannot make objects, refs and registrations of worktrees."""
    for name in _WRITTEN:
        folder = context.common / name
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise StrettoError(
                f"the repository cannot be written: {folder} is closed to you",
                object=str(context.common),
                code="not_writable",
                hint=f"chmod -R u+w {shlex.quote(str(context.common))}, or clone it to a place of your own",
            )


def require_room(context: Context, prefix: str) -> None:
    """Raise StrettoError (`branch_in_the_way`) if a branch of the person keeps all branches below `prefix` away."""
    ref = f"refs/heads/{prefix}/"
    blocker = refs.in_the_way(context, ref)
    if blocker is not None and not blocker.startswith(ref):
        raise refs.blocked(f"a branch in {prefix}/", blocker)
