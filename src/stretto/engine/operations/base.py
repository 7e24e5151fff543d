"""One base, resolved once: which commit a run starts from, how old it is, and what it does not hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from stretto.core import names
from stretto.core.errors import StrettoError
from stretto.git.repository import Repository

#: seconds that a fetch may take
FETCH_TIMEOUT = 20.0


def branch_of_checkout(git: Repository) -> str:
    """The branch of the main checkout. Raises StrettoError for a detached one: then it must be named."""
    branch = git.current_branch()
    if branch is None:
        raise StrettoError(
            "the main checkout is on no branch (detached HEAD), so base and target must be named",
            code="detached",
            object=str(git.root),
            hint="stretto run PLAN.md --target main",
        )
    return branch


def require_target(git: Repository, target: str) -> str:
    """The commit of the target branch."""
    if not names.is_branch(target):
        raise StrettoError(f"{target!r} is not a branch name", code="bad_target", object=target, hint="git branch")
    tip = git.read_ref(f"refs/heads/{target}")
    if tip is None:
        raise StrettoError(
            f"there is no branch {target} to land on",
            code="no_target",
            object=target,
            hint=f"git branch {target}, or name another with --target",
        )
    return tip


def require_base(git: Repository, base: str) -> str:
    """The commit that tasks start from."""
    commit = git.resolve(base)
    if commit is None:
        raise StrettoError(
            f"the base {base!r} is not a commit of this repository",
            code="no_base",
            object=base,
            hint="git log --oneline -5",
        )
    return commit


def describe(git: Repository, base: str, commit: str, target: str, *, fetch: bool) -> dict[str, Any]:
    """What the person should know of the base. Raises StrettoError when the target has diverged from its remote."""
    about: dict[str, Any] = {
        "name": base,
        "commit": commit,
        "age_s": round(max(0.0, time.time() - git.commit_time(commit)), 1),
        "target": target,
        "uncommitted": len(git.checkout_changes()),
        "remote": None,
        "behind": None,
        "ahead": None,
        "fetched": False,
    }
    upstream = git.upstream(target)
    if upstream is not None:
        about |= _against_remote(git, upstream, target, fetch)
    return about


def _against_remote(git: Repository, upstream: tuple[str, str], target: str, fetch: bool) -> dict[str, Any]:
    remote, branch = upstream
    about: dict[str, Any] = {"remote": f"{remote}/{branch}"}
    theirs: str | None = None
    if fetch:
        try:
            theirs = git.fetch(remote, branch, FETCH_TIMEOUT)
            about["fetched"] = True
        except StrettoError as error:
            about["fetch_error"] = error.message
    theirs = theirs or git.resolve(f"refs/remotes/{remote}/{branch}")
    ours = git.read_ref(f"refs/heads/{target}")
    if theirs is None or ours is None:
        return about
    base = git.merge_base(ours, theirs)
    about["behind"] = git.count(base, theirs) if base else None
    about["ahead"] = git.count(base, ours) if base else None
    if base is None or (about["behind"] and about["ahead"]):
        raise StrettoError(
            f"{target} has diverged from {remote}/{branch}: {about['ahead']} commits here, {about['behind']} there",
            code="diverged",
            object=target,
            hint=f"git rebase {remote}/{branch} {target} (or merge), then run again",
            details=about,
        )
    return about


def notices(about: Mapping[str, Any]) -> list[str]:
    """The facts about the base that deserve a line of their own."""
    lines = []
    if about.get("behind"):
        lines.append(f"{about['target']} is {about['behind']} commits behind {about['remote']}")
    if about.get("fetch_error"):
        lines.append(f"{about['remote']} could not be fetched: {about['fetch_error']}")
    if about["uncommitted"]:
        one = about["uncommitted"] == 1
        which = (
            "1 uncommitted file of your checkout is"
            if one
            else f"{about['uncommitted']} uncommitted files of your checkout are"
        )
        lines.append(f"{which} not in the base")
    return lines
