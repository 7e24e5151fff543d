"""The command line from outside: exit codes, errors, what starts a daemon and what does not, who may steer."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from stretto.cli.app import COMMANDS
from stretto.core.inbox import options
from stretto.core.model import ItemKind, State
from stretto.home import Home, open_home
from tests.cli.conftest import Stretto
from tests.support import rows
from tests.support.repository import Repository
from tests.support.waiting import wait_for
from tests.support.world import ROOT, STRETTO

Json = dict[str, Any]
Stored = Callable[..., None]
READS = ("status", "inbox", "next", "queue", "events", "wait", "explain one", "messages one", "prompt one", "env one")


def test_help_names_every_command_and_each_has_help(stretto: Stretto) -> None:
    text = stretto("--help").stdout
    assert all(f"  {name} " in text for name in COMMANDS)
    assert stretto().stdout == text
    from click.testing import CliRunner

    from stretto.cli.app import cli

    for name in COMMANDS:
        done = CliRunner().invoke(cli, [name, "--help"])
        assert done.exit_code == 0, name
        assert "Usage:" in done.output, name


def test_a_wrong_word_is_a_usage_error_with_the_nearest(stretto: Stretto) -> None:
    done = stretto("stats")
    assert done.returncode == 2
    assert "did you mean: status" in done.stderr
    assert "hint: stretto --help" in done.stderr


@pytest.mark.parametrize("words", [("status", "--bad"), ("run",), ("answer",), ("wait", "--for", "ever"), ("pause",)])
def test_usage_errors_are_2_in_both_forms(stretto: Stretto, words: tuple[str, ...]) -> None:
    plain, told = stretto(*words), stretto(*words, "--json")
    assert plain.returncode == told.returncode == 2
    assert plain.stderr.startswith("error: ")
    assert json.loads(told.stdout)["error"]["code"] == "usage"
    assert told.stderr == ""


def test_reading_starts_no_daemon_and_makes_nothing(stretto: Stretto, home: Path) -> None:
    home.rmdir()
    for words in READS:
        stretto(*words.split())
    done = stretto("status", "--json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert (answer["schema"], answer["daemon"], answer["tasks"]) == (1, None, [])
    assert not home.exists()


def test_stored_rows_are_shown_without_a_daemon(stretto: Stretto, stored: Stored) -> None:
    stored(
        rows.run(),
        rows.started(),
        rows.session(),
        rows.turn(),
        rows.item(ItemKind.REVIEW, "review:x:0", options=options(ItemKind.REVIEW)),
    )
    status = json.loads(stretto("status", "--json").stdout)
    assert status["daemon"] is None
    assert status["tasks"][0]["session"]["status"] == "unknown"
    text = stretto("status").stdout
    assert "waiting: review" in text
    assert "stretto answer i1 (approve" in text
    assert "no daemon runs" in text
    for words in READS[:-6]:
        assert stretto(*words.split(), "--json").returncode in (0, 4), words
    assert "approve" in stretto("inbox").stdout
    assert "i1" in stretto("next").stdout
    assert "review" in stretto("explain", "one").stdout
    assert isinstance(json.loads(stretto("messages", "one", "--json").stdout), list)


def test_the_environment_of_a_workspace(stretto: Stretto, stored: Stored, repo: Repository) -> None:
    stored(rows.run(), rows.started(workspace=str(repo.path)), rows.task("two", position=1))
    assert json.loads(stretto("env", "one", "--json").stdout)["env"]["STRETTO_TASK"] == "one"
    assert "export STRETTO_TASK=one" in stretto("env", "one", "--export").stdout
    assert stretto("env", "two").returncode == 1


def test_events_are_lines_of_json(stretto: Stretto, stored: Stored) -> None:
    stored(*[rows.run(id=f"r{n}-abcd") for n in range(5)])
    lines = [json.loads(line) for line in stretto("events", "--json").stdout.splitlines()]
    assert [event["id"] for event in lines] == [1, 2, 3, 4, 5]
    assert set(lines[0]) == {"id", "at", "repo", "run", "task", "type", "data"}
    assert [json.loads(line)["id"] for line in stretto("events", "--json", "--since", "3").stdout.splitlines()] == [
        4,
        5,
    ]
    assert "\x1b" not in stretto("events").stdout


def test_wait_tells_reached_impossible_and_timed_out(stretto: Stretto, stored: Stored) -> None:
    stored(rows.run(), rows.started("done", outcome=State.LANDED, ended_at=999.0))
    stored(rows.task("lost", position=1, outcome=State.FAILED, ended_at=999.0), rows.task("open", position=2))
    assert stretto("wait", "done", "--for", "landed").returncode == 0
    lost = stretto("wait", "lost", "--for", "landed")
    assert lost.returncode == 1
    assert "stretto retry demo-abcd/lost" in lost.stderr
    late = stretto("wait", "open", "--timeout", "0.2")
    assert late.returncode == 4
    assert json.loads(stretto("wait", "open", "--timeout", "0", "--json").stdout)["result"] == "timed_out"


def test_a_wait_that_is_over_says_that_the_queue_is_frozen_and_why(
    stretto: Stretto, stored: Stored, repo: Repository
) -> None:
    stored(rows.run(), rows.task("open"))
    database = sqlite3.connect(open_home().database)
    with database:
        values = (str(repo.path / ".git"), "the push was refused")
        database.execute("INSERT INTO repos VALUES (?, '/r', 0, ?, '{}', 1.0)", values)
    database.close()
    late = stretto("wait", "open", "--for", "landed", "--timeout", "0")
    assert late.returncode == 4
    assert "frozen (the push was refused)" in late.stderr
    assert "stretto inbox" in late.stderr


def test_down_all_without_a_daemon_or_a_home_says_so(stretto: Stretto) -> None:
    for words in (("down",), ("down", "--all")):
        done = stretto(*words)
        assert (done.returncode, done.stdout) == (0, "no daemon runs\n"), done.stderr


def test_an_unknown_task_is_a_usage_error(stretto: Stretto, stored: Stored) -> None:
    stored(rows.run())
    done = stretto("explain", "nobody", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["object"] == "nobody"


def test_outside_of_a_repository(stretto: Stretto, stored: Stored, tmp_path: Path) -> None:
    done = stretto("status", cwd=tmp_path)
    assert done.returncode == 1
    assert "no git repository" in done.stderr


def test_a_removed_folder_is_named(stretto: Stretto, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", gone, *STRETTO, "inbox"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no longer exists" in done.stderr


def test_a_database_of_a_newer_schema_and_a_damaged_one(stretto: Stretto, stored: Stored, home: Path) -> None:

    with sqlite3.connect(home / "stretto.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    done = stretto("status", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "newer_schema"
    assert "database" in stretto("doctor").stdout
    for path in home.glob("stretto.db*"):
        path.unlink()
    (home / "stretto.db").write_bytes(os.urandom(8192))
    done = stretto("status")
    assert done.returncode == 1
    assert "damaged" in done.stderr


# ---------------------------------------------------------------- steering


PLAN = "# P\n\n## a: Do it\nText.\nAccept: it works.\n"


@pytest.fixture
def plan(repo: Repository) -> str:
    (repo.path / "PLAN.md").write_text(PLAN)
    return "PLAN.md"


def test_run_sends_the_plan_and_the_environment(stretto: Stretto, daemon: Callable[..., Home], plan: str) -> None:
    daemon()
    done = stretto("run", plan, "--open", "3", "--agent", "command:x y", "--leave-checkout", "--json", WORD="hello")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert (answer["run"], answer["tasks"]) == ("r-abcd", ["r-abcd/a"])
    given = answer["given"]
    assert given["plan_text"] == PLAN
    assert Path(given["plan_path"]).is_absolute()
    assert (given["open"], given["agent"], given["checkout"], given["fetch"]) == (3, "command:x y", "leave", True)
    assert given["env"]["WORD"] == "hello"
    assert "approve" not in given


def test_run_returns_at_once_and_says_where_to_look(stretto: Stretto, daemon: Callable[..., Home], plan: str) -> None:
    daemon()
    done = stretto("run", plan)
    assert done.stdout == "run r-abcd: 1 task\n"
    assert "noted" in done.stderr
    assert "stretto status" in done.stderr


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf# P\r\n\r\n## a: x\r\n", "# ü\n".encode()])
def test_plans_are_sent_as_they_are(
    stretto: Stretto, daemon: Callable[..., Home], repo: Repository, content: bytes
) -> None:
    daemon()
    (repo.path / "P.md").write_bytes(content)
    given = json.loads(stretto("run", "P.md", "--json").stdout)["given"]
    assert given["plan_text"].encode() == content.removeprefix(b"\xef\xbb\xbf")
    given = json.loads(stretto("run", "-", "--json", input="# x\n").stdout)["given"]
    assert given["plan_text"] == "# x\n"
    assert "plan_path" not in given


def test_plan_files_that_cannot_be_read(stretto: Stretto, daemon: Callable[..., Home], repo: Repository) -> None:
    daemon()
    (repo.path / "latin.md").write_bytes(b"\xff\xfe")
    for name, words in (("missing.md", "no file"), (".", "is a directory"), ("latin.md", "not utf-8")):
        done = stretto("run", name)
        assert done.returncode == 2, name
        assert words in done.stderr.lower(), name


def test_what_needs_a_person_is_refused_without_a_terminal(
    stretto: Stretto, daemon: Callable[..., Home], plan: str
) -> None:
    daemon(FAKE_ASK="untrusted")
    done = stretto("run", plan, "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["details"]["hash"]) == ("untrusted", "sha256:ab")


def on_terminal(words: list[str], cwd: Path, answers: list[tuple[str, str]], size: str = "80x24") -> tuple[int, str]:
    """Run the program on a terminal of its own; type each answer when its text has appeared."""
    columns, lines = size.split("x")
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        env = {**os.environ, "TERM": "xterm", "COLUMNS": columns, "LINES": lines}
        os.execvpe(STRETTO[0], [*STRETTO, *words], env)
    seen, waiting, end = "", list(answers), time.monotonic() + 30
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
    os.close(fd)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), seen


def test_on_a_terminal_the_person_settles_it(daemon: Callable[..., Home], plan: str, repo: Repository) -> None:
    daemon(FAKE_ASK="untrusted checkout_choice confirm")
    answers = [("exactly these?", "y\n"), ("Fast-forward", "n\n"), ("Apply this?", "y\n")]
    code, seen = on_terminal(["run", plan], repo.path, answers)
    assert code == 0, seen
    assert "+ make \ufffd[2Jtest" in seen
    assert "new: joins" in seen
    assert "run r-abcd: 1 task" in seen


def test_a_no_changes_nothing(daemon: Callable[..., Home], plan: str, repo: Repository) -> None:
    daemon(FAKE_ASK="untrusted")
    code, seen = on_terminal(["run", plan], repo.path, [("exactly these?", "n\n")])
    assert code == 1
    assert "refused: untrusted" in seen


@pytest.mark.parametrize("name", ["STRETTO_AGENT_TOKEN", "STRETTO_SESSION"])
def test_agents_may_look_but_not_steer(stretto: Stretto, home: Path, plan: str, name: str) -> None:
    for words in (("run", plan), ("approve", "a"), ("answer", "q", "1"), ("trust",), ("down",), ("purge", "--list")):
        done = stretto(*words, "--json", **{name: "x"})
        assert done.returncode == 1, words
        assert json.loads(done.stdout)["error"]["code"] == "agent_refused", words
    assert stretto("status", "--json", **{name: "x"}).returncode == 0
    assert not (home / "lock").exists(), "no daemon was started for an agent"


def test_an_agent_cannot_ask_outside_of_a_session(stretto: Stretto) -> None:
    done = stretto("agent", "ask", "why?")
    assert done.returncode == 1
    assert "not a session" in done.stderr


def test_add_takes_words_input_and_a_section(stretto: Stretto, stored: Stored, repo: Repository) -> None:
    from stretto.cli.run import _section

    (repo.path / "notes.md").write_text("# N\n\n## First\nOne.\n\n### Deep\nStill.\n\n## Second\nTwo.\n")
    os.chdir(repo.path)
    assert _section("notes.md#First") == "First\n\nOne.\n\n### Deep\nStill."
    assert _section("notes.md#second") == "Second\n\nTwo."
    with pytest.raises(Exception, match="no heading"):
        _section("notes.md#Third")


# ---------------------------------------------------------------- the edge


def test_a_broken_pipe_is_quiet(stretto: Stretto, stored: Stored, repo: Repository) -> None:
    stored(*[rows.run(id=f"r{n:03d}-abcd") for n in range(400)])
    command = " ".join(STRETTO) + " events --json | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=repo.path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


def reads(pid: int) -> bool:
    """Whether a process has come as far as to load SQLite: it is in the middle of its command, and stays there."""
    with suppress(OSError):
        return "sqlite3" in Path(f"/proc/{pid}/maps").read_text()
    return False


def test_ctrl_c_ends_only_the_looking(stored: Stored, repo: Repository, home: Path) -> None:
    stored(rows.run(), rows.task("open"))
    child = subprocess.Popen(
        [*STRETTO, "wait", "open"], cwd=repo.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: reads(child.pid), what="its first look at the database")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "nothing else was stopped" in err
    assert "Traceback" not in err


def test_a_failure_of_ours_is_3_and_names_a_report(home: Path, repo: Repository) -> None:
    program = (
        "import sys; from stretto.cli import overview; from stretto import __main__\n"
        "def broken(*a, **k): raise ZeroDivisionError('secret-value-123')\n"
        "overview.read = broken; sys.argv = ['stretto', 'status', '--json']; sys.exit(__main__.main())"
    )
    env = {**os.environ, "SOME_TOKEN": "secret-value-123"}
    done = subprocess.run([sys.executable, "-c", program], cwd=repo.path, env=env, capture_output=True, text=True)
    assert done.returncode == 3
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "bug"
    text = Path(error["object"]).read_text()
    assert "ZeroDivisionError: <SOME_TOKEN>" in text
    assert "secret-value-123" not in text
    assert Path(error["object"]).stat().st_mode & 0o077 == 0


def test_exec_passes_environment_folder_and_exit_code(program: Stretto, stored: Stored, repo: Repository) -> None:
    stored(rows.run(), rows.started(workspace=str(repo.path)))
    done = program("exec", "one", "--", "sh", "-c", "echo $STRETTO_TASK; pwd; exit 7", cwd=repo.path)
    assert done.stdout.splitlines() == ["one", str(repo.path)]
    assert done.returncode == 7
    assert program("exec", "one", "--", "no-such-program").returncode == 1
    done = program("exec", "one", "--", "printf", "%s", "--json")
    assert done.stdout == "--json"
    assert program("exec", "one", "--", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM


def test_edit_opens_the_editor_in_the_workspace(program: Stretto, stored: Stored, repo: Repository) -> None:
    stored(rows.run(), rows.started(workspace=str(repo.path)))
    assert program("edit", "one", EDITOR="").returncode == 1
    done = program("edit", "one", "README.md", VISUAL="sh -c 'pwd; echo $0 $1' --")
    assert done.stdout.splitlines() == [str(repo.path), "-- README.md"]


def test_path_prints_only_the_path(stretto: Stretto, stored: Stored, repo: Repository) -> None:
    stored(rows.run(), rows.started(workspace=str(repo.path)), rows.task("two", position=1))
    assert stretto("path", "one").stdout == f"{repo.path}\n"
    done = stretto("path", "two", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "no_worktree"


def test_logs_print_what_the_session_wrote(stretto: Stretto, stored: Stored, tmp_path: Path) -> None:
    folder = tmp_path / "s1"
    folder.mkdir()
    (folder / "out.000001").write_bytes("grüße\n".encode() * 3)
    stored(rows.run(), rows.started(), rows.session(folder=str(folder), ended_at=5.0))
    assert stretto("logs", "one").stdout == "grüße\n" * 3
    assert stretto("logs", "one", "-f").stdout == "grüße\n" * 3
    assert stretto("logs", "one", "-n", "7").stdout.endswith("ße\n")
    assert json.loads(stretto("logs", "one", "--json").stdout)["folder"] == str(folder)


def test_logs_of_an_agent_that_was_replaced_are_found(stretto: Stretto, stored: Stored, tmp_path: Path) -> None:
    made = []
    for number, agent in ((1, "codex"), (2, "scripted")):
        folder = tmp_path / f"s{number}"
        folder.mkdir()
        (folder / "out.000001").write_text(f"words of {agent}\n")
        parser = {"type": "command"}
        made.append(
            rows.session(
                id=f"s{number}", generation=number, agent=agent, folder=str(folder), ended_at=5.0, parser=parser
            )
        )
    stored(rows.run(), rows.started(), *made)
    newest = stretto("logs", "one")
    assert newest.stdout == "words of scripted\n"
    assert "other sessions: 1 (codex)" in newest.stderr
    assert stretto("logs", "one", "--session", "1").stdout == "words of codex\n"
    missing = stretto("logs", "one", "--session", "7")
    assert missing.returncode == 1
    assert "there are: 1, 2" in missing.stderr


def test_logs_show_what_made_the_workspace_ready(stretto: Stretto, stored: Stored, tmp_path: Path) -> None:
    stored(rows.run(), rows.started())
    assert stretto("logs", "one").returncode == 1
    output = tmp_path / "0001-setup-1.log"
    output.write_text("installing\n")
    with sqlite3.connect(open_home().database) as db:
        told = (rows.UID, "setup.started", json.dumps({"name": "setup-1", "output": str(output)}))
        db.execute("INSERT INTO events (at, task, type, data) VALUES (2.0, ?, ?, ?)", told)
    db.close()
    done = stretto("logs", "one")
    assert (done.stdout, done.stderr) == ("installing\n", "── setup-1\n")
    assert stretto("logs", "one", "--check", "setup-1").stdout == "installing\n"


def test_logs_of_a_protocol_are_told_in_words(stretto: Stretto, stored: Stored, tmp_path: Path) -> None:
    folder = tmp_path / "s1"
    folder.mkdir()
    recorded = (ROOT / "tests" / "agents" / "golden" / "claude" / "edit.jsonl").read_bytes()
    (folder / "out.000001").write_bytes(recorded)
    session = rows.session(folder=str(folder), ended_at=5.0, agent="mine", parser={"type": "claude"})
    stored(rows.run(), rows.started(), session)
    told = stretto("logs", "one").stdout
    assert "[" in told
    assert '"session_id"' not in told
    assert stretto("logs", "one", "--raw").stdout.encode() == recorded


def test_init_writes_once(stretto: Stretto, repo: Repository) -> None:
    assert stretto("init").returncode == 0
    text = (repo.path / "stretto.toml").read_text()
    assert "schema = 1" in text
    done = stretto("init")
    assert done.returncode == 1
    assert "--print" in done.stderr
    assert stretto("init", "--print").stdout == text


@pytest.mark.parametrize(("answer", "copies"), [("y", True), ("n", False)])
def test_init_asks_before_it_names_ignored_files(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, answer: str, copies: bool
) -> None:
    from click.testing import CliRunner

    from stretto.cli import setup

    repo.commit("ignore", {".gitignore": ".env\n"})
    (repo.path / ".env").write_text("KEY=1\n")
    monkeypatch.chdir(repo.path)
    monkeypatch.setattr(setup, "on_terminal", lambda: True)
    done = CliRunner().invoke(setup.init_command, input=f"{answer}\n")
    assert done.exit_code == 0, done.output
    assert "would be copied into each worktree: .env" in done.output
    lines = (repo.path / "stretto.toml").read_text().splitlines()
    assert any(line.startswith('copy = [".env"]') for line in lines) is copies


def test_doctor_finds_what_is_wrong(stretto: Stretto, home: Path, repo: Repository) -> None:
    done = stretto("doctor", "--json")
    assert done.returncode == 0
    assert {check["name"] for check in json.loads(done.stdout)["checks"]} >= {"git", "home", "daemon", "repository"}
    (repo.path / "stretto.toml").write_text("schema = 1\nnonsense = 3\n")
    done = stretto("doctor")
    assert done.returncode == 1
    assert "nonsense" in done.stdout
    tool = '[agents.own]\ntype = "claude"\ncommand = ["./tool"]\n[roles.implementer]\nagent = "own"\n'
    (repo.path / "stretto.toml").write_text("schema = 1\n" + tool)
    assert "npm install" in stretto("doctor").stdout, "it is not there"
    (repo.path / "tool").write_text("#!/bin/sh\n")
    found = [c for c in json.loads(stretto("doctor", "--json").stdout)["checks"] if "./tool" in c["text"]]
    assert ["chmod +x" in c["text"] for c in found] == [True]
    assert "npm install" not in found[0]["hint"], "it is there, and its reason says what to do"
    assert "daemon.store.commit.before" in json.loads(stretto("doctor", "--failpoints", "--json").stdout)["failpoints"]


ROLES = """schema = 1
[agents.here]
command = ["sh"]
[agents.gone]
command = ["/no/such/program"]
[roles.implementer]
agent = "here"
fallback = ["gone"]
[roles.reviewer]
agent = "here"
[roles.implementor]
agent = "here"
"""


def test_roles_are_told_by_doctor_and_by_plan_show(stretto: Stretto, home: Path, repo: Repository) -> None:
    (repo.path / "stretto.toml").write_text(ROLES)
    found = json.loads(stretto("doctor", "--json").stdout)["checks"]
    roles = {check["name"].removeprefix("role "): check for check in found if check["name"].startswith("role ")}
    assert {name: check["state"] for name, check in roles.items()} == {
        "implementer": "ok",
        "reviewer": "warning",
        "implementor": "warning",
    }
    assert "nothing else asks for reviews" in roles["reviewer"]["text"]
    assert "[roles.implementer]" in roles["implementor"]["hint"]
    assert any("/no/such/program" in c["text"] and "takes over for implementer" in c["text"] for c in found)
    plan = repo.path.parent / "P.md"
    plan.write_text(
        "# P\n\n## one: One\nDo.\nAccept: `x` is done.\n- role: implementor\n\n## two: Two\nDo.\n- model: m\n"
    )
    assert "unknown-role" not in stretto("plan", "lint", str(plan)).stdout
    shown = stretto("plan", "show", str(plan)).stdout
    assert "  implementor: here (its own model), stream, ask\n      one\n" in shown
    assert "  implementer: here (m), stream, ask; then gone (its own model)\n      two\n" in shown
    words = ("--json", "--agent", "claude", "--mode", "pane")
    _, two = json.loads(stretto("plan", "show", str(plan), *words).stdout)["tasks"]
    assert [two[key] for key in ("role", "agent", "model", "mode", "permissions")] == [
        *("implementer", "claude", "m", "pane", "ask")
    ]
    assert two["fallback"] == [{"agent": "gone", "model": None, "permissions": "ask"}]
    assert stretto("plan", "show", str(plan)).stderr == "", "a task names the role: it is one of the person's own"


def test_plan_show_tells_what_is_probably_not_meant(stretto: Stretto, home: Path, repo: Repository) -> None:
    plan = repo.path.parent / "P.md"
    plan.write_text("# P\n\n## one: One\nDo.\nAccept: `x` is done.\n")
    here = 'schema = 1\n[agents.here]\ncommand = ["sh"]\n[roles.implementer]\nagent = "here"\nfallback = ["here"]\n'
    (repo.path / "stretto.toml").write_text(here + '[roles.implementor]\nagent = "here"\n')
    told = stretto("plan", "show", str(plan)).stderr
    assert "no task names the role of [roles.implementor]; did you mean [roles.implementer]?" in told
    assert "[roles.implementer] fallback names here, which is the role's agent" in told
    assert "take here out of its fallback" in stretto("doctor").stdout
    (repo.path / "stretto.toml").write_text('nonsense = 1\n[roles.tester]\npermissions = "allways"\n')
    done = stretto("plan", "show", str(plan))
    assert (done.returncode, "who does what:" in done.stdout) == (0, False)
    (first, *mistakes, hint), text = done.stderr.splitlines(), done.stderr
    assert (first.startswith("who does what cannot be told"), len(mistakes) >= 2) == (True, True), text
    assert ["nonsense" in line for line in mistakes].count(True) == 1
    assert ["allways" in line for line in mistakes].count(True) == 1
    assert "try again" in hint
    (repo.path / "stretto.toml").write_text('schema = 1\n[roles.implementer]\nagent = "claud"\n')
    assert "did you mean `claude`?" in stretto("plan", "show", str(plan)).stderr


def unpacked(told: Any) -> dict[str, str]:
    texts = {}
    with tarfile.open(told["bundle"]) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            texts[member.name.partition("/")[2]] = file.read().decode()
    assert list(texts) == told["files"]
    return texts


def test_a_bundle_holds_facts_of_stretto_and_nothing_of_the_work(stretto: Stretto, stored: Stored, home: Path) -> None:
    stored(rows.run(), rows.task("one", title="A new title", spec="The spec of it"))
    done = stretto("doctor", "--bundle", "--json")
    assert done.returncode == 0, done.stdout
    texts = unpacked(json.loads(done.stdout))
    assert Path(json.loads(done.stdout)["bundle"]).stat().st_mode & 0o777 == 0o600
    assert [json.loads(line)["uid"] for line in texts["tasks.ndjson"].splitlines()] == ["demo-abcd/one"]
    assert json.loads(texts["counts.json"])["tasks"] == 1
    assert [json.loads(line)["data"] for line in texts["events.ndjson"].splitlines()] == [{}, {}]
    whole = "".join(texts.values())
    assert [text for text in ("A new title", "The spec of it", "[31m") if text in whole] == []


def test_a_bundle_of_a_damaged_database_says_that_it_is_damaged(stretto: Stretto, stored: Stored, home: Path) -> None:
    for path in home.glob("stretto.db*"):
        path.unlink()
    (home / "stretto.db").write_bytes(os.urandom(8192))
    texts = unpacked(json.loads(stretto("doctor", "--bundle", "--json").stdout))
    assert "damaged" in texts["database.txt"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(stretto: Stretto, shell: str) -> None:
    done = stretto("completion", shell)
    assert done.returncode == 0
    assert "_STRETTO_COMPLETE" in done.stdout


def test_tasks_are_completed_from_the_database(program: Stretto, stored: Stored) -> None:
    stored(rows.run(), rows.task("one"), rows.task("other", position=1), rows.task("two", position=2))
    done = program(_STRETTO_COMPLETE="bash_complete", COMP_WORDS="stretto explain o", COMP_CWORD="2")
    assert done.stdout.split() == ["plain,one", "plain,other"]
    done = program(_STRETTO_COMPLETE="bash_complete", COMP_WORDS="stretto st", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,status"]


# ---------------------------------------------------------------- live


def test_watch_redraws_in_place(stored: Stored, repo: Repository, home: Path) -> None:
    stored(rows.run(), rows.task("one"))
    child_code, seen = 0, ""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(repo.path)
        os.execvpe(STRETTO[0], [*STRETTO, "watch"], {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"})
    end = time.monotonic() + 15
    while time.monotonic() < end and "no daemon runs" not in seen:
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 65536).decode(errors="replace")
    os.write(fd, b"\x03")
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data.decode(errors="replace")
    child_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    assert child_code == 130
    assert "ready" in seen
    assert "nothing else was stopped" in seen


def test_piped_watching_prints_a_line_for_each_change(stored: Stored, repo: Repository, home: Path) -> None:
    stored(rows.run(), rows.task("one"))
    with subprocess.Popen(
        [*STRETTO, "watch"], cwd=repo.path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline().decode()
        assert "demo-abcd/one: ready" in first
        stored(rows.task("two", position=1))
        assert "demo-abcd/two: " in child.stdout.readline().decode()
        child.kill()
    wait_for(lambda: child.poll() is not None)


def test_plan_verbs_work_on_files(stretto: Stretto, repo: Repository, plan: str) -> None:
    assert stretto("plan", "lint", plan).returncode == 0
    assert stretto("plan", "lint", "-", input="# x\n## a b: no\n").returncode == 1
    findings = json.loads(stretto("plan", "lint", plan, "--strict", "--json").stdout)["findings"]
    assert {"line", "severity", "rule", "task", "message", "suggestion"} <= set(findings[0])
    assert json.loads(stretto("plan", "show", plan, "--open", "2", "--json").stdout)["open"] == 2
    assert "a" in stretto("plan", "show", plan).stdout
    assert stretto("plan", "lint", "missing.md").returncode == 2
    (repo.path / "TASKS.md").write_text("- [ ] search — ann — Add the search\n- [x] old — bob — Done\n")
    done = stretto("plan", "import", "TASKS.md")
    assert done.returncode == 0
    assert "## search" in done.stdout
    assert stretto("plan", "import", "TASKS.md", "-o", "NEW.md").returncode == 0
    assert (repo.path / "NEW.md").read_text() == done.stdout
    assert stretto("plan", "import", "TASKS.md", "-o", "NEW.md").returncode == 1


def test_usage_is_watched_and_told_after_each_change_only(stored: Stored, repo: Repository, home: Path) -> None:
    stored(rows.run(), rows.started("one"))

    def use(key: str) -> None:
        sql = "INSERT INTO usage (task, key, model, input, output, cache_read, cache_write, reasoning, at)"
        with sqlite3.connect(home / "stretto.db") as db:
            db.execute(f"{sql} VALUES (?, ?, 'm', 1000, 20, 0, 0, 0, 999.0)", (f"{rows.RUN}/one", key))
        db.close()

    use("a")
    with watched(repo, "usage", "--watch") as answers:
        for count in (1000, 2000, 3000):
            assert next(answers)["total"]["input"] == count
            use(str(count))


def test_a_watch_in_a_pipe_tells_at_once(stored: Stored, repo: Repository) -> None:
    stored(rows.run(), rows.started("one"))
    with watched(repo, "watch") as answers:
        assert [task["id"] for task in next(answers)["tasks"]] == ["one"]


@contextmanager
def watched(repo: Repository, *words: str) -> Iterator[Iterator[Json]]:
    """What a command says that goes on until Ctrl-C: into a pipe, with Python's own way of holding output back."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    out, nowhere = subprocess.PIPE, subprocess.DEVNULL
    watching = subprocess.Popen(
        [*STRETTO, *words, "--json"], cwd=repo.path, env=environment, stdout=out, stderr=nowhere, text=True
    )
    late = threading.Timer(120.0, watching.kill)  # a line that does not come is a failure, no hang
    late.start()
    with watching:
        try:
            assert watching.stdout is not None
            yield (json.loads(line) for line in watching.stdout)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(timeout=30) == 130
        finally:
            late.cancel()
            watching.kill()


def test_usage_is_a_table_and_says_what_it_leaves_out(stretto: Stretto, stored: Stored, home: Path) -> None:
    config = {"limits": {"tokens": 2000}, "prices": {"m": {"input": 10, "output": 100, "date": "2026-11-01"}}}
    stored(rows.run(config=config), rows.started("one"), rows.started("two", position=1))
    assert stretto("usage").stdout == "Nothing was used yet.\n"
    with sqlite3.connect(home / "stretto.db") as db:
        sql = "INSERT INTO usage (task, key, model, input, output, cache_read, cache_write, reasoning, at)"
        for task, model in (("one", "m"), ("two", "mystery")):
            db.execute(f"{sql} VALUES (?, 'k', ?, 1000, 20, 0, 0, 0, 999.0)", (f"{rows.RUN}/{task}", model))
    db.close()
    told = stretto("usage", "--by", "model").stdout
    assert re.search(r"^m +1 000 +20 +0 +0 +0 +0\.0120 USD$", told, re.MULTILINE)
    assert re.search(r"^mystery .* unknown$", told, re.MULTILINE)
    assert re.search(r"^in all +2 000 ", told, re.MULTILINE)
    assert "102% of 2 000 tokens" in told
    assert "no price is known of mystery: give one in [prices]" in told
    assert "prices: yours (2026-11-01)" in told
    assert re.search(r"^in all .*> 0\.0120 USD$", told, re.MULTILINE), "it says that there is more"
    found = json.loads(stretto("usage", "one", "--json").stdout)
    assert found["total"]["cost"] == {"amount": "0.012", "currency": "USD", "source": "table"}
    assert stretto("usage", "--by", "moon").returncode == 2


def test_what_has_no_price_is_told_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    from stretto.cli import usage

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    named, nameless = usage._unpriced(["m", "unknown"])
    assert named == "no price is known of m: give one in [prices], or install stretto[prices]"
    assert "did not name" in nameless
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert list(usage._unpriced(["m"])) == ["no price is known of m: give one in [prices]"]
    day = {"scope": "day", "of": "2026-01-01", "measure": "cost", "used": 1.8, "limit": 1.0, "share": 1.8}
    found = {"budgets": [day], "rate": {"tokens_per_s": 0}, "unpriced": [], "total": {"cost": None}, "strong": None}
    assert usage._remarks(found)[1] == "budget of day 2026-01-01: 180% of 1.00 USD"


def test_remarks_are_broken_between_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from stretto.cli.common import note

    text = "These commands come from the repository's configuration or the plan and would run on this machine:"
    note(text)
    assert capsys.readouterr().err == f"{text}\n", "what is no terminal gets a line as it is"
    monkeypatch.setattr("stretto.cli.text.terminal_width", lambda stream: 40)
    note(f"{text}\n  two")
    *lines, last = capsys.readouterr().err.splitlines()
    assert (max(map(len, lines)) <= 40, last) == (True, "  two")
    assert " ".join(line.strip() for line in lines) == text


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry"])
def test_a_verb_takes_several_tasks_or_a_run(stretto: Stretto, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    asked: list[dict[str, Any]] = []

    def steer(op: str, **args: Any) -> dict[str, Any]:
        asked.append({"op": op, **args})
        return {}

    monkeypatch.setattr("stretto.cli.steer.steer", steer)
    assert stretto(verb, "one", "two", "one").stdout.count("\n") == 2
    assert [(one["op"], one["task"]) for one in asked] == [(verb, "one"), (verb, "two")]
    assert stretto(verb, "--run", "r").returncode == 0
    assert asked[-1]["run"] == "r"
    assert stretto(verb, "one", "--run", "r").returncode == 2


def test_ctrl_c_while_the_daemon_makes_a_workspace_says_what_goes_on(
    stretto: Stretto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*words: Any, **args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stretto.cli.spaces.steer", interrupted)
    done = stretto("workspace", "new", "idea")
    assert done.returncode == 130
    assert "goes on making idea" in done.stderr
    assert "stretto workspace remove idea" in done.stderr


def test_init_copies_no_ignored_file_that_nobody_was_asked_about(stretto: Stretto, repo: Repository) -> None:
    repo.commit("ignore", {".gitignore": ".env\n"})
    (repo.path / ".env").write_text("KEY=1\n")
    done = stretto("init", "--json")
    told = json.loads(done.stdout)
    assert (told["copy"], told["proposed"]) == ([], {"copy": [".env"]})
    written = repo.path / "stretto.toml"
    assert not [line for line in written.read_text().splitlines() if line.startswith("copy")]
    written.unlink()
    assert 'add to [workspace]: copy = [".env"]' in stretto("init").stderr
    assert not [line for line in written.read_text().splitlines() if line.startswith("copy")]


def test_plan_show_tells_what_tasks_share(
    stretto: Stretto, repo: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = tmp_path / "PLAN.md"
    plan.write_text("# P\n\n## one: Do it\nDo it.\nAccept: `true` passes.\n")
    assert stretto("plan", "show", str(plan), cwd=tmp_path).stderr == ""
    table = '[database]\nprovider = "postgres-schema"\nurl = "postgresql://u@127.0.0.1:1/app"\n'
    (repo.path / "stretto.toml").write_text(f"schema = 1\n{table}")
    done = stretto("plan", "show", str(plan))
    assert (done.returncode, "postgres-schema are not known now" in done.stderr) == (0, True)
    monkeypatch.setattr("stretto.workspace.databases.remarks", lambda given, root: [f"about {given['provider']}"])
    assert stretto("plan", "show", str(plan)).stderr == "about postgres-schema\n"
    assert stretto("plan", "show", str(plan), "--json").stderr == ""
