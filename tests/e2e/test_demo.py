"""`stretto demo`, as a person would run it: real, red when its sample changes, safe to run twice."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.world import SOURCES

pytestmark = pytest.mark.e2e


def demo(folder: Path, sources: Path = SOURCES) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(sources)}
    return subprocess.run(
        [sys.executable, "-m", "stretto", "demo"],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_six_tasks_land_with_a_question_a_repair_and_a_conflict(home: Path, short_folder: Path) -> None:
    done = demo(short_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "landed              6 of 6 tasks" in said
    assert "waiting: question" in said or "question:" in said
    assert re.search(r"repair turns +2, ejected from the queue 1", said)
    assert "Land release: Bring it together" in said
    assert "Ran 9 tests" in said
    assert re.search(r"minutes per stage +prepare [\d.]+, implement", said)
    assert re.search(r"tokens per landed +[\d,]+", said)
    (folder,) = re.findall(r"Everything is in (\S+);", said)
    left = [p.name for p in short_folder.iterdir() if p.name.startswith("stretto-demo-")]
    assert [Path(folder).name] == left, "it leaves one folder, which it names"


def test_a_changed_sample_turns_it_red(home: Path, short_folder: Path) -> None:
    sources = short_folder / "src"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
    products = sources / "stretto" / "demo" / "sample" / "shelf" / "routes" / "products.py"
    products.write_text(products.read_text().replace("ORDER BY name", "ORDER BY id"))
    done = demo(short_folder, sources)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT AS IT SHOULD BE" in done.stdout
