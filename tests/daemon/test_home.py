"""The home folder: where it is, who may see it, what is refused."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from stretto import home as homes
from stretto.core.errors import Conflict, StrettoError, Unavailable
from stretto.daemon.singleton import acquire
from stretto.home import Home, find_home, fitting_socket, home_path, open_home
from tests.support.unprivileged import Unprivileged


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("env", "path"),
    [
        ({"HOME": "/u"}, "/u/.local/state/stretto"),
        ({"HOME": "/u", "XDG_STATE_HOME": "/s"}, "/s/stretto"),
        ({"HOME": "/u", "XDG_STATE_HOME": "relative"}, "/u/.local/state/stretto"),
        ({"HOME": "/u", "STRETTO_HOME": "/h", "XDG_STATE_HOME": "/s"}, "/h"),
        ({"HOME": "/u", "STRETTO_HOME": ""}, "/u/.local/state/stretto"),
    ],
)
def test_where_it_is(env: dict[str, str], path: str) -> None:
    assert home_path(env) == Path(path)


def test_a_relative_home_is_relative_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert home_path({"STRETTO_HOME": "h"}) == tmp_path / "h"


def test_it_is_made_closed(tmp_path: Path) -> None:
    old = os.umask(0o000)
    try:
        found = open_home({"STRETTO_HOME": str(tmp_path / "a" / "b")})
    finally:
        os.umask(old)
    assert mode(found.path) == mode(found.logs) == mode(found.sessions) == 0o700


def test_looking_creates_nothing(tmp_path: Path) -> None:
    assert find_home({"STRETTO_HOME": str(tmp_path / "h")}) is None
    assert list(tmp_path.iterdir()) == []


def test_one_of_ours_that_stands_open_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "h"
    open_home({"STRETTO_HOME": str(path)})
    path.chmod(0o777)
    assert find_home({"STRETTO_HOME": str(path)}) == Home(str(path))
    assert mode(path) == 0o700


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(Unavailable, match="holds other files") as refused:
        open_home({"STRETTO_HOME": str(tmp_path)})
    assert "STRETTO_HOME" in (refused.value.hint or "")
    assert mode(tmp_path) == 0o755


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "h").touch()
    with pytest.raises(Unavailable):
        open_home({"STRETTO_HOME": str(tmp_path / "h")})


def _open_at(path: str) -> str:
    try:
        open_home({"STRETTO_HOME": path})
    except StrettoError as error:
        return error.message
    return "opened"


def test_a_home_of_someone_else_is_refused(short_folder: Path, unprivileged: Unprivileged) -> None:
    if os.geteuid() == 0:
        ours = short_folder / "h"
        open_home({"STRETTO_HOME": str(ours)})
        ours.chmod(0o777)
        assert "belongs to user 0, not to you (65534)" in unprivileged.call(_open_at, str(ours))
        assert mode(ours) == 0o777
    else:
        assert "belongs to user 0" in _open_at("/root") or "cannot" in _open_at("/root")


def test_a_folder_that_cannot_be_made_is_named(unprivileged: Unprivileged) -> None:
    unprivileged.folder.chmod(0o500)
    message = unprivileged.call(_open_at, str(unprivileged.folder / "h"))
    assert "cannot be created: Permission denied" in message


def test_a_short_socket_stays(tmp_path: Path) -> None:
    assert fitting_socket(Path("/h/daemon.sock")) == Path("/h/daemon.sock")


def test_a_long_socket_moves_to_a_private_folder(monkeypatch: pytest.MonkeyPatch, short_folder: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(short_folder))
    moved = fitting_socket(Path("/" + "x" * 120))
    assert len(os.fsencode(moved)) <= homes.SOCKET_PATH_LIMIT
    assert mode(moved.parent) == 0o700
    assert moved == fitting_socket(Path("/" + "x" * 120))
    assert moved != fitting_socket(Path("/" + "y" * 120))
    assert fitting_socket(Path("/" + "ü" * 60)) != Path("/" + "ü" * 60), "bytes count, not letters"


def _runtime() -> str:
    try:
        return str(homes.runtime_folder())
    except StrettoError as error:
        return error.message


@pytest.mark.parametrize("trap", ["folder", "link", "file"])
def test_a_runtime_folder_laid_by_someone_else_is_refused(
    trap: str, unprivileged: Unprivileged, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs two users")
    short_folder.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(short_folder))
    laid = short_folder / "stretto-65534"
    if trap == "folder":
        laid.mkdir()
    elif trap == "link":
        (short_folder / "elsewhere").mkdir(mode=0o777)
        laid.symlink_to(short_folder / "elsewhere")
    else:
        laid.touch()
    assert str(laid) in unprivileged.call(_runtime)
    assert unprivileged.call(_runtime) != str(laid)


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def no_locks(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    found = open_home({"STRETTO_HOME": str(tmp_path / "h")})
    monkeypatch.setattr(fcntl, "flock", no_locks)  # no file system of ours lacks them
    with pytest.raises(Unavailable, match="no working locks"):
        acquire(found)


def test_a_lock_that_nobody_alive_holds_is_waited_for(tmp_path: Path) -> None:
    """A process that was killed holds its files a moment longer than it seems to live."""
    found = open_home({"STRETTO_HOME": str(tmp_path / "h")})
    over = subprocess.Popen(["/bin/true"])
    over.wait()
    fd, identity = acquire(found)
    dead = replace(identity, pid=over.pid, start_time=1.0)
    os.pwrite(fd, json.dumps(asdict(dead)).ljust(4096).encode(), 0)
    threading.Timer(0.3, os.close, [fd]).start()
    again, ours = acquire(found)
    try:
        assert ours.pid == os.getpid()
        with pytest.raises(Conflict):
            acquire(found)
    finally:
        os.close(again)
