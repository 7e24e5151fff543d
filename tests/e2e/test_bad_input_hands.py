"""Hands that get in between: branches and worktrees changed while tasks run, answers that come twice, Ctrl-C."""

from __future__ import annotations

import os
import pty
import select
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stretto.client import Client
from stretto.core.errors import StrettoError
from stretto.home import Home
from tests.support import world
from tests.support.refusals import AGENT, PLAN, Person, new_person, refusal
from tests.support.repository import Repository
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


def repository(person: Person) -> Repository:
    assert person.repo is not None
    return person.repo


def waits(tmp_path: Path) -> tuple[str, Callable[[], None]]:
    """An agent that writes a.txt and then waits for a word, and the way to give it."""
    go = tmp_path / "go"
    path = tmp_path / "agent.sh"
    path.write_text(f"#!/bin/sh\necho work > a.txt\necho ready\nwhile ! [ -e {go} ]; do sleep 0.05; done\n")
    path.chmod(0o755)
    return f"command:{path}", go.touch


def begun(person: Person, tmp_path: Path, *words: str) -> tuple[str, Callable[[], None], Path, str]:
    agent, go = waits(tmp_path)
    (uid,) = person.started(PLAN, *words, agent=agent)
    wait_for(lambda: "ready" in person("logs", uid).out)
    task = person.task(uid)
    return uid, go, Path(task["workspace"]["path"]), str(task["branch"])


# ---------------------------------------------------------------- branches and worktrees


def test_a_worktree_deleted_by_hand_while_its_agent_works(person: Person, tmp_path: Path) -> None:
    """What was never committed is lost by the deletion itself; the person is asked, and a retry begins again."""
    uid, go, path, _ = begun(person, tmp_path)
    shutil.rmtree(path)
    go()
    answers = {"setup": "retry", "nochange": "send-back once more"}

    def reviewed() -> bool:
        kinds = {item["kind"]: item["id"] for item in person("inbox", "--json").json["inbox"]}
        for kind in answers.keys() & kinds:
            assert person("answer", kinds[kind], answers[kind]).code == 0
        assert kinds.keys() <= {*answers, "review"}
        return "review" in kinds

    wait_for(reviewed, 60, what=lambda: person("explain", uid).out + person("inbox").out)
    assert (path / "a.txt").read_text() == "work\n"
    assert person("cancel", uid).code == 0


def test_a_branch_moved_by_hand_keeps_both_works(person: Person, tmp_path: Path) -> None:
    repo = repository(person)
    uid, go, path, branch = begun(person, tmp_path)
    theirs = repo.git("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "by hand")
    repo.git("update-ref", f"refs/heads/{branch}", theirs)
    go()
    person.item("review", 40)
    assert repo.git("merge-base", "--is-ancestor", theirs, branch) == ""
    assert repo.show(branch, "a.txt") == "work"
    assert path.is_dir()
    assert person("cancel", uid).code == 0


def test_a_branch_deleted_by_hand_is_told_and_loses_no_file(person: Person, tmp_path: Path) -> None:
    repo = repository(person)
    uid, go, path, branch = begun(person, tmp_path)
    repo.git("update-ref", "-d", f"refs/heads/{branch}")
    go()
    wait_for(lambda: person.task(uid)["state"] in ("waiting", "failed"), 40, what=lambda: person("explain", uid).out)
    assert (path / "a.txt").read_text() == "work\n"
    assert branch in person("explain", uid).out + person("inbox").out
    assert person("cancel", uid).code == 0


def test_a_target_deleted_by_hand_is_told_by_name(person: Person, tmp_path: Path) -> None:
    repo = repository(person)
    repo.branch("release")
    uid, go, _, branch = begun(person, tmp_path, "--target", "release", "--approve", "auto")
    repo.git("branch", "-D", "release")
    go()
    wait_for(
        lambda: "release" in person("explain", uid).out.splitlines()[1], 40, what=lambda: person("explain", uid).out
    )
    assert repo.show(branch, "a.txt") == "work"
    assert "refs/heads/release" not in repo.refs()
    repo.branch("release")
    assert person("retry", uid).code == 0
    wait_for(lambda: person.task(uid)["state"] == "landed", 40, what=lambda: person("explain", uid).out)
    assert repo.show("release", "a.txt") == "work"


# ---------------------------------------------------------------- answers


def test_two_answers_at_once_have_one_effect_and_a_late_one_is_refused(person: Person, tmp_path: Path) -> None:
    agent = tmp_path / "ask.sh"
    agent.write_text('#!/bin/sh\nstretto agent ask "Which?" --option red --option blue >> a.txt\n')
    agent.chmod(0o755)
    (uid,) = person.started(agent=f"command:{agent}")
    item = str(person.item("question")["id"])
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda key: person("answer", item, key, "--json"), ("1", "2")))
    assert sorted(done.code for done in ended) == [0, 1], ended
    refusal(next(done for done in ended if done.code == 1), "item_closed")
    won = next(done for done in ended if done.code == 0).json["answer"]["text"]
    person.item("review")
    assert repository(person).show(person.task(uid)["branch"], "a.txt") == won
    error = refusal(person("answer", item, "1", "--json"), "item_closed")
    assert error["hint"] == "stretto inbox"
    assert person.rows("SELECT COUNT(*) FROM events WHERE task = ? AND type = 'item.answered'", uid) == [(1,)]
    assert person("cancel", uid).code == 0


def test_an_approval_is_for_what_was_looked_at_and_a_landed_task_is_not_retried(person: Person) -> None:
    (uid,) = person.started()
    person.item("review")
    seen = person.rows("SELECT patch FROM tasks WHERE uid = ?", uid)[0][0]
    path = Path(person.task(uid)["workspace"]["path"])
    (path / "a.txt").write_text("by hand\n")
    with pytest.raises(StrettoError) as error:
        Client(Home(str(person.home))).call("approve", task=uid, patch=seen, cwd=str(repository(person).path))
    assert error.value.code == "changed"
    assert error.value.hint == "stretto diff a"
    assert person.rows("SELECT COUNT(*) FROM approvals WHERE task = ?", uid) == [(0,)]
    assert "+by hand" in person("diff", uid).out
    assert person("approve", uid).code == 0
    wait_for(lambda: person.task(uid)["state"] == "landed", 30, what=lambda: person("explain", uid).out)
    assert repository(person).show("main", "a.txt") == "by hand"
    before = repository(person).oid("main")
    refusal(person("retry", uid, "--json"), "not_over")
    for verb in (("approve", uid), ("cancel", uid), ("send", uid, "more"), ("request-changes", uid, "more")):
        assert refusal(person(*verb, "--json"))["hint"]
    assert repository(person).oid("main") == before
    assert [entry["state"] for entry in person("status", "--json").json["queue"]] == ["landed"]


# ---------------------------------------------------------------- Ctrl-C


def interrupted(person: Person, words: list[str], at: str, before: tuple[tuple[str, str], ...] = ()) -> tuple[int, str]:
    """Run the program on a terminal, give the answers, and press Ctrl-C when `at` has appeared.

    Like a person it presses again when nothing happens: a signal between Python's last look and its read is not seen.
    """
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(repository(person).path)
        os.execvpe(world.STRETTO[0], [*world.STRETTO, *words], {**person.environment, "TERM": "xterm"})
    seen, waiting, end = "", [*before, (at, "\x03")], time.monotonic() + 40
    pressed = 0.0
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                break
            if not data:
                break
            seen += data.decode(errors="replace")
        if waiting and waiting[0][0] in seen:
            os.write(fd, waiting.pop(0)[1].encode())
            pressed = time.monotonic()
        elif not waiting and time.monotonic() - pressed > 2:
            os.write(fd, b"\x03")
            pressed = time.monotonic()
    os.close(fd)
    _, status = os.waitpid(pid, 0)
    assert not waiting, seen
    assert "Traceback" not in seen
    return os.waitstatus_to_exitcode(status), seen


def test_ctrl_c_at_every_question_leaves_nothing(person: Person) -> None:
    repo = repository(person)
    plan = repo.path / "PLAN.md"
    plan.write_text(PLAN)
    repo.write({"stretto.toml": 'schema = 1\n[checks]\nunit = "true"\n'})
    run = ["run", "PLAN.md", "--agent", AGENT, "--no-fetch"]
    trusted = "SELECT COUNT(*) FROM trust WHERE repo = ?"
    key = str(repo.path / ".git")
    with person.nothing_left():
        assert interrupted(person, run, "exactly these?")[0] == 130
        assert interrupted(person, ["trust"], "exactly these?")[0] == 130
        assert person.rows(trusted, key) == [(0,)]
    assert person("trust", "--yes").code == 0
    with person.nothing_left():
        assert interrupted(person, run, "Fast-forward")[0] == 130
    sleeping = ("--agent", "command:sh -c 'exec sleep 600'", "--leave-checkout")
    uid = person("run", "PLAN.md", *sleeping, "--json").json["tasks"][0]
    wait_for(lambda: person.task(uid)["session"])
    plan.write_text(PLAN.replace("Do it.", "Do something else.") + "\n## b: Do b\nDo it.\nAccept: done.\n")
    assert interrupted(person, ["run", "PLAN.md", "--no-fetch"], "Apply this?")[0] == 130
    assert [task["id"] for task in person("status", "--json").json["tasks"]] == ["a"]
    assert "something else" not in person("prompt", "a").out
    assert person("cancel", uid).code == 0
    wait_for(lambda: person.task(uid)["state"] == "cancelled")
    removal = person("remove", uid, "--json").json["undo"]
    assert interrupted(person, ["purge", removal], "for good")[0] == 130
    assert person("undo", removal).code == 0, "it is still there"
