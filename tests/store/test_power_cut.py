"""A power cut: what was not synced when the machine went dark is lost, torn or garbage; what was committed is there.

A copy of database and log after a commit is what the disk surely holds then (`synchronous=FULL`). What the next commit
wrote after that may have reached the disk up to any byte, or as pages of nonsense.
"""

from __future__ import annotations

import itertools
import random
import shutil
from pathlib import Path

import pytest

from stretto.store.sqlite import Store

WAL = "stretto.db-wal"


def opened(folder: Path) -> list[int]:
    """Numbers of the events that a fresh start finds; it must be able to write, too."""
    store = Store(folder / "stretto.db", lambda: 2000.0)
    try:
        numbers = [event.data["number"] for event in store.events(0)]
        with store.write() as tx:
            assert tx.value("PRAGMA integrity_check") == "ok"
            tx.event("daemon.started", number=-1)
        return numbers
    finally:
        store.close()


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    """What the disk holds after each of some commits."""
    (tmp_path / "live").mkdir()
    store = Store(tmp_path / "live" / "stretto.db", lambda: 1000.0)
    copies = []
    try:
        with store.read() as db:
            assert db.value("PRAGMA synchronous") == 2
        for number in range(12):
            with store.write() as tx:
                tx.event("daemon.started", number=number, text="x" * (700 * number))
            copies.append(Path(shutil.copytree(tmp_path / "live", tmp_path / f"disk-{number}")))
    finally:
        store.close()
    return copies


def test_a_commit_is_there_whatever_became_of_the_next_one(disks: list[Path], tmp_path: Path) -> None:
    chance = random.Random(18)
    lost = kept = 0
    for number, (before, after) in enumerate(itertools.pairwise(disks)):
        synced, written = (before / WAL).read_bytes(), (after / WAL).read_bytes()
        assert written.startswith(synced), "the log only grows here"
        tail = written[len(synced) :]
        for case in range(5):
            cut = chance.randrange(len(tail)) if case else len(tail)
            page = bytes(4096) if case % 3 == 1 else chance.randbytes(4096)
            torn = tail[:cut] + (page[: len(tail) - cut] if case % 3 else b"")
            folder = tmp_path / f"torn-{number}-{case}"
            shutil.copytree(before, folder)
            (folder / WAL).write_bytes(synced + torn)
            (folder / "stretto.db-shm").unlink(missing_ok=True)
            found = opened(folder)
            assert found in (list(range(number + 1)), list(range(number + 2)))
            kept += found[-1] == number + 1
            lost += found[-1] == number
    assert kept >= len(disks) - 1
    assert lost > 25
