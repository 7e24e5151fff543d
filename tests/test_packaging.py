"""What is built is what is installed: the wheel holds every file of the package and works without the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import stretto
from tests.support.world import ROOT, SOURCES

pytestmark = pytest.mark.e2e


def run(argv: Sequence[str | Path], **env: str) -> str:
    """Run without the checkout on the path and without any registry; return stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **env}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=300, cwd="/")
    assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the locked backend without an isolated environment."""
    folder = tmp_path_factory.mktemp("wheel")
    return built_in(folder)


def built_in(folder: Path) -> Path:
    build: list[str | Path] = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    run([sys.executable, "-m", "pip", *build])
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_same_sources_make_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert built_in(tmp_path).read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    ignored = ("__pycache__/", ".pyc")
    ours = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*") if path.is_file()}
    ours = {name for name in ours if not any(part in name for part in ignored)}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert packed == ours
    assert any(name.endswith(".sql") for name in packed)
    assert len(licences) == 1


def test_the_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    python = venv / "bin" / "python"
    run([sys.executable, "-m", "venv", "--without-pip", venv])
    run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel])
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    # the dependencies come from here; a folder named in a .pth file does not bring our own editable install along
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    where = run([python, "-c", "import stretto; print(stretto.__file__)"])
    assert where.startswith(str(tmp_path)), where
    told = run([venv / "bin" / "stretto", "--version"])
    assert re.search(rf"\b{re.escape(stretto.__version__)}\b", told)
