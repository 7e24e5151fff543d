"""The set-up on a fresh machine: one sentence for what is missing, safe to repeat, to interrupt and to run twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.waiting import wait_for
from tests.support.world import ROOT

#: a build backend without dependencies: what `pip install --editable` asks of the copied project
BACKEND = """\
import pathlib, zipfile

def get_requires_for_build_editable(config_settings=None):
    return []

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "sample-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("sample.pth", str(pathlib.Path(__file__).parent))
        wheel.writestr("sample-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: sample\\nVersion: 1.0\\n")
        wheel.writestr("sample-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("sample-1.0.dist-info/RECORD", "")
    return name
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Checkout:
    """A copy of the set-up with a tiny project, and a PATH of exactly the programs that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.bin = folder / "bin"
        self.wheels = folder / "wheels"
        for each in (self.root / "scripts", self.root / "requirements", self.bin, self.wheels):
            each.mkdir(parents=True)
        for name in ("setup", "setup.py"):
            shutil.copy(ROOT / "scripts" / name, self.root / "scripts" / name)
        (self.root / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
        (self.root / "backend.py").write_text(BACKEND, encoding="utf-8")
        self.lock("alpha")
        self.link("dirname")

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def stamp(self) -> Path:
        return self.venv / ".stretto-set-up"

    def link(self, name: str, target: str | None = None) -> None:
        """Put a program on the PATH."""
        found = target or shutil.which(name)
        assert found, name
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).symlink_to(found)

    def program(self, name: str, script: str) -> None:
        """Put a shell script on the PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def whole(self) -> Checkout:
        """A machine that has everything."""
        self.link("git")
        self.program("python3", f'exec {sys.executable} "$@"')
        return self

    def lock(self, package: str) -> None:
        """Lock one package, whose wheel is made here, with its hash."""
        wheel = self.wheels / f"{package}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            info = f"{package}-1.0.dist-info"
            archive.writestr(f"{package}.py", "")
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        line = f"{package}==1.0 \\\n    --hash=sha256:{digest}\n"
        (self.root / "requirements" / "dev.txt").write_text(line, encoding="utf-8")

    def set_up(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "scripts" / "setup"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @property
    def environment(self) -> dict[str, str]:
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}
        return {"PATH": str(self.bin), "HOME": os.environ["HOME"], "TMPDIR": os.environ["TMPDIR"], **pip}

    def modules(self) -> set[str]:
        """What the virtual environment can import of our packages."""
        code = "import importlib.util as u; print(*[n for n in ('alpha', 'beta', 'backend') if u.find_spec(n)])"
        told = subprocess.run([self.venv / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
        return set(told.stdout.split())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


NO_VENV = 'case "$2" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac'


@pytest.mark.parametrize(
    ("programs", "sentence"),
    [
        ({}, "no Python found: install Python 3.11 or newer with venv"),
        ({"python3": "exit 1"}, "python3 does not work or is too old: install Python 3.11 or newer"),
        (
            {"python3": NO_VENV},
            "python3 has no venv or pip: install them (Debian and Ubuntu: apt-get install python3-venv)",
        ),
        ({"python3": f'exec {sys.executable} "$@"'}, "git is missing: install git 2.39 or newer"),
        (
            {"python3": f'exec {sys.executable} "$@"', "git": "echo git version 2.38.4"},
            "git version 2.38.4 is too old: install git 2.39 or newer",
        ),
    ],
    ids=["no python", "old python", "no venv", "no git", "old git"],
)
def test_what_is_missing_is_named_in_one_sentence(checkout: Checkout, programs: dict[str, str], sentence: str) -> None:
    for name, script in programs.items():
        checkout.program(name, script)
    done = checkout.set_up()
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "run this again" in done.stderr
    assert not checkout.venv.exists()


def test_a_venv_of_the_person_is_left_alone(checkout: Checkout) -> None:
    checkout.venv.mkdir()
    (checkout.venv / "theirs").write_text("x", encoding="utf-8")
    done = checkout.whole().set_up()
    assert done.returncode == 1
    assert "was not made by this set-up: move it away" in done.stderr
    assert [path.name for path in checkout.venv.iterdir()] == ["theirs"]


@pytest.mark.e2e
def test_a_wrong_hash_is_refused_and_repeating_is_safe(checkout: Checkout) -> None:
    path = checkout.root / "requirements" / "dev.txt"
    right = path.read_text(encoding="utf-8")
    path.write_text(right[:-65] + "0" * 64 + "\n", encoding="utf-8")
    refused = checkout.whole().set_up()
    assert refused.returncode == 1
    assert "could not install the locked packages" in refused.stderr
    assert json.loads(checkout.stamp.read_text(encoding="utf-8")) == {}

    path.write_text(right, encoding="utf-8")
    healed = checkout.set_up()
    assert healed.returncode == 0, healed.stderr
    assert checkout.modules() == {"alpha", "backend"}

    before = checkout.stamp.stat().st_mtime_ns
    again = checkout.set_up()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert checkout.stamp.stat().st_mtime_ns == before


@pytest.mark.e2e
def test_killed_in_the_middle_it_starts_over_and_a_new_lock_leaves_nothing_old(checkout: Checkout) -> None:
    checkout.whole()
    checkout.program("python3.13", "exit 127")  # found first, and does not do
    checkout.program("python3.12", NO_VENV)
    argv = [checkout.root / "scripts" / "setup"]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, env=checkout.environment, stdin=subprocess.DEVNULL, start_new_session=True)

    first = start()
    wait_for((checkout.venv / "bin" / "python").exists)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    (checkout.venv / "stray").write_text("", encoding="utf-8")
    checkout.lock("beta")
    assert [process.wait(120) for process in (start(), start())] == [0, 0]  # two at once wait for each other
    assert checkout.modules() == {"beta", "backend"}
    assert not (checkout.venv / "stray").exists()
