"""The package managers themselves, as workspaces call them: frozen, from what is on this machine, then copied.

Specification. `make test-managers` installs the pinned programs into .cache and runs this with them. Each project wants
one package from an archive in the repository, and code of the repository itself, so nothing is fetched here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stretto.workspace.dependencies.recognise import recognise
from tests.support.npm import GITIGNORE
from tests.support.repository import Repository
from tests.workspace.test_dependencies import Yard

#: where `make test-managers` has put the programs
PROGRAMS = Path(os.environ["STRETTO_MANAGERS"])


@dataclass(frozen=True)
class Node:
    """A manager of packages for node. `inside`: how a package of the repository is asked for."""

    program: str
    manager: str
    inside: str = "workspace:*"
    rung: str = "offline"
    files: dict[str, str] = field(default_factory=dict)


NODE = {
    "pnpm": Node("pnpm", "pnpm", files={"pnpm-workspace.yaml": 'packages: ["packages/*"]\n'}),
    "yarn": Node("yarn", "yarn", inside="1.0.0"),
    "yarn-4": Node("yarn-4", "yarn", files={".yarnrc.yml": "nodeLinker: node-modules\n"}),
    "bun": Node("bun", "bun", rung="online"),
}


def archive(folder: Path) -> None:
    """`tiny.tgz`, a package without dependencies."""
    box = folder / "box" / "package"
    box.mkdir(parents=True)
    (box / "package.json").write_text('{"name": "tiny", "version": "1.0.0", "main": "index.js"}')
    (box / "index.js").write_text("module.exports = 'tiny'\n")


def yard_of(repo: Repository, folder: Path, program: str, name: str) -> Yard:
    """A yard in which `program` is what `name` means."""
    yard = Yard(repo, folder)
    own = folder / "programs"
    own.mkdir()
    if (PROGRAMS / program).exists():
        (own / name).symlink_to(PROGRAMS / program)
    yard.env = {**yard.env, "PATH": f"{own}{os.pathsep}{yard.env['PATH']}"}
    return yard


def ran(yard: Yard, at: Path, *argv: str) -> str:
    done = subprocess.run(argv, cwd=at, env=dict(yard.env), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("name", NODE)
def test_packages_of_node(name: str, make_repo: Callable[..., Repository], tmp_path: Path) -> None:
    """Installed without a network, copied from a golden copy, and what one edits stays with that one."""
    said = NODE[name]
    manifest = {
        "name": "app",
        "private": True,
        "workspaces": ["packages/*"],
        "dependencies": {"tiny": "file:./tiny.tgz", "a": said.inside},
    }
    repo = make_repo(
        name,
        {
            ".gitignore": GITIGNORE + ".yarn/\n",
            "package.json": json.dumps(manifest),
            "packages/a/package.json": '{"name": "a", "version": "1.0.0"}',
            "packages/a/index.js": "module.exports = 'a'\n",
            **said.files,
        },
    )
    archive(tmp_path)
    subprocess.run(["tar", "czf", str(repo.path / "tiny.tgz"), "-C", str(tmp_path / "box"), "package"], check=True)
    yard = yard_of(repo, tmp_path, said.program, said.manager)
    ran(yard, repo.path, said.manager, "install")
    shutil.rmtree(repo.path / "node_modules")
    repo.git("add", "-A")
    repo.git("commit", "-qm", "packages")
    (wanted,) = recognise(repo.path, None, yard.env)
    assert (wanted.manager.name, wanted.berry) == (said.manager, name == "yarn-4")

    first, rungs = yard.bring("one")
    assert rungs == [said.rung], yard.said
    assert len(yard.golden()) == 1, "its links are relative, so it works wherever it lies"
    second, rungs = yard.bring("two")
    assert rungs == ["copy"]
    ask = ("node", "-p", "require('tiny') + require('a')")
    for path in (first, second):
        assert ran(yard, path, *ask) == "tinya\n"
        assert (path / "node_modules" / "a").resolve() == path / "packages" / "a"
        assert ran(yard, path, "git", "status", "--porcelain") == "", "the lock file is as it was"
    index = (second / "node_modules" / "tiny").resolve() / "index.js"
    assert str(index).startswith(str(second))
    with index.open("a") as file:
        file.write("module.exports = 'mine'\n")
    shutil.rmtree(yard.private / "golden")
    third, rungs = yard.bring("three")
    assert rungs == [said.rung], yard.said
    assert [ran(yard, path, *ask) for path in (first, second, third)] == ["tinya\n", "minea\n", "tinya\n"]
    # what the lock file does not say is not installed
    third_manifest = json.loads((third / "package.json").read_text())
    third_manifest["dependencies"]["other"] = "1.0.0"
    (third / "package.json").write_text(json.dumps(third_manifest))
    (again,) = recognise(third, None, yard.env)
    for _, command in again.commands(yard.env, True):
        done = subprocess.run(command, shell=True, cwd=third, env=dict(yard.env), capture_output=True, check=False)
        assert done.returncode != 0, command


#: a backend in the repository itself, so that nothing is fetched to install it in place
BACKEND = """
import pathlib, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "shop-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("shop.pth", str(pathlib.Path.cwd() / "src"))
        wheel.writestr("shop-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: shop\\nVersion: 1.0\\n")
        wheel.writestr("shop-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("shop-1.0.dist-info/entry_points.txt", "[console_scripts]\\nwhich-shop = shop:main\\n")
        wheel.writestr("shop-1.0.dist-info/RECORD", "")
    return name

get_requires_for_build_editable = lambda config_settings=None: []
"""
PYTHON = {
    "pip": {
        "requirements.txt": "./tiny-1.0-py3-none-any.whl\n-e .\n",
        "backend.py": BACKEND,
        "pyproject.toml": '[project]\nname = "shop"\nversion = "1.0"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    },
    "poetry": {
        "pyproject.toml": '[project]\nname = "shop"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
        'scripts = {which-shop = "shop:main"}\ndynamic = ["dependencies"]\n'
        '[tool.poetry]\npackages = [{include = "shop", from = "src"}]\n'
        '[tool.poetry.dependencies]\ntiny = {path = "tiny-1.0-py3-none-any.whl"}\n'
        '[build-system]\nrequires = ["poetry-core>=2"]\nbuild-backend = "poetry.core.masonry.api"\n',
    },
}
SHOP = "import pathlib, tiny\ndef main():\n    print(pathlib.Path(__file__).resolve(), tiny.NAME)\n"


def wheel(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as made:
        made.writestr("tiny.py", "NAME = 'tiny'\n")
        made.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        made.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")


@pytest.mark.parametrize("name", PYTHON)
def test_virtual_environments(name: str, make_repo: Callable[..., Repository], tmp_path: Path) -> None:
    """Each runs the code of its own worktree, kept or copied; none is a golden copy."""
    repo = make_repo(name, {".gitignore": GITIGNORE + "__pycache__/\n", "src/shop/__init__.py": SHOP, **PYTHON[name]})
    wheel(repo.path / "tiny-1.0-py3-none-any.whl")
    yard = yard_of(repo, tmp_path, name, name)
    if name == "poetry":
        ran(yard, repo.path, "poetry", "lock")
    repo.git("add", "-A")
    repo.git("commit", "-qm", "packages")
    rung = "online" if name == "poetry" else "offline"
    for id, expected in (("one", rung), ("two", rung), ("two", "kept")):
        path, rungs = yard.bring(id)
        assert rungs == [expected], yard.said
        assert ran(yard, tmp_path, str(path / ".venv/bin/which-shop")) == f"{path}/src/shop/__init__.py tiny\n"
        assert ran(yard, path, "git", "status", "--porcelain") == ""
    assert yard.golden() == []
    third = yard.bays().ensure("plan-abcd/three", "task", repo.oid("main"), "stretto/plan-abcd/three/work", yard.env)
    shutil.copytree(path / ".venv", third.path / ".venv", symlinks=True)
    argv = (str(third.path / ".venv/bin/python"), "-c", "import shop; shop.main()")
    assert ran(yard, tmp_path, *argv) == f"{path}/src/shop/__init__.py tiny\n", "this is what a copy does"
    yard.bring("three")
    assert ran(yard, tmp_path, *argv) == f"{third.path}/src/shop/__init__.py tiny\n"
    assert ran(yard, tmp_path, str(third.path / ".venv/bin/which-shop")) == f"{third.path}/src/shop/__init__.py tiny\n"
