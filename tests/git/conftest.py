"""Real repositories, each with a person of its own and nothing of the machine's configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stretto.git.repository import Repository


@dataclass
class Person:
    """A person at a repository, who uses git as people do."""

    path: Path
    home: Path

    def git(self, *args: str, cwd: Path | None = None, ok: bool = True, input: bytes | None = None) -> str:
        done = subprocess.run(["git", *args], cwd=cwd or self.path, capture_output=True, input=input, check=False)
        assert done.returncode == 0 or not ok, done.stderr.decode()
        return os.fsdecode(done.stdout).rstrip("\n")

    def write(self, name: str, content: str | bytes, cwd: Path | None = None) -> Path:
        path = (cwd or self.path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def commit(self, message: str = "change", cwd: Path | None = None, **files: str | bytes) -> str:
        """Write files (`__` in a name is `/`, a leading `dot_` is `.`), commit all, return the commit."""
        for name, content in files.items():
            self.write(name.replace("dot_", ".").replace("__", "/"), content, cwd)
        self.git("add", "-A", cwd=cwd)
        self.git("commit", "-q", "--allow-empty", "-m", message, cwd=cwd)
        return self.git("rev-parse", "HEAD", cwd=cwd)

    def killed(self, point: str, code: str, *words: object) -> None:
        """Run code with our repository as `r` in a process that dies at a fail point."""
        start = (
            "import sys; from pathlib import Path; from stretto.git.repository import Repository\n"
            "words = sys.argv[3:]; r = Repository.open(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        )
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "STRETTO_TESTING": "1",
            "STRETTO_FAILPOINT": f"{point}=kill",
        }
        arguments = [str(word) for word in (self.path, self.home, *words)]
        done = subprocess.run([sys.executable, "-c", start + code, *arguments], env=env, check=False)
        assert done.returncode == -9, point

    def open(self) -> Repository:
        return Repository.open(self.path, self.home)


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's home: an empty folder with a `.gitconfig` that knows their name."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("GIT_") or name == "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (home / ".gitconfig").write_text("[user]\n\tname = Pat\n\temail = pat@example.com\n")
    return home


@pytest.fixture
def make_person(tmp_path: Path) -> Callable[..., Person]:
    def make(name: str = "repo", *init: str) -> Person:
        path = tmp_path / name
        subprocess.run(["git", "init", "-q", "-b", "main", *init, str(path)], check=True)
        return Person(path, tmp_path / "state")

    return make


@pytest.fixture
def person(make_person: Callable[..., Person]) -> Person:
    """A person with a repository of one commit."""
    person = make_person()
    person.commit("first", file="".join(f"line {n}\n" for n in range(1, 31)))
    return person


@pytest.fixture
def repository(person: Person) -> Repository:
    return person.open()
