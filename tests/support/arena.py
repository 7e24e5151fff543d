"""A machine in small with one task in it and everything that the task must not touch, for attacks on its sandbox.

What was reached shows in two ways: something secret (`SECRET`) was printed, or what `fingerprint` tells has changed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto.git.context import Context
from stretto.git.repository import Repository
from stretto.workspace import sandbox
from stretto.workspace.sandbox import places
from stretto.workspace.sandbox.recipe import POINTERS, ClonePlaces, GitPlaces, Recipe
from stretto.workspace.sandbox.wrap import LAUNCH
from tests.support.unprivileged import NOBODY

#: a Python that everybody may start
PYTHON = "/usr/bin/python3"
SECRET = "s3cret-" + secrets.token_hex(8)
MINE, VICTIM = "stretto/run/mine/work", "stretto/run/victim/work"
GIT_ENV = {
    "PATH": "/usr/bin:/bin",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


class Arena:
    """`user`: None for the user of the tests, else a uid that everything is given to and started as.

    `clone`: the task has a clone of its own, else a part of the repository.
    """

    def __init__(self, folder: Path, user: int | None = None, *, clone: bool = False) -> None:
        self.folder, self.user = folder, user
        self.clone: Path | None = None
        self._with_clone = clone
        self.person = folder / "person"
        self.root, self.common = folder / "repo", folder / "repo" / ".git"
        self.bays = folder / "repo.worktrees"
        self.mine, self.victim = self.bays / "01", self.bays / "02"
        self.home = folder / "h"
        self.heard: list[str] = []
        self._kept, self._launch = Path(f"{folder}.kept"), Path(f"{folder}.launch")
        self._sockets: list[socket.socket] = []
        self.env = {**GIT_ENV, "HOME": str(self.person)}
        self._build()
        self.tcp = self._listen("tcp", socket.AF_INET, ("127.0.0.1", 0)).getsockname()[1]
        self.tcp6 = self._listen("tcp6", socket.AF_INET6, ("::1", 0)).getsockname()[1]
        self.abstract = f"stretto-{secrets.token_hex(6)}"
        self._listen("abstract", socket.AF_UNIX, f"\0{self.abstract}")
        self._listen("daemon", socket.AF_UNIX, str(self.home / "daemon.sock"))
        self._listen("session", socket.AF_UNIX, str(self.home / "sessions" / "other" / "agent.sock"))
        self._listen("database", socket.AF_UNIX, str(folder / "pg.sock"))
        self.udp = self._udp()
        self.give_away()
        self.process = self._victim()
        self.before = self.fingerprint()

    def _victim(self) -> subprocess.Popen[bytes]:
        words = [*self._as_user(), "/bin/sleep", "3600"]
        return subprocess.Popen(words, env={"VICTIM": SECRET}, start_new_session=True)

    def keep(self) -> None:
        """Remember the files as they are, for `restore`."""
        shutil.copytree(
            self.folder, self._kept, symlinks=True, ignore=lambda _, names: {n for n in names if ".sock" in n}
        )

    def restore(self) -> None:
        """Make everything as it was when it was kept; sockets stay."""
        if self.process.poll() is not None:
            self.process.wait()
            self.process = self._victim()
        self.heard.clear()
        kept = {path.name for path in self._kept.iterdir()}
        for path in self.folder.iterdir():
            if path.is_dir() and path.name != "h":
                shutil.rmtree(path)
            elif path.name not in kept and ".sock" not in path.name:
                path.unlink()
        for link in [path for path in self.home.rglob("*") if path.is_symlink()]:
            link.unlink()  # one that is there cannot be copied over
        if self.clone is not None:
            shutil.rmtree(self.clone.parent.parent)
        shutil.copytree(self._kept, self.folder, symlinks=True, dirs_exist_ok=True)
        assert self.fingerprint() == self.before

    # ---- what is there

    def _build(self) -> None:
        self.folder.chmod(0o755)
        for path in (".ssh/id_rsa", ".netrc", ".config/gh/hosts.yml", ".bash_history"):
            self._write(self.person / path, f"{SECRET}\n")
        for path in ("token", "stretto.db", "sessions/other/spec.json", "sessions/mine/spec.json", "daemon.json"):
            self._write(self.home / path, f"{SECRET}\n")
        self._write(self.folder / "elsewhere.txt", f"{SECRET}\n")
        for part in LAUNCH.parent.glob("launch*.py"):  # our sources may lie where this user cannot look
            self._launch.mkdir(exist_ok=True)
            shutil.copy(part, self._launch)
        self.git("init", "-q", "-b", "main", str(self.root), cwd=self.folder)
        self._write(self.root / "README.md", "hello\n")
        self._write(self.root / "both.txt", "one\n")
        self.git("add", "-A")
        self.git("commit", "-qm", "first")
        self.git("commit", "-q", "--allow-empty", "-m", "second")
        self.git("tag", "v1")
        self.git("update-ref", "refs/stretto/keep/run/mine/head", "HEAD")
        self.git("config", "extensions.worktreeConfig", "true")
        for bay, branch in ((self.mine, MINE), (self.victim, VICTIM)):
            self.git("worktree", "add", "-q", "--lock", "-b", branch, str(bay), "main")
            self._write(
                bay / "secret.txt" if bay == self.victim else bay / "own.txt", f"{SECRET}\n" * (bay == self.victim)
            )
        self.git("repack", "-adq")
        self._write(self.root / "uncommitted.txt", f"{SECRET}\n")
        self._write(self.common / "hooks" / "post-checkout.sample", "#!/bin/sh\n")
        self._write(self.common / "info" / "exclude", "*.ignored\n")
        system, links = places.system()
        self.recipe = Recipe(str(self.mine), str(self.person), git=self._git_places(), system=system, links=links)
        self._write(self.common / "stretto.lock", SECRET)

    def _git_places(self) -> GitPlaces | ClonePlaces:
        if not self._with_clone:
            own = f"refs/heads/{MINE.removesuffix('/work')}"
            return places.worktree(self.common, self.common / "worktrees" / "01", [own])
        repository = self.repository()
        repository.make_clone(self.mine, MINE, "run-abcd/mine")
        made = repository.clone(self.mine)
        assert made is not None
        self.clone = made.git_dir
        return places.clone(self.common, made.git_dir, made.pointer)

    def repository(self) -> Repository:
        """The repository as the daemon has it."""
        return Repository(Context.make(self.common, self.root, "sha1", self.home), self.common, self.root)

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def take_back(self) -> None:
        """Everything belongs to us again, so that we can look at it as the daemon does."""
        for each in (self.folder, *self.folder.rglob("*")):
            os.chown(each, os.geteuid(), os.getegid(), follow_symlinks=False)

    def give_away(self) -> None:
        """Everything belongs to the arena's user."""
        if self.user is not None:
            for each in (self.folder, *self.folder.rglob("*")):
                os.chown(each, self.user, self.user, follow_symlinks=False)

    def _listen(self, name: str, family: int, address: Any) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.bind(address)
        sock.listen(8)
        self._sockets.append(sock)

        def serve() -> None:
            while True:
                try:
                    client, _ = sock.accept()
                except OSError:
                    return
                self.heard.append(name)
                with client:
                    client.sendall(SECRET.encode())

        threading.Thread(target=serve, daemon=True).start()
        return sock

    def _udp(self) -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        self._sockets.append(sock)
        port: int = sock.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    sock.recv(100)
                except OSError:
                    return
                self.heard.append("udp")

        threading.Thread(target=serve, daemon=True).start()
        return port

    # ---- what is done

    def git(self, *words: str, cwd: Path | None = None) -> str:
        """Git as its user has it, outside."""
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *words],
            cwd=cwd or self.root,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def variables(self) -> dict[str, str]:
        """Where everything is: more than an attacker would know."""
        places = {
            "WT": self.mine,
            "ROOT": self.root,
            "C": self.common,
            "ADMIN": self.common / "worktrees" / "01",
            "VICTIM": self.victim,
            "VICTIM_ADMIN": self.common / "worktrees" / "02",
            "PERSON": self.person,
            "STRETTO": self.home,
            "FOLDER": self.folder,
            "G": self.clone or self.folder,
        }
        numbers = {"PID": self.process.pid, "TCP": self.tcp, "TCP6": self.tcp6, "UDP": self.udp}
        return {k: str(v) for k, v in (places | numbers).items()} | {"ABSTRACT": self.abstract}

    def words(self, recipe: Recipe | None = None) -> list[str]:
        """What stands before a command that runs in the sandbox, as the arena's user."""
        found = sandbox.wrapper(recipe or self.recipe, sandbox.require(), PYTHON)
        own = self._launch / LAUNCH.name
        return [*self._as_user(), *(str(own) if word == str(LAUNCH) else word for word in found)]

    def inside(
        self, script: str, *, recipe: Recipe | None = None, env: Mapping[str, str] | None = None, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the sandbox."""
        recipe = recipe or self.recipe
        full = sandbox.environment(recipe, {**self.env, **self.variables(), **(env or {})})
        return self._run([*self.words(recipe), "/bin/sh", "-c", script], full, timeout)

    def bare(self, script: str) -> subprocess.CompletedProcess[str]:
        """The same without the sandbox."""
        return self._run([*self._as_user(), "/bin/sh", "-c", script], {**self.env, **self.variables()}, 30.0)

    def start(self, script: str, recipe: Recipe | None = None, **env: str) -> subprocess.Popen[str]:
        """Start a shell script in the sandbox."""
        recipe = recipe or self.recipe
        full = sandbox.environment(recipe, {**self.env, **self.variables(), **env})
        words = [*self.words(recipe), "/bin/sh", "-c", script]
        return subprocess.Popen(
            words,
            cwd=self.mine,
            env=full,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _run(self, words: Sequence[str], env: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=self.mine, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout, check=False, errors="replace",
        )  # fmt: skip

    def _as_user(self) -> list[str]:
        if self.user is None:
            return []
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--inh-caps=-all", "--"]

    def with_(self, **changes: Any) -> Recipe:
        """The recipe with other values."""
        return replace(self.recipe, **changes)

    # ---- what came of it

    def fingerprint(self) -> dict[str, Any]:
        """Everything that the task must not change."""
        found: dict[str, Any] = {"process": self.process.poll() if hasattr(self, "process") else None}
        for path in [self.folder, *sorted(self.folder.rglob("*"))]:
            if not self._may_change(path):
                found[str(path)] = _facts(path)
        found["heard"] = sorted(self.heard)
        found["system"] = [os.path.lexists(f"/{top}/stretto-was-here") for top in ("usr", "etc", "tmp", "var", "")]
        return found

    def _may_change(self, path: Path) -> bool:
        """What the task is there to write: its files, index and branches, new objects."""
        own: dict[Path, tuple[str, ...]] = {self.mine: (".git",)}
        if self.clone is None:
            own[self.common / "worktrees" / "01"] = POINTERS
        elif path.is_relative_to(self.clone / "objects"):
            return path != self.clone / "objects" and path != self.clone / "objects/info/alternates"
        else:
            own[self.clone] = ("config", "hooks")
        for top, fixed in own.items():
            if path.is_relative_to(top) and path != top:
                return path.relative_to(top).parts[0] not in fixed
        if self.clone is not None:
            return False
        free = [self.common / top / "refs/heads/stretto/run/mine" for top in ("", "logs")]
        free += [self.common / "objects" / f"{n:02x}" for n in range(256)]
        return any(path.is_relative_to(top) for top in free if path != top or top.parent.name == "objects")

    def reached(self, done: subprocess.CompletedProcess[str]) -> list[str]:
        """How an attack succeeded; empty if it did not."""
        after = self.fingerprint()
        changed = [name for name in self.before.keys() | after.keys() if self.before.get(name) != after.get(name)]
        return sorted(changed) + [SECRET] * (SECRET in done.stdout + done.stderr)

    def close(self) -> None:
        """End what it started."""
        for sock in self._sockets:
            sock.close()
        self.process.kill()
        self.process.wait()
        for folder in (self.folder, self._kept, self._launch):
            shutil.rmtree(folder, ignore_errors=True)


def _facts(path: Path) -> Any:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        return oct(status.st_mode), hashlib.sha256(path.read_bytes()).hexdigest()
    return oct(status.st_mode), str(path.readlink()) if kind == stat.S_IFLNK else None


def users() -> list[int | None]:
    """As whom the attacks run: as we are, and, if that is root, as a user without rights, too."""
    return [None, NOBODY] if os.geteuid() == 0 else [None]
