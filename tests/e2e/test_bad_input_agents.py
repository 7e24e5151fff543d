"""Agents and checks that misbehave, through the program and its daemon: told, steerable, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import processes
from tests.support.refusals import PLAN, Person, new_person
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def shared() -> Iterator[Person]:
    person = new_person()
    assert person("up", "--json").code == 0
    yield person
    person.close()


@pytest.fixture
def person(shared: Person) -> Person:
    shared.repository()
    return shared


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "agent.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return f"command:{path}"


def of_task(person: Person, uid: str) -> list[psutil.Process]:
    """The processes that carry the task's uid: its shim's children and its checks."""
    return processes.holding(uid)


def state(person: Person, uid: str) -> str:
    return str(person.task(uid)["state"])


def turns(person: Person, uid: str) -> int:
    return int(person.rows("SELECT COUNT(*) FROM messages WHERE task = ?", uid)[0][0])


# ---------------------------------------------------------------- agents


def test_programs_that_cannot_be_started_are_refused(person: Person, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    words = {
        "command:/no/such/program": "does not exist",
        f"command:{plain}": "chmod +x",
        f"command:{tmp_path}": "is not a file",
        "command:no-such-program": "PATH",
    }
    for agent, said in words.items():
        with person.nothing_left():
            done = person.run(PLAN, agent=agent)
        error = done.json["error"]
        assert (done.code, error["code"]) == (1, "agent_missing"), error
        assert said in error["message"] + error["hint"]
        assert "--agent" in error["hint"]
    for agent in ("nobody", "command:", "command:'"):
        with person.nothing_left():
            done = person.run(PLAN, agent=agent)
        assert done.code in (1, 2)
        assert done.json["error"]["hint"], done


def test_a_program_is_looked_for_where_the_caller_has_it(person: Person, tmp_path: Path) -> None:
    """The daemon was started before, by somebody with another PATH."""
    script(tmp_path, "echo x > a.txt")
    (tmp_path / "agent.sh").rename(tmp_path / "only-mine")
    done = person(
        *("run", "-", "--agent", "command:only-mine", "--leave-checkout", "--approve", "auto", "--json"),
        input=PLAN,
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.code == 0, done
    person.wait("landed")


def test_an_agent_that_prints_garbage_and_a_hundred_megabytes(person: Person, tmp_path: Path) -> None:
    agent = script(tmp_path, "head -c 100000000 /dev/urandom\nprintf '\\033]0;x\\007\\377\\n'\necho x > a.txt")
    (uid,) = person.started(PLAN, "--approve", "auto", agent=agent)
    wait_for(lambda: state(person, uid) == "landed", 60, what=lambda: person("explain", uid).out)
    log = person("logs", uid, "--tail", "1000")
    assert (log.code, log.err) == (0, "")
    assert len(log.out) > 100
    kept = sum(path.stat().st_size for path in (person.home / "sessions").rglob("*") if path.is_file())
    assert kept < 90_000_000, "the log is bounded"


def test_a_hanging_agent_is_interrupted_continued_and_cancelled(person: Person, tmp_path: Path) -> None:
    """Deaf to signals, with a child that left its group: all of it ends."""
    agent = script(
        tmp_path, "trap '' INT TERM\nsetsid sleep 600 &\necho hanging\nwhile :; do sleep 600 & wait $!; done"
    )
    (uid,) = person.started(agent=agent)
    wait_for(lambda: "hanging" in person("logs", uid).out)
    assert person("interrupt", uid).code == 0
    item = person.item("interrupted")
    assert "stretto" in person("inbox").out
    wait_for(lambda: not of_task(person, uid) or all("stretto" in " ".join(p.cmdline()) for p in of_task(person, uid)))
    assert person("answer", item["id"], "continue").code == 0
    wait_for(lambda: person("logs", uid).out.count("hanging") == 2)
    assert person("cancel", uid).code == 0
    wait_for(lambda: state(person, uid) == "cancelled")
    wait_for(lambda: not of_task(person, uid), 30, what=lambda: processes.described(of_task(person, uid)))


def test_a_killed_agent_is_a_failed_turn_and_is_tried_again_by_the_person(person: Person, tmp_path: Path) -> None:
    agent = script(tmp_path, 'echo $$ > "$HOME/pid"\n[ "$STRETTO_TURN" = 1 ] && exec sleep 600\necho x > a.txt')
    pid_file = Path(person.environment["HOME"]) / "pid"
    pid_file.unlink(missing_ok=True)
    (uid,) = person.started(agent=agent)
    pid = int(wait_for(lambda: pid_file.exists() and pid_file.read_text().strip()))
    os.kill(pid, signal.SIGKILL)
    item = person.item("failure")
    assert "SIGKILL" in item["text"] or "signal 9" in item["text"], item
    assert turns(person, uid) == 1, "nobody starts it again unasked"
    assert person("answer", item["id"], "retry").code == 0
    person.item("review")
    assert person("cancel", uid).code == 0


# ---------------------------------------------------------------- checks


def test_a_check_that_cannot_run_is_an_error_and_never_a_failure_of_the_work(person: Person, tmp_path: Path) -> None:
    not_executable = tmp_path / "plain"
    not_executable.write_text("#!/bin/sh\n")
    commands = {
        "missing": "no-such-program --x",
        "closed": str(not_executable),
        "hangs": {"run": "sleep 600", "timeout": 1},
    }
    plan = "".join(
        f"## {id}: Do {id}\nDo it.\nAccept: done.\n- files: {id}.txt\n- checks: {json.dumps([command])}\n"
        for id, command in commands.items()
    )
    uids = person.started(plan, "--approve", "auto", "--trust", "--open", "3")
    told = {"missing": "127", "closed": "126", "hangs": "1 s"}
    for uid in uids:
        wait_for(lambda uid=uid: state(person, uid) in ("waiting", "failed"))  # type: ignore[misc]
        (check,) = person.task(uid)["checks"]
        assert check["result"] == "error", check
        assert turns(person, uid) == 1, "its agent was not bothered"
        explained = person("explain", uid).out + person("inbox").out
        assert told[uid.rpartition("/")[2]] in explained, explained
    wait_for(lambda: not [uid for uid in uids for p in of_task(person, uid) if p.name() == "sleep"])


def test_what_a_check_leaves_running_is_ended(person: Person) -> None:
    check = "setsid sleep 601 & sleep 602 & exit 0"
    person.started(PLAN + f"- checks: {json.dumps([check])}\n", "--approve", "auto", "--trust")
    person.wait("landed")
    wait_for(lambda: not [p for p in processes.holding(str(person.folder)) if p.cmdline()[-1:] in (["601"], ["602"])])
