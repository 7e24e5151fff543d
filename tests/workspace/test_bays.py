"""Bays against real git: made, found again, made many at once, refused, completed after a crash."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import cast

import pytest

from stretto.core.errors import StrettoError
from stretto.git.repository import Repository as RealGit
from stretto.interfaces import Git, Workspace
from stretto.workspace import Bays, Settings, bootstrap, locate
from tests.support.repository import Repository
from tests.support.unprivileged import Unprivileged

UID = "plan-abcd/search"
BRANCH = "stretto/plan-abcd/search/work"


class Place:
    """A repository, a home and the bays of both."""

    def __init__(self, repo: Repository, home: Path) -> None:
        self.repo = repo
        self.home = home
        home.mkdir(mode=0o700, exist_ok=True)
        self.git = cast("Git", RealGit.open(repo.path, home))
        self.folder = repo.path.parent / f"{repo.path.name}.worktrees"

    def bays(self, settings: Settings | None = None, *, home: str = "home-1") -> Bays:
        return Bays(self.git, self.folder, home, settings)

    def ensure(self, bays: Bays | None = None, uid: str = UID, **env: str) -> Workspace:
        branch = f"stretto/{uid}/work"
        return (bays or self.bays()).ensure(uid, "task", self.repo.oid("main"), branch, env)

    def markers(self) -> list[str]:
        return sorted(path.name for path in (self.folder / ".stretto" / "bays").glob("*.json"))


@pytest.fixture
def place(make_repo, tmp_path: Path) -> Place:
    files = {"a.txt": "a\n", "sub/b.txt": "b\n", ".gitignore": "*.log\n.env*\ndeps/\n"}
    return Place(make_repo("repo", files), tmp_path / "home")


def test_a_workspace_is_a_worktree_on_its_branch(place: Place):
    space = place.ensure()
    assert (space.path, space.bay, space.fresh, space.ready) == (place.folder / "01", 1, True, None)
    assert (space.path / "sub" / "b.txt").read_text() == "b\n"
    assert place.repo.git("symbolic-ref", "HEAD", cwd=space.path) == f"refs/heads/{BRANCH}"
    assert place.repo.status(space.path) == []
    assert (place.folder / "search").resolve() == space.path
    assert place.repo.status() == []


def test_ensuring_again_finds_it_as_it_is(place: Place):
    first = place.ensure()
    (first.path / "new.txt").write_text("work")
    again = place.ensure()
    assert (again.path, again.fresh) == (first.path, False)
    assert (again.path / "new.txt").read_text() == "work"
    assert place.markers() == ["01.json"]


def test_a_finished_set_up_is_remembered(place: Place):
    bays = place.bays()
    space = place.ensure(bays)
    bays.set_ready(space.path, "key")
    found = place.bays().find(UID, "task", {})
    assert found is not None
    assert found.ready == "key"
    assert place.ensure().ready == "key"


def test_the_contract_environment(place: Place):
    settings = Settings(env={"NAME": "db-{task}-{slot}", "JSON": '{"a": {"b": 1}}', "PLAIN": "{{task}}"})
    space = place.ensure(place.bays(settings), PATH="/bin", PORT="80", PORT_API="81", STRETTO_SLOT="9")
    head = place.repo.oid("main")
    assert space.env == {
        "PATH": "/bin",
        "NAME": "db-search-1",
        "JSON": '{"a": {"b": 1}}',
        "PLAIN": "{{task}}",
        "STRETTO_TASK": "search",
        "STRETTO_UID": UID,
        "STRETTO_PURPOSE": "task",
        "STRETTO_WORKSPACE": str(space.path),
        "STRETTO_ROOT": str(place.repo.path),
        "STRETTO_BRANCH": BRANCH,
        "STRETTO_BASE": head,
        "STRETTO_TREE": place.repo.git("rev-parse", "main^{tree}"),
        "STRETTO_SLOT": "1",
        "COMPOSE_PROJECT_NAME": space.env["COMPOSE_PROJECT_NAME"],
    }
    assert space.env["COMPOSE_PROJECT_NAME"].startswith("repo-")


def test_two_workspaces_share_no_slot_and_no_compose_project(place: Place):
    one, two = place.ensure(uid="plan-abcd/one"), place.ensure(uid="plan-abcd/two")
    for name in ("STRETTO_SLOT", "COMPOSE_PROJECT_NAME", "STRETTO_WORKSPACE", "STRETTO_BRANCH"):
        assert one.env[name] != two.env[name]


def test_a_placeholder_without_value_is_refused_and_leaves_nothing(place: Place):
    with pytest.raises(StrettoError, match=r"\{port.api\}") as caught:
        place.ensure(place.bays(Settings(env={"URL": "http://localhost:{port.api}"})))
    assert caught.value.code == "environment"
    assert not place.folder.exists()


# ------------------------------------------------------------------ files


def test_the_environment_file_is_a_private_block_at_the_end_of_an_ignored_file(place: Place):
    (place.repo.path / ".env.local").write_text("KEY=mine\nPORT=1")
    settings = Settings(
        env={"NAME": "two words", "TOKEN": "secret-value"},
        env_file=".env.local",
        copy=(".env.local",),
        secret=frozenset({"TOKEN"}),
    )
    space = place.ensure(place.bays(settings), HOME="/home/me")
    path = space.path / ".env.local"
    text = path.read_text()
    assert text.startswith("KEY=mine\nPORT=1\n# >>> stretto")
    assert "\nNAME='two words'\n" in text
    assert "\nSTRETTO_TASK=search\n" in text
    assert "secret-value" not in text
    assert "/home/me" not in text
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("a") as file:
        file.write("AFTER=1\n")
    place.ensure(place.bays(settings))
    again = path.read_text()
    assert again.count(">>> stretto") == 1
    assert "KEY=mine\n" in again
    assert "AFTER=1\n" in again
    assert place.repo.status(space.path) == []


@pytest.mark.parametrize("name", ["a.txt", "not-ignored.env"])
def test_the_environment_is_never_written_where_it_would_be_committed(place: Place, name):
    space = place.ensure(place.bays(Settings(env_file=name)))
    assert place.repo.status(space.path) == []
    assert ">>> stretto" not in "".join(path.read_text() for path in space.path.glob("*.*") if path.is_file())


@pytest.mark.parametrize("name", ["../outside.env", "/tmp/outside.env", "sub"])
def test_an_environment_file_elsewhere_is_refused(place: Place, name):
    with pytest.raises(StrettoError, match="env_file"):
        place.ensure(place.bays(Settings(env_file=name)))
    assert not (place.folder / "outside.env").exists()


def test_only_named_ignored_files_are_copied(place: Place):
    place.repo.commit("include", {".worktreeinclude": "# local\n/deps/\n"})
    place.repo.write(
        {
            ".env": "A=1",
            ".env.secret": "B=2",
            "deps/x/y.bin": b"\0\1",
            "deps/run": "#!/bin/sh\n",
            "kept.log": "no",
            "untracked.txt": "would be committed",
        }
    )
    (place.repo.path / "deps" / "run").chmod(0o755)
    (place.repo.path / "deps" / "out").symlink_to("/etc")
    space = place.ensure(place.bays(Settings(copy=(".env", "untracked.txt", "a.txt", "missing"))))
    copied = sorted(path for path in space.path.rglob("*") if not path.is_dir() and path.name != ".git")
    assert [str(path.relative_to(space.path)) for path in copied] == [
        ".env",
        ".gitignore",
        ".worktreeinclude",
        "a.txt",
        "deps/run",
        "deps/x/y.bin",
        "sub/b.txt",
    ]
    assert (space.path / ".env").stat().st_mode & 0o777 == 0o600
    assert (space.path / "deps" / "run").stat().st_mode & 0o777 == 0o700
    assert (space.path / "deps/x/y.bin").read_bytes() == b"\0\1"
    assert place.repo.status(space.path) == []


@pytest.mark.parametrize("pattern", ["../other", "/", "sub/../../x"])
def test_a_pattern_that_leads_out_is_refused_and_leaves_nothing(place: Place, pattern):
    with pytest.raises(StrettoError, match="copy"):
        place.ensure(place.bays(Settings(copy=(pattern,))))
    assert place.markers() == []
    assert not (place.folder / "01").exists()
    assert place.repo.refs("refs/heads/stretto/") == {}


def test_worktreeinclude_is_read_as_git_reads_gitignore(place: Place):
    include = "# local files\n\n.env*\n!.env.example\n/deps/*\n!/deps/keep/\n**/local.log\n"
    place.repo.commit("include", {".worktreeinclude": include})
    place.repo.write(
        {
            ".env": "1",
            ".env.example": "2",
            "sub/.env.test": "3",
            "deps/a.bin": "4",
            "deps/keep/b.bin": "5",
            "sub/local.log": "6",
            "sub/other.log": "7",
        }
    )
    space = place.ensure()
    tracked = set(place.repo.files("main"))
    found = {str(path.relative_to(space.path)) for path in space.path.rglob("*") if path.is_file()}
    assert found - tracked - {".git"} == {".env", "sub/.env.test", "deps/a.bin", "sub/local.log"}
    assert place.repo.status(space.path) == []


def test_a_repository_inside_is_not_copied(place: Place):
    place.repo.commit("include", {".worktreeinclude": "deps/\n"})
    inner = Repository.create(place.repo.path / "deps" / "inner", {"x.txt": "x"})
    inner.git("config", "core.fsmonitor", "touch /tmp/never")
    place.repo.write({"deps/plain.bin": "1"})
    space = place.ensure()
    assert sorted(path.name for path in (space.path / "deps").iterdir()) == ["plain.bin"]


@pytest.mark.parametrize("line", ["../secret", "deps/../../secret", "!../x"])
def test_worktreeinclude_that_leads_out_is_refused_and_leaves_nothing(place: Place, line: str):
    place.repo.commit("include", {".worktreeinclude": f"{line}\n"})
    with pytest.raises(StrettoError, match="leads out of the checkout") as caught:
        place.ensure()
    assert caught.value.code == "copy"
    assert place.markers() == []
    assert not (place.folder / "01").exists()


def test_a_link_out_of_the_checkout_is_never_read(place: Place, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.log").write_text("secret")
    place.repo.commit("include", {".worktreeinclude": "*.log\n.env*\nout\n"})
    (place.repo.path / "direct.log").symlink_to(secret / "key.log")
    (place.repo.path / ".env").symlink_to(secret)
    (place.repo.path / "inner.log").write_text("mine")
    (place.repo.path / "linked.log").symlink_to("inner.log")
    space = place.ensure(place.bays(Settings(copy=(".env/*.log", "direct.log"))))
    assert not (space.path / "direct.log").exists()
    assert not (space.path / ".env").exists()
    assert (space.path / "linked.log").read_text() == "mine"
    assert not (space.path / "linked.log").is_symlink()


def test_nothing_is_written_through_a_link_of_the_worktree(place: Place, tmp_path: Path):
    """The branch carries `deps` as a link to somewhere else; the checkout has a folder of that name."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    base = place.repo.oid("main")
    (place.repo.path / "deps").symlink_to(elsewhere)
    place.repo.git("add", "-f", "deps")
    place.repo.git("commit", "-qm", "link")
    trap = place.repo.oid("main")
    place.repo.git("reset", "-q", "--hard", base)
    place.repo.write({"deps/sub/x.bin": "1"})
    bays = place.bays(Settings(copy=("deps",)))
    with contextlib.suppress(StrettoError):
        bays.ensure(UID, "task", trap, BRANCH, {})
    assert list(elsewhere.iterdir()) == []
    with pytest.raises(StrettoError, match="deps is a link or a file in the worktree"):
        bootstrap._copy(place.repo.path / "deps/sub/x.bin", _linked(tmp_path, elsewhere), "deps/sub/x.bin")
    assert list(elsewhere.iterdir()) == []


def _linked(tmp_path: Path, elsewhere: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "deps").symlink_to(elsewhere)
    return tree


def test_a_copy_shares_no_file_with_its_original(place: Place):
    """A hard link would: one task's edit would appear in another."""
    place.repo.write({".env": "A=1\n" * 5000})
    space = place.ensure(place.bays(Settings(copy=(".env",))))
    assert (space.path / ".env").stat().st_nlink == 1
    assert (space.path / ".env").stat().st_ino != (place.repo.path / ".env").stat().st_ino
    (space.path / ".env").write_text("changed")
    assert (place.repo.path / ".env").read_text() == "A=1\n" * 5000


# ------------------------------------------------------------------ many at once


def test_sixteen_at_once(place: Place):
    bays = place.bays()
    barrier = threading.Barrier(16)
    made: list[Workspace] = []
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            barrier.wait()
            made.append(place.ensure(bays, f"plan-abcd/task-{number}"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(space.bay for space in made) == list(range(1, 17))
    assert len(place.markers()) == 16
    listed = place.repo.git("worktree", "list", "--porcelain")
    assert listed.count("\nbranch refs/heads/stretto/") == 16
    assert all(place.repo.status(space.path) == [] for space in made)


def test_homes_share_the_numbers_but_not_the_bays(place: Place):
    mine = place.ensure(place.bays(home="home-1"))
    theirs = place.bays(home="home-2").ensure("other-abcd/x", "task", place.repo.oid("main"), "stretto/x", {})
    assert (mine.bay, theirs.bay) == (1, 2)
    assert place.bays(home="home-2").find(UID, "task", {}) is None
    assert place.bays(home="home-2").leftovers(["other-abcd/x"]) == []
    with pytest.raises(StrettoError, match="belongs to"):
        place.bays(home="home-2").remove(UID, mine.path, None, "no")
    assert mine.path.is_dir()


def test_two_tasks_of_one_id_get_different_links(place: Place):
    one, two = place.ensure(uid="one-abcd/search"), place.ensure(uid="two-abcd/search")
    assert (place.folder / "search").resolve() == one.path
    assert (place.folder / "two-abcd__search").resolve() == two.path


def test_a_task_called_like_a_bay_gets_a_longer_link(place: Place):
    space = place.ensure(uid="one-abcd/02")
    assert (place.folder / "one-abcd__02").resolve() == space.path
    assert place.ensure(uid="one-abcd/other").path == place.folder / "02"


# ------------------------------------------------------------------ in the way


def test_what_has_the_name_of_a_bay_is_left_alone(place: Place):
    place.ensure(uid="one-abcd/first")
    (place.folder / "02").mkdir()
    (place.folder / "02" / "mine.txt").write_text("mine")
    (place.folder / "03").symlink_to("/etc")
    bays = place.bays()
    assert place.ensure(bays, "one-abcd/second").path == place.folder / "04"
    assert (place.folder / "02" / "mine.txt").read_text() == "mine"
    assert bays.leftovers(["one-abcd/first", "one-abcd/second"]) == [place.folder / "02", place.folder / "03"]


def test_a_folder_of_others_is_refused_up_front(place: Place):
    place.folder.mkdir()
    (place.folder / "theirs").write_text("theirs")
    for attempt in (place.bays().check, place.ensure):
        with pytest.raises(StrettoError, match="was not made by stretto and holds theirs") as caught:
            attempt()
        assert caught.value.code == "worktrees_folder"
        assert "[project] worktrees" in (caught.value.hint or "")
    assert [path.name for path in place.folder.iterdir()] == ["theirs"]
    assert place.repo.refs("refs/heads/stretto/") == {}


def test_a_file_in_place_of_the_folder_is_refused(place: Place):
    place.folder.write_text("a file")
    with pytest.raises(StrettoError, match="is not a folder"):
        place.bays().check()
    assert place.folder.read_text() == "a file"


def test_the_folder_of_another_repository_is_refused(place: Place, make_repo):
    place.ensure()
    other = Place(make_repo("other", {"x": "x"}), place.home)
    other.folder = place.folder
    with pytest.raises(StrettoError, match="belongs to the repository"):
        other.ensure()


@pytest.mark.parametrize("inside", ["inner", ".git/inner", "."])
def test_a_folder_inside_the_checkout_is_refused(place: Place, inside):
    with pytest.raises(StrettoError, match="lies inside the"):
        Bays(place.git, place.repo.path / inside, "home-1").check()


def test_a_folder_around_the_checkout_is_refused(place: Place):
    with pytest.raises(StrettoError, match="contains the checkout"):
        Bays(place.git, place.repo.path.parent, "home-1").check()


def test_an_existing_but_empty_folder_is_fine(place: Place):
    place.folder.mkdir()
    place.bays().check()
    assert place.ensure().path.is_dir()


def test_where_the_bays_lie(tmp_path: Path):
    root, home = tmp_path / "app", tmp_path / "home"
    (root / ".git").mkdir(parents=True)
    usual = tmp_path / "app.worktrees"
    assert locate(root, root / ".git", home) == usual
    assert locate(root, root / ".git", home, "../elsewhere") == tmp_path / "elsewhere"
    assert locate(root, root / ".git", home, "/srv/x") == Path("/srv/x")


def _where(root: str, home: str) -> str:
    return str(locate(Path(root), Path(root, ".git"), Path(home)))


def test_an_unwritable_parent_falls_back_to_the_home_and_stays_there(unprivileged: Unprivileged):
    outer = unprivileged.folder / "outer"
    root, home = outer / "app", unprivileged.folder / "home"
    (root / ".git").mkdir(parents=True)
    home.mkdir()
    unprivileged.own(unprivileged.folder)
    assert unprivileged.call(_where, str(root), str(home)) == str(outer / "app.worktrees")
    outer.chmod(0o555)
    fallback = Path(unprivileged.call(_where, str(root), str(home)))
    assert fallback.is_relative_to(home)
    outer.chmod(0o755)
    (fallback / ".stretto").mkdir(parents=True)
    (fallback / ".stretto" / "folder.json").write_text("{}")
    unprivileged.own(home)
    assert unprivileged.call(_where, str(root), str(home)) == str(fallback)


def test_a_branch_in_the_way_leaves_nothing_half_made(place: Place):
    place.repo.branch("stretto/plan-abcd/search")
    before = place.repo.refs()
    with pytest.raises(StrettoError) as caught:
        place.ensure()
    assert "stretto/plan-abcd/search" in str(caught.value)
    assert place.repo.refs() == before
    assert place.markers() == []
    assert sorted(path.name for path in place.folder.iterdir()) == [".quarantine", ".stretto"]
    assert place.repo.git("worktree", "list").count("\n") == 0


def test_a_full_disk_is_told_before_anything_is_made(make_repo, tmp_path: Path):
    """A real small file system, mounted for this test."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(small)], check=True)
    try:
        place = Place(make_repo("repo", {"a.txt": "a\n"}), tmp_path / "home")
        place.folder = small / "bays"
        with pytest.raises(StrettoError, match="MiB left, a worktree needs") as caught:
            place.ensure()
        assert caught.value.code == "disk_full"
        assert place.markers() == []
        assert place.repo.refs("refs/heads/stretto/") == {}
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_a_disk_that_fills_up_half_way_leaves_nothing_half_made(make_repo, tmp_path: Path):
    """A real small file system that has room for the bytes, but not for so many files."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=200", "none", str(small)], check=True)
    try:
        repo = make_repo("repo", {"a.txt": "a\n"})
        blobs = "".join(f"100644 blob {repo.git('rev-parse', 'main:a.txt')}\td{n % 90}/f{n}\n" for n in range(600))
        index = {**os.environ, "GIT_INDEX_FILE": str(tmp_path / "index")}
        subprocess.run(
            ["git", "update-index", "--index-info"], cwd=repo.path, env=index, input=blobs.encode(), check=True
        )
        tree = subprocess.run(["git", "write-tree"], cwd=repo.path, env=index, capture_output=True, check=True).stdout
        commit = repo.git("commit-tree", tree.decode().strip(), "-m", "many")
        place = Place(repo, tmp_path / "home")
        place.folder = small / "bays"
        with pytest.raises(StrettoError, match="the disk was full before") as caught:
            place.bays().ensure(UID, "task", commit, BRANCH, {})
        assert caught.value.code == "disk_full"
        assert place.markers() == []
        assert not (place.folder / "01").exists()
        assert place.repo.refs("refs/heads/stretto/") == {}
        assert place.repo.git("worktree", "list").count("\n") == 0
        space = place.ensure()
        assert space.path == place.folder / "01"
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_a_worktree_deleted_by_hand_is_made_again_with_its_commits(place: Place):
    space = place.ensure()
    (space.path / "work.txt").write_text("committed")
    place.repo.git("add", "work.txt", cwd=space.path)
    place.repo.git("commit", "-qm", "work", cwd=space.path)
    bays = place.bays()
    bays.set_ready(space.path, "key")
    subprocess.run(["rm", "-r", str(space.path)], check=True)
    again = place.ensure(bays)
    assert again.path == space.path
    assert (again.path / "work.txt").read_text() == "committed"
    assert again.ready is None


# ------------------------------------------------------------------ the gate


def test_the_gate_keeps_its_bay_and_what_is_ignored(place: Place):
    bays = place.bays()
    first = place.repo.oid("main")
    gate = bays.ensure("landing-gate/gate", "gate", first, None, {"STRETTO_TASK": "one,two"})
    assert gate.branch is None
    assert (gate.env["STRETTO_PURPOSE"], gate.env["STRETTO_TASK"]) == ("gate", "one,two")
    (gate.path / "deps").mkdir()
    (gate.path / "deps" / "warm").write_text("warm")
    (gate.path / "stray.txt").write_text("left by a check")
    (gate.path / "a.txt").write_text("changed by a check")
    second = place.repo.commit("second", {"c.txt": "c\n"})
    again = bays.ensure("landing-gate/gate", "gate", second, None, {})
    assert (again.path, again.fresh) == (gate.path, False)
    assert place.repo.git("rev-parse", "HEAD", cwd=gate.path) == second
    assert place.repo.status(gate.path) == []
    assert (gate.path / "deps" / "warm").read_text() == "warm"
    assert not (gate.path / "stray.txt").exists()
    assert (gate.path / "a.txt").read_text() == "a\n"
    assert again.env["STRETTO_BASE"] == second
    assert bays.changes(gate.path) == ()
    assert bays.difference(first, second) == ("c.txt",)
    assert bays.difference("0" * 40, second) is None


# ------------------------------------------------------------------ crashes

ENSURE = """
import sys
from pathlib import Path
from stretto.git.repository import Repository
from stretto.workspace import Bays, Settings
root, home, folder, commit = sys.argv[1:]
bays = Bays(Repository.open(Path(root), Path(home)), Path(folder), "home-1", Settings(copy=(".env",)))
bays.ensure("plan-abcd/search", "task", commit, "stretto/plan-abcd/search/work", {})
"""

POINTS = [
    "daemon.workspace.reserved",
    "daemon.workspace.made",
    "daemon.git.worktree_add.before",
    "daemon.git.worktree_add.registered",
    "daemon.git.worktree_add.after",
    "daemon.files.replace.before@2",
    "daemon.files.replace.after@2",
    "daemon.files.replace.before@3",
    "daemon.files.replace.after@3",
]


@pytest.mark.faults
@pytest.mark.parametrize("point", POINTS)
def test_whatever_step_dies_the_next_ensure_completes_it(place: Place, point):
    (place.repo.path / ".env").write_text("A=1")
    place.git.read_ref("refs/heads/main")
    arguments = [str(place.repo.path), str(place.home), str(place.folder), place.repo.oid("main")]
    env = {**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"{point}=kill"}
    died = subprocess.run([sys.executable, "-c", ENSURE, *arguments], env=env, check=False)
    assert died.returncode == -9
    space = place.ensure(place.bays(Settings(copy=(".env",))))
    assert space.path == place.folder / "01"
    assert place.markers() == ["01.json"]
    assert json.loads((place.folder / ".stretto/bays/01.json").read_text())["state"] == "made"
    assert place.repo.git("symbolic-ref", "HEAD", cwd=space.path) == f"refs/heads/{BRANCH}"
    assert place.repo.status(space.path) == []
    assert (space.path / ".env").read_text() == "A=1"
    assert (place.folder / "search").resolve() == space.path
    assert place.bays().leftovers([UID]) == []


@pytest.mark.faults
@pytest.mark.parametrize(
    "point", ["git.worktree_forget.after", "git.worktree_add.registered", "files.move_over.before"]
)
def test_a_lost_tree_that_was_half_brought_back_is_not_taken_for_a_whole_one(place: Place, point):
    """Else the next commit would delete every file."""
    space = place.ensure(place.bays())
    shutil.rmtree(space.path)
    arguments = [str(place.repo.path), str(place.home), str(place.folder), place.repo.oid("main")]
    env = {**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"daemon.{point}=kill"}
    died = subprocess.run([sys.executable, "-c", ENSURE, *arguments], env=env, check=False)
    assert died.returncode == -9
    space = place.ensure(place.bays())
    assert place.repo.status(space.path) == []
    assert json.loads((place.folder / ".stretto/bays/01.json").read_text())["state"] == "made"


def test_a_folder_that_another_prepares_just_now_is_ours(place: Place, monkeypatch: pytest.MonkeyPatch):
    """The marker appears between two looks: what lies beside it then is no stranger's."""
    folder = place.bays().folder
    folder.path.mkdir(parents=True)
    real = Path.exists

    def late(path: Path) -> bool:
        if path.name != "folder.json":
            return real(path)
        monkeypatch.setattr(Path, "exists", real)
        place.bays().folder.prepare()
        return False

    monkeypatch.setattr(Path, "exists", late)
    folder.check()
    assert (folder.path / ".stretto" / "folder.json").exists()
    assert folder.quarantine.is_dir()
