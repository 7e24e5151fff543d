"""Homes and daemons in a bad state, through the program: told, never made worse, and right again after the hint."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.support import world
from tests.support.refusals import AGENT, PLAN, Person, new_person, refusal
from tests.support.waiting import wait_for


@pytest.fixture
def person() -> Iterator[Person]:
    person = new_person()
    person.repository()
    yield person
    person.close()


def daemons(person: Person) -> list[psutil.Process]:
    return [
        p
        for p in psutil.process_iter(["cmdline", "environ"])
        if "stretto.daemon" in (p.info["cmdline"] or ())
        and (p.info["environ"] or {}).get("STRETTO_HOME") == person.environment["STRETTO_HOME"]
    ]


def kill(person: Person) -> dict[str, object]:
    """kill -9 of the daemon; what it had told of itself."""
    told: dict[str, object] = json.loads((person.home / "daemon.json").read_bytes())
    (process,) = daemons(person)
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not daemons(person))
    return told


def test_of_many_started_at_once_one_lives_and_all_callers_get_it(person: Person) -> None:
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda _: person("up", "--json"), range(4)))
    assert [done.code for done in ended] == [0] * 4, ended
    assert len({done.json["pid"] for done in ended}) == 1
    wait_for(lambda: len(daemons(person)) == 1, what="the end of those that came second")
    second = subprocess.run(
        [*world.STRETTO[:-1], "stretto.daemon"], env=person.environment, capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 1
    error = json.loads(second.stdout.splitlines()[-1] if second.stdout else second.stderr.splitlines()[-1])["error"]
    assert error["code"] == "daemon_running"
    assert str(ended[0].json["pid"]) in error["message"]
    assert "stretto down" in error["hint"]


def test_a_crash_leaves_a_socket_and_a_pid_that_is_reused(person: Person) -> None:
    """The file names a living process that is not the daemon, and the socket is dead."""
    assert person("up", "--json").code == 0
    told = kill(person)
    innocent = subprocess.Popen(["sleep", "600"])
    try:
        (person.home / "daemon.json").write_text(json.dumps({**told, "pid": innocent.pid}))
        stale = socket.socket(socket.AF_UNIX)
        (person.home / "daemon.sock").unlink(missing_ok=True)
        stale.bind(str(person.home / "daemon.sock"))
        stale.close()
        assert person("status", "--json").json["daemon"] is None
        assert person("down", "--json").code in (0, 1)
        assert person.run().code == 0
        wait_for(lambda: len(daemons(person)) == 1, what="one daemon")
        assert innocent.poll() is None, "nobody else's process is touched"
    finally:
        innocent.kill()
        innocent.wait()


def test_a_home_whose_socket_path_would_be_too_long(person: Person) -> None:
    long = person.folder / ("x" * 60) / ("y" * 60)
    long.mkdir(parents=True)
    person.home = long / "h"
    person.home.mkdir(mode=0o700)
    person.environment["STRETTO_HOME"] = str(person.home)
    up = person("up", "--json").json
    assert len(os.fsencode(up["socket"])) <= 100
    person.started(PLAN, "--approve", "auto")
    person.wait("landed")
    assert person("down").code == 0


def database(person: Person) -> bytes:
    return (person.home / "stretto.db").read_bytes()


def test_a_database_of_a_newer_stretto_is_kept(person: Person) -> None:
    person.started(PLAN, "--approve", "auto")
    person.wait("landed")
    assert person("down").code == 0
    connection = sqlite3.connect(person.home / "stretto.db")
    connection.execute("PRAGMA user_version = 99")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = database(person)
    with person.nothing_left():
        for done in (person("status", "--json"), person.run(), person("up", "--json"), person("inbox", "--json")):
            error = refusal(done, "newer_schema")
            assert error["object"] == str(person.home / "stretto.db")
            assert "upgrade" in error["hint"]
    assert database(person) == before
    assert not daemons(person)


def test_a_damaged_database_is_kept_and_the_hint_helps(person: Person) -> None:
    person.started(PLAN, "--approve", "auto")
    person.wait("landed")
    assert person("down").code == 0
    path = person.home / "stretto.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = b"\xa5" * 4096 + database(person)[4096:]
    path.write_bytes(before)
    for done in (person.run(), person("up", "--json")):
        error = refusal(done, "database_corrupt")
        assert "kept" in error["message"]
        assert error["object"] == str(path)
        assert "move it away" in error["hint"]
    refusal(person("status", "--json"), "database_corrupt")
    assert database(person) == before, "it is kept as it is"
    assert not daemons(person)
    for found in person.home.glob("stretto.db*"):
        found.rename(found.with_name(f"kept-{found.name}"))
    assert person.run().code == 0, "the hint helps"


def test_a_home_that_holds_other_things_is_left_alone(person: Person) -> None:
    shutil.rmtree(person.home)
    person.home.mkdir()
    (person.home / "thesis.txt").write_text("mine\n")
    for words in (("up",), ("status",), ("run", "-", "--agent", AGENT)):
        error = refusal(person(*words, "--json", input=PLAN), "home")
        assert "STRETTO_HOME" in error["hint"]
    assert [path.name for path in person.home.iterdir()] == ["thesis.txt"]
