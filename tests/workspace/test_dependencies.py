"""Packages come into a worktree by the cheapest rung that gives exactly what the lock file names, and stay its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from stretto.checks import packages
from stretto.checks.run import CheckRunner
from stretto.core.errors import StrettoError
from stretto.core.model import CheckSpec
from stretto.git.repository import Repository as RealGit
from stretto.interfaces import CheckOutcome, Git
from stretto.workspace import Bays, Settings
from stretto.workspace.dependencies import Choice, Copier, System, golden
from stretto.workspace.dependencies.recognise import recognise
from stretto.workspace.dependencies.seal import seal
from stretto.workspace.spreading import spread
from tests.support.npm import GITIGNORE, FakeNpm, lock, project
from tests.support.repository import Repository


class Sharing(System):
    """A file system that shares blocks, as far as anybody can tell."""

    def __init__(self) -> None:
        self.shared: list[bool] = []

    def shares(self, source: Path, target: Path) -> bool:
        return True

    def copy(self, source: Path, target: Path, *, share: bool, writable: bool) -> str:
        self.shared.append(share)
        return super().copy(source, target, share=False, writable=writable)


class Yard:
    """A repository whose bays bring in packages, and the programs that they find."""

    def __init__(self, repo: Repository, folder: Path, copier: Copier | None = None) -> None:
        self.repo = repo
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.copier = copier
        self.env: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self.said: list[str] = []

    def bays(self, choice: Choice | None = None) -> Bays:
        git = cast("Git", RealGit.open(self.repo.path, self.home))
        settings = Settings(dependencies=choice or Choice())
        place = self.repo.path.parent / f"{self.repo.path.name}.worktrees"
        return Bays(git, place, "home-1", settings, copier=self.copier)

    @property
    def private(self) -> Path:
        return self.repo.path.parent / f"{self.repo.path.name}.worktrees" / ".stretto"

    def golden(self) -> list[Path]:
        folder = self.private / "golden"
        return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def bring(self, id: str, *, choice: Choice | None = None, keep: bool = True) -> tuple[Path, list[str]]:
        """Ensure a workspace with its packages: where it is, and the rungs."""
        bays = self.bays(choice)
        uid = f"plan-abcd/{id}"
        space = bays.ensure(uid, "task", self.repo.oid("main"), f"stretto/{uid}/work", self.env)
        runner = CheckRunner("dependencies", grace=0.1)
        found: list[packages.Brought] = []

        def run(spec: CheckSpec) -> CheckOutcome:
            output = self.folder / f"{id}-{spec.name}.log"
            done = runner.run(spec, space.path, space.env, output, lambda: False)
            self.said.append(output.read_text())
            return done

        lost = packages.bring(bays, space.path, space.env, run, found.append, keep=keep)
        assert lost is None, self.said
        return space.path, [one.rung for one in found]


@pytest.fixture
def yard(make_repo, tmp_path: Path) -> Yard:
    yard = Yard(make_repo("repo", project("left", "right")), tmp_path)
    yard.env = {**yard.env, **FakeNpm(tmp_path / "bin").env}
    return yard


def calls(yard: Yard) -> list[str]:
    path = yard.folder / "bin" / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_every_manager_is_known_by_its_lock_file(tmp_path: Path):
    found = {
        "package-lock.json": "npm", "npm-shrinkwrap.json": "npm", "pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn",
        "bun.lock": "bun", "bun.lockb": "bun", "uv.lock": "uv", "poetry.lock": "poetry", "requirements.txt": "pip",
        "requirements-dev.txt": "pip", "Cargo.lock": "cargo", "go.sum": "go", "Gemfile.lock": "bundler",
    }  # fmt: skip
    bin = tmp_path / "bin"
    bin.mkdir()
    for program in ("npm", "pnpm", "yarn", "bun", "uv", "poetry", "python3", "cargo", "go", "bundle"):
        (bin / program).write_text("")
        (bin / program).chmod(0o755)
    for name, manager in found.items():
        tree = tmp_path / name.replace(".", "-")
        tree.mkdir()
        (tree / name).write_text("{}")
        (one,) = recognise(tree, None, {"PATH": str(bin)})
        assert (one.manager.name, one.folder) == (manager, "")
        online = [text for rung, text in one.commands({"PATH": str(bin)}, True) if rung == "online"]
        assert len(online) == 1
        with pytest.raises(StrettoError, match="is not on the PATH"):
            one.commands({"PATH": str(tree)}, True)


def test_one_place_has_one_manager_and_folders_may_be_named(tmp_path: Path):
    for name in ("package-lock.json", "pnpm-lock.yaml", "uv.lock", "requirements.txt", "web/yarn.lock", "a/b/go.sum"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "web" / "yarn.lock").write_text("__metadata:\n  version: 8\n")
    assert [one.name for one in recognise(tmp_path, None, {})] == ["pnpm", "uv", "yarn in web"]
    (web, deep) = recognise(tmp_path, ("web", "a/b/"), {})
    assert (web.place, deep.name, deep.place) == ("web/node_modules", "go in a/b", "")
    path = {"PATH": os.environ["PATH"]}
    assert web.berry
    with pytest.raises(StrettoError, match="no folder"):
        recognise(tmp_path, ("missing",), path)
    (tmp_path / "link").symlink_to(tmp_path / "web")
    with pytest.raises(StrettoError, match="no folder"):
        recognise(tmp_path, ("link",), path)


def test_the_key_is_that_of_what_would_be_installed(tmp_path: Path):
    def key(**files: str) -> str:
        for name, text in files.items():
            (tmp_path / name.replace("_", ".", 1).replace("_", "-")).write_text(text)
        return recognise(tmp_path, None, {"PATH": "/nowhere"})[0].key

    first = key(package_json="{}", **{"package-lock.json": lock("left")})
    assert key(package_json='{"scripts": {"test": "true"}, "description": "x"}') == first
    assert key(package_json='{"scripts": {"postinstall": "true"}}') != first
    assert key(package_json='{"dependencies": {"left": "1"}}') != first
    assert key(package_json="{}") == first
    assert key(**{"package-lock.json": lock("left", "right")}) != first


def test_the_first_workspace_installs_and_the_next_ones_copy(yard: Yard):
    (yard.folder / "bin" / "cached").touch()
    first, rungs = yard.bring("one")
    assert rungs == ["offline"]
    assert len(yard.golden()) == 1
    second, rungs = yard.bring("two")
    assert rungs == ["copy"]
    assert calls(yard) == ["ci --no-audit --no-fund --offline"]
    for path in (first, second):
        assert (path / "node_modules" / ".bin" / "left").read_text() == "module.exports = 'left'\n"
        assert (path / "node_modules" / ".bin" / "left").readlink() == Path("../left/index.js")
    assert yard.repo.status(second) == []
    assert yard.bring("two")[1] == ["kept"]


def test_what_one_task_changes_in_its_packages_is_seen_by_nobody(yard: Yard):
    yard.bring("one")
    second, _ = yard.bring("two")
    (second / "node_modules" / "left" / "index.js").write_text("poison")
    (second / "node_modules" / "evil").mkdir()
    third, _ = yard.bring("three")
    for path in (yard.bring("one")[0], third):
        assert (path / "node_modules" / "left" / "index.js").read_text() == "module.exports = 'left'\n"
        assert not (path / "node_modules" / "evil").exists()
    inodes = [(path / "node_modules" / "left" / "index.js").stat().st_ino for path in (second, third)]
    assert len({*inodes}) == 2


def test_a_golden_copy_cannot_be_written_by_mistake(yard: Yard):
    yard.bring("one")
    (copy,) = yard.golden()
    inside = [path for path in (copy / "0").rglob("*") if not path.is_symlink()]
    assert inside
    assert all(path.stat().st_mode & 0o222 == 0 for path in (copy / "0", *inside))
    second, _ = yard.bring("two")
    inside = [path for path in (second / "node_modules").rglob("*") if not path.is_symlink()]
    assert all(path.stat().st_mode & 0o200 for path in inside)


def test_where_blocks_can_be_shared_they_are(make_repo, tmp_path: Path):
    sharing = Sharing()
    yard = Yard(make_repo("repo", project("left")), tmp_path, sharing)
    yard.env = {**yard.env, **FakeNpm(tmp_path / "bin").env}
    assert yard.bring("one")[1] == ["online"]
    assert yard.bring("two")[1] == ["reflink"]
    assert sharing.shared == [True, True]


def test_this_machine_says_whether_it_shares_blocks(tmp_path: Path):
    """Whatever it says must be true: a copy by sharing works just then."""
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "file").write_text("x" * 8192)
    os.utime(tmp_path / "source", (1, 2))
    system = System()
    share = system.shares(tmp_path / "source", tmp_path / "target")
    system.copy(tmp_path / "source", tmp_path / "copy", share=share, writable=True)
    assert (tmp_path / "copy" / "file").read_text() == "x" * 8192
    if not share:
        with pytest.raises(StrettoError):
            system.copy(tmp_path / "source", tmp_path / "other", share=True, writable=True)
    assert [path.name for path in (tmp_path / "source").iterdir()] == ["file"]
    assert (tmp_path / "source").stat().st_mtime == 2, "nothing was written there, not even for a moment"


def test_a_copy_keeps_modes_times_links_and_odd_names(tmp_path: Path):
    source = tmp_path / "source"
    (source / "-dash").mkdir(parents=True)
    for name in ("a b", "-n", "new\nline", ".hidden"):
        (source / name).write_text(name)
    (source / "-dash" / "run").write_text("#!/bin/sh\n")
    (source / "-dash" / "run").chmod(0o755)
    os.utime(source / "a b", (1, 2))
    (source / "away").symlink_to("/nowhere")
    for number in range(900):
        (source / f"file-{number}").touch()
    System().copy(source, tmp_path / "copy", share=False, writable=True)
    made = tmp_path / "copy"
    assert sorted(os.listdir(made)) == sorted(os.listdir(source))  # noqa: PTH208
    assert (made / "new\nline").read_text() == "new\nline"
    assert (made / "-dash" / "run").stat().st_mode & 0o777 == 0o755
    assert (made / "a b").stat().st_mtime == 2
    assert (made / "away").readlink() == Path("/nowhere")


def test_the_checkout_of_the_person_is_copied_when_it_has_just_what_the_lock_file_names(yard: Yard):
    modules = yard.repo.path / "node_modules"
    modules.mkdir()
    for name in ("left", "right"):
        (modules / name).mkdir()
        (modules / name / "index.js").write_text("mine")
    noted = {name: one for name, one in json.loads(lock("left", "right"))["packages"].items() if name}
    note = modules / ".package-lock.json"
    note.write_text(json.dumps({"packages": {"node_modules/left": noted["node_modules/left"]}}))
    assert yard.bring("one", keep=False)[1] == ["online"]  # right is missing
    note.write_text(json.dumps({"packages": {**noted, "node_modules/more": {"version": "1.0.0"}}}))
    assert yard.bring("two", keep=False)[1] == ["offline"]  # there is one too many
    note.write_text(json.dumps({"packages": noted}))
    path, rungs = yard.bring("three")
    assert rungs == ["copy"]
    assert (path / "node_modules" / "left" / "index.js").read_text() == "mine"
    assert (modules / "left" / "index.js").read_text() == "mine"
    assert os.access(modules / "left" / "index.js", os.W_OK)
    (yard.repo.path / "package-lock.json").write_text(lock("left"))  # not what the base has
    shutil.rmtree(yard.private / "golden")
    assert yard.bring("four", keep=False)[1] == ["offline"]


def test_packages_of_one_worktree_are_no_golden_copy(yard: Yard):
    """A link out of the worktree, or an absolute one, would lead every copy into somebody else's files."""
    npm = yard.folder / "bin" / "npm"
    npm.write_text(npm.read_text() + 'ln -s "$PWD/package.json" node_modules/own\n')
    assert yard.bring("one")[1] == ["online"]
    assert yard.golden() == []
    assert yard.bring("two")[1] == ["offline"]
    npm.write_text(npm.read_text().replace('"$PWD/package.json"', "../../../away"))
    assert yard.bring("three")[1] == ["offline"]
    assert yard.golden() == []


def test_a_changed_lock_file_gets_other_packages(yard: Yard):
    path, _ = yard.bring("one")
    (path / "package-lock.json").write_text(lock("left"))
    assert yard.bring("one", keep=False)[1] == ["offline"]
    assert not (path / "node_modules" / "right").exists()
    assert len(yard.golden()) == 1  # what an agent wrote makes no copy for others
    (path / "package-lock.json").write_text(lock("left", "right"))
    assert yard.bring("one")[1] == ["copy"]
    assert (path / "node_modules" / "right").exists()


def test_the_packages_of_a_workspace_of_npm_lie_in_several_places(make_repo, tmp_path: Path):
    files = {**project("left"), "packages/a/package.json": "{}", "build/package.json.in": ""}
    yard = Yard(make_repo("repo", files), tmp_path)
    fake = FakeNpm(tmp_path / "bin")
    (fake.folder / "npm").write_text(
        (fake.folder / "npm").read_text()
        + "mkdir -p packages/a/node_modules/deep && echo 1 > packages/a/node_modules/deep/index.js\n"
        + "ln -s ../packages/a node_modules/a\n"
    )
    yard.env = {**yard.env, **fake.env}
    yard.bring("one")
    path, rungs = yard.bring("two")
    assert rungs == ["copy"]
    assert (path / "packages" / "a" / "node_modules" / "deep" / "index.js").read_text() == "1\n"
    assert (path / "node_modules" / "a").resolve() == path / "packages" / "a"


def refuse(yard: Yard, message: str, *, choice: Choice | None = None) -> None:
    with pytest.raises(StrettoError, match=message) as caught:
        yard.bring("one", choice=choice)
    assert caught.value.code == "dependencies"
    assert caught.value.hint


def test_what_would_do_harm_is_refused(yard: Yard, tmp_path: Path):
    yard.repo.commit("no longer ignored", {".gitignore": ""})
    refuse(yard, "git does not ignore node_modules")
    yard.repo.commit("ignored", {".gitignore": "node_modules\n"})
    path = yard.bays().find("plan-abcd/one", "task", {})
    assert path is not None
    (path.path / ".gitignore").write_text("node_modules\n")
    (path.path / "node_modules").symlink_to(tmp_path)
    refuse(yard, "is a link")
    (path.path / "node_modules").unlink()
    refuse(yard, "no folder", choice=Choice(("away",)))
    (yard.folder / "bin" / "npm").unlink()
    yard.env = {**yard.env, "PATH": str(yard.folder / "bin")}
    refuse(yard, "npm is not on the PATH")


def test_without_the_network_only_the_cache_is_used(yard: Yard):
    with pytest.raises(AssertionError, match="not in the cache"):
        yard.bring("one", choice=Choice(online=False))
    (yard.folder / "bin" / "cached").touch()
    assert yard.bring("one", choice=Choice(online=False))[1] == ["offline"]
    assert all("--offline" in call for call in calls(yard))


def test_golden_copies_are_few(yard: Yard, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(golden, "MOST", 2)
    for number, name in enumerate(("one", "two", "three")):
        yard.repo.commit(name, {"package-lock.json": lock(*["left", "right", "more"][: number + 1])})
        yard.bring(name)
        for path in yard.golden():  # each was used a while ago
            about = path / "golden.json"
            os.utime(about, (about.stat().st_mtime - 100,) * 2)
    assert len(yard.golden()) == 2
    assert yard.bring("four")[1] == ["copy"]
    assert [path.name for path in (yard.private / "golden").iterdir() if path.name.startswith(".")] == []


CLIMB = """
import os, sys
from pathlib import Path
from stretto.git.repository import Repository
from stretto.workspace import Bays, Settings
from stretto.workspace.dependencies import Choice
root, home, folder, commit = sys.argv[1:]
bays = Bays(Repository.open(Path(root), Path(home)), Path(folder), "home-1", Settings(dependencies=Choice()))
env = {"PATH": os.environ["PATH"]}
space = bays.ensure("plan-abcd/one", "task", commit, "stretto/plan-abcd/one/work", env)
for one in bays.dependencies(space.path, env):
    if one.commands:
        for name in ("left", "right"):
            (space.path / "node_modules" / name).mkdir(parents=True)
            (space.path / "node_modules" / name / "index.js").write_text(f"module.exports = '{name}'\\n")
        bays.installed(space.path, one, env, keep=True)
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    "point",
    [
        "daemon.dependencies.copy",
        "daemon.golden.built",
        "daemon.dependencies.copied",
        "daemon.files.rename.before",
        "daemon.files.rename.after",
    ],
)
def test_whatever_step_dies_the_next_one_completes_it(yard: Yard, point: str):
    if point == "daemon.dependencies.copied":
        yard.bring("zero")
    arguments = [str(yard.repo.path), str(yard.home), str(yard.private.parent), yard.repo.oid("main")]
    env = {**os.environ, **yard.env, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"{point}=kill"}
    died = subprocess.run([sys.executable, "-c", CLIMB, *arguments], env=env, check=False)
    assert died.returncode == -9
    path, _ = yard.bring("one")
    assert (path / "node_modules" / "left" / "index.js").read_text() == "module.exports = 'left'\n"
    yard.bring("two")
    assert yard.bring("three")[1] == ["copy"]
    bays = yard.bays()
    assert bays.leftovers([f"plan-abcd/{id}" for id in ("zero", "one", "two", "three")]) == []
    for copy in yard.golden():
        assert sorted(each.name for each in (copy / "0").iterdir()) == [".bin", "left", "right"] or (
            sorted(each.name for each in (copy / "0").iterdir()) == ["left", "right"]
        )


def test_the_real_npm_with_its_workspaces(make_repo, tmp_path: Path):
    """Installed offline once, from a tarball in the repository; then copied, and node finds all of it."""
    box = tmp_path / "box" / "package"
    box.mkdir(parents=True)
    (box / "package.json").write_text('{"name": "tiny", "version": "1.0.0", "main": "index.js"}')
    (box / "index.js").write_text("module.exports = 'tiny'\n")
    repo = make_repo("repo", {".gitignore": GITIGNORE, "packages/a/index.js": "module.exports = 'a'\n"})
    subprocess.run(["tar", "czf", str(repo.path / "tiny.tgz"), "-C", str(box.parent), "package"], check=True)
    files = {
        "package.json": json.dumps(
            {"name": "app", "workspaces": ["packages/*"], "dependencies": {"tiny": "file:./tiny.tgz"}}
        ),
        "packages/a/package.json": '{"name": "a", "version": "1.0.0"}',
    }
    for name, text in files.items():
        (repo.path / name).write_text(text)
    yard = Yard(repo, tmp_path)
    npm = ["npm", "install", "--offline", "--no-audit", "--no-fund"]
    subprocess.run(npm, cwd=repo.path, env=dict(yard.env), check=True, capture_output=True)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "packages")
    path, rungs = yard.bring("one")  # the checkout has just what the lock file names
    assert rungs == ["copy"]
    shutil.rmtree(repo.path / "node_modules")
    shutil.rmtree(yard.private / "golden")
    assert yard.bring("two", keep=False)[1] == ["offline"]
    for number in ("one", "two"):
        path, _ = yard.bring(number)
        argv = ["node", "-p", "require('tiny') + require('a')"]
        assert subprocess.run(argv, cwd=path, check=True, capture_output=True, text=True).stdout == "tinya\n"
        assert (path / "node_modules" / "a").resolve() == path / "packages" / "a"
    assert yard.golden() == []


UV = """[project]
name = "shop"
version = "1.0"
requires-python = ">=3.11"
[project.scripts]
which-shop = "shop:main"
[build-system]
requires = ["uv_build>=0.7,<1"]
build-backend = "uv_build"
"""
SHOP = "import pathlib\ndef main():\n    print(pathlib.Path(__file__).resolve())\n"


def test_a_virtual_environment_runs_the_code_of_its_own_worktree(make_repo, tmp_path: Path):
    files = {"pyproject.toml": UV, "src/shop/__init__.py": SHOP, ".gitignore": GITIGNORE}
    repo = make_repo("repo", files)
    yard = Yard(repo, tmp_path)
    folder = str(Path(sys.executable).parent)
    yard.env = {
        **yard.env,
        "PATH": f"{folder}{os.pathsep}{yard.env['PATH']}",
        "UV_OFFLINE": "1",
        "UV_PYTHON": sys.executable,
    }
    subprocess.run(["uv", "lock"], cwd=repo.path, env=dict(yard.env), check=True, capture_output=True)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "lock")
    for id in ("one", "two", "two"):
        path, rungs = yard.bring(id)
        argv = [str(path / ".venv" / "bin" / "which-shop")]
        done = subprocess.run(argv, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == str(path / "src" / "shop" / "__init__.py")
    assert rungs == ["kept"]
    assert yard.golden() == []  # never copied: this is what a copy would do
    third = yard.bays().ensure("plan-abcd/three", "task", repo.oid("main"), "stretto/plan-abcd/three/work", yard.env)
    shutil.copytree(path / ".venv", third.path / ".venv", symlinks=True)
    argv = [str(third.path / ".venv" / "bin" / "python"), "-c", "import shop; shop.main()"]
    wrong = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=tmp_path).stdout.strip()
    assert wrong == str(path / "src" / "shop" / "__init__.py")
    yard.bring("three")  # brought up to date by its manager, it is right
    right = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=tmp_path).stdout.strip()
    assert right == str(third.path / "src" / "shop" / "__init__.py")


# ------------------------------------------------------------------ copying


def tree_of(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time and content of everything at and below a folder."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_text() if path.is_file() else ""
        time = 0 if path.is_symlink() else status.st_mtime_ns
        found[str(path.relative_to(folder))] = (status.st_mode & 0o777, time, content)
    return found


def packages_in(folder: Path) -> Path:
    """What package managers leave: scopes, a store, links, programs, files in the top, and packages in packages."""
    for name in ("left", "right", "@scope/one", "@scope/two", ".pnpm/left@1/node_modules/left", "deep/a/b/c/d"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            (folder / name / f"m{number}.js").write_text(f"{name} {number}\n" * (number * 400))
            os.utime(folder / name / f"m{number}.js", (number, number + 1))
    (folder / ".bin").mkdir()
    (folder / ".bin" / "left").symlink_to("../left/m0.js")
    (folder / "@loose").write_text("a file with the name of a scope")
    (folder / "top.json").write_text("{}")
    (folder / "left" / "m1.js").chmod(0o755)
    (folder / "right").chmod(0o750)
    for path in (folder, folder / "@scope", folder / "deep"):
        os.utime(path, (5, 6))
    return folder


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_however_many_processes_copy_the_copy_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int):
    monkeypatch.setattr("stretto.workspace.dependencies.copying._cores", lambda: cores)
    monkeypatch.setattr("stretto.workspace.dependencies.copying._EACH", 1)
    source = packages_in(tmp_path / "source")
    told = System().copy(source, tmp_path / "copy", share=False, writable=True)
    assert tree_of(tmp_path / "copy") == tree_of(source)
    assert told == seal(tmp_path / "copy")
    (tmp_path / "copy" / "left" / "m1.js").write_text("changed")
    assert told != seal(tmp_path / "copy")


def test_a_closed_copy_opens_again_when_it_is_copied(tmp_path: Path):
    source = packages_in(tmp_path / "source")
    told = System().copy(source, tmp_path / "closed", share=False, writable=False)
    assert told == seal(tmp_path / "closed")
    assert not any(mode & 0o222 for name, (mode, _, _) in tree_of(tmp_path / "closed").items() if name != ".bin/left")
    System().copy(tmp_path / "closed", tmp_path / "open", share=False, writable=True)
    assert tree_of(tmp_path / "open") == tree_of(source)


def test_files_of_a_copy_are_files_of_their_own(tmp_path: Path):
    """Two names of one file become two files, as does every file of the source."""
    source = packages_in(tmp_path / "source")
    (source / "right" / "twin.js").hardlink_to(source / "left" / "m1.js")
    System().copy(source, tmp_path / "copy", share=False, writable=True)
    copies = [path for path in (tmp_path / "copy").rglob("*") if path.is_file() and not path.is_symlink()]
    assert all(path.stat().st_nlink == 1 for path in copies)
    assert not {path.stat().st_ino for path in copies} & {path.stat().st_ino for path in source.rglob("*")}


def test_what_cannot_be_copied_is_a_sentence(tmp_path: Path):
    source = packages_in(tmp_path / "source")
    os.mkfifo(source / "left" / "pipe")
    with pytest.raises(StrettoError, match="pipe") as caught:
        System().copy(source, tmp_path / "copy", share=False, writable=True)
    assert caught.value.code == "dependencies"


def test_a_package_with_a_pipe_is_no_golden_copy(tmp_path: Path):
    source = packages_in(tmp_path / "root" / "node_modules")
    kept = golden.Golden(tmp_path / "golden", System())
    os.mkfifo(source / "left" / "pipe")
    assert not kept.keep("a" * 32, tmp_path / "root", ["node_modules"])
    (source / "left" / "pipe").unlink()
    assert kept.keep("a" * 32, tmp_path / "root", ["node_modules"])


def test_trees_that_have_nothing_in_common_may_lie_apart(tmp_path: Path):
    """Advice, which a file system takes or does not; the folder is as usable as before either way."""
    taken = spread(tmp_path)
    assert spread(tmp_path) is taken
    (tmp_path / "below").mkdir()
    assert not spread(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    if taken and shutil.which("lsattr"):
        said = subprocess.run(["lsattr", "-d", str(tmp_path)], capture_output=True, text=True, check=True).stdout
        assert "T" in said.split()[0]
