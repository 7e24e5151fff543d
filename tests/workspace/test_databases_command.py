"""Databases made by the project's own commands: what they are told, what they print, how they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from stretto import files
from stretto.core.errors import StrettoError
from stretto.workspace.databases import Branches, connect


def branches(folder: Path, **given: object) -> Branches:
    table = {"provider": "command", "drop": "echo drop $STRETTO_DATABASE >> said", **given}
    (folder / "shop").mkdir(exist_ok=True)
    found = connect(table, root=folder / "shop", folder=folder / "ours", home="h", ignored=bool)
    assert found is not None
    return found


def said(folder: Path) -> list[str]:
    path = folder / "shop" / "said"
    return path.read_text().splitlines() if path.exists() else []


def refused(found: Branches, folder: Path) -> StrettoError:
    with pytest.raises(StrettoError) as caught:
        found.ensure("run-aaaa/one", "task", found.place(folder), "start")
    assert (found.known(), found.provider.found()) == ([], {})
    return caught.value


def test_what_fails_is_dropped_and_its_last_words_are_told(tmp_path: Path) -> None:
    error = refused(branches(tmp_path, create="echo create >> said; echo no room >&2; exit 3"), tmp_path)
    assert (error.code, error.message.endswith("exited with 3: no room")) == ("database_failed", True)
    (create, drop) = said(tmp_path)
    assert create == "create"
    assert drop.startswith("drop stretto_shop_one_")


def test_one_that_does_not_end_is_ended(tmp_path: Path) -> None:
    error = refused(branches(tmp_path, create="sleep 600", timeout=0.2), tmp_path)
    assert "did not end within 0.2 s" in error.message


@pytest.mark.parametrize(
    ("printed", "word"),
    [
        ("made it", "no address"),
        ("mysql://app:s3cret@localhost/app", "holds a password"),
        ("'mysql://localhost/app?user=app&password=s3cret'", "holds a password"),
        ("'jdbc:mysql://app:s3cret@localhost/app'", "holds a password"),
        ("'sqlserver://localhost;user=app;Password=s3cret'", "holds a password"),
        ("'mysql://localhost/app?p%61ssword=s3cret'", "holds a password"),
        ("'mysql://app:s3cret@[::1/app'", "no address that can be read"),
    ],
)
def test_an_address_that_cannot_be_kept_is_refused(tmp_path: Path, printed: str, word: str) -> None:
    error = refused(branches(tmp_path, create=f"echo {printed}"), tmp_path)
    assert error.code == "database_url"
    assert word in error.message
    assert "s3cret" not in str(error.as_json())
    assert len(said(tmp_path)) == 1


@pytest.mark.parametrize(
    "printed", ["mysql://app:s3cret@db/app", "mysql://db/app?password=s3cret", "x://a:s3cret@[::1/"]
)
def test_a_password_gets_into_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str) -> None:
    logged = []
    put = files.replace

    def seen(path: Path, data: bytes, mode: int = 0o600) -> None:
        logged.append(data)
        put(path, data, mode)

    monkeypatch.setattr(files, "replace", seen)
    error = refused(
        branches(tmp_path, create=f"echo made; echo '{printed}'; echo 'at {printed}' >&2; exit 1"), tmp_path
    )
    refused(branches(tmp_path, create=f"echo made; echo '{printed}'"), tmp_path)
    assert error.message.endswith("exited with 1: at ***")
    assert [data for data in logged if data.startswith(b"made")] == [b"made\n***\nat ***\n", b"made\n***\n"]
    assert [data for data in logged if b"s3cret" in data and b'"create' not in data] == []


def test_they_know_the_workspace_and_run_in_the_checkout(tmp_path: Path) -> None:
    words = 'echo "$PWD $STRETTO_ROOT $STRETTO_WORKSPACE $PORT_DB ${STRETTO_TESTING-none}" >> said'
    found = branches(tmp_path, create=words, address='echo "redis://127.0.0.1:$PORT_DB"')
    place = found.place(tmp_path / "tree", {"PORT_DB": "20041"})
    row = found.ensure("run-aaaa/one", "task", place, "start")
    root = str(tmp_path / "shop")
    assert said(tmp_path) == [f"{root} {root} {tmp_path}/tree 20041 none"]
    assert found.address(row, place).url == "redis://127.0.0.1:20041"
    assert (tmp_path / "ours" / row.name / "made.json").stat().st_mode & 0o777 == 0o600


def test_reset_takes_the_place_of_drop_and_create(tmp_path: Path) -> None:
    create = "echo create >> said; echo file:///$STRETTO_DATABASE"
    found = branches(tmp_path, create=create, reset="echo reset $DATABASE_URL >> said")
    place = found.place(tmp_path)
    row = found.ensure("run-aaaa/one", "task", place, "start")
    found.reset("run-aaaa/one", "task", place, "start")
    assert said(tmp_path) == ["create", f"reset file:///{row.name}"]


def test_a_drop_that_fails_is_told_and_can_be_repeated(tmp_path: Path) -> None:
    found = branches(tmp_path, create="echo file:///$STRETTO_DATABASE", drop="test -e gone")
    place = found.place(tmp_path)
    row = found.ensure("run-aaaa/one", "task", place, "start")
    found.set_aside("run-aaaa/one", "task", "r123456", place)
    with pytest.raises(StrettoError, match="exited with 1"):
        found.purge("r123456", place)
    assert [one.name for one in found.known()] == [row.name]
    (tmp_path / "shop" / "gone").touch()
    found.purge("r123456", place)
    assert (found.known(), found.provider.found()) == ([], {})
