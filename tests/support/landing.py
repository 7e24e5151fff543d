"""What the tests of landing build: a repository with branches of tasks, and entries for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from stretto.core.model import Entry, Kind, QueueState, Task
from stretto.git.repository import Repository as RealGit
from stretto.interfaces import Git
from stretto.landing import candidate
from stretto.landing.target import LocalTarget
from tests.support.repository import Repository

FILES: dict[str, str | bytes] = {f"f{number}.txt": f"line {number}\n" * 5 for number in range(4)}


class Yard:
    """A repository whose `main` is out in the person's checkout, and branches made in a worktree beside it."""

    def __init__(self, repo: Repository, home: Path) -> None:
        home.mkdir(mode=0o700, exist_ok=True)
        self.repo = repo
        self.home = home
        self.git = cast("Git", RealGit.open(repo.path, home))
        self.target = LocalTarget(self.git, "main")
        self._number = 0

    def branch(self, id: str, files: dict[str, str | bytes | None], base: str = "main") -> str:
        """Commit on a new branch `task/<id>` from `base`, without touching the person's checkout."""
        place = self.repo.path.parent / f"work-{id}"
        self.repo.git("worktree", "add", "-q", "--no-track", "-b", f"task/{id}", str(place), base)
        return Repository(place).commit(f"Work on {id}", files)

    def task(self, id: str, title: str = "A title") -> Task:
        return Task(
            uid=f"plan-abcd/{id}",
            run="plan-abcd",
            repo=str(self.git.common),
            id=id,
            position=1,
            title=title,
            spec="",
            accept="",
            kind=Kind.FEATURE,
            role="implementer",
            needs=(),
            files=(),
            tables=(),
            priority=0,
            lands=True,
            fields={},
            created_at=0.0,
        )

    def entry(self, id: str, head: str, **values: Any) -> Entry:
        self._number += 1
        return Entry(
            id=self._number,
            task=f"plan-abcd/{id}",
            repo=str(self.git.common),
            target="main",
            head=head,
            patch="sha256:x",
            state=QueueState.TESTING,
            reason="",
            enqueued_at=values.pop("enqueued_at", 1_700_000_000.5),
            updated_at=0.0,
            **values,
        )

    def built(self, id: str, head: str) -> Entry:
        """An entry with its candidate on the present tip."""
        tip = self.target.tip()
        made = candidate.build(self.git, tip, self.entry(id, head), self.task(id))
        assert made.commit is not None, made.messages
        return self.entry(id, head, old=tip, candidate=made.commit, tree=made.tree)

    def land(self, id: str, files: dict[str, str | bytes | None], base: str = "main") -> Entry:
        """Land a task that makes these changes."""
        entry = self.built(id, self.branch(id, files, base))
        self.target.land(str(entry.candidate), str(entry.old))
        return entry
