"""Objects of a clone (see clone.py): looked over, and brought into the repository by a fetch that checks them.

Specification.
- Before git reads them, all that lies in the clone's folder of objects is looked over without following a link. It must
  be folders and plain files, and borrow from our repository only: through a link the fetch would read what the clone's
  user may not, and at a pipe it would wait. What is found is refused, not taken away.
- A fetch ends within `WITHIN`, whatever the other does meanwhile, since others wait for its lock.

Accepted: what is exchanged between the look and the end of the fetch is not seen. See ADR 22.
"""

from __future__ import annotations

import os

from stretto.core.errors import GitFailed, StrettoError, TimedOut
from stretto.failpoints import failpoint
from stretto.git import foreign, run
from stretto.git.clone_sides import Clone
from stretto.git.context import Context

#: bytes of objects that a clone may have of its own for them to be fetched; seconds that this may take
MOST, WITHIN = 2 << 30, 120.0
#: the file that says from where a clone borrows
ALTERNATES = "objects/info/alternates"


def alternates(context: Context) -> bytes:
    """What it says."""
    return os.fsencode(context.common / "objects") + b"\n"


def missing(context: Context, oids: list[str]) -> list[str]:
    """Those that the repository has not."""
    there = {oid for oid, _ in _present(context.plain, oids)}
    return [oid for oid in oids if oid not in there]


def commits(context: Context, clone: Clone, oids: list[str]) -> list[str]:
    """Those that are commits, as the clone has them. Raises StrettoError (`harvest_refused`, `clone_too_large`)."""
    look_over(context, clone)
    return [oid for oid, kind in _present(run.Place(clone.folder / "look.git"), oids) if kind == "commit"]


def _present(place: run.Place, oids: list[str]) -> list[tuple[str, str]]:
    if not oids:
        return []
    done = run.run(place, "cat-file", "--batch-check", input="".join(f"{oid}\n" for oid in oids).encode())
    lines = run.text(done).splitlines()
    return [(oid, line.split()[1]) for oid, line in zip(oids, lines, strict=True) if not line.endswith(" missing")]


def look_over(context: Context, clone: Clone) -> None:
    """Raises StrettoError for objects that git must not read (`harvest_refused`) or too many (`clone_too_large`)."""
    try:
        size = foreign.size(clone.git_dir, "objects")
    except OSError as error:
        raise refused(clone, f"{error.strerror} ({error.filename})") from error
    borrowed = foreign.read(clone.git_dir, ALTERNATES, 4096 + len(alternates(context)))
    if borrowed is None or borrowed[0] != alternates(context):
        raise refused(clone, f"it borrows from elsewhere ({ALTERNATES})")
    if size > MOST:
        raise StrettoError(
            f"the clone in {clone.folder} holds {size >> 20} MiB of objects of its own, more than {MOST >> 20}",
            object=str(clone.folder),
            code="clone_too_large",
            hint="let its agent take large files out of its commits: stretto send TASK TEXT",
        )


def fetch(context: Context, clone: Clone, oids: list[str]) -> None:
    """Have these and all that they need. Raises StrettoError (`harvest_refused`, `clone_too_large`)."""
    if not oids:
        return
    look_over(context, clone)
    options = ("--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules", "--quiet")
    failpoint("daemon.git.clone.fetch.before")
    try:
        run.run(
            context.plain,
            *("fetch", *options, "--", str(clone.folder / "look.git"), *oids),
            env=run.environment({"fetch.fsckObjects": "true"}),
            timeout=WITHIN,
        )
    except (GitFailed, TimedOut) as error:
        raise refused(clone, error.message) from error
    failpoint("daemon.git.clone.fetch.after")


def refused(clone: Clone, why: str) -> StrettoError:
    """The refusal of what a clone holds."""
    return StrettoError(
        f"what the clone in {clone.folder} holds cannot be taken over: {why}",
        object=str(clone.folder),
        code="harvest_refused",
        hint="stretto logs TASK; all files are kept: stretto snapshots TASK",
    )
