"""A look at this machine: what a recipe may name. Reads, and makes what must be there to be mounted; starts nothing.

Specification. Nothing that is named here comes from a file that an agent can write: program, PATH and folders are those
of the person and of the trusted configuration. A folder that is, or holds, the home folder or stretto's own is never
shown, whatever the reason.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from stretto.core.errors import StrettoError
from stretto.workspace.sandbox.recipe import ETC, LOCKS, POINTERS, SYSTEM, ClonePlaces, GitPlaces, refusal

#: bytes of a script's first line that are read
_SHEBANG = 256


class Places:
    """Collects what may be read, and the links that lead there."""

    def __init__(self, home: str, private: str) -> None:
        self._home, self._private = home, private
        self.read: dict[str, None] = {}
        self.links: dict[str, str] = {}

    def add(self, path: Path) -> bool:
        """Let a folder or file be read; False if it must not be, or is there already by itself."""
        text = str(path)
        if _is_system(path) or refusal(text, self._home, self._private) is not None or not path.exists():
            return False
        self.read[text] = None
        for link in [link for link in self.links if Path(link).is_relative_to(path)]:
            del self.links[link]  # it is shown with its folder
        return True

    def link(self, path: Path) -> None:
        """Show a link as the link that it is, unless its folder is shown anyway."""
        if not _is_system(path) and not any(path.is_relative_to(known) for known in self.read):
            self.links.setdefault(str(path), os.readlink(path))  # noqa: PTH115 - the text, not a resolved path


def _is_system(path: Path) -> bool:
    return any(path.is_relative_to(known) for known in SYSTEM)


def system(*, etc: bool = True) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The folders of the system, unless there is a copy the files of /etc that are there, and those that are links."""
    found = [Path(name) for name in SYSTEM]
    links = tuple((str(path), os.readlink(path)) for path in found if path.is_symlink())  # noqa: PTH115 - the text
    there = [str(path) for path in found if path.is_dir() and not path.is_symlink()]
    return (*there, *(f"/etc/{name}" for name in ETC if etc and Path("/etc", name).exists())), links


def tools(places: Places, path: str) -> None:
    """The folders on PATH, with the installation that each belongs to."""
    for entry in path.split(os.pathsep):
        folder = Path(entry)
        if folder.is_absolute() and folder.is_dir():
            _folder(places, folder)


def _folder(places: Places, folder: Path) -> None:
    """A folder of programs: with the whole installation, if it is one of its own."""
    root = _root(folder)
    if root is not None and places.add(root):
        _base_of_venv(places, root)
    else:
        places.add(folder)


def _root(folder: Path) -> Path | None:
    """The installation that a folder of programs belongs to."""
    parts = folder.parts
    if "node_modules" in parts:
        return Path(*parts[: parts.index("node_modules") + 1])
    prefix = folder.parent
    whole = folder.name == "bin" and prefix.name != ".local" and (prefix / "lib").is_dir()
    return prefix if whole else None


def _base_of_venv(places: Places, root: Path) -> None:
    try:
        lines = (root / "pyvenv.cfg").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "home" and Path(value.strip()).is_absolute():
            _folder(places, Path(value.strip()))
            _folder(places, Path(os.path.realpath(value.strip())))


def program(places: Places, argv: Sequence[str], env: Mapping[str, str]) -> None:
    """What the command needs to start: its program with installation and interpreter, files that its words name."""
    _start(places, argv[0], env.get("PATH", os.defpath), 4)
    for word in argv[1:]:
        if word.startswith("/") and Path(word).is_file():
            _chain(places, Path(word), whole=False)


def _start(places: Places, name: str, path: str, depth: int) -> None:
    found = name if "/" in name else shutil.which(name, path=path)
    if found is None or not Path(found).is_absolute() or depth == 0:
        return
    last = _chain(places, Path(found), whole=True)
    words = _interpreter(last)
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if words:
        _start(places, words[0], path, depth - 1)


def _chain(places: Places, path: Path, *, whole: bool) -> Path:
    """Follow links from here to the file; show each, and at the end the file or its installation."""
    for _ in range(40):
        above = Path(os.path.realpath(path.parent))
        root = _root(path.parent)
        shown = whole and root is not None and places.add(root)
        if shown and root is not None:
            _base_of_venv(places, root)
        if above != path.parent and not shown:
            places.add(path)
        if not path.is_symlink():
            if not shown:
                places.add(path)
            return path
        places.link(path)
        path = Path(os.path.normpath(above / os.readlink(path)))  # noqa: PTH115 - the text, not a resolved path
    return path


def _interpreter(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            first = file.read(_SHEBANG).split(b"\n")[0]
    except OSError:
        return []
    return first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else []


def ourselves(places: Places, private: str) -> None:
    """What the program `stretto` needs inside: the folder that holds only it, our modules, this interpreter."""
    places.add(Path(private, "bin"))
    places.add(Path(__file__).resolve().parents[3])
    _start(places, sys.executable, "", 1)
    for prefix in dict.fromkeys((sys.prefix, sys.base_prefix)):
        places.add(Path(prefix))


def named(places: Places, paths: Iterable[str], home: str, private: str) -> None:
    """What the configuration lets be read. Raises StrettoError for a folder that must not be shown."""
    for text in paths:
        path = Path(home, text[2:]) if text.startswith("~/") else Path(text)
        real = Path(os.path.realpath(path))
        why = None if path.is_absolute() else f"{text} is not absolute"
        why = why or refusal(str(real), home, private)
        if why is not None:
            raise StrettoError(
                f"[sandbox] read cannot show {text}: {why}",
                code="sandbox_refused",
                object=text,
                hint="name the folders below it that are needed, as absolute paths or from ~/",
            )
        places.add(path)


def worktree(common: Path, admin: Path, refs: Sequence[str]) -> GitPlaces:
    """Where git keeps a worktree; whatever has to be mounted is there afterwards. Safe to repeat.

    `refs`: folders below `common` (`refs/heads/…`). Each keeps an empty file, or packing the refs would remove it
    under a running sandbox. Raises StrettoError (`sandbox_refused`) for a repository that keeps its refs otherwise.
    """
    if (common / "reftable").exists():
        raise StrettoError(
            "the repository keeps its refs in one table (reftable), of which no part can be made writable",
            code="sandbox_refused",
            object=str(common),
            hint='set [workspace] sandbox = "none", or: git refs migrate --ref-format=files',
        )
    for name in ("worktrees", "objects/pack", "objects/info", *refs, *(f"logs/{ref}" for ref in refs)):
        (common / name).mkdir(parents=True, exist_ok=True)
    for path in (
        *(common / lock for lock in LOCKS),
        *(admin / name for name in POINTERS),
        *(common / ref / KEEP for ref in refs),
    ):
        _ensure_file(path)
    return GitPlaces(str(common), str(admin), tuple(refs), tuple(_alternates(common / "objects")))


def clone(common: Path, git_dir: Path, pointer: Path) -> ClonePlaces:
    """Where a clone keeps what is its own, and what it borrows."""
    return ClonePlaces(
        str(git_dir), str(pointer), (str(common / "objects"), *dict.fromkeys(_alternates(common / "objects")))
    )


#: holds the folder of a task's branches in place
KEEP = ".keep"


def _ensure_file(path: Path) -> None:
    if not os.path.lexists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))


def _alternates(objects: Path, depth: int = 5) -> Iterator[str]:
    """Object folders of other repositories that this one borrows from, as its own file says."""
    try:
        lines = (objects / "info" / "alternates").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        place = Path(os.path.realpath(objects / line)) if line and not line.startswith("#") else None
        if place is not None and place.is_dir() and place.name == "objects" and depth:
            yield str(place)
            yield from _alternates(place, depth - 1)


def release(common: Path, refs: Iterable[str]) -> None:
    """Take back what `worktree` put beside a task's branches; folders that are empty then go, too. Safe to repeat."""
    for ref in refs:
        (common / ref / KEEP).unlink(missing_ok=True)
        for top in (common / ref, common / "logs" / ref):
            for folder in (top, *top.parents):
                if folder.name in ("heads", "refs", "logs") or not _removed(folder):
                    break


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()
    return True
