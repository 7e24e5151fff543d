"""The person's checkout, when it has the target out (DECISIONS 25).

Specification. Moving a branch that is checked out leaves that checkout's files behind: to git they look like changes
that take the landing back, and a `commit -a` there would do so. Therefore:
- Before the target moves, `refs/stretto/checkout/<branch>/shows` is set to the commit that the checkout shows, unless
  it is set already. It is the one record of how far behind the checkout is. `…/landed` is the last landing.
- A checkout that has no change in any path that moved since is in step again, whoever did it: the record is void.
- Only `follow` with `update` and `update` write to a checkout, and only by a fast-forward that git refuses if any file
  of the person's is in the way.
- A commit on top of a landing that gives paths back the content which the checkout showed is a revert made unawares:
  `would_revert` names it, and the queue freezes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from stretto.core.errors import StrettoError
from stretto.interfaces import Git

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout that has the target out. `shows`: the commit of its files; `behind`: landings etc. since then."""

    path: Path
    branch: str
    shows: str
    tip: str
    behind: int

    @property
    def sentence(self) -> str:
        """For every face; empty when it is up to date."""
        if self.behind == 0:
            return ""
        where = f"your checkout {self.path} is {self.behind} behind {self.branch}"
        return f"{where}; before you commit there: stretto update-checkout"


def holder(git: Git, branch: str) -> Path | None:
    """The worktree, main or linked, that has this branch out; the main one first."""
    return git.holder(branch)


def look(git: Git, branch: str) -> Checkout | None:
    """The checkout that has this branch out and how far it is behind; None if there is none."""
    path = holder(git, branch)
    tip = git.read_ref(f"refs/heads/{branch}")
    if path is None or tip is None:
        return None
    shows = git.read_ref(_shows(branch))
    if shows is None or _in_step(git, path, shows, tip):
        return Checkout(path, branch, tip, tip, 0)
    return Checkout(path, branch, shows, tip, git.count(shows, tip))


def mark(git: Git, branch: str, old: str) -> None:
    """Write down, before the branch leaves `old`, what the checkout shows; an earlier record that still holds stays."""
    path = holder(git, branch)
    if path is None:
        _forget(git, branch)
        return
    shows = git.read_ref(_shows(branch))
    if shows is not None and shows != old and _in_step(git, path, shows, old):
        git.delete_ref(_shows(branch), shows)
        shows = None
    if shows is None:
        git.update_ref(_shows(branch), old, None, "what the checkout shows")


def mark_landed(git: Git, branch: str, commit: str) -> None:
    """Write down the last landing while a checkout has the branch out."""
    if git.read_ref(_shows(branch)) is not None:
        git.update_ref(_landed(branch), commit, git.read_ref(_landed(branch)), "landed")


@dataclass(frozen=True, slots=True)
class Followed:
    """How a checkout came along. `note`: the sentence for the person; `checkout`: where it is now, if there is one."""

    note: str | None
    checkout: Checkout | None


def follow(git: Git, branch: str, old: str, new: str, choice: str) -> Followed:
    """After the branch moved from `old` to `new`: bring the checkout along (`choice` "update"), or say where it is.

    A checkout that cannot be brought along is a sentence, not an error.
    """
    if holder(git, branch) is None:
        return Followed(None, None)
    if git.read_ref(_shows(branch)) is None:
        git.update_ref(_shows(branch), old, None, "what the checkout shows")
    mark_landed(git, branch, new)
    if choice == "update":
        try:
            was = update(git, branch)
        except StrettoError as error:
            return Followed(f"your checkout could not be updated: {error.message}", look(git, branch))
        return Followed(None, replace(was, shows=was.tip, behind=0))
    found = look(git, branch)
    return Followed((found.sentence or None) if found else None, found)


def update(git: Git, branch: str) -> Checkout:
    """Fast-forward the checkout that has this branch out to its tip. Returns it as it was before.

    Raises StrettoError if no checkout has it out, or if files of the person are in the way; nothing has changed then.
    """
    found = look(git, branch)
    if found is None:
        raise StrettoError(f"no checkout has {branch} out", object=branch, code="no_checkout")
    if found.behind:
        if found.path != git.root:
            raise StrettoError(
                f"{branch} is out in {found.path}, which is not the main checkout",
                object=str(found.path),
                hint=f"git -C {found.path} switch --detach {found.shows[:12]} && git -C {found.path} switch {branch}",
                code="other_checkout",
            )
        git.fast_forward_checkout(branch, found.shows, found.tip)
    _forget(git, branch)
    return found


def settle(git: Git, branch: str) -> Checkout | None:
    """Look; drop the record of a checkout that is in step again, unless a commit that takes a landing back did that."""
    found = look(git, branch)
    if (found is None or found.behind == 0) and would_revert(git, branch) is None:
        _forget(git, branch)
    return found


def would_revert(git: Git, branch: str) -> str | None:
    """Why the queue must stop: somebody's commit takes back what landed. None if nobody's does."""
    shows, landed = git.read_ref(_shows(branch)), git.read_ref(_landed(branch))
    tip = git.read_ref(f"refs/heads/{branch}")
    if shows is None or landed is None or tip is None or tip == landed or not git.is_ancestor(landed, tip):
        return None
    still = git.changed_paths(shows, tip)
    back = sorted(path for path in git.changed_paths(shows, landed) if path not in still)
    if not back:
        return None
    more = f" and {len(back) - _NAMED} more" if len(back) > _NAMED else ""
    return (
        f"your checkout was behind when a commit was made on {branch}, which takes back what landed in "
        f"{', '.join(back[:_NAMED])}{more}. Bring it back with `git checkout {landed[:12]} -- {back[0]}"
        f"{' …' if back[1:] else ''}` and a commit; if it was meant, run `stretto update-checkout`; then answer retry"
    )


def _in_step(git: Git, path: Path, shows: str, tip: str) -> bool:
    """Whether the checkout shows the tip by now: a stale one differs from HEAD in every path that moved since.

    Its index alone says so of one that nobody has touched, at a fraction of the cost of a look at all files.
    """
    moved = git.changed_paths(shows, tip)
    if path == git.root and not moved.keys().isdisjoint(git.checkout_staged(tip)):
        return False
    changed = git.checkout_changes() if path == git.root else git.worktree_state(path).changed
    return not moved.keys() & set(changed)


def _shows(branch: str) -> str:
    return f"refs/stretto/checkout/{branch}/shows"


def _landed(branch: str) -> str:
    return f"refs/stretto/checkout/{branch}/landed"


def _forget(git: Git, branch: str) -> None:
    for ref in (_shows(branch), _landed(branch)):
        value = git.read_ref(ref)
        if value is not None:
            git.delete_ref(ref, value)
