"""Atomic writes, locks, containment, space: on real files, with real crashes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stretto import files
from stretto.core.errors import Conflict, StrettoError, TimedOut

PYTHON = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}


def python(code: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=PYTHON | env, capture_output=True, text=True, check=False
    )


def test_replace_sets_content_and_mode_and_leaves_no_sibling(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.replace(path, b"one")
    files.replace(path, b"two", mode=0o640)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(("point", "content"), [("before", "old"), ("after", "new")])
def test_a_crash_leaves_the_old_or_the_new_file_whole(tmp_path: Path, point: str, content: str) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    code = "import sys; from pathlib import Path; from stretto import files; files.replace(Path(sys.argv[1]), b'new')"
    died = python(code, str(path), STRETTO_TESTING="1", STRETTO_FAILPOINT=f"daemon.files.replace.{point}=kill")
    assert died.returncode == -9
    assert path.read_text() == content


def test_a_failed_write_leaves_the_old_file_and_no_sibling(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from stretto import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: files.replace(Path(sys.argv[1]), b'x' * 5000)\n"
        "except OSError as error: print(error.errno)"
    )
    assert python(code, str(path)).stdout.strip() == "27"
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_replace_writes_over_a_link_not_through_it(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("safe")
    (tmp_path / "f").symlink_to("victim")
    files.replace(tmp_path / "f", b"new")
    assert (tmp_path / "victim").read_text() == "safe"
    assert not (tmp_path / "f").is_symlink()


def test_rename_moves_folders_and_never_over_something(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for taken in ("b", "dangling"):
        with pytest.raises(Conflict):
            files.rename(tmp_path / "a", tmp_path / taken)
    files.rename(tmp_path / "a", tmp_path / "b" / "a")
    assert (tmp_path / "b" / "a").is_dir()


def test_private_folders_are_made_and_tightened(tmp_path: Path) -> None:
    loose = tmp_path / "x" / "loose"
    loose.mkdir(parents=True, mode=0o755)
    assert files.make_private_dir(loose).stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(loose)
    with pytest.raises(StrettoError, match="not a folder of yours"):
        files.make_private_dir(tmp_path / "link")


def test_a_lock_excludes_threads_and_processes_and_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from stretto import files\n"
        "with files.lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], env=PYTHON, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert files.locked(path)
    assert files.try_lock(path) is None
    with pytest.raises(Conflict), files.lock(path, wait=0):
        pass
    with pytest.raises(TimedOut), files.lock(path, wait=0.05):
        pass
    holder.kill()
    holder.communicate()
    with files.lock(path, wait=5):
        refused: list[int | None] = []
        thread = threading.Thread(target=lambda: refused.append(files.try_lock(path)))
        thread.start()
        thread.join()
        assert refused == [None]
    assert not files.locked(path)
    assert not files.locked(tmp_path / "never")


def test_a_lock_file_is_never_a_link_or_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StrettoError, match="not a regular file"):
        files.try_lock(tmp_path / "pipe")
    with pytest.raises(StrettoError, match="symbolic links"):
        files.try_lock(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_within_resolves_links_and_dots_first(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (root / "escape").symlink_to(tmp_path / "out")
    (tmp_path / "alias").symlink_to(root)
    assert files.within(root, root / "in")
    assert files.within(root, root / "not" / "yet")
    assert files.within(tmp_path / "alias", root / "in")
    assert not files.within(root, root)
    assert not files.within(root, root / "in" / "..")
    assert not files.within(root, root / "escape")
    assert not files.within(root, root / "escape" / "f")
    assert not files.within(root, tmp_path / "root2")


def test_free_bytes_looks_at_where_the_path_would_be(tmp_path: Path) -> None:
    assert files.free_bytes(tmp_path / "a" / "b") > 0


def test_the_reserve_occupies_blocks_and_gives_them_back(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    assert files.make_reserve(path, 1 << 20)
    assert files.make_reserve(path, 1 << 20)
    assert path.stat().st_blocks * 512 >= 1 << 20
    assert files.release_reserve(path) >= 1 << 20
    assert files.release_reserve(path) == 0


def test_a_folder_below_is_reached_without_a_link_and_renames_stay_in_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "out")
    with pytest.raises(OSError, match="link") as refused, files.folder_below(tmp_path / "tree", "link/sub", make=True):
        pass
    assert refused.value.errno in (errno.ENOTDIR, errno.ELOOP)
    assert list((tmp_path / "out").iterdir()) == []
    with files.folder_below(tmp_path / "tree", "a/b", make=True) as held:
        (tmp_path / "tree" / "a" / "b" / "old").write_text("x")
        (tmp_path / "tree" / "a").rename(tmp_path / "tree" / "moved")
        (tmp_path / "tree" / "a").symlink_to(tmp_path / "out")
        files.rename_in(held, "old", held, "new")
        (tmp_path / "tree" / "moved" / "b" / "old").symlink_to("nowhere")
        with pytest.raises(Conflict) as there:
            files.rename_in(held, "new", held, "old")
    assert there.value.code == "exists"
    assert (tmp_path / "tree" / "moved" / "b" / "new").read_text() == "x"
    assert list((tmp_path / "out").iterdir()) == []
