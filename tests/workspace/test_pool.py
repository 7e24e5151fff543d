"""Spares of the warm pool: taken in an instant, whole and clean, with nothing of an earlier task, whatever dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from stretto.core.errors import StrettoError
from stretto.git.repository import Repository as RealGit
from stretto.interfaces import Git, Workspace
from stretto.workspace import Bays, Settings
from stretto.workspace.dependencies import Choice
from tests.support.npm import FakeNpm, lock, project
from tests.support.repository import Repository

FILES = {**project("left"), "a.txt": "a\n", "sub/b.txt": "b\n", ".env": ""}
FILES[".gitignore"] += ".env.local\n*.log\n"


class Yard:
    """A repository whose bays have spares and packages."""

    def __init__(self, repo: Repository, folder: Path) -> None:
        self.repo = repo
        self.home = folder / "home"
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.place = repo.path.parent / f"{repo.path.name}.worktrees"
        self.env = {**FakeNpm(folder / "bin").env, "HOME": str(folder)}

    def bays(self) -> Bays:
        git = cast("Git", RealGit.open(self.repo.path, self.home))
        return Bays(git, self.place, "home-1", Settings(dependencies=Choice(), copy=(".env.local",)))

    def ensure(self, id: str, *, bays: Bays | None = None) -> Workspace:
        uid = f"plan-abcd/{id}"
        made = bays or self.bays()
        return made.ensure(uid, "task", self.repo.oid("main"), f"stretto/{uid}/work", self.env)

    def bring(self, space: Workspace) -> list[str | None]:
        """Its packages: the rungs. What has to be installed is."""
        bays = self.bays()
        found = bays.dependencies(space.path, self.env)
        for one in found:
            if one.commands:
                subprocess.run(["/bin/sh", "-c", one.commands[-1][1]], cwd=space.path, env=self.env, check=True)
                bays.installed(space.path, one, self.env, keep=True)
        return [one.rung for one in found]

    def warm(self, count: int = 1, *, clean: bool = True) -> int:
        return self.bays().warm(self.repo.oid("main"), count, self.env, lambda owner: clean)

    def spares(self) -> list[str]:
        markers = (json.loads(path.read_text()) for path in sorted((self.place / ".stretto" / "bays").glob("*.json")))
        return [f"{marker['number']:02d}" for marker in markers if marker["purpose"] == "spare"]

    def calls(self) -> int:
        path = Path(self.env["PATH"].partition(os.pathsep)[0]) / "calls"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def yard(make_repo, tmp_path: Path) -> Yard:
    return Yard(make_repo("repo", FILES), tmp_path)


def proper(yard: Yard, space: Workspace, id: str) -> None:
    """It is what a workspace of this task has to be, and nothing else."""
    branch = f"stretto/plan-abcd/{id}/work"
    git = yard.repo.git
    assert git("symbolic-ref", "HEAD", cwd=space.path) == f"refs/heads/{branch}"
    assert git("rev-parse", "HEAD", cwd=space.path) == yard.repo.oid("main")
    assert git("status", "--porcelain", "--ignored", cwd=space.path) in ("", "!! node_modules/")
    assert yard.repo.status(space.path) == []
    assert (yard.place / id).resolve() == space.path
    admin = Path(git("rev-parse", "--absolute-git-dir", cwd=space.path))
    assert (admin / "locked").read_text().strip() == f"stretto task plan-abcd/{id}"
    assert not (admin / "config.worktree").exists()
    assert not (admin / "info" / "sparse-checkout").exists()


def test_a_spare_is_made_once_and_taken_by_the_next_task(yard: Yard):
    assert yard.warm(2) == 2
    assert yard.warm(2) == 0
    assert yard.spares() == ["01", "02"]
    assert yard.bays().leftovers([]) == []
    space = yard.ensure("one")
    assert (space.path, space.fresh, space.ready) == (yard.place / "01", True, None)
    proper(yard, space, "one")
    assert yard.spares() == ["02"]
    assert yard.bays().leftovers(["plan-abcd/one"]) == []
    assert yard.ensure("one").path == space.path


def test_what_spares_there_are_is_told_as_they_are_now(yard: Yard):
    assert yard.bays().spares() == []
    yard.bring(yard.ensure("zero"))
    yard.warm(2)
    first, second = yard.bays().spares()
    assert (first.path, first.commit, first.state) == (yard.place / "02", yard.repo.oid("main"), "ready")
    assert (first.packages, second.state) == (("node_modules",), "ready")
    (second.path / "mine.txt").write_text("somebody's")
    assert [one.state for one in yard.bays().spares()] == ["ready", "touched"]
    marker = yard.place / ".stretto" / "bays" / "02.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "sealed": None}))
    assert [one.state for one in yard.bays().spares()] == ["being made", "touched"]


def test_a_spare_that_is_behind_is_turned_to_the_commit_that_is_wanted(yard: Yard):
    yard.warm()
    yard.repo.commit("later", {"a.txt": "later\n", "new.txt": "new\n"})
    yard.repo.git("rm", "-q", "sub/b.txt")
    yard.repo.git("commit", "-qm", "less")
    space = yard.ensure("one")
    assert space.path == yard.place / "01"
    assert (space.path / "a.txt").read_text() == "later\n"
    assert not (space.path / "sub").exists()
    proper(yard, space, "one")
    yard.warm()
    yard.repo.commit("once more", {"a.txt": "more\n"})
    assert yard.warm() == 1  # it follows the target
    assert (yard.place / "02" / "a.txt").read_text() == "more\n"


def test_a_branch_that_is_there_is_gone_on_with(yard: Yard):
    yard.warm()
    other = yard.repo.commit("work", {"a.txt": "mine\n"})
    yard.repo.git("branch", "stretto/plan-abcd/one/work", other)
    yard.repo.git("reset", "-q", "--hard", "HEAD~1")
    space = yard.ensure("one")
    assert space.path == yard.place / "01"
    assert (space.path / "a.txt").read_text() == "mine\n"
    assert yard.repo.git("rev-parse", "HEAD", cwd=space.path) == other


def test_what_cannot_be_had_is_refused_and_undone(yard: Yard):
    yard.warm()
    yard.repo.git("branch", "stretto/plan-abcd/one/work")
    yard.repo.git("worktree", "add", "-q", str(yard.place.parent / "mine"), "stretto/plan-abcd/one/work")
    with pytest.raises(StrettoError) as caught:
        yard.ensure("one")
    assert caught.value.code == "branch_checked_out"
    assert yard.bays().leftovers([]) == []
    assert yard.repo.oid("stretto/plan-abcd/one/work")
    proper(yard, yard.ensure("two"), "two")


def test_a_spare_has_the_packages_and_keeps_them_when_it_is_taken(yard: Yard):
    first = yard.ensure("one")
    assert yard.bring(first) == [None]
    calls = yard.calls()
    yard.warm()
    second = yard.ensure("two")
    assert yard.bring(second) == ["kept"]
    assert yard.calls() == calls
    assert (second.path / "node_modules" / "left" / "index.js").exists()
    proper(yard, second, "two")
    yard.warm()
    yard.repo.commit("another lock file", {"package-lock.json": lock("left", "right")})
    third = yard.ensure("three")
    assert third.path == yard.place / "03"
    assert yard.bring(third) == [None]
    assert (third.path / "node_modules" / "right").exists()


def test_a_spare_in_which_somebody_worked_is_kept_and_not_taken(yard: Yard):
    yard.warm()
    spare = yard.place / "01"
    (spare / "idea.log").write_text("ignored, and mine")
    space = yard.ensure("one")
    assert space.path == yard.place / "02"
    yard.warm()
    assert not (spare / "idea.log").exists()
    (removal,) = yard.bays().removals()
    yard.bays().undo(removal.id)
    assert (removal.path / "idea.log").read_text() == "ignored, and mine"


def test_packages_that_somebody_touched_are_not_taken_over(yard: Yard):
    yard.bring(yard.ensure("one"))
    yard.warm()
    (yard.place / "02" / "node_modules" / "left" / "index.js").write_text("poison")
    space = yard.ensure("two")
    assert space.path == yard.place / "02"
    assert yard.bring(space) == ["copy"]
    assert (space.path / "node_modules" / "left" / "index.js").read_text() == "module.exports = 'left'\n"


def test_fewer_spares_than_there_are(yard: Yard):
    yard.warm(3)
    assert yard.warm(1) == 0
    assert yard.spares() == ["01"]
    assert sorted(path.name for path in yard.place.iterdir() if path.name.isdigit()) == ["01"]
    assert yard.bays().leftovers([]) == []
    assert yard.bays().removals() == []


def land(yard: Yard, space: Workspace) -> str:
    removal = yard.bays().remove(space.owner, space.path, space.branch, "landed")
    return removal.id


def test_a_landed_workspace_leaves_its_packages_and_nothing_else(yard: Yard):
    space = yard.ensure("one")
    yard.bring(space)
    git = yard.repo.git
    admin = Path(git("rev-parse", "--absolute-git-dir", cwd=space.path))
    git("config", "extensions.worktreeConfig", "true", cwd=space.path)
    git("config", "--worktree", "core.hooksPath", "/tmp/evil", cwd=space.path)
    (admin / "hooks").mkdir(exist_ok=True)
    (admin / "info").mkdir(exist_ok=True)
    (admin / "info" / "sparse-checkout").write_text("/nothing\n")
    git("update-index", "--assume-unchanged", "a.txt", cwd=space.path)
    git("update-index", "--skip-worktree", "sub/b.txt", cwd=space.path)
    git("update-ref", "refs/worktree/left", "HEAD", cwd=space.path)
    for name in ("secret.log", ".env.local", "untracked.txt"):
        (space.path / name).write_text("of the first task")
    inode = (space.path / "node_modules" / "left" / "index.js").stat().st_ino
    undo = land(yard, space)
    assert yard.warm() == 1
    later = yard.ensure("two")
    assert yard.bring(later) == ["kept"]
    assert (later.path / "node_modules" / "left" / "index.js").stat().st_ino == inode
    git("config", "--unset", "extensions.worktreeConfig")
    proper(yard, later, "two")
    flags = git("ls-files", "-v", cwd=later.path).splitlines()
    assert {line[0] for line in flags} == {"H"}
    assert git("for-each-ref", "refs/worktree", cwd=later.path) == ""
    back = yard.bays().undo(undo)
    assert (back.path / "secret.log").read_text() == "of the first task"
    assert (back.path / "node_modules" / "left" / "index.js").read_text() == "module.exports = 'left'\n"
    assert (back.path / "node_modules" / "left" / "index.js").stat().st_ino != inode
    assert yard.bring(yard.ensure("one")) == ["kept"]


@pytest.mark.parametrize("how", ["touched", "all allowed", "not landed"])
def test_packages_that_may_be_poisoned_stay_in_quarantine(yard: Yard, how: str):
    space = yard.ensure("one")
    yard.bring(space)
    inner = space.path / "node_modules" / "left" / "index.js"
    inode = inner.stat().st_ino
    if how == "touched":
        times = inner.stat()
        inner.write_text("module.exports = 'evil'\n")
        os.utime(inner, ns=(times.st_atime_ns, times.st_mtime_ns))
    reason = "asked" if how == "not landed" else "landed"
    removal = yard.bays().remove(space.owner, space.path, space.branch, reason)
    yard.warm(clean=how != "all allowed")
    later = yard.ensure("two")
    assert yard.bring(later) == ["kept"]
    found = later.path / "node_modules" / "left" / "index.js"
    assert found.read_text() == "module.exports = 'left'\n"
    assert found.stat().st_ino != inode
    assert (removal.quarantine / "tree" / "node_modules" / "left" / "index.js").stat().st_ino == inode


LIFE = """
import sys
from pathlib import Path
from tests.workspace.test_pool import Yard, land
from tests.support.repository import Repository
class Again(Yard):
    def __init__(self, repo, folder):
        self.repo, self.home, self.place = repo, folder / "home", repo.path.parent / f"{repo.path.name}.worktrees"
        self.env = {"PATH": sys.argv[4], "HOME": str(folder)}
yard = Again(Repository(Path(sys.argv[1])), Path(sys.argv[2]))
{"warm": yard.warm, "ensure": lambda: yard.ensure("two")}[sys.argv[3]]()
"""

STEPS = [
    ("warm", "daemon.pool.stocked"),
    ("warm", "daemon.pool.recycling"),
    ("warm", "daemon.files.rename.after"),
    ("warm", "daemon.git.worktree_add.registered"),
    ("ensure", "daemon.pool.taken"),
    ("ensure", "daemon.git.update_ref.after"),
    ("ensure", "daemon.git.worktree_turn.attached"),
    ("ensure", "daemon.files.move_over.before@2"),
    ("ensure", "daemon.git.worktree_turn.after"),
    ("ensure", "daemon.workspace.made"),
]


@pytest.mark.faults
@pytest.mark.parametrize(("verb", "point"), STEPS)
def test_whatever_step_dies_the_next_one_completes_it(yard: Yard, verb: str, point: str):
    space = yard.ensure("one")
    yard.bring(space)
    undo = land(yard, space)
    if verb == "ensure":
        yard.warm()
        yard.repo.commit("later", {"a.txt": "later\n"})
    argv = [sys.executable, "-c", LIFE, str(yard.repo.path), str(yard.home.parent), verb, yard.env["PATH"]]
    env = {**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"{point}=kill"}
    died = subprocess.run(argv, env=env, cwd=Path(__file__).parents[2], check=False, capture_output=True)
    assert died.returncode == -9, died.stderr.decode()
    if verb == "warm":
        yard.warm()
        assert len(yard.spares()) == 1
    later = yard.ensure("two")
    proper(yard, later, "two")
    assert yard.bring(later) in (["kept"], ["copy"])
    proper(yard, later, "two")
    assert yard.bays().leftovers(["plan-abcd/two"]) == []
    back = yard.bays().undo(undo)
    assert (back.path / "node_modules" / "left" / "index.js").exists() or yard.bring(yard.ensure("one")) == ["copy"]
