"""Removal keeps everything, refuses what it cannot prove, and undo gives it back byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from stretto import process
from stretto.core.errors import StrettoError
from stretto.git.repository import Repository as RealGit
from stretto.interfaces import Git, Workspace
from stretto.workspace import Bays
from stretto.workspace.deletion import delete, size
from tests.support.repository import Repository
from tests.support.trees import picture
from tests.support.unprivileged import Unprivileged
from tests.support.waiting import wait_for

UID = "plan-abcd/search"
BRANCH = "stretto/plan-abcd/search/work"


class Place:
    """A repository with one workspace in which an agent has left all kinds of things."""

    def __init__(self, repo: Repository, home: Path) -> None:
        self.repo = repo
        self.home = home
        home.mkdir(mode=0o700, exist_ok=True)
        self.git = cast("Git", RealGit.open(repo.path, home))
        self.folder = repo.path.parent / "bays"
        self.base = repo.oid("main")
        self.space = self.ensure()

    def bays(self, home: str = "home-1") -> Bays:
        return Bays(self.git, self.folder, home)

    def ensure(self, uid: str = UID) -> Workspace:
        return self.bays().ensure(uid, "task", self.base, f"stretto/{uid}/work", {})

    @property
    def path(self) -> Path:
        return self.space.path

    def work(self) -> str:
        """Commits, an amended commit, staged, unstaged, untracked and ignored things, links, odd modes."""
        self.commit("one", {"one.txt": "1\n"})
        self.commit("two", {"two.txt": "first version\n"})
        lost = self.repo.git("rev-parse", "HEAD", cwd=self.path)
        (self.path / "two.txt").write_text("second version\n")
        self.repo.git("commit", "-qa", "--amend", "-m", "two, again", cwd=self.path)
        (self.path / "staged.txt").write_text("staged\n")
        self.repo.git("add", "staged.txt", cwd=self.path)
        (self.path / "staged.txt").write_text("and changed since\n")
        (self.path / "a.txt").write_text("changed\n")
        (self.path / "untracked").mkdir()
        (self.path / "untracked" / "é \n name").write_bytes(b"\0\xff")
        (self.path / "deps").mkdir()
        (self.path / "deps" / "big.bin").write_bytes(os.urandom(5000))
        (self.path / "deps" / "tool").write_text("#!/bin/sh\n")
        (self.path / "deps" / "tool").chmod(0o751)
        (self.path / "deps" / "link").symlink_to("../../../outside")
        (self.path / ".env").write_text("SECRET=1\n")
        return lost

    def commit(self, message: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.path / name).write_text(text)
        self.repo.git("add", *files, cwd=self.path)
        self.repo.git("commit", "-qm", message, cwd=self.path)

    def state(self) -> dict[str, object]:
        """All that a person could see of the workspace."""
        return {
            "tree": picture(self.path),
            "status": self.repo.status(self.path),
            "staged": self.repo.git("ls-files", "--stage", cwd=self.path),
            "head": self.repo.git("symbolic-ref", "HEAD", cwd=self.path),
            "reflog": self.repo.git("reflog", "--format=%H %gs", cwd=self.path),
            "branches": self.repo.refs("refs/heads/"),
            "worktrees": self.repo.git("worktree", "list", "--porcelain"),
            "links": {path.name: str(path.readlink()) for path in self.folder.iterdir() if path.is_symlink()},
        }

    def remove(self, branch: str | None = BRANCH, uid: str = UID) -> object:
        return self.bays().remove(uid, self.path, branch, "asked")


@pytest.fixture
def place(make_repo, tmp_path: Path) -> Place:
    files = {"a.txt": "a\n", "b/c.txt": "c\n", ".gitignore": "deps/\n.env\n"}
    return Place(make_repo("repo", files), tmp_path / "home")


# ------------------------------------------------------------------ keep, remove, bring back


def test_removal_leaves_nothing_in_place_and_loses_nothing(place: Place):
    place.work()
    before = picture(place.path)
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    assert not os.path.lexists(place.path)
    assert not os.path.lexists(place.folder / "search")
    assert place.repo.refs("refs/heads/stretto/") == {}
    assert place.repo.git("worktree", "list").count("\n") == 0
    assert picture(removal.quarantine / "tree") == before
    assert place.folder.joinpath(".quarantine").stat().st_mode & 0o777 == 0o700
    assert place.bays().find(UID, "task", {}) is None
    assert [each.id for each in place.bays().removals()] == [removal.id]
    assert (place.bays().measured(removal).bytes or 0) >= 5000


def test_making_and_removing_a_workspace_start_few_programs(place: Place, monkeypatch: pytest.MonkeyPatch):
    """Each costs milliseconds, and both are promised to take tens of them."""
    started: list[str] = []
    real = process.run

    def counted(argv: Sequence[str], **words: Any) -> process.Completed:
        started.append(" ".join(argv[:2]))
        return real(argv, **words)

    monkeypatch.setattr(process, "run", counted)
    (place.path / "new.txt").write_text("not committed\n")
    place.bays().remove(UID, place.path, BRANCH, "asked")
    snapshot = ["git status", "git update-index", "git write-tree", "git commit-tree", "git update-ref"]
    assert started == [*snapshot, "git update-ref", "git update-ref"], "the snapshot; tip kept; branch deleted"
    started.clear()
    place.ensure("plan-abcd/other")
    assert len(started) <= 5, started


def test_undo_gives_everything_back_byte_for_byte(place: Place):
    place.work()
    before = place.state()
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    back = place.bays().undo(removal.id)
    assert back.path == place.path
    assert place.state() == before
    assert place.bays().removals() == []
    assert list(place.folder.joinpath(".quarantine").iterdir()) == []
    again = place.ensure()
    assert (again.path, again.fresh) == (place.path, False)


def test_remove_and_undo_again_and_again(place: Place):
    place.work()
    before = place.state()
    for _ in range(3):
        place.bays().undo(place.bays().remove(UID, place.path, BRANCH, "asked").id)
    assert place.state() == before


def test_kept_refs_hold_tip_amended_commit_and_uncommitted_work_through_gc(place: Place):
    lost = place.work()
    tip = place.repo.oid(BRANCH)
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    place.bays().purge([removal.id])
    place.repo.git("reflog", "expire", "--expire=now", "--all")
    place.repo.git("gc", "--quiet", "--prune=now")
    assert all(ref.startswith(("refs/stretto/keep/", "refs/stretto/snap/")) for ref in removal.refs.values())
    assert place.repo.oid(removal.refs["tip"]) == tip
    assert place.repo.show(lost, "two.txt") == "first version"
    snapshot = removal.refs["snapshot"]
    assert place.repo.show(snapshot, "a.txt") == "changed"
    assert place.repo.show(snapshot, "staged.txt") == "and changed since"
    assert "deps/big.bin" not in place.repo.files(snapshot)
    assert ".env" not in place.repo.files(snapshot)
    place.repo.git("fsck", "--strict", "--no-dangling")


def test_a_detached_head_with_commits_is_kept(place: Place):
    place.repo.git("checkout", "-q", "--detach", cwd=place.path)
    place.commit("off the branch", {"off.txt": "off\n"})
    off = place.repo.git("rev-parse", "HEAD", cwd=place.path)
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    place.bays().purge([removal.id])
    place.repo.git("gc", "--quiet", "--prune=now")
    assert place.repo.show(off, "off.txt") == "off"


def test_without_a_branch_to_delete_the_branch_stays(place: Place):
    place.commit("one", {"one.txt": "1\n"})
    tip = place.repo.oid(BRANCH)
    removal = place.bays().remove(UID, place.path, None, "asked")
    assert place.repo.oid(BRANCH) == tip
    place.bays().undo(removal.id)
    assert place.repo.git("rev-parse", "HEAD", cwd=place.path) == tip


def test_a_branch_that_is_out_elsewhere_is_not_deleted(place: Place, tmp_path: Path):
    place.repo.git("checkout", "-q", "--detach", cwd=place.path)
    place.repo.git("worktree", "add", "-q", str(tmp_path / "mine"), BRANCH)
    place.bays().remove(UID, place.path, BRANCH, "asked")
    assert place.repo.git("rev-parse", "--abbrev-ref", "HEAD", cwd=tmp_path / "mine") == BRANCH
    assert place.repo.oid(BRANCH) == place.base


def test_removing_again_says_what_was_done(place: Place):
    first = place.bays().remove(UID, place.path, BRANCH, "asked")
    again = place.bays().remove(UID, place.path, BRANCH, "asked")
    assert again == first


def test_the_number_of_a_removed_bay_waits_for_its_undo_unless_it_landed(place: Place):
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    other = place.ensure("plan-abcd/other")
    assert other.bay == 2
    place.bays().undo(removal.id)
    place.bays().remove(UID, place.path, BRANCH, "landed")
    assert place.ensure("plan-abcd/third").bay == 1


def test_a_workspace_deleted_by_hand_can_be_removed_but_not_brought_back(place: Place):
    place.commit("one", {"one.txt": "1\n"})
    tip = place.repo.oid(BRANCH)
    subprocess.run(["rm", "-r", str(place.path)], check=True)
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    assert place.repo.oid(removal.refs["tip"]) == tip
    assert place.repo.git("worktree", "list").count("\n") == 0
    with pytest.raises(StrettoError, match="was already gone"):
        place.bays().undo(removal.id)


def test_many_are_made_and_removed_at_once(place: Place):
    bays = place.bays()
    failures: list[BaseException] = []

    def one(number: int) -> None:
        uid = f"plan-abcd/t{number}"
        try:
            for _ in range(2):
                space = bays.ensure(uid, "task", place.base, f"stretto/{uid}/work", {})
                bays.remove(uid, space.path, f"stretto/{uid}/work", "landed")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(bays.removals()) == 16
    assert list(place.repo.refs("refs/heads/stretto/")) == [f"refs/heads/{BRANCH}"]
    assert place.repo.git("worktree", "list").count("\n") == 1


# ------------------------------------------------------------------ refusals


def refused(place: Place, path: Path | None = None, uid: str = UID, home: str = "home-1") -> StrettoError:
    before = picture(place.repo.path.parent, without=("bays/.stretto/bays/01.lock", "home"))
    with pytest.raises(StrettoError) as caught:
        place.bays(home).remove(uid, path or place.path, BRANCH, "asked")
    assert picture(place.repo.path.parent, without=("bays/.stretto/bays/01.lock", "home")).keys() == before.keys()
    return caught.value


def test_someone_inside_is_named(place: Place):
    inside = subprocess.Popen(["sleep", "300"], cwd=place.path / "b")
    try:
        wait_for(lambda: Path(f"/proc/{inside.pid}/cwd").readlink() == place.path / "b")
        error = refused(place)
        assert error.code == "busy"
        assert f"process {inside.pid} (sleep 300)" in error.message
        assert error.details["processes"] == [{"pid": inside.pid, "command": "sleep 300"}]
    finally:
        inside.kill()
        inside.wait()
    place.remove()
    assert not place.path.exists()


def test_a_paused_rebase_is_busy_although_nothing_is_changed(place: Place):
    place.commit("one", {"one.txt": "1\n"})
    env = {**os.environ, "GIT_SEQUENCE_EDITOR": "sed -i 1s/pick/break\\\\npick/"}
    subprocess.run(["git", "rebase", "-q", "-i", "HEAD~1"], cwd=place.path, env=env, check=True, capture_output=True)
    assert place.repo.status(place.path) == []
    error = refused(place)
    assert error.code == "busy"
    assert "rebase" in error.message
    assert "git rebase --abort" in (error.hint or "")
    place.repo.git("rebase", "--abort", cwd=place.path)
    place.remove()


def test_a_merge_in_conflict_is_busy(place: Place):
    place.commit("ours", {"a.txt": "ours\n"})
    place.repo.commit("theirs", {"a.txt": "theirs\n"})
    place.repo.git("merge", "main", cwd=place.path, check=False)
    assert refused(place).code == "busy"


def test_only_the_owner_removes(place: Place):
    assert refused(place, uid="plan-abcd/other").code == "not_ours"
    assert refused(place, home="home-2").code == "not_ours"


def test_nothing_but_a_bay_is_removed(place: Place, tmp_path: Path):
    place.repo.git("worktree", "add", "-q", "--detach", str(tmp_path / "theirs"))
    (place.folder / "09").mkdir()
    for path in (place.repo.path, tmp_path, tmp_path / "theirs", place.folder, place.folder / "09", Path("/etc")):
        assert refused(place, path).code == "not_ours"
    assert refused(place, place.folder / "01" / ".." / "01").code == "not_ours"
    assert refused(place, place.folder / "search").code == "not_ours"


def test_a_bay_that_became_a_link_is_refused(place: Place, tmp_path: Path):
    place.path.rename(tmp_path / "moved")
    place.path.symlink_to(tmp_path / "moved")
    assert refused(place).code == "not_ours"
    assert (tmp_path / "moved" / "a.txt").exists()


def test_a_bay_that_git_does_not_know_is_refused(place: Place, tmp_path: Path):
    place.path.rename(tmp_path / "moved")
    place.path.mkdir()
    (place.path / "new").write_text("somebody's")
    place.repo.git("worktree", "unlock", str(place.path))
    place.repo.git("worktree", "prune", "--expire=now")
    assert refused(place).code == "not_ours"
    assert (place.path / "new").read_text() == "somebody's"


def test_a_marker_that_names_the_main_checkout_is_not_believed(place: Place):
    """Roles swapped: the bays folder is a link to where the repository is, and the bay is the repository."""
    marker = (place.folder / ".stretto/bays/01.json").read_text()
    forged = place.repo.path.parent / "forged"
    (forged / ".stretto" / "bays").mkdir(parents=True)
    place.repo.path.rename(forged / "01")
    try:
        git = cast("Git", RealGit.open(forged / "01", place.home))
        bays = Bays(git, forged, "home-1")
        (forged / ".stretto/bays/01.json").write_text(marker)
        with pytest.raises(StrettoError):
            bays.remove(UID, forged / "01", BRANCH, "asked")
        assert (forged / "01" / "a.txt").exists()
    finally:
        (forged / "01").rename(place.repo.path)


# ------------------------------------------------------------------ undo refuses


def undo_refused(place: Place, removal: str, match: str) -> None:
    before = picture(place.folder)
    with pytest.raises(StrettoError, match=match) as caught:
        place.bays().undo(removal)
    assert caught.value.code == "in_the_way"
    assert picture(place.folder).keys() >= before.keys()


def test_undo_never_writes_over_anything(place: Place):
    place.work()
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    place.path.mkdir()
    (place.path / "mine.txt").write_text("mine")
    undo_refused(place, removal.id, "something is in its place")
    assert (place.path / "mine.txt").read_text() == "mine"
    subprocess.run(["rm", "-r", str(place.path)], check=True)
    place.bays().undo(removal.id)
    assert (place.path / "two.txt").read_text() == "second version\n"


def test_undo_refuses_a_branch_that_was_made_anew(place: Place):
    place.commit("one", {"one.txt": "1\n"})
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    place.repo.branch(BRANCH, "main")
    undo_refused(place, removal.id, "points elsewhere")


def test_undo_refuses_a_branch_that_is_out_elsewhere(place: Place, tmp_path: Path):
    removal = place.bays().remove(UID, place.path, None, "asked")
    place.repo.git("worktree", "add", "-q", str(tmp_path / "mine"), BRANCH)
    undo_refused(place, removal.id, "checked out elsewhere")


def test_undo_refuses_when_the_task_has_another_workspace(place: Place):
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    assert place.ensure().bay == 2
    undo_refused(place, removal.id, "another workspace")


def test_an_unknown_removal(place: Place):
    for call in (place.bays().undo, lambda name: place.bays().purge([name])):
        with pytest.raises(StrettoError, match="no removal is called rffffff"):
            call("rffffff")


# ------------------------------------------------------------------ purge


def test_purge_deletes_only_what_is_named(place: Place, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    place.work()
    (place.path / "deps" / "shared").symlink_to(outside)
    (place.path / "shared2").symlink_to(outside)
    one = place.bays().remove(UID, place.path, BRANCH, "asked")
    space = place.ensure("plan-abcd/other")
    two = place.bays().remove("plan-abcd/other", space.path, None, "asked")
    purged = place.bays().purge([one.id, one.id])
    assert [each.id for each in purged] == [one.id]
    assert (purged[0].bytes or 0) >= 5000
    assert (outside / "precious").read_text() == "precious"
    assert [each.id for each in place.bays().removals()] == [two.id]
    assert not one.quarantine.exists()
    assert (two.quarantine / "tree" / "a.txt").exists()
    with pytest.raises(StrettoError, match="no removal"):
        place.bays().undo(one.id)
    assert set(place.repo.refs("refs/stretto/keep/")) >= {one.refs["tip"]}


def test_deep_trees_and_closed_folders_are_deleted(unprivileged: Unprivileged):
    assert unprivileged.call(_delete_odd_tree, str(unprivileged.folder / "odd")) == []


def _delete_odd_tree(path: str) -> list[str]:
    here, tree = Path.cwd(), Path(path)
    tree.mkdir()
    os.chdir(path)
    for number in range(600):
        Path(f"d{number % 7}").mkdir()
        os.chdir(f"d{number % 7}")
        Path("file").write_text("x")
    os.chdir(path)
    Path("closed/inner").mkdir(parents=True)
    Path("closed/inner/file").write_text("x")
    Path("closed/inner").chmod(0o000)
    Path("closed").chmod(0o500)
    Path("link").symlink_to("/etc")
    os.mkfifo("pipe")
    os.chdir(here)
    delete(tree.parent, tree.name)
    delete(tree.parent, tree.name)
    return [each.name for each in tree.parent.iterdir() if each == tree]


def test_deleting_unlinks_a_link_and_a_file(tmp_path: Path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").write_text("x" * 5000)
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "file").write_text("x")
    delete(tmp_path, "link")
    delete(tmp_path, "file")
    delete(tmp_path, "never-there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]
    assert (tmp_path / "kept" / "x").exists()
    assert size(tmp_path) >= 5000
    assert size(tmp_path / "nothing") == 0


def test_a_mounted_file_system_is_not_deleted(tmp_path: Path):
    mounted = tmp_path / "tree" / "mnt"
    mounted.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(mounted)], check=True)
    try:
        (mounted / "precious").write_text("precious")
        with pytest.raises(StrettoError, match="mounted"):
            delete(tmp_path, "tree")
        assert (mounted / "precious").read_text() == "precious"
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    delete(tmp_path, "tree")
    assert not (tmp_path / "tree").exists()


# ------------------------------------------------------------------ leftovers


def test_leftovers_are_reported_and_never_touched(place: Place):
    place.work()
    place.ensure("plan-abcd/other")
    (place.folder / ".quarantine" / "stray").mkdir()
    before = picture(place.folder)
    assert place.bays().leftovers([UID]) == [place.folder / ".quarantine/stray", place.folder / "02"]
    assert place.bays().leftovers([UID, "plan-abcd/other"]) == [place.folder / ".quarantine/stray"]
    assert picture(place.folder) == before


# ------------------------------------------------------------------ crashes

PROGRAM = """
import sys
from pathlib import Path
from stretto.git.repository import Repository
from stretto.workspace import Bays
verb, argument, root, home, folder = sys.argv[1:]
bays = Bays(Repository.open(Path(root), Path(home)), Path(folder), "home-1")
if verb == "remove":
    bays.remove("plan-abcd/search", Path(argument), "stretto/plan-abcd/search/work", "asked")
else:
    getattr(bays, verb)(argument if verb == "undo" else [argument])
"""


def dies(place: Place, point: str, verb: str, argument: str) -> None:
    env = {**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"{point}=kill"}
    arguments = [verb, argument, str(place.repo.path), str(place.home), str(place.folder)]
    died = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=env, check=False)
    assert died.returncode == -9, f"{point} was not passed"


REPLACES = [f"daemon.files.replace.{side}@{n}" for n in (1, 2) for side in ("before", "after")]
REFS = [f"daemon.git.update_ref.{side}@{n}" for n in (1, 2, 3) for side in ("before", "after")]


@pytest.mark.faults
@pytest.mark.parametrize(
    "point",
    [
        "daemon.workspace.remove.before",
        "daemon.workspace.remove.renamed",
        "daemon.workspace.remove.after",
        "daemon.git.snapshot.before",
        "daemon.git.snapshot.after",
        *REPLACES,
        *REFS,
    ],
)
def test_a_removal_that_dies_is_whole_or_has_not_happened(place: Place, point):
    place.work()
    before = place.state()
    dies(place, point, "remove", str(place.path))
    removals = place.bays().removals()
    if removals:
        assert not place.path.exists()
        assert place.repo.refs("refs/heads/stretto/") == {}
        assert place.bays().remove(UID, place.path, BRANCH, "asked").id == removals[0].id
    else:
        assert place.state() == before
        place.bays().remove(UID, place.path, BRANCH, "asked")
        removals = place.bays().removals()
    assert len(removals) == 1
    place.bays().undo(removals[0].id)
    assert place.state() == before
    assert place.bays().leftovers([UID]) == []


@pytest.mark.faults
@pytest.mark.parametrize(
    "point",
    [
        "daemon.workspace.undo.before",
        "daemon.workspace.undo.renamed",
        "daemon.workspace.undo.after",
        *REPLACES,
        *REFS[:2],
    ],
)
def test_an_undo_that_dies_is_completed(place: Place, point):
    place.work()
    before = place.state()
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    dies(place, point, "undo", removal.id)
    if place.bays().removals():
        place.bays().undo(removal.id)
    assert place.state() == before
    assert place.bays().removals() == []
    assert place.bays().leftovers([UID]) == []


@pytest.mark.faults
def test_a_purge_that_dies_can_only_be_purged_again(place: Place):
    place.work()
    removal = place.bays().remove(UID, place.path, BRANCH, "asked")
    dies(place, "daemon.files.replace.after", "purge", removal.id)
    with pytest.raises(StrettoError, match="is being purged"):
        place.bays().undo(removal.id)
    place.bays().purge([removal.id])
    assert place.bays().removals() == []
    assert list(place.folder.joinpath(".quarantine").iterdir()) == []


def test_removal_takes_tens_of_milliseconds(make_repo, tmp_path: Path, capsys):
    """No limit is asserted here: benchmarks do that as ratios. A removal that walks the tree would show."""
    files = {f"d{number % 40}/f{number}.txt": f"{number}\n" for number in range(2000)}
    place = Place(make_repo("large", {**files, ".gitignore": "deps/\n"}), tmp_path / "home")
    began = time.monotonic()
    place.remove()
    taken = time.monotonic() - began
    with capsys.disabled():
        print(f" removal at 2,000 files: {taken * 1000:.0f} ms")
    assert taken < 5
