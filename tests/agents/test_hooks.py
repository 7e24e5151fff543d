"""The hook program, its spool, and what agents are told: with the shell, with files, and with the real programs."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto import agents
from stretto.agents import hooks
from stretto.agents.codex import guard as codex_guard
from stretto.agents.hooks import Report, Spool
from stretto.agents.permissions import parse_permissions
from stretto.core.evidence import Source, What
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext
from stretto.testing.modelserver import ModelServer
from tests.support import claude, codex
from tests.support.repository import Repository
from tests.support.stream import Stream, clean_environment
from tests.support.waiting import wait_for


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "a folder's hooks", "s1", 2)
    spool.make()
    return spool


def fire(spool: Spool, event: str, said: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a hook as an agent does."""
    command = spool.command(event, said is not None)
    return subprocess.run(["/bin/sh", "-c", command], input=said or b"", capture_output=True, timeout=30)


def reports(spool: Spool, cursor: int = 0) -> list[Report]:
    return hooks.read(spool.folder, cursor)[0]


def test_an_event_is_a_line_with_session_generation_and_time(spool: Spool) -> None:
    before = spool.folder.stat().st_mtime
    done = fire(spool, "Stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    [report] = reports(spool)
    assert (report.session, report.generation, report.event, report.said) == ("s1", 2, "Stop", {})
    assert abs(report.at - before) < 60


def test_the_agents_own_words_come_along_where_they_are_wanted(spool: Spool) -> None:
    said = {"tool_name": "Bash", "tool_input": {"command": "echo 'a\nb' \"ü\" $HOME %s"}}
    fire(spool, "PermissionRequest", json.dumps(said).encode())
    [report] = reports(spool)
    assert report.said == said
    sign = hooks.sign(report)
    assert sign is not None
    assert (sign.what, sign.source, sign.generation) == (What.PERMISSION, Source.HOOK, 2)
    assert sign.text == "Bash: echo 'a\nb' \"ü\" $HOME %s"
    assert [p.name for p in spool.folder.iterdir()] == ["events"], "its words are read once"


def test_words_without_an_end_are_left_out_and_the_event_stays(spool: Spool) -> None:
    fire(spool, "PermissionRequest", b'{"tool_name": "' + b"x" * (300 << 10))
    [report] = reports(spool)
    assert (report.event, report.said) == ("PermissionRequest", {})


def test_a_hook_whose_agent_never_stops_talking_ends_all_the_same(spool: Spool) -> None:
    child = subprocess.Popen(
        ["/bin/sh", "-c", spool.command("PermissionRequest", True)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert child.stdin is not None
    assert child.wait(timeout=60) == 0
    child.stdin.close()
    assert [r.event for r in reports(spool)] == ["PermissionRequest"]


def test_no_trouble_of_the_spool_reaches_the_agent(spool: Spool, tmp_path: Path) -> None:
    gone = Spool(tmp_path / "nowhere", "s1", 1)
    assert fire(gone, "Stop").returncode == 0
    assert fire(gone, "SessionStart", b"{}").returncode == 0
    assert not gone.folder.exists()
    (spool.folder / "events").mkdir()
    done = fire(spool, "Stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert reports(spool) == []


def test_lines_of_parallel_hooks_stay_whole(spool: Spool) -> None:
    def many() -> None:
        for _ in range(10):
            fire(spool, "PostToolUse")
            fire(spool, "SessionStart", b'{"source": "startup"}')

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = reports(spool)
    assert len(found) == 80
    assert sum(r.said == {"source": "startup"} for r in found) == 40


def test_a_torn_line_waits_and_nothing_is_read_twice(spool: Spool) -> None:
    fire(spool, "UserPromptSubmit")
    with (spool.folder / "events").open("ab") as file:
        file.write(b'{"session":"s1","generation":2,"ev')
        file.flush()
        found, cursor = hooks.read(spool.folder, 0)
        assert [r.event for r in found] == ["UserPromptSubmit"]
        assert hooks.read(spool.folder, cursor) == ([], cursor)
        file.write(b'ent":"Stop","body":"","up":""}\n')
    assert [r.event for r in reports(spool, cursor)] == ["Stop"]


def test_what_a_hostile_agent_writes_harms_nobody(spool: Spool, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"source": "mine"}')
    line = '{{"session":"s","generation":{},"event":"{}","body":"{}","up":"{}"}}\n'
    (spool.folder / "body.link").symlink_to(secret)
    os.mkfifo(spool.folder / "body.fifo")
    (spool.folder / "events").write_text(
        line.format(1, "SessionStart", "link", "")
        + line.format(1, "SessionStart", "fifo", "1e999")
        + line.format(1, "SessionStart", "../../secret", "nan")
        + line.format('"x"', "Stop", "", "")
        + line.format(1, "Nothing", "", "-5")
        + line.format(1, "Nothing", "", "-inf")
        + "x" * 5000
        + "\n[]\n\n{{{\n"
        + "[" * 3000
        + "\n"
    )
    found = reports(spool)
    assert [(r.event, r.said) for r in found] == [("SessionStart", {})] * 3 + [("Nothing", {})] * 2
    assert all(0 < r.at < 1e11 for r in found)
    assert secret.read_text() == '{"source": "mine"}'
    assert [hooks.sign(r) is None for r in found] == [False, False, False, True, True]
    (spool.folder / "events").unlink()
    (spool.folder / "events").symlink_to(secret)
    assert reports(spool) == []
    (spool.folder / "events").unlink()
    os.mkfifo(spool.folder / "events")
    assert reports(spool) == [], "and nobody waits for a writer"


def test_a_link_in_the_place_of_the_spool_leads_nowhere(spool: Spool, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "body.1.1").write_text('{"source": "mine"}')
    (theirs / "events").write_text('{"session":"s","generation":1,"event":"SessionStart","body":"1.1","up":""}\n')
    spool.folder.rename(tmp_path / "moved")
    spool.folder.symlink_to(theirs)
    assert reports(spool) == []
    assert (theirs / "body.1.1").exists()


def test_a_line_without_an_end_is_skipped_in_the_end(spool: Spool) -> None:
    (spool.folder / "events").write_bytes(b"x" * (hooks.CHUNK + 10))
    found, cursor = hooks.read(spool.folder, 0)
    assert (found, cursor) == ([], hooks.CHUNK)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([*hooks.CLAUDE, *hooks.CODEX, *hooks.GEMINI, "PreToolUse", "Unheard"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["tool_name", "tool_input", "questions", "question", "error", "details", "source"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    ),
)
def test_no_words_of_an_agent_break_the_reading(event: str, said: object) -> None:
    sign = hooks.sign(Report("s", 1, event, 5.0, said if isinstance(said, dict) else {}))
    assert (sign is None) == (event == "Unheard")


# ---------------------------------------------------------------- the real programs


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def told(spool: Spool) -> list[tuple[str, What]]:
    """The events of a session and what each means."""
    found = [(r.event, hooks.sign(r)) for r in reports(spool)]
    return [(event, sign.what) for event, sign in found if sign is not None]


@pytest.fixture
def running(spool: Spool, repo: Repository, tmp_path: Path, server: ModelServer) -> Iterator[Stream]:
    """A claude that takes turns: it may leave without waiting for the hooks of its last one."""
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(hooks.claude_settings(spool)))
    env = {**clean_environment(tmp_path / "home", server.url), "IS_SANDBOX": "1"}
    context = SessionContext("s1", "r/t", repo.path, tmp_path, env, None, False, "claude-sonnet-4-5", "skip")
    spec = AgentSpec("claude", "claude", command=(str(claude.program()),), args=("--settings", str(file)))
    agent = agents.find("claude")
    with Stream(agent, agent.launch(spec, context), repo.path) as stream:
        yield stream


def events(spool: Spool) -> list[str]:
    """The events so far; their words stay for another reading."""
    return [r.event for r in hooks.read(spool.folder, 0, forget=False)[0]]


@pytest.mark.claude
def test_claude_tells_its_turn(running: Stream, spool: Spool) -> None:
    running.turn("x [[sh=echo hi]] [[say=done]]")
    wait_for(lambda: "Stop" in events(spool), 60, what=lambda: hooks.read(spool.folder, 0, forget=False)[0])
    running.close()
    found = told(spool)
    assert found[:4] == [
        ("SessionStart", What.STARTING),
        ("UserPromptSubmit", What.WORKING),
        ("PostToolUse", What.WORKING),
        ("Stop", What.DONE),
    ]
    assert found[4:] in ([], [("SessionEnd", What.QUIT)]), "the program does not always wait for its last hook"


def wrong(spool: Spool, what: What) -> bool:
    """Whether the last failure is of this kind; the program tells of some of them twice."""
    found = [hooks.sign(r) for r in hooks.read(spool.folder, 0, forget=False)[0] if r.event == "StopFailure"]
    return bool(found and found[-1] is not None and found[-1].what is what and found[-1].text)


@pytest.mark.claude
def test_claude_tells_what_went_wrong(running: Stream, spool: Spool) -> None:
    # the full context first: it is made shorter by a request that meets every fault that was asked for before
    for fault, what in (("overflow=9", What.OVERFLOW), ("err=529x9", What.ERROR), ("err=429x9", What.LIMITED)):
        running.turn(f"x [[{fault}]] [[say=fine]]")
        wait_for(partial(wrong, spool, what), 60, what=lambda: hooks.read(spool.folder, 0, forget=False)[0])


@pytest.mark.agents
def test_codex_tells_its_turn_by_flags_alone(
    spool: Spool, repo: Repository, tmp_path: Path, server: ModelServer
) -> None:
    env = {**clean_environment(tmp_path / "home", server.url), **codex.environment(tmp_path / "home")}
    words = ["exec", "--json", "--disable", "plugins", *codex.arguments(server.url), *codex.OPEN, "-m", codex.MODEL]
    argv = [str(codex.program()), *words, *hooks.codex_words(spool), "x [[sh=echo hi]] [[say=done]]"]
    done = subprocess.run(argv, cwd=repo.path, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert b"hook" not in done.stdout, "no warning about hooks or their trust"
    found = told(spool)
    assert found[:5] == [
        ("SessionStart", What.STARTING),
        ("UserPromptSubmit", What.WORKING),
        ("PreToolUse", What.WORKING),
        ("PostToolUse", What.WORKING),
        ("Stop", What.DONE),
    ]
    assert found[5:] in ([], [("SessionEnd", What.QUIT)])
    assert not list((tmp_path / "home").rglob("hooks.json")), "no file of its folder was needed"


@pytest.mark.agents
def test_a_rule_that_denies_holds_without_a_dialog(repo: Repository, tmp_path: Path, server: ModelServer) -> None:
    """As codex' own interface is told it: the tool is refused, the reason said, and the turn goes on."""
    env = {**clean_environment(tmp_path / "home", server.url), **codex.environment(tmp_path / "home")}
    words = ["exec", "--json", "--disable", "plugins", *codex.arguments(server.url), *codex.OPEN, "-m", codex.MODEL]
    guard = codex_guard(parse_permissions("deny Bash(touch no*)"))
    prompt = "x [[sh=touch yes]] [[sh=true; touch no]] [[say=Heard: {{result}}]]"
    argv = [str(codex.program()), *words, *hooks.codex_words(None, guard), prompt]
    done = subprocess.run(argv, cwd=repo.path, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (repo.path / "yes").exists()
    assert not (repo.path / "no").exists()
    assert "denied by the person's rule: Bash(touch no*)" in done.stdout.decode()
