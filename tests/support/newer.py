"""An agent program of a version that nobody has tried: the installed one, which says that it is another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: the folder of an interpreter that an installation may hold, which is not copied
_NODE = "node"
#: how a script that starts the program finds such an interpreter of another installation
_OUTSIDE = b"${0%/*}/../../"


def newer(program: Path, version: str, folder: Path) -> tuple[Path, str]:
    """A copy of the installation of `program` below `folder`, and the version that it tells: one of the same length.

    Files that name no version are links to the same file. A script starts the program beside it.
    """
    other = "9" + version[1:]
    root, copy = program.parent, folder / f"newer-{program.name}"
    shutil.copytree(root, copy, symlinks=True, copy_function=_linked, ignore=lambda at, names: _left(root, at, names))
    for path in copy.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        old = path.read_bytes()
        new = old.replace(version.encode(), other.encode())
        if path == copy / program.name:
            new = new.replace(_OUTSIDE, f"{root.parent.parent}/".encode())
        if new != old:
            mode = path.stat().st_mode
            path.unlink()
            path.write_bytes(new)
            path.chmod(mode)
    return copy / program.name, other


def _left(root: Path, at: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(at) == root and name == _NODE]


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)
