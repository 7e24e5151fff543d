"""What all parts of this package share: one repository, its neutral directory and the person's settings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stretto import files
from stretto.core.errors import StrettoError
from stretto.git import neutral, run
from stretto.interfaces import Identity
from stretto.process import Completed

#: answers that are kept of one repository
_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Context:
    """One repository. `common` is its realpath and key, `root` the main checkout, `folder` our place in the home."""

    common: Path
    root: Path
    folder: Path
    object_format: str
    plain: run.Place
    #: when each shadow was last given the person's settings (monotonic seconds)
    refreshed: dict[Path, float] = field(default_factory=dict, compare=False, repr=False)
    #: what was found in the index of a worktree's user, by shadow: not asked again while that index is the same
    remembered: dict[tuple[Path, str], tuple[object, str]] = field(default_factory=dict, compare=False, repr=False)

    #: what git said of full object ids
    facts: dict[tuple[str, ...], str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def make(cls, common: Path, root: Path, object_format: str, home: Path) -> Context:
        """Open our place for a repository, made when it is missing."""
        folder = home / "repos" / hashlib.sha256(os.fsencode(common)).hexdigest()[:16]
        files.make_private_dir(folder)
        place = neutral.ensure(folder / "merge.git", common, object_format)
        return cls(common, root, folder, object_format, place)

    def git(
        self,
        *args: str,
        input: bytes | None = None,
        ok: tuple[int, ...] = (0,),
        extra: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Completed:
        """Run git in the neutral directory: refs and objects, no worktree."""
        return run.run(self.plain, *args, input=input, ok=ok, extra=extra, limit=limit)

    def settled(self, question: tuple[str, ...], ask: Callable[[], str]) -> str:
        """The answer to a question about full object ids, which stays the same: asked once. Others are asked anew.

        A shallow clone can be deepened, which changes what its commits contain: nothing is kept there.
        """
        if not all(map(run.is_oid, question[1:])) or (self.common / "shallow").exists():
            return ask()
        if question not in self.facts:
            if len(self.facts) >= _KEPT:
                self.facts.clear()
            self.facts[question] = ask()
        return self.facts.get(question) or ask()

    @property
    def real(self) -> run.Place:
        """The repository's own git directory, for the few commands that need its registrations."""
        return run.Place(self.common)

    @property
    def lock(self) -> Path:
        """The lock that all homes of this repository share (DECISIONS 6)."""
        return self.common / "stretto.lock"

    @property
    def zero(self) -> str:
        """The object id that means "none"."""
        return "0" * (40 if self.object_format == "sha1" else 64)

    def settings(self) -> dict[str, str]:
        """The configuration as the person's own git sees it; names in lower case, the last value wins."""
        return read_config(self.common).all()

    def identity(self) -> Identity | None:
        """Who commits here; None if neither the repository nor the person says."""
        config = self.settings()
        name, email = config.get("user.name", "").strip(), config.get("user.email", "").strip()
        return Identity(name, email) if name and email else None

    def require_identity(self) -> Identity:
        """The same, or StrettoError with the two commands that set it."""
        if (found := self.identity()) is not None:
            return found
        raise StrettoError(
            "git does not know who commits here",
            object=str(self.root),
            code="no_identity",
            hint='git config --global user.name "Your Name" && git config --global user.email you@example.com',
        )


@dataclass(frozen=True, slots=True)
class Config:
    """What `git config` says: (scope, name, value) in the order of precedence, the last one wins."""

    entries: tuple[tuple[str, str, str], ...]

    def all(self) -> dict[str, str]:
        """Every setting that counts."""
        return {name: value for _, name, value in self.entries}

    def of(self, *scopes: str) -> dict[str, str]:
        """Only what these scopes say: `system` and `global` are the person's, all else can be an agent's."""
        return {name: value for scope, name, value in self.entries if scope in scopes}


def read_config(git_dir: Path) -> Config:
    """What `git config` says at a git directory. Starts nothing."""
    done = run.run(
        run.Place(git_dir),
        *("config", "--list", "--includes", "--show-scope", "-z"),
        env=run.personal_environment(),
    )
    parts = run.fields(done.stdout)
    found: list[tuple[str, str, str]] = []
    for scope, entry in zip(parts[::2], parts[1::2], strict=True):
        name, _, value = entry.partition("\n")
        found.append((scope, name, value if "\n" in entry else "true"))
    return Config(tuple(found))
