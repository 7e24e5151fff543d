"""Which packages a worktree wants: its lock files, and the key under which equal packages are equal.

Specification.
- Looked at are the root and the folders directly in it, or exactly the folders that the configuration names. In one
  folder each place for packages has one manager: the first of `MANAGERS` whose lock file is there.
- The key covers the lock files, what else decides what is installed (of `package.json` only the parts that do), the
  platform and the programs that packages are built for. Equal keys: the same packages fit.
- Files are read without following links: an agent may have put them there.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stretto.core.errors import StrettoError
from stretto.workspace.dependencies.managers import BERRY, BERRY_MARK, MANAGERS, TREE, Manager

#: the parts of a package.json that decide what is installed and what runs meanwhile
_PARTS = (
    "name", "version", "bin", "dependencies", "devDependencies", "optionalDependencies", "peerDependencies",
    "peerDependenciesMeta", "dependenciesMeta", "resolutions", "workspaces", "bundleDependencies",
    "bundledDependencies", "overrides", "pnpm", "packageManager", "trustedDependencies", "patchedDependencies",
)  # fmt: skip
_SCRIPTS = ("preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare", "prepublish")
_SKIPPED = frozenset({".git", "node_modules", ".venv", "vendor", ".stretto"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The packages of one folder. `folder`: relative, empty for the root. `locks`: its lock files that are there."""

    folder: str
    manager: Manager
    locks: tuple[str, ...]
    key: str
    berry: bool = False

    @property
    def place(self) -> str:
        """Where the packages lie, relative to the worktree; empty for what lies in the user's cache."""
        return f"{self.folder}/{self.manager.folder}".lstrip("/") if self.manager.folder else ""

    @property
    def name(self) -> str:
        """What they are called in records: `npm`, or `npm in web`."""
        return f"{self.manager.name} in {self.folder}" if self.folder else self.manager.name

    def commands(self, env: Mapping[str, str], online: bool) -> list[tuple[str, str]]:
        """Rung and text of the commands that install them, the first that passes suffices; to be run in the worktree.

        Raises StrettoError when the program is missing.
        """
        manager = self.manager
        if shutil.which(manager.program, path=env.get("PATH")) is None:
            raise StrettoError(
                f"{self.folder or 'the repository'} has {self.locks[0]}, and {manager.program} is not on the PATH",
                object=manager.program,
                code="dependencies",
                hint=f"install {manager.program}, or take its folder out of [workspace] dependencies",
            )
        offline, lasting = BERRY if self.berry else (manager.offline, manager.online)
        found = [("offline", offline)] if offline else []
        if online or not found:
            found.append(("online", lasting))
        if not online and not offline:
            raise StrettoError(
                f"{manager.name} cannot be kept from the network, and [workspace] dependencies says offline",
                object=manager.name,
                code="dependencies",
                hint="set dependencies = true, or name folders of other managers",
            )
        enter = f"cd {shlex.quote(self.folder)} && " if self.folder else ""
        words = " ".join(f"-r {shlex.quote(lock)}" for lock in self.locks)
        return [(rung, enter + text.replace("{requirements}", words)) for rung, text in found]


def recognise(tree: Path, folders: Sequence[str] | None, env: Mapping[str, str]) -> list[Wanted]:
    """What the worktree at `tree` wants, by folders. Raises StrettoError for a named folder that is not there."""
    found: list[Wanted] = []
    for folder in _folders(tree, folders):
        taken: set[str] = set()
        for manager in MANAGERS:
            locks = tuple(name for name in manager.locks if _is_file(tree / folder / name))
            if not locks or manager.folder in taken:
                continue
            if manager.folder:
                taken.add(manager.folder)
            berry = manager.name == "yarn" and BERRY_MARK in _read(tree / folder / locks[0])
            found.append(Wanted(folder, manager, locks, key_of(tree, folder, manager, locks, env), berry))
    return found


def _folders(tree: Path, named: Sequence[str] | None) -> Iterator[str]:
    if named is None:
        yield ""
        with os.scandir(tree) as entries:
            inside = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        yield from (name for name in inside if name not in _SKIPPED)
        return
    for name in named:
        folder = "" if name.strip("/") in ("", ".") else name.strip("/")
        path = tree / folder
        if not path.is_dir() or os.path.realpath(path) != os.path.join(os.path.realpath(tree), folder).rstrip("/"):  # noqa: PTH118
            raise StrettoError(
                f"[workspace] dependencies names {name}, which is no folder of the repository",
                object=name,
                code="dependencies",
                hint="name folders that hold lock files, or set dependencies = true",
            )
        yield folder


def key_of(tree: Path, folder: str, manager: Manager, locks: Sequence[str], env: Mapping[str, str]) -> str:
    """The key of what these lock files name: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    system = (sys.platform, platform.machine(), *platform.libc_ver())
    for text in (manager.name, *system, _program(manager.runtime, env), _program(manager.program, env)):
        digest.update(os.fsencode(text) + b"\0")
    for name in sorted({*locks, *manager.manifests}):
        digest.update(name.encode() + b"\0" + _said(tree / folder / name))
    if manager.kind == TREE:
        for path in _packages(tree / folder):
            digest.update(os.fsencode(path.relative_to(tree)) + b"\0" + _said(path))
    return digest.hexdigest()[:32]


def _program(name: str, env: Mapping[str, str]) -> str:
    """Which program it is: another version is another file."""
    path = shutil.which(name, path=env.get("PATH"))
    if path is None:
        return f"no {name}"
    real = os.path.realpath(path)
    status = os.stat(real)  # noqa: PTH116 - of a name, as which() gives it
    return f"{real} {status.st_size} {status.st_mtime_ns}"


def _packages(root: Path) -> Iterator[Path]:
    """The package.json files of packages that lie inside of the repository."""
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
        for entry in inside:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED:
                    folders.append(Path(entry.path))
            elif entry.name == "package.json":
                yield Path(entry.path)


def _said(path: Path) -> bytes:
    """What a file says of packages."""
    data = _read(path)
    if path.name != "package.json":
        return hashlib.sha256(data).digest()
    try:
        package = json.loads(data or b"{}")
        kept = {name: package[name] for name in _PARTS if name in package}
        scripts = package.get("scripts") or {}
        kept["scripts"] = {name: scripts[name] for name in _SCRIPTS if name in scripts}
        data = json.dumps(kept, sort_keys=True).encode()
    except (ValueError, TypeError, AttributeError):
        pass  # nobody can install from this: it counts as it is
    return hashlib.sha256(data).digest()


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _read(path: Path) -> bytes:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return file.read()
    except OSError:
        return b""
