"""For `doctor`: the spares, and what lies in the folder of the workspaces, or is held, for nobody. Only told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stretto.config import parse, resolve
from stretto.core.errors import StrettoError
from stretto.core.model import Space, Task
from stretto.core.plan import Plan
from stretto.git.repository import Repository
from stretto.home import find_home
from stretto.store.sqlite import open_readonly
from stretto.workspace import Bays, deletion


def leftovers(root: Path) -> Iterator[tuple[str, str]]:
    """Each thing that belongs to no task and no workspace of this repository, with what to do about it."""
    home, found = find_home(), _bays(root)
    if home is None or found is None:
        return
    git, bays, _ = found
    try:
        db = open_readonly(home.database)
    except StrettoError as error:
        if error.code == "empty":
            return  # it is just being made
        raise
    try:
        owners = [task.uid for task in db.select(Task, "repo = ? AND workspace IS NOT NULL", str(git.common))]
        owners += [task.uid for task in db.select(Task, "repo = ? AND outcome IS NULL", str(git.common))]
        owners += [space.owner for space in db.select(Space, "repo = ?", str(git.common))]
    finally:
        db.connection.close()
    for each in bays.leftovers(owners):
        what = (
            f"git -C {each} status shows what is in it" if (each / ".git").exists() else f"look into it: ls -la {each}"
        )
        yield f"{each} belongs to no task and no workspace", f"{what}; stretto deletes nothing that it does not know"
    for left in bays.layer_leftovers(owners):
        yield left.text, left.hint


def spares(root: Path) -> Iterator[str]:
    """The spares of this repository, each with its base, packages and size; that there is none where there may be."""
    found = _bays(root)
    if found is None:
        return
    _, bays, config = found
    there, most = bays.spares(), int(config.get("pool") or 0)
    for one in there:
        size = f"{deletion.size(one.path) / 1e6:.0f} MB" if one.path.exists() else "not on the disk yet"
        packages = f"with {', '.join(one.packages)}" if one.packages else "without packages"
        touched = "; somebody worked there, so it is kept, and not taken" if one.state == "touched" else ""
        yield f"{one.path} is {one.state}: base {one.commit[:12]}, {packages}, {size}{touched}"
    if most and not there:
        yield f"no spare now; up to {most} are made while agents work and there are tasks to come"


def _bays(root: Path) -> tuple[Repository, Bays, Mapping[str, Any]] | None:
    """The repository with its bays as it is configured; None where there are none, or that cannot be read."""
    home = find_home()
    if home is None or not home.database.exists():
        return None
    git = Repository.open(root, home.path)
    path = root / "stretto.toml"
    config, mistakes = parse(path.read_text("utf-8") if path.is_file() else "")
    if mistakes:
        return None
    frozen = resolve(config, Plan())
    return git, Bays.open(git, home.path, frozen), frozen
