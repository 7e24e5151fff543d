"""The copy of /etc: what everybody may read, made once, made anew when something changes, never changed in use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stretto.workspace.sandbox import etc


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "etc"
    (place / "ssl" / "certs").mkdir(parents=True)
    (place / "ssl" / "private").mkdir(0o700)
    (place / "default").mkdir()
    (place / "passwd").write_text("a\n")
    (place / "shadow").write_text("secret\n")
    (place / "default" / "locale").write_text("LANG=C\n")
    (place / "default" / "docker").write_text("token\n")
    (place / "ssl" / "certs" / "one.pem").write_text("1\n")
    (place / "ssl" / "private" / "key.pem").write_text("secret\n")
    (place / "hosts").write_text("secret\n")
    (place / "hosts").chmod(0o600)
    (place / "localtime").symlink_to("/usr/bin/env")
    (place / "group").symlink_to(place / "shadow")
    (place / "services").symlink_to("/root/nowhere")
    return place


def test_what_everybody_may_read_is_there_and_nothing_else(root: Path, tmp_path: Path) -> None:
    made = etc.folder(tmp_path / "home", root)
    found = sorted(str(path.relative_to(made)) for path in made.rglob("*"))
    assert found == [
        "default",
        "default/locale",
        "group",
        "localtime",
        "passwd",
        "ssl",
        "ssl/certs",
        "ssl/certs/one.pem",
    ]
    assert (made / "localtime").readlink() == Path("/usr/bin/env").resolve()
    assert not (made / "group").is_symlink()  # what it leads to is not shown: its content is


@pytest.mark.parametrize("change", ["passwd", "ssl/certs/one.pem", "ssl/certs/two.pem"])
def test_a_change_makes_a_new_copy_and_leaves_the_old_one(root: Path, tmp_path: Path, change: str) -> None:
    before = etc.folder(tmp_path / "home", root)
    assert etc.folder(tmp_path / "home", root) == before
    (root / change).write_text("changed\n")
    after = etc.folder(tmp_path / "home", root)
    assert after != before
    assert (after / change).read_text() == "changed\n"
    assert (before / "passwd").read_text() == "a\n"


def test_a_copy_that_nobody_began_with_for_long_goes_with_the_next_new_one(root: Path, tmp_path: Path) -> None:
    old = etc.folder(tmp_path / "home", root)
    os.utime(old, (0, 0))
    assert etc.folder(tmp_path / "home", root) == old
    assert old.stat().st_mtime > 0
    os.utime(old, (0, 0))
    (root / "passwd").write_text("changed\n")
    etc.folder(tmp_path / "home", root)
    assert not old.exists()
