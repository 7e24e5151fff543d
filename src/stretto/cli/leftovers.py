"""For `doctor`: what lies in the folder of the workspaces, or is held for one, and belongs to nobody. Only told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stretto.config import parse, resolve
from stretto.core.model import Space, Task
from stretto.core.plan import Plan
from stretto.git.repository import Repository
from stretto.home import find_home
from stretto.store.sqlite import open_readonly
from stretto.workspace import Bays


def leftovers(root: Path) -> Iterator[tuple[str, str]]:
    """Each thing that belongs to no task and no workspace of this repository, with what to do about it."""
    home = find_home()
    if home is None or not home.database.exists():
        return
    git = Repository.open(root, home.path)
    path = root / "stretto.toml"
    config, mistakes = parse(path.read_text("utf-8") if path.is_file() else "")
    if mistakes:
        return
    bays = Bays.open(git, home.path, resolve(config, Plan()))
    db = open_readonly(home.database)
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
