"""Where benchmarks play: a scratch folder with a person, a home of stretto, and repositories of a given size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parent.parent / "src"
STRETTO = (sys.executable, "-m", "stretto")
_LEAKS = ("GIT_", "STRETTO_", "XDG_")


@dataclass(frozen=True, slots=True)
class World:
    """One folder with a home of stretto in it, and the environment that leads there."""

    folder: Path
    env: Mapping[str, str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, *argv: str, cwd: Path | None = None, check: bool = True) -> str:
        """The output of a command; fails with what it said."""
        done = subprocess.run(
            argv, cwd=cwd or self.folder, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def git(self, repo: Path, *words: str) -> str:
        return self.run("git", *words, cwd=repo).strip()

    def stretto(self, repo: Path, *words: str, check: bool = True) -> dict[str, Any]:
        """The JSON that `stretto WORDS --json` prints."""
        text = self.run(*STRETTO, *words, "--json", cwd=repo, check=check).strip()
        found: dict[str, Any] = json.loads(text.splitlines()[-1]) if text else {}
        return found

    def events(self, repo: Path) -> list[dict[str, Any]]:
        lines = self.run(*STRETTO, "events", "--since", "0", "--json", cwd=repo).splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def repository(self, name: str, files: int) -> Path:
        """A repository with one commit of so many small files, fifty to a folder."""
        path = self.folder / name
        for number in range(files):
            place = path / f"d{number // 50:03}" / f"f{number:05}.txt"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"line of {number}\n" * 8)
        path.mkdir(exist_ok=True)
        (path / "README.md").write_text("# A repository\n")
        self.git(path, "init", "-q", "-b", "main")
        self.git(path, "add", "-A")
        self.git(path, "commit", "-q", "-m", "Start")
        return path


@contextmanager
def world() -> Iterator[World]:
    """A scratch world; its daemon is ended and its folder deleted afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="stb-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
    env = {name: value for name, value in os.environ.items() if not name.startswith(_LEAKS)}
    env |= {"HOME": str(folder), "STRETTO_HOME": str(folder / "home"), "PYTHONPATH": str(SOURCES), "LANG": "C.UTF-8"}
    env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"}
    # as an installation has it: modules are compiled once, whatever the caller's environment says of that
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    (folder / ".gitconfig").write_text("[user]\nname = Person\nemail = person@example.com\n[gc]\nauto = 0\n")
    os.environ.clear()
    os.environ.update(env)  # some benchmarks call into the package
    here = World(folder, env)
    try:
        yield here
    finally:
        if here.home.exists():
            here.run(*STRETTO, "down", "--all", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def plan(tasks: Mapping[str, str], check: str = "true") -> str:
    """A plan of independent tasks: id -> files."""
    blocks = [
        f"## {id}: Do {id}\nDo {id} in its own file.\nAccept: its file is there.\n- files: {files}\n"
        for id, files in tasks.items()
    ]
    return f"---\nchecks: [{json.dumps(check)}]\n---\n# A plan\n\n" + "\n".join(blocks)
