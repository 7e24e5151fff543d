"""Copy the data directory of a PostgreSQL server that does not run: blocks shared where the file system can do that."""

from __future__ import annotations

import os
from pathlib import Path

from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.workspace import clone

#: what a server writes about itself while it runs
_OWN = ("postmaster.pid", "postmaster.opts")


def copy_data(source: Path, target: Path, owner: int | None) -> None:
    """Fill the empty folder `target`, whose files belong to `owner` then (None: to us). Nothing is followed.

    Raises StrettoError (`database_failed`) for a link in it: tablespaces lie elsewhere and would be shared.
    """
    for folder, names, found in os.walk(source):
        here = target / Path(folder).relative_to(source)
        for name in names:
            if Path(folder, name).is_symlink():
                raise _linked(Path(folder, name))
            (here / name).mkdir(mode=0o700)
            _own(here / name, owner)
        for name in found:
            if folder != str(source) or name not in _OWN:
                _copy(Path(folder, name), here / name, owner)
    failpoint("daemon.database.copy")


def _copy(source: Path, target: Path, owner: int | None) -> None:
    if source.is_symlink():
        raise _linked(source)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with source.open("rb") as old, os.fdopen(os.open(target, flags, 0o600), "wb") as new:
        if owner is not None:
            os.fchown(new.fileno(), owner, -1)
        clone.copy(old, new)


def _own(path: Path, owner: int | None) -> None:
    if owner is not None:
        os.chown(path, owner, -1, follow_symlinks=False)


def _linked(path: Path) -> StrettoError:
    return StrettoError(
        f"{path} leads out of the database's folder: it cannot be copied",
        object=str(path),
        code="database_failed",
        hint="take the tablespace out of the database",
    )
