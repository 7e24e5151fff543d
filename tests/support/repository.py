"""Build real git repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path


class Repository:
    """A git repository with a checkout on the branch `main`. Every method runs the real git."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, files: Mapping[str, str | bytes] | None = None, *, bare: bool = False) -> Repository:
        """Make a repository at `path`, with one commit of `files` (none: unborn branch)."""
        path.mkdir(parents=True, exist_ok=True)
        repository = cls(path)
        repository.git("init", "--quiet", "--initial-branch=main", *(["--bare"] if bare else []))
        if files:
            repository.commit("Start", files)
        return repository

    def git(self, *arguments: str, cwd: Path | None = None, input: str | None = None, check: bool = True) -> str:
        """Run git here (or in `cwd`) and return its output without the last newline; fails on a non-zero exit."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.path,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"git {' '.join(arguments)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout.removesuffix("\n")

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files into the checkout, parents included."""
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str, files: Mapping[str, str | bytes | None] | None = None) -> str:
        """Write `files` (None removes one), commit everything in the checkout and return the commit's id."""
        self.write({name: content for name, content in (files or {}).items() if content is not None})
        for name, content in (files or {}).items():
            if content is None:
                (self.path / name).unlink()
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.head

    @property
    def head(self) -> str:
        """The commit of HEAD."""
        return self.git("rev-parse", "HEAD")

    def oid(self, revision: str) -> str:
        """The commit that `revision` names."""
        return self.git("rev-parse", "--verify", f"{revision}^{{commit}}")

    def branch(self, name: str, start: str = "HEAD") -> str:
        """Make a branch without checking it out."""
        self.git("branch", "--no-track", name, start)
        return self.oid(name)

    def show(self, revision: str, path: str) -> str:
        """The text of a file in a commit."""
        return self.git("cat-file", "blob", f"{revision}:{path}")

    def files(self, revision: str = "HEAD") -> list[str]:
        """The paths of a commit."""
        return self.git("ls-tree", "-r", "--name-only", "-z", revision).rstrip("\0").split("\0")

    def subjects(self, revision: str = "HEAD", *, first_parent: bool = False) -> list[str]:
        """The subjects of the commits that lead to `revision`, newest first."""
        only = ["--first-parent"] if first_parent else []
        return self.git("log", "--format=%s", *only, revision).splitlines()

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """All refs below `prefix` with their commits."""
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)", prefix).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def status(self, cwd: Path | None = None) -> list[str]:
        """What `git status --porcelain` says of the checkout (or of the worktree at `cwd`)."""
        return self.git("status", "--porcelain", cwd=cwd).splitlines()
