"""The target as a branch of the local repository."""

from __future__ import annotations

from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.interfaces import Git
from stretto.landing import checkout


class LocalTarget:
    """Implements `interfaces.Target` for the branch `name`. Only `land` moves it, by compare-and-swap."""

    def __init__(self, git: Git, name: str) -> None:
        self.name = name
        self._git = git
        self._ref = f"refs/heads/{name}"

    def tip(self) -> str:
        """The commit that the branch points at. Raises StrettoError if there is no such branch."""
        found = self._git.read_ref(self._ref)
        if found is None:
            raise StrettoError(
                f"the target branch {self.name} does not exist (any more)",
                object=self.name,
                hint=f"git branch {self.name} COMMIT",
                code="target_missing",
            )
        return found

    def contains(self, commit: str) -> bool:
        """Whether this commit is in the history of the branch."""
        tip = self.tip()
        return tip == commit or self._git.is_ancestor(commit, tip)

    def land(self, candidate: str, old: str) -> None:
        """Move the branch from `old` to `candidate`. A branch that contains it already stays where it is.

        Raises Conflict when the tip is another; nothing has changed then. Before the move it is written down which
        commit the person's checkout shows, so that nobody takes its old content for the person's changes.
        """
        tip = self.tip()
        if tip == candidate or (tip != old and self._git.is_ancestor(candidate, tip)):
            return
        checkout.mark(self._git, self.name, old)
        failpoint("daemon.landing.swap.before")
        self._git.update_ref(self._ref, candidate, old, f"land {candidate[:12]}")
        failpoint("daemon.landing.swap.after")
        checkout.mark_landed(self._git, self.name, candidate)
